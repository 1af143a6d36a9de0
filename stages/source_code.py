"""Source code: of every stage and instance the modules that it can load, hashed; and the packages' versions.

It runs in every `dvc repro`, so what the other stages depend on is the code as it is now.
"""

import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # of a copy of the repository its own, as in _cli

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.files.digests import remember_digests, remembered_digests
from cinevox.project import package_versions, source_code
from cinevox.project import params as params_module
from cinevox.project.paths import Paths
from cinevox.project.stage_instances import FILES, instances

ROOT = Path(__file__).resolve().parents[1]


def main(paths: Paths, log: logging.Logger) -> None:
    params, memo = params_module.load(paths.params), paths.memo / "source_code.json"
    modules = source_code.SourceCode.of(ROOT, source_code.remembered(memo))
    files = remembered_digests(paths.memo / FILES)
    for found in instances(params, modules, files):
        io.write_bytes(paths.source_code(found.stage, found.instance), found.text(modules).encode())
    for folder in (paths.base("any").parent, paths.ensembles):  # `checks` and others depend on these, also on none
        io.folder(folder)
    source_code.remember(memo, modules.used)
    remember_digests(paths.memo / FILES, files)
    now = package_versions.installed()
    io.write_json(paths.versions, now)
    if rows := package_versions.made_by_others({row: paths.selection(row) for row in params.experiments.rows}, now):
        text = "%s: made by other versions of packages, and left as they are (`dvc repro --force` makes all anew): %s"
        log.warning(text, log.name, "; ".join(f"{', '.join(names)} by {told}" for told, names in rows.items()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    started, log = time.perf_counter(), logging.getLogger("source_code")
    try:
        main(Paths(), log)
    except InputError as error:
        log.error("%s: %s", log.name, error)
        sys.exit(1)
    log.info("%s: done in %.1f s", log.name, time.perf_counter() - started)

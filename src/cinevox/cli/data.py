"""Data sets: unpacked, looked at, guarded."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cinevox.cli._screen import Commands
from cinevox.errors import InputError
from cinevox.measured.datasets import open_dataset
from cinevox.project import params, plugins
from cinevox.project.paths import Paths


def _ready(_: argparse.Namespace) -> None:
    """check what `dvc repro` needs before it starts: parameters that agree, plug-ins, weights, data, room on the disk

    Notes say which weights will be downloaded, and which rows mean less than their names say.

    Exit code 0: it can start, whatever the notes; 2: it would stop, with all that is missing.
    """
    paths = Paths()
    settings = params.load(paths.params)
    from cinevox.validation import cohort_checks, disk_needs, network_checks  # packages that take a second

    faults: list[str] = []
    notes: list[str] = []
    networks = (network_checks.check_extractions, network_checks.check_brought, network_checks.check_weights)
    data = (
        network_checks.check_simulation,
        _look_for_data,
        cohort_checks.check_cohorts,
        _look_at_dvc,
        _look_at_the_guard,
    )
    for look in (_look_at_plugins, *networks, *data):
        try:
            notes += look(paths, settings) or ()
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    network_checks.check_rows(settings)  # sizes follow from plug-ins and data
    room = disk_needs.require_room(paths, settings)
    print(f"{paths.params}: {len(settings.experiments.rows)} rows, nothing missing; {room}")
    for note in (*notes, *_cautions(settings), *_without_submissions(paths, settings)):
        print(note)


def _without_submissions(paths: Paths, settings: params.Params) -> Iterator[str]:
    """That rows can't be submitted where nobody was shown a test clip."""
    from cinevox.validation import disk_needs

    if settings.submission.every and disk_needs.study(paths, settings).n_test <= 0:
        left_out = "submissions are left out (submission.rows: {} asks for none)"
        yield f"{settings.dataset.folder}: it has no test clips, so {left_out}"


def _cautions(settings: params.Params) -> Iterator[str]:
    """Say what will run and mean less than its name says, a line each with the rows that it holds for."""
    from cinevox.fitting.feature_spaces import lone_components
    from cinevox.fitting.regressors import cautions

    found: dict[str, list[str]] = {}
    for name, row in {**settings.experiments.voxelwise, **settings.experiments.joint}.items():
        options, normalize = settings.regressors[row.regressor], settings.reduction.normalize
        lone = lone_components(row, settings.spaces_of(row)) if isinstance(row, params.JointRow) else ()
        for caution in cautions(row.regressor, options, row.way, lone, normalize=normalize):
            found.setdefault(caution, []).append(name)
    for caution, rows in found.items():
        yield f"note: {', '.join(rows)}: {caution}"


def _look_at_plugins(_: Paths, settings: params.Params) -> None:
    from cinevox.validation import check_plugins

    check_plugins(settings.dataset.name, settings.networks, settings.regressors, settings.bases)


def _look_for_data(paths: Paths, settings: params.Params) -> None:
    """Require that the data set can be opened.

    Simulated data come by themselves; a data set that is no plug-in is reported by the check of the plug-ins.
    """
    folder = settings.dataset.folder
    simulated = folder in map(paths.simulation, settings.simulation.datasets)
    if simulated or settings.dataset.name not in plugins.names("datasets"):
        return
    versioned = folder.with_name(f"{folder.name}.dvc")
    if versioned.is_file() and not folder.exists():
        raise InputError(f"{folder}: no such folder, but {versioned} is there; `dvc pull {versioned}` brings it")
    open_dataset(settings.dataset)


def _look_at_dvc(paths: Paths, _: params.Params) -> None:
    """Look at what DVC reads first: DVC ends in tracebacks, or in a message that does not name the cure."""
    for path in (paths.root / "dvc.yaml", paths.lock):
        if path.is_file():
            params.text.read_file(path)


def _look_at_the_guard(paths: Paths, settings: params.Params) -> None:
    from cinevox.project import remote_guard

    if settings.dataset.name in plugins.names("datasets"):
        remote_guard.require(paths, settings)


def _validate(chosen: argparse.Namespace) -> int:
    """look at every file of a data set and print all that is wrong with it, at once

    Exit code 0: it can be used, whatever the warnings; 1: it cannot.
    """
    from cinevox import parallel, validation

    settings = params.load(Paths().params)
    wanted = settings.dataset.model_copy(update={"name": chosen.dataset or settings.dataset.name})
    if chosen.folder:
        wanted = wanted.model_copy(update={"folder": chosen.folder})
    found = open_dataset(wanted)
    others = [subject for subject in found.subjects if subject not in wanted.subjects]
    is_other = wanted.folder.resolve() != settings.dataset.folder.resolve() or wanted.name != settings.dataset.name
    if is_other and found.subjects:
        wanted, others = wanted.model_copy(update={"subjects": list(found.subjects)}), []
    with parallel.context(settings.parallel):
        summary = validation.check_folder(wanted, settings.validation, chosen.pages)
    print(summary.to_text())
    if others:
        print(f"not looked at, because dataset.subjects in params.yaml does not ask for them: {', '.join(others)}")
    if chosen.pages:
        print(f"every check: {chosen.pages / 'index.html'}")
    return int(bool(summary.errors))


def _guard(chosen: argparse.Namespace) -> int:
    """refuse what would let data that may not be passed on go to a remote that is not private

    Exit code 0: nothing would; 1: something would; 2: something could not be looked at.
    """
    from cinevox.project import remote_guard

    paths = Paths()
    settings = params.load(paths.params)
    if chosen.fix:
        for path in remote_guard.bind(paths, settings):
            print(f"{path}: bound to the remote {remote_guard.PRIVATE}")
    if chosen.hook:
        print(f"{remote_guard.install_hook(paths.root)}: calls the guard before every push")
    known = remote_guard.remotes(paths.root)
    found = [*remote_guard.faults(paths, settings), *remote_guard.remote_faults(known)]
    for fault in found:
        print(f"refused: {fault}", file=sys.stderr)
    if not found:
        place = known.get(remote_guard.PRIVATE, "none yet: make data-remote REMOTE=/a/folder, s3://..., ssh://...")
        print(f"no restricted data can leave but for the remote {remote_guard.PRIVATE} ({place})")
    return int(bool(found))


def _unpack(chosen: argparse.Namespace) -> None:
    """unpack the zip archives of a data set's folder, as downloaded, where they lie

    All or nothing: archives that would write outside of the folder, hold links, are encrypted, cut off or larger than
    --max-gigabytes are refused.
    """
    from cinevox.files import archives

    for found in archives.unpack(chosen.folder, int(chosen.max_gigabytes * 1e9)):
        made = ", ".join(map(str, found.made))
        print(f"{found.archive}: {found.n_files} files, {found.n_bytes:,} bytes, in {made}")
        for folder in sorted({path.parent for place in found.made for path in place.rglob("*.zip")}):
            print(f"  there are archives in it: `cinevox unpack {folder}` unpacks them in their place")
    print("The archives are not needed any more: remove them before `dvc add`, which would keep them too.")


COMMANDS: Commands = {
    "ready": (_ready, {}),
    "validate": (
        _validate,
        {
            "folder": {
                "type": Path,
                "nargs": "?",
                "help": "by default what params.dataset asks for, as in a run; of another folder all its subjects",
            },
            "--dataset": {"help": "a name in src/cinevox/measured/datasets, by default params.dataset.name"},
            "--pages": {"type": Path, "help": "a folder for Great Expectations' pages"},
        },
    ),
    "guard": (
        _guard,
        {
            "--fix": {"action": "store_true", "help": "bind .dvc files to the private remote"},
            "--hook": {"action": "store_true", "help": "call the guard before every git push (and dvc push with it)"},
        },
    ),
    "unpack": (
        _unpack,
        {
            "folder": {"type": Path, "help": "data/algonauts2021, with the challenge's zips in it"},
            "--max-gigabytes": {"type": float, "default": 50.0, "help": "that an archive may unpack to (default 50)"},
        },
    ),
}

"""Data sets: unpacked, looked at, guarded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cinevox import params, plugins
from cinevox.cli._screen import Commands
from cinevox.datasets import open_dataset
from cinevox.errors import InputError
from cinevox.paths import Paths


def _ready(_: argparse.Namespace) -> None:
    """check what `dvc repro` needs before it starts: parameters that agree, plug-ins and data that are there

    Exit code 0: it can start; 2: it would stop, with all that is missing.
    """
    paths = Paths()
    settings = params.load(paths.params)
    faults = []
    for look in (_look_at_plugins, _look_for_data):
        try:
            look(paths, settings)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    print(f"{paths.params}: {len(settings.experiments.rows)} rows, nothing missing")
    if settings.submission.rows and _has_no_test_clips(paths, settings):
        left_out = "submissions are left out (submission.rows: {} asks for none)"
        print(f"{settings.dataset.folder}: it has no test clips, so {left_out}")


def _has_no_test_clips(paths: Paths, settings: params.Params) -> bool:
    if settings.dataset.folder in map(paths.simulation, settings.simulation.datasets):
        return False
    dataset = open_dataset(settings.dataset)
    return len(dataset.clips) <= dataset.n_train_clips


def _look_at_plugins(_: Paths, settings: params.Params) -> None:
    from cinevox.validation import check_plugins

    check_plugins(settings.dataset.name, settings.networks, settings.regressors, settings.bases)


def _look_for_data(paths: Paths, settings: params.Params) -> None:
    """What is simulated comes by itself; a data set that is no plug-in is told among those."""
    folder = settings.dataset.folder
    simulated = folder in map(paths.simulation, settings.simulation.datasets)
    if simulated or settings.dataset.name not in plugins.names("cinevox.datasets"):
        return
    versioned = folder.with_name(f"{folder.name}.dvc")
    if versioned.is_file() and not folder.exists():
        raise InputError(f"{folder}: no such folder, but {versioned} is there; `dvc pull {versioned}` brings it")
    open_dataset(settings.dataset)


def _validate(chosen: argparse.Namespace) -> int:
    """look at every file of a data set and print all that is wrong with it, at once

    Exit code 0: it can be used, whatever the warnings; 1: it cannot.
    """
    from cinevox import parallel, validation  # three seconds

    settings = params.load(Paths().params)
    wanted = settings.dataset.model_copy(update={"name": chosen.dataset or settings.dataset.name})
    if chosen.folder:
        wanted = wanted.model_copy(update={"folder": chosen.folder})
        found = plugins.load("cinevox.datasets", wanted.name).open(wanted)
        wanted = wanted.model_copy(update={"subjects": list(found.subjects) or wanted.subjects})
    with parallel.context(settings.parallel):
        summary = validation.check_folder(wanted, settings.validation, chosen.pages)
    print(summary.to_text())
    if chosen.pages:
        print(f"every check: {chosen.pages / 'index.html'}")
    return int(bool(summary.errors))


def _guard(chosen: argparse.Namespace) -> int:
    """refuse what would let data that may not be passed on go to a remote that is not private

    Exit code 0: nothing would; 1: something would; 2: something could not be looked at.
    """
    from cinevox import guard

    paths = Paths()
    settings = params.load(paths.params)
    if chosen.fix:
        for path in guard.bind(paths, settings):
            print(f"{path}: bound to the remote {guard.PRIVATE}")
    if chosen.hook:
        print(f"{guard.install_hook(paths.root)}: calls the guard before every push")
    known = guard.remotes(paths.root)
    found = [*guard.faults(paths, settings), *guard.remote_faults(known)]
    for fault in found:
        print(f"refused: {fault}", file=sys.stderr)
    if not found:
        place = known.get(guard.PRIVATE, "none yet: make data-remote REMOTE=/a/folder, s3://..., ssh://...")
        print(f"no restricted data can leave but for the remote {guard.PRIVATE} ({place})")
    return int(bool(found))


def _unpack(chosen: argparse.Namespace) -> None:
    """unpack the zip archives of a data set's folder, as downloaded, where they lie

    All or nothing: archives that would write outside of the folder, hold links, are encrypted, cut off or larger than
    --max-gigabytes are refused.
    """
    from cinevox import archives

    for found in archives.unpack(chosen.folder, int(chosen.max_gigabytes * 1e9)):
        made = ", ".join(map(str, found.made))
        print(f"{found.archive}: {found.n_files} files, {found.n_bytes:,} bytes, in {made}")
    print("The archives are not needed any more: remove them before `dvc add`, which would keep them too.")


COMMANDS: Commands = {
    "ready": (_ready, {}),
    "validate": (
        _validate,
        {
            "folder": {
                "type": Path,
                "nargs": "?",
                "help": "all subjects in it; by default what params.dataset asks for",
            },
            "--dataset": {"help": "a name in src/cinevox/datasets, by default params.dataset.name"},
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

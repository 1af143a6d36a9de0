"""The state that a run is compared with: the committed baseline, or the one that a git revision has.

metrics/baseline.json   limits, counts of checks, rows; sha256 of the other file
metrics/baseline.npz    row -> replicates
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets.gate.state import GateError, State
from cinevox.project import git
from cinevox.project.paths import Paths

CURE = "write one with `cinevox gate --update` and commit it"


def write_baseline(path: Path, state: State) -> None:
    """Make this state the one that later runs are compared with, by its limits; the two files are committed."""
    arrays = {
        row: np.stack([reading.replicates for reading in entry.metrics.values()], axis=1)
        for row, entry in state.rows.items()
    }
    io.write_arrays(path.with_suffix(".npz"), **arrays)
    io.write_json(path, {"replicates": io.sha256(path.with_suffix(".npz"))} | state.model_dump())


def read_baseline(path: Path) -> State:
    """A committed baseline.

    Raises
    ------
    GateError
        It is missing, broken or of an earlier version, or the replicates are those of another baseline.
    """
    if not path.is_file():
        raise GateError(f"{path}: no such file; {CURE}")
    beside = path.with_suffix(".npz")
    try:
        document = io.read_json(path)
        if not beside.is_file() or io.sha256(beside) != document["replicates"]:
            raise GateError(f"{beside} is not there or of another baseline; the two are written and committed together")
        arrays = io.read_arrays(beside)
        for row, entry in document["rows"].items():
            for reading, replicates in zip(entry["metrics"].values(), arrays[row].T, strict=True):
                reading["replicates"] = replicates
        return State.model_validate(document)
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise GateError(f"{path}: not a baseline of this version ({error}); {CURE}") from None


def read_revision(paths: Paths, revision: str) -> State:
    """The baseline committed in a git revision, whose limits count (a change can't loosen its own gate).

    Raises
    ------
    GateError
        No such revision (or it is not in this shallow clone), no baseline in it, or it is unreadable.
    """
    with TemporaryDirectory() as folder:
        for file in (paths.baseline, paths.baseline.with_suffix(".npz")):
            there = f"{revision}:./{file.relative_to(paths.root).as_posix()}"
            done = git.run(paths.root, "cat-file", "blob", "--end-of-options", there)
            if done.returncode:
                why = done.stderr.decode().strip().rstrip(".")
                raise GateError(
                    f"{there}: {why}; compare with a commit that is here and has a baseline: `git fetch`, in a shallow "
                    "clone `git fetch --unshallow` (fetch-depth: 0 of actions/checkout)"
                )
            io.write_bytes(Path(folder) / file.name, done.stdout)
        try:
            return read_baseline(Path(folder) / paths.baseline.name)
        except GateError as error:
            told = str(error).replace(f"{folder}/", "").removesuffix(f"; {CURE}")
            raise GateError(f"{revision}: {told}; compare with a later one") from None

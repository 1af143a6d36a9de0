"""The state that a run is compared with: a committed baseline, or the metrics of a git revision.

metrics/baseline.json   readings, origin and what chance drew, row by row; counts of checks; limits; sha256 of the .npz
metrics/baseline.npz    <row>: float16, (n_kept, n_metrics), replicates less the values, metrics in that file's order
                        responses.<track>: float32, reliabilities of some voxels
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets.gate.state import CHECKS, GateError, Reading, RowState, State, counts, entry_of, finite
from cinevox.outlets.gate.verdict import CURE, GateLimits
from cinevox.project import git
from cinevox.project.params import Gate, Params, text
from cinevox.project.paths import Paths
from cinevox.scoring.origin import KEY, origin_of

MALFORMED = (InputError, ValidationError, AttributeError, KeyError, TypeError, ValueError, IndexError)


def limits_of(params: Params) -> GateLimits:
    """The limits that these parameters ask for. params: has the sections gate and scores"""
    return GateLimits(gate=params.gate, confidence=params.scores.confidence)


def write_baseline(path: Path, state: State, limits: GateLimits) -> None:
    """Make this state the one that later runs are compared with, by these limits.

    Beside it lies an .npz file with the replicates; both are committed.
    """
    arrays: dict[str, NDArray[Any]] = {}
    rows = {}
    for row, entry in state.rows.items():
        drawn = [reading.replicates for reading in entry.metrics.values()]
        lengths = [len(values) for values in drawn if values is not None]
        if entry.responses is not None and lengths:
            nothing = np.full(lengths[0], np.nan, np.float16)
            arrays[row] = np.stack([nothing if values is None else values for values in drawn], axis=1)
            arrays[_responses(row)] = entry.responses
        metrics = {
            name: {"value": reading.value, "half_width": reading.half_width, "choice": reading.choice}
            for name, reading in entry.metrics.items()
        }
        origin = None if entry.origin is None else entry.origin.to_json()
        rows[row] = {KEY: origin, "drawn": dict(entry.drawn), "metrics": metrics}
    io.write_arrays(path.with_suffix(".npz"), **arrays)
    head = {"limits": limits.model_dump(), "replicates": io.sha256(path.with_suffix(".npz"))}
    io.write_json(path, head | {"checks": dict(state.checks), "rows": rows})


def read_baseline(path: Path) -> tuple[State, GateLimits]:
    """A committed baseline and its limits.

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
        limits = GateLimits.model_validate(document["limits"])
        if not beside.is_file() or io.sha256(beside) != document["replicates"]:
            raise GateError(f"{beside} is not there or of another baseline; the two are written and committed together")
        arrays = io.read_arrays(beside)
        rows = {row: _entry(row, entry, arrays) for row, entry in document["rows"].items()}
        return State(rows, {step: counts(found) for step, found in document["checks"].items()}), limits
    except MALFORMED as error:
        raise GateError(f"{path}: not a baseline of this version ({error}); {CURE}") from None


def _entry(row: str, kept: Any, arrays: dict[str, NDArray[Any]]) -> RowState:
    readings, drawn, origin = kept["metrics"], arrays.get(row), origin_of(kept)
    if origin is None:
        raise GateError(f"{row} does not say what data it is of")
    columns = [None] * len(readings) if drawn is None else [None if np.isnan(c).any() else c for c in drawn.T]
    metrics = {
        name: Reading(finite(reading["value"]), finite(reading["half_width"]), float(reading["choice"]), replicates)
        for (name, reading), replicates in zip(readings.items(), columns, strict=True)
    }
    return RowState(metrics, kept["drawn"], None if drawn is None else arrays[_responses(row)], origin)


def _responses(row: str) -> str:
    return f"responses.{row.partition('-')[0]}"


def read_revision(paths: Paths, revision: str) -> tuple[State, GateLimits]:
    """The metrics committed in a git revision, and that revision's limits (a change can't loosen its own gate).

    A row whose metrics are those of the revision's own baseline has that one's intervals and replicates; of another
    row the metrics file has the score's interval alone.

    Raises
    ------
    GateError
        No such revision (or it is not in this shallow clone), nothing to compare in it, or it is unreadable.
    """
    sha = git.answer(paths.root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    if not sha:
        raise GateError(f"{revision}: no such git revision; {_advice(paths)}")
    names = [path.relative_to(paths.root).as_posix() for path in (paths.params, paths.baseline.parent)]
    done = git.run(paths.root, "archive", "--format=zip", sha, "--", *names)
    if done.returncode:
        raise GateError(f"{revision}: no {' and '.join(names)} committed in it; compare with a later one")
    with TemporaryDirectory() as folder:
        zipfile.ZipFile(BytesIO(done.stdout)).extractall(folder)
        try:
            return _committed(Paths(Path(folder)))
        except MALFORMED as error:
            told = str(error if isinstance(error, InputError) else repr(error)).replace(f"{folder}/", "")
            raise GateError(
                f"{revision}: {told}: it is older than this gate, or broken; compare with a later one"
            ) from None


def _committed(there: Paths) -> tuple[State, GateLimits]:
    document = text.read_file(there.params)
    limits = GateLimits(gate=Gate.model_validate(document["gate"]), confidence=document["scores"]["confidence"])
    known = read_baseline(there.baseline)[0].rows if there.baseline.is_file() else {}
    rows = {}
    for row in dict.fromkeys(row for group in document["experiments"].values() for row in group):
        if (file := there.metrics(row)).is_file():
            found, kept = entry_of(file), known.get(row, RowState())
            rows[row] = kept if _values(kept) == _values(found) and kept.origin == found.origin else found
    if not rows:
        raise GateError("no metrics of its rows are committed in it")
    files = {step: there.metrics(step) for step in CHECKS}
    return State(rows, {step: counts(io.read_json(file)) for step, file in files.items() if file.is_file()}), limits


def _values(entry: RowState) -> dict[str, float | None]:
    return {name: reading.value for name, reading in entry.metrics.items()}


def _advice(paths: Paths) -> str:
    if why := git.fault(paths.root):
        return why
    if git.answer(paths.root, "rev-parse", "--is-shallow-repository").strip() == "true":
        return "this clone is shallow: `git fetch --unshallow`, or fetch-depth: 0 of actions/checkout"
    return "try HEAD or origin/main (fetched)"

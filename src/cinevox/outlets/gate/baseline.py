"""What a run is compared with: a committed baseline, or the metrics of a git revision.

metrics/baseline.json   readings, origin and what chance drew, row by row; counts of checks; limits; sha256 of the .npz
metrics/baseline.npz    <row>: float16, (n_kept, n_metrics), replicates less the values, metrics in that file's order
                        responses.<track>: float32, reliabilities of some voxels
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets.gate.state import CHECKS, Entry, GateError, Reading, State, counts, finite, readings
from cinevox.outlets.gate.verdict import CURE, Limits
from cinevox.project import git
from cinevox.project.params import Gate, Params
from cinevox.project.paths import Paths
from cinevox.scoring import row_metrics
from cinevox.scoring.origin import KEY, Origin, origin_of

MALFORMED = (InputError, ValidationError, AttributeError, KeyError, TypeError, ValueError, IndexError)


def limits_of(params: Params) -> Limits:
    """The limits that these parameters ask for. params: has the sections gate and scores"""
    return Limits(gate=params.gate, confidence=params.scores.confidence)


def write_baseline(path: Path, state: State, limits: Limits) -> None:
    """Make this state the one that later runs are compared with, by these limits.

    Beside it lies an .npz file with the replicates; both are committed.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for row, entry in state.rows.items():
        kept = [reading.replicates for reading in entry.metrics.values()]
        if entry.responses is not None and any(values is not None for values in kept):
            n = next(len(values) for values in kept if values is not None)
            arrays[row] = np.stack([np.full(n, np.nan, np.float16) if v is None else v for v in kept], axis=1)
            arrays[_responses(row)] = entry.responses
    io.write_arrays(path.with_suffix(".npz"), **arrays)
    rows = {
        row: {
            KEY: None if entry.origin is None else entry.origin.to_json(),
            "drawn": dict(entry.drawn),
            "metrics": {
                name: {"value": reading.value, "half_width": reading.half_width, "choice": reading.choice}
                for name, reading in entry.metrics.items()
            },
        }
        for row, entry in state.rows.items()
    }
    head = {"limits": limits.model_dump(), "replicates": io.sha256(path.with_suffix(".npz"))}
    io.write_json(path, head | {"checks": dict(state.checks), "rows": rows})


def read_baseline(path: Path) -> tuple[State, Limits | None]:
    """A committed baseline and its limits.

    One from before replicates were kept has neither them nor limits nor counts: its rows are compared by half-widths.
    One from before origins were recorded does not say what data it is of: no rise over it counts as an improvement.

    Raises
    ------
    GateError
        It is missing or broken, or the replicates are those of another baseline.
    """
    if not path.is_file():
        raise GateError(f"{path}: no such file; {CURE}")
    try:
        document = io.read_json(path)
        if "rows" not in document:
            return State({row: Entry(_plain(metrics)) for row, metrics in document.items()}), None
        limits = Limits.model_validate(document["limits"])
        beside = path.with_suffix(".npz")
        if not beside.is_file() or io.sha256(beside) != document["replicates"]:
            raise GateError(f"{beside} is not there or of another baseline; the two are written and committed together")
        arrays = io.read_arrays(beside)
        rows = {row: _entry(row, entry, arrays) for row, entry in document["rows"].items()}
        return State(rows, {step: counts(found) for step, found in document["checks"].items()}), limits
    except MALFORMED as error:
        raise GateError(f"{path}: not a baseline ({error}); {CURE}") from None


def _plain(metrics: Mapping[str, Any]) -> dict[str, Reading]:
    return {
        name: Reading(finite(reading["value"]), finite(reading["half_width"]), float(reading.get("choice", 0.0)))
        for name, reading in metrics.items()
    }


def _entry(row: str, entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Entry:
    metrics, origin = _plain(entry["metrics"]), origin_of(entry)
    if row not in arrays:
        return Entry(metrics, origin=origin)
    columns = dict(zip(metrics, arrays[row].T))
    kept = {
        name: replace(reading, replicates=None if np.isnan(columns[name]).any() else columns[name])
        for name, reading in metrics.items()
    }
    return Entry(kept, entry["drawn"], arrays[_responses(row)], origin)


def _responses(row: str) -> str:
    return f"responses.{row.partition('-')[0]}"


def read_revision(paths: Paths, revision: str) -> tuple[State, Limits]:
    """The metrics committed in a git revision, and that revision's limits (a change can't loosen its own gate).

    A row whose metrics are those of the revision's own baseline has that one's intervals and replicates; of another
    row the metrics file has the score's interval alone.

    Raises
    ------
    GateError
        No such revision (or it is not in this shallow clone), nothing to compare in it, or it is unreadable.
    """
    params = _show(paths, revision, paths.params) if revision else None
    if params is None:
        raise GateError(f"{revision}: no git revision with {paths.params.name}; {_advice(paths)}")
    try:
        document = yaml.safe_load(params)
        rows = [row for group in document["experiments"].values() for row in group]
        limits = Limits(gate=Gate.model_validate(document["gate"]), confidence=document["scores"]["confidence"])
    except (yaml.YAMLError, *MALFORMED) as error:
        told = "it is older than the gate, or broken; compare with a later one"
        raise GateError(f"{revision}:{paths.params.name}: no rows or limits in it ({error!r}): {told}") from None
    try:
        known = _committed(paths, revision)
        metrics = {row: row_metrics.parse(found) for row, found in _metrics(paths, revision, rows).items()}
        found = {row: readings(paths.metrics(row), own) for row, own in metrics.items()}
        state = State(
            {row: _with_intervals(found[row], metrics[row].origin, known.get(row)) for row in found},
            {step: counts(values) for step, values in _metrics(paths, revision, CHECKS).items()},
        )
    except MALFORMED as error:
        raise GateError(f"{revision}: its metrics are unreadable ({error})") from None
    if not state.rows:
        raise GateError(f"{revision}: no metrics of its {len(rows)} rows are committed in it; compare with a later one")
    return state, limits


def _metrics(paths: Paths, revision: str, names: Iterable[str]) -> dict[str, Any]:
    texts = {name: _show(paths, revision, paths.metrics(name)) for name in names}
    return {name: json.loads(text) for name, text in texts.items() if text is not None}


def _committed(paths: Paths, revision: str) -> Mapping[str, Entry]:
    """Rows of the baseline that the revision holds; none without one."""
    files = {path.name: _show(paths, revision, path) for path in (paths.baseline, paths.baseline.with_suffix(".npz"))}
    if files[paths.baseline.name] is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if content is not None:
                io.write_bytes(Path(folder) / name, content)
        return read_baseline(Path(folder) / paths.baseline.name)[0].rows


def _with_intervals(found: Mapping[str, Reading], origin: Origin | None, known: Entry | None) -> Entry:
    if known is None or {k: r.value for k, r in known.metrics.items()} != {k: r.value for k, r in found.items()}:
        return Entry(found, origin=origin)
    return replace(known, origin=origin)


def _show(paths: Paths, revision: str, path: Path) -> bytes | None:
    relative = path.relative_to(paths.root).as_posix()
    answer = git.run(paths.root, "show", "--end-of-options", f"{revision}:./{relative}")
    return answer.stdout if answer.returncode == 0 else None


def _advice(paths: Paths) -> str:
    if why := git.fault(paths.root):
        return why
    if git.answer(paths.root, "rev-parse", "--is-shallow-repository").strip() == "true":
        return "this clone is shallow: `git fetch --unshallow`, or fetch-depth: 0 of actions/checkout"
    return "try HEAD or origin/main (fetched)"

"""The state of a run: every row's scores and their bootstrap replicates, the counts of the checks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox import io, results
from cinevox.errors import InputError
from cinevox.params import RoiwiseRow, Row
from cinevox.paths import Paths
from cinevox.splits import best_split, ceiling_split, outer_names

N_REPLICATES = 200  # of each metric, kept with a baseline: enough for a quantile at 95 %, and small in git
N_VOXELS = 200  # whose reliabilities tell one set of responses from another
CHECKS = ("validation", "checks")
COUNTS = ("errors", "warnings")
BESIDE = ("low", "high", "pooled_score", "correlation")  # stand beside the score; they move with it


class GateError(InputError):
    """There is nothing to compare with: exit code 2, not 1."""


@dataclass(frozen=True)
class Reading:
    """One metric.

    value: None where no voxel could be scored
    half_width: of its own bootstrap interval; None if unknown
    replicates: float16, (n_kept,), bootstrap replicates less the value; None if unknown
    """

    value: float | None
    half_width: float | None = None
    replicates: NDArray[np.float16] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """One row.

    metrics: `test.score`, `test.V1`, ... -> reading
    drawn: what chance had a hand in, by name: clips, seeds, number of resamples; empty if unknown
    responses: reliabilities of some voxels, which differ between any two measurements; None if unknown
    """

    metrics: Mapping[str, Reading]
    drawn: Mapping[str, Any] = field(default_factory=dict)
    responses: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class State:
    """rows: row -> entry; checks: validation, checks -> errors, warnings -> how many"""

    rows: Mapping[str, Entry]
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read_current(paths: Paths, params: Any) -> State:
    """The state of this run; a row whose metrics are not there is left out (and fails if it was in the base).

    Replicates are taken where the row's selection is there and of the same scores as its metrics: not in a fresh
    clone, whose metrics come with git and whose data do not.

    params: has the sections experiments, scores, transfer, regressors

    Raises
    ------
    FileError, GateError
        A file is broken.
    """
    rows = {
        name: _entry(paths, params, row)
        for name, row in params.experiments.rows.items()
        if paths.metrics(name).is_file()
    }
    found = {name: paths.metrics(name) for name in CHECKS}
    return State(rows, {name: counts(io.read_json(path)) for name, path in found.items() if path.is_file()})


def counts(metrics: Mapping[str, int]) -> dict[str, int]:
    """Those numbers of a stage that checks of which more is worse."""
    return {name: int(metrics[name]) for name in COUNTS}


def readings(metrics: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> dict[str, Reading]:
    """The metrics of the split that a row reports (`splits.best_split`), as `test.score`, `test.V1`.

    known: what selection.json says of the ROIs of that split: it has their intervals. Without it the half-width of
        the row's score stands in: an ROI's own is rarely smaller, so the gate is then the stricter one.

    Raises
    ------
    GateError
        They are no metrics of a row, or hold NaN.
    """
    try:
        split = best_split(metrics)
        block, rois = dict(metrics[split]), known or {}
    except (StopIteration, TypeError, ValueError):
        raise GateError(f"{str(metrics)[:80]}: expected the metrics of a row, by split; run `dvc repro`") from None
    whole = _half_width(block)
    return {
        f"{split}.{name}": Reading(_finite(value), _half_width(rois[name]) if name in rois else whole)
        for name, value in block.items()
        if name not in BESIDE
    }


def _entry(paths: Paths, params: Any, row: Row) -> Entry:
    metrics, folder = io.read_json(paths.metrics(row.name)), paths.selection(row.name)
    plain = Entry(readings(metrics))
    if not all(file.is_file() for file in (folder / "voxels.npz", paths.scores(row.name) / "subjects.csv")):
        return plain
    (result,) = results.read(paths, {row.name: row})
    if not _same(metrics, result):
        return plain
    split = result.split
    drawn = dict(_replicates(result, split))
    found = {
        name: Reading(reading.value, reading.half_width, _kept(drawn[name], reading.value))
        for name, reading in readings(metrics, result.scores["rois"]).items()
    }
    reliability = io.read_arrays(paths.ceiling(row.track) / "reliability.npz")[ceiling_split(split)]
    return Entry(found, _drawn(params, row, result), _some(reliability))


def _same(metrics: Mapping[str, Any], result: results.Result) -> bool:
    """Whether the selection on disk is the one that the metrics are of."""
    if best_split(metrics) != result.split:
        return False
    own = {roi: entry["normalized_correlation"] for roi, entry in result.scores["rois"].items()}
    block = metrics[result.split]
    return own == {name: value for name, value in block.items() if name not in ("score", *BESIDE)} and (
        block["score"] == result.scores["score"]
    )


def _replicates(result: results.Result, split: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    drawn = result.replicates(split)[:N_REPLICATES]
    yield f"{split}.score", drawn.mean(axis=1)
    for roi, values in zip(result.index.columns.rois, drawn.T):
        yield f"{split}.{roi}", values


def _kept(drawn: NDArray[np.float64], value: float | None) -> NDArray[np.float16] | None:
    if value is None or not np.isfinite(drawn).all():
        return None
    return (drawn - value).astype(np.float16)


def _drawn(params: Any, row: Row, result: results.Result) -> dict[str, Any]:
    clips = {name: where.tolist() for name, where in result.index.clips.items()}
    scored = outer_names(clips) if result.split == "nested" else [result.split]
    weights, options = result.index.provenance["weights"], params.regressors.get(row.regressor, {})
    seeds = {
        "networks.seed": weights.get("seed"),
        "regressors.seed": _seeds(options) or None,
        "transfer.seed": params.transfer.seed if isinstance(row, RoiwiseRow) else None,
    }
    return {
        "n_clips": sum(len(clips[name]) for name in scored),
        "clips": hashlib.sha256(repr(sorted(clips.items())).encode()).hexdigest()[:16],
        "scores.n_bootstraps": params.scores.n_bootstraps,
        "scores.seed": params.scores.seed,
    } | {name: seed for name, seed in seeds.items() if seed is not None}


def _seeds(options: Any) -> list[int]:
    if not isinstance(options, Mapping):
        return []
    return [*([options["seed"]] if "seed" in options else []), *(s for v in options.values() for s in _seeds(v))]


def _some(reliability: NDArray[np.floating]) -> NDArray[np.float32]:
    where = np.linspace(0, len(reliability) - 1, min(len(reliability), N_VOXELS)).astype(np.intp)
    return reliability[where].astype(np.float32)


def _half_width(values: Mapping[str, Any]) -> float | None:
    low, high = _finite(values.get("low")), _finite(values.get("high"))
    return None if low is None or high is None else (high - low) / 2


def _finite(value: float | None) -> float | None:
    if value is None:
        return None
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise GateError(f"{value} among the metrics; expected finite numbers, or null without a score; run `dvc repro`")
    return float(value)

"""The state of this run, from its metrics and, where it is there, from what they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox import io, results
from cinevox.gate.state import BESIDE, CHECKS, Entry, Reading, State, counts, readings
from cinevox.metrics import PLAIN, PLAIN_KEY
from cinevox.params import RoiwiseRow, Row
from cinevox.paths import Paths
from cinevox.splits import ceiling_split, outer_names

N_REPLICATES = 200  # of each metric, kept with a baseline: enough for a quantile at 95 %, and small in git
N_VOXELS = 200  # whose reliabilities tell one set of responses from another


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


def _entry(paths: Paths, params: Any, row: Row) -> Entry:
    file, folder = paths.metrics(row.name), paths.selection(row.name)
    metrics = io.read_json(file)
    plain = Entry(readings(file, metrics))
    if not all(file.is_file() for file in (folder / "voxels.npz", paths.scores(row.name) / "subjects.csv")):
        return plain
    (result,) = results.read(paths, {row.name: row})
    if not _same(metrics, result):
        stage = "selection-roiwise" if isinstance(row, RoiwiseRow) else "selection"
        return replace(plain, alone=f"{file} is not of {folder}: `dvc repro {stage}@{row.name}`")
    split = result.split
    prefix = f"{split}.{PLAIN_KEY}" if result.measure == PLAIN else split
    drawn, choices = dict(_replicates(result, prefix)), _choices(result, prefix)
    found = {
        name: Reading(reading.value, reading.half_width, choices[name], _kept(drawn[name], reading.value))
        for name, reading in readings(file, metrics, result.scores["rois"]).items()
    }
    reliability = io.read_arrays(paths.ceiling(row.track) / "reliability.npz").get(ceiling_split(split))
    return Entry(found, _drawn(params, row, result), None if reliability is None else _some(reliability))


def _same(metrics: Mapping[str, Any], result: results.Result) -> bool:
    """Whether the selection on disk is the one that the metrics are of."""
    split, measure, block = results.headline_of(metrics)
    if (split, measure) != (result.split, result.measure):
        return False
    own = {roi: entry["score"] for roi, entry in result.scores["rois"].items()}
    return own == {name: value for name, value in block.items() if name not in ("score", *BESIDE)} and (
        block["score"] == result.scores["score"]
    )


def _replicates(result: results.Result, prefix: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    drawn = result.replicates(result.split)[:N_REPLICATES]
    yield f"{prefix}.score", drawn.mean(axis=1)
    for roi, values in zip(result.index.columns.rois, drawn.T):
        yield f"{prefix}.{roi}", values


def _choices(result: results.Result, prefix: str) -> dict[str, float]:
    """Standard deviations of the scores over the choices that resamples of the deciding clips make.

    As if ROIs chose independently of each other.
    """
    table = result.table(result.split).set_index(["roi", "space"])["score"]
    found = {}
    for roi in result.index.columns.rois:
        shares = result.selection["frequencies"].get(roi, {})
        values, weights = np.array([table[roi, space] for space in shares]), np.array(list(shares.values()))
        variance = np.average((values - np.average(values, weights=weights)) ** 2, weights=weights) if shares else 0.0
        found[f"{prefix}.{roi}"] = float(np.sqrt(np.nan_to_num(variance)))
    return found | {f"{prefix}.score": float(np.linalg.norm(list(found.values())) / len(found))}


def _kept(drawn: NDArray[np.float64], value: float | None) -> NDArray[np.float16] | None:
    if value is None or not np.isfinite(drawn).all():
        return None
    return (drawn - value).astype(np.float16)


def _drawn(params: Any, row: Row, result: results.Result) -> dict[str, Any]:
    clips = {name: where.tolist() for name, where in result.index.clips.items()}
    scored = outer_names(clips) if result.split == "nested" else [result.split]
    weights, options = result.index.provenance.get("weights", {}), params.regressors.get(row.regressor, {})
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

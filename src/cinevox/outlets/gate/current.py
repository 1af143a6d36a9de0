"""The state of this run, from its metrics and, where it is there, from what they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.outlets.gate.state import CHECKS, Entry, GateError, Reading, State, counts, readings
from cinevox.project import dvc_lock, identity
from cinevox.project.params import Params, Row
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics, row_results
from cinevox.scoring.outcomes import Outcome
from cinevox.scoring.row_metrics import RowMetrics
from cinevox.statistics.splits import ceiling_split, outer_names

N_REPLICATES = 200  # of each metric, kept with a baseline: enough for a quantile at 95 %, and small in git
MOST_TOLD = 3  # values of an edited file, in a message
N_VOXELS = 200  # whose reliabilities tell one set of responses from another


def read_current(paths: Paths, params: Params) -> State:
    """The state of this run; a row whose metrics are not there is left out (and fails if it was in the base).

    So is a row whose metrics are of other data or parameters than the present ones. Replicates are taken where the
    row's selection is there: not in a fresh clone, whose metrics come with git and whose data do not. Metrics that are
    not those of the selection on disk are named (`Entry.edited`).

    params: has the sections dataset, experiments, scores, transfer, regressors

    Raises
    ------
    FileError, GateError
        A file is broken.
    """
    rows = {name: row for name, row in params.experiments.rows.items() if paths.metrics(name).is_file()}
    elsewhere = dict(_elsewhere(paths, params, rows))
    found = {name: paths.metrics(name) for name in CHECKS}
    return State(
        {name: _entry(paths, params, row) for name, row in rows.items() if name not in elsewhere},
        {name: counts(io.read_json(path)) for name, path in found.items() if path.is_file()},
        elsewhere,
    )


def _elsewhere(paths: Paths, params: Params, rows: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    changed = dvc_lock.other_parameters(paths, identity.read_lock(paths), rows)
    for name, row in rows.items():
        if why := claims.other_data(_metrics(paths.metrics(name)).origin, params.dataset, row):
            yield name, why
        elif changed[name]:
            yield name, f"{', '.join(changed[name][:4])} changed since, and `dvc repro` did not follow"


def _entry(paths: Paths, params: Params, row: Row) -> Entry:
    file, folder = paths.metrics(row.name), paths.selection(row.name)
    metrics = _metrics(file)
    plain = Entry(readings(file, metrics), origin=metrics.origin)
    if (folder / outcomes.FILE).is_file() and (edited := _edited(io.read_json(file), outcomes.read(folder, row))):
        return replace(plain, edited=frozenset(edited), alone=_told(file, folder, row, edited))
    if not all(file.is_file() for file in (folder / "voxels.npz", paths.scores(row.name) / "subjects.csv")):
        return plain
    (result,) = row_results.read(paths, {row.name: row})
    drawn, choices = dict(_replicates(result, metrics.prefix)), _choices(result, metrics.prefix)
    found = {
        name: Reading(reading.value, reading.half_width, choices[name], _kept(drawn[name], reading.value))
        for name, reading in readings(file, metrics, result.scores.rois).items()
    }
    reliability = io.read_arrays(paths.ceiling(row.track) / "reliability.npz").get(ceiling_split(result.split))
    responses = None if reliability is None else _some(reliability)
    return replace(plain, metrics=found, drawn=_drawn(params, row, result), responses=responses)


def _metrics(file: Path) -> RowMetrics:
    content = io.read_json(file)
    try:
        return row_metrics.parse(content)
    except ValueError as error:
        raise GateError(f"{file}: {error}") from None


def _edited(metrics: Mapping[str, Any], outcome: Outcome) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> value in the metrics file and in the selection, of all that differ."""
    there, own = (dict(dvc_lock.flat("", found)) for found in (metrics, row_metrics.content(outcome)))
    return {
        name.removeprefix("."): (there.get(name), own.get(name))
        for name in there | own
        if there.get(name, ...) != own.get(name, ...)
    }


def _told(file: Path, folder: Path, row: Row, edited: Mapping[str, tuple[Any, Any]]) -> str:
    """How a metrics file differs from its selection, and what makes it again."""
    some = ", ".join(f"{name} is {there}, not {own}" for name, (there, own) in list(edited.items())[:MOST_TOLD])
    more = f", and {len(edited) - MOST_TOLD} more" if len(edited) > MOST_TOLD else ""
    return f"{file} is not of {folder}: {some}{more}; `dvc repro -f -s {row.instance('selection')}` makes it again"


def _replicates(result: row_results.Result, prefix: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    drawn = result.replicates(result.split)[:N_REPLICATES]
    yield f"{prefix}.score", drawn.mean(axis=1)
    for roi, values in zip(result.index.columns.rois, drawn.T):
        yield f"{prefix}.{roi}", values


def _choices(result: row_results.Result, prefix: str) -> dict[str, float]:
    """Standard deviations of the scores over the choices that resamples of the deciding clips make.

    As if ROIs chose independently of each other.
    """
    table = result.table(result.split).set_index(["roi", "space"])["score"]
    found = {}
    for roi in result.index.columns.rois:
        shares = result.outcome.frequencies.get(roi, {})
        values, weights = np.array([table[roi, space] for space in shares]), np.array(list(shares.values()))
        variance = np.average((values - np.average(values, weights=weights)) ** 2, weights=weights) if shares else 0.0
        found[f"{prefix}.{roi}"] = float(np.sqrt(np.nan_to_num(variance)))
    return found | {f"{prefix}.score": float(np.linalg.norm(list(found.values())) / len(found))}


def _kept(drawn: NDArray[np.float64], value: float | None) -> NDArray[np.float16] | None:
    if value is None or not np.isfinite(drawn).all():
        return None
    return (drawn - value).astype(np.float16)


def _drawn(params: Params, row: Row, result: row_results.Result) -> dict[str, Any]:
    clips = {name: where.tolist() for name, where in result.index.clips.items()}
    scored = outer_names(clips) if result.split == "nested" else [result.split]
    options = params.regressors.get(row.regressor, {})
    seeds = {
        "networks.seed": result.index.weights.seed,
        "regressors.seed": _seeds(options) or None,
        "transfer.seed": params.transfer.seed if row.is_transfer else None,
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

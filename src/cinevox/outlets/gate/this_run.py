"""The state of this run, from its metrics and, where it is there, from what they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.outlets.gate.state import CHECKS, GateError, RowState, State, counts, entry_of, listed
from cinevox.project import dvc_lock, identity
from cinevox.project.params import Params, Row
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics, row_results
from cinevox.statistics.splits import ceiling_split, outer_names

N_REPLICATES = 200  # of each metric, kept with a baseline: enough for a quantile at 95 %, and small in git
MOST_TOLD = 3  # values of an edited file, in a message
N_VOXELS = 200  # whose reliabilities tell one set of responses from another


def read_current(paths: Paths, params: Params) -> State:
    """The state of this run; a row whose metrics are not there is left out (and fails if it was in the base).

    Replicates are taken where the row's selection is there: not in a fresh clone, whose metrics come with git and
    whose data do not.

    params: has the sections dataset, experiments, scores, transfer, regressors

    Raises
    ------
    FileError
        A file is broken.
    GateError
        Metrics are none, of other data or parameters than the present ones, or not those of the selection on disk.
    """
    rows = {name: row for name, row in params.experiments.rows.items() if paths.metrics(name).is_file()}
    plain = {name: entry_of(paths.metrics(name)) for name in rows}
    changed = dvc_lock.other_parameters(paths, identity.read_lock(paths), rows)
    faults: dict[str, list[str]] = {}
    for name, row in rows.items():
        why = claims.other_data(plain[name].origin, params.dataset, row)
        if not why and changed[name]:
            why = f"{', '.join(changed[name][:4])} changed since, and `dvc repro` did not follow"
        if why := why or _edited(paths, row):
            faults.setdefault(why, []).append(name)
    if faults:
        raise GateError("\n".join(f"{listed(names)}: {why}" for why, names in faults.items()))
    files = {step: paths.metrics(step) for step in CHECKS}
    return State(
        {name: _with_replicates(paths, params, row, plain[name]) for name, row in rows.items()},
        {step: counts(io.read_json(file)) for step, file in files.items() if file.is_file()},
    )


def _edited(paths: Paths, row: Row) -> str:
    """Tell how a metrics file differs from its selection, and what makes it again; empty if it doesn't."""
    file, folder = paths.metrics(row.name), paths.selection(row.name)
    if not (folder / outcomes.FILE).is_file():
        return ""
    contents = io.read_json(file), io.as_read(row_metrics.content(outcomes.read(folder, row)))
    there, own = (dict(dvc_lock.flat("", found)) for found in contents)
    told = [
        f"{name.removeprefix('.')} is {there.get(name)}, not {own.get(name)}"
        for name in there | own
        if there.get(name, ...) != own.get(name, ...)
    ]
    if not told:
        return ""
    more = f", and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return (
        f"{file} is not of {folder}: {', '.join(told[:MOST_TOLD])}{more}; "
        f"`dvc repro -f -s {row.instance('selection')}` makes it again"
    )


def _with_replicates(paths: Paths, params: Params, row: Row, plain: RowState) -> RowState:
    needed = (paths.selection(row.name) / "voxels.npz", paths.scores(row.name) / "subjects.csv")
    if not all(file.is_file() for file in needed):
        return plain
    [result] = row_results.read(paths, {row.name: row})
    drawn, choices = dict(_replicates(result)), _choices(result)
    found = {}
    for name, reading in entry_of(paths.metrics(row.name), result.scores.rois).metrics.items():
        own = name.rpartition(".")[2]
        found[name] = replace(reading, choice=choices[own], replicates=_kept(drawn[own], reading.value))
    reliability = io.read_arrays(paths.ceiling(row.track) / "reliability.npz").get(ceiling_split(result.split))
    responses = None if reliability is None else _some(reliability)
    return replace(plain, metrics=found, drawn=_drawn(params, row, result), responses=responses)


def _replicates(result: row_results.Result) -> Iterator[tuple[str, NDArray[np.float64]]]:
    drawn = result.replicates(result.split)[:N_REPLICATES]
    yield "score", drawn.mean(axis=1)
    yield from zip(result.index.columns.rois, drawn.T)


def _choices(result: row_results.Result) -> dict[str, float]:
    """Standard deviations of the scores over the choices that resamples of the deciding clips make.

    As if ROIs chose independently of each other.
    """
    table = result.table(result.split).set_index(["roi", "space"])["score"]
    found = {}
    for roi in result.index.columns.rois:
        shares = result.outcome.frequencies.get(roi, {})
        values, weights = np.array([table[roi, space] for space in shares]), np.array(list(shares.values()))
        variance = np.average((values - np.average(values, weights=weights)) ** 2, weights=weights) if shares else 0.0
        found[roi] = float(np.sqrt(np.nan_to_num(variance)))
    return found | {"score": float(np.linalg.norm(list(found.values())) / len(found))}


def _kept(drawn: NDArray[np.float64], value: float | None) -> NDArray[np.float16] | None:
    return None if value is None or not np.isfinite(drawn).all() else (drawn - value).astype(np.float16)


def _drawn(params: Params, row: Row, result: row_results.Result) -> dict[str, Any]:
    clips = {name: where.tolist() for name, where in result.index.clips.items()}
    scored = outer_names(clips) if result.split == "nested" else [result.split]
    drawn = {
        "n_clips": sum(len(clips[name]) for name in scored),
        "clips": hashlib.sha256(repr(sorted(clips.items())).encode()).hexdigest()[:16],
        "scores.n_bootstraps": params.scores.n_bootstraps,
        "scores.seed": params.scores.seed,
        "networks.seed": _seeds_of(result),
        "regressors.seed": _seeds(params.regressors.get(row.regressor, {})) or None,
        "transfer.seed": params.transfer.seed if row.is_transfer else None,
    }
    return {name: value for name, value in drawn.items() if value is not None}


def _seeds_of(result: row_results.Result) -> int | list[int] | None:
    """The seeds of random weights: of one network that one, of several a list."""
    seeds = [weights.seed for weights in result.index.weights.values() if weights.seed is not None]
    return seeds[0] if len(seeds) == 1 else seeds or None


def _seeds(options: Any) -> list[int]:
    """The seeds of a regressor and of those that it chooses among."""
    leaves = dict(dvc_lock.flat("", options))
    return [value for name, value in leaves.items() if name.endswith(".seed")]


def _some(reliability: NDArray[np.floating]) -> NDArray[np.float32]:
    where = np.linspace(0, len(reliability) - 1, min(len(reliability), N_VOXELS)).astype(np.intp)
    return reliability[where].astype(np.float32)

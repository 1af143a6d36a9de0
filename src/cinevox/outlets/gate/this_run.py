"""The state of this run, from the results on disk and the metrics files that git keeps of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.outlets.gate.state import GateError, GateLimits, Reading, RowState, State, by_reason
from cinevox.project import dvc_lock, identity
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.scoring import claims, row_metrics, row_results
from cinevox.statistics.splits import ceiling_split, outer_names

N_REPLICATES = 200  # of each metric, kept with a baseline: enough for a quantile at 95 %, and small in git
N_VOXELS = 10  # whose reliabilities tell one set of responses from another
CHECKS = ("validation", "checks")
COUNTS = ("errors", "warnings")  # of each, how many; more is worse


def read_current(paths: Paths, params: Params) -> State:
    """The state of this run; a row whose metrics are not there is left out (and fails if it was in the base).

    params: has the sections dataset, experiments, gate, scores, transfer, regressors

    Raises
    ------
    FileError
        A file is broken, or there are metrics alone, as in a fresh clone.
    GateError
        Metrics are of other data or parameters than the present ones, or not those of the selection on disk.
    """
    rows = {name: row for name, row in params.experiments.rows.items() if paths.metrics(name).is_file()}
    results = row_results.read(paths, rows)
    changed = dvc_lock.other_parameters(paths, identity.read_lock(paths), rows)
    faults = {}
    for result in results:
        why = claims.other_data(result.outcome.origin, params.dataset, result.row)
        if not why and changed[result.name]:
            why = f"{', '.join(changed[result.name][:4])} changed since, and `dvc repro` did not follow"
        if why := why or _edited(paths, result):
            faults[result.name] = why
    if faults:
        raise GateError("\n".join(by_reason(faults)))
    found = {step: io.read_json(file) for step in CHECKS if (file := paths.metrics(step)).is_file()}
    checks = {step: {name: metrics[name] for name in COUNTS} for step, metrics in found.items()}
    limits = GateLimits(gate=params.gate, confidence=params.scores.confidence)
    return State(limits=limits, checks=checks, rows={result.name: _state(paths, params, result) for result in results})


def _edited(paths: Paths, result: row_results.Result) -> str:
    """Tell how a metrics file differs from its selection, and what makes it again; empty if it doesn't."""
    file = paths.metrics(result.name)
    contents = io.read_json(file), io.as_read(row_metrics.content(result.outcome))
    there, own = (dict(dvc_lock.flat("", found)) for found in contents)
    names = [name for name in there | own if there.get(name, ...) != own.get(name, ...)]
    if not names:
        return ""
    return (
        f"{file} is not of {result.selection_folder}: {names[0].removeprefix('.') or 'the whole'} is "
        f"{there.get(names[0])}, not {own.get(names[0])}; `dvc repro -f -s {result.row.instance('selection')}` "
        "makes it again"
    )


def _state(paths: Paths, params: Params, result: row_results.Result) -> RowState:
    metrics, choices = row_metrics.parse(row_metrics.content(result.outcome)), _choices(result)
    drawn = result.replicates(result.split)[:N_REPLICATES]
    columns = dict(zip(result.index.columns.rois, drawn.T)) | {"score": drawn.mean(axis=1)}
    readings = {}
    for name, value in metrics.readings.items():
        replicates = (columns[name] - (np.nan if value is None else value)).astype(np.float16)
        readings[f"{metrics.prefix}.{name}"] = Reading(value=value, choice=choices[name], replicates=replicates)
    return RowState(origin=result.outcome.origin, drawn=_drawn(paths, params, result), metrics=readings)


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


def _drawn(paths: Paths, params: Params, result: row_results.Result) -> dict[str, Any]:
    cohorts = [{name: where.tolist() for name, where in own.clips.items()} for own in result.index.cohorts]
    scored = outer_names(cohorts[0]) if result.split == "nested" else [result.split]
    shown = (
        cohorts[0] if len(cohorts) == 1 else {f"{n} {name}": own[name] for n, own in enumerate(cohorts) for name in own}
    )
    options = dict(dvc_lock.flat("", params.regressors.get(result.row.regressor, {})))  # and of those it chooses among
    reliability = io.read_arrays(paths.ceiling(result.row.track) / "reliability.npz").get(ceiling_split(result.split))
    drawn = {
        "n_clips": min(sum(len(clips[name]) for name in scored) for clips in cohorts),
        "clips": hashlib.sha256(repr(sorted(shown.items())).encode()).hexdigest()[:16],
        "responses": None if reliability is None else _some(reliability),
        "scores.n_bootstraps": params.scores.n_bootstraps,
        "scores.seed": params.scores.seed,
        "networks.seed": _seeds_of(result),
        "regressors.seed": [value for name, value in options.items() if name.endswith(".seed")] or None,
        "transfer.seed": params.transfer.seed if result.row.is_transfer else None,
    }
    return {name: value for name, value in drawn.items() if value is not None}


def _seeds_of(result: row_results.Result) -> int | list[int] | None:
    """The seeds of random weights: of one network that one, of several a list."""
    seeds = [weights.seed for weights in result.index.weights.values() if weights.seed is not None]
    return seeds[0] if len(seeds) == 1 else seeds or None


def _some(reliability: NDArray[np.floating]) -> str:
    """Reliabilities of a few voxels: another measurement changes the second decimal, another machine the seventh."""
    where = np.linspace(0, len(reliability) - 1, min(len(reliability), N_VOXELS)).astype(np.intp)
    return " ".join(f"{value:.2f}" for value in reliability[where])

"""Metrics of a run under names that a chart, a column and a typed search can use.

A plain name counts: `score`, `V1.normalized_correlation` (without a noise ceiling `V1.correlation`, and the run's tag
`measure` says that the score is a plain correlation). What stands before a slash is a group of charts in
MLflow's interface: another split (`validation/score`), a subject (`sub01/V1.normalized_correlation`), `epoch/loss`.
Everything else that was measured is in the run's tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import NORMALIZED, PLAIN, PLAIN_KEY, Measure

ROW_METRICS = ("score", "low", "high", "standard_error", "pooled_score", "p", "subject_error", "p_subjects")
ROI_METRICS = ("normalized_correlation", "low", "high", "correlation", "standard_error", "p", "p_subjects")
SPACE_METRICS = ("low", "high")
OTHER_ROW_METRICS = ("score", "low", "high")  # of other splits
COLUMNS = {NORMALIZED: "normalized_correlation", PLAIN: "correlation"}  # measure -> the name of an ROI's score


def of_row(result: Result) -> dict[str, float]:
    """The row's scores with the spaces that were chosen, how much choosing flattered, the paper's if comparable.

    Of a stack also `mixing/<space>`, its mean mixing weight over ROIs.
    """
    found: dict[str, float | None] = {}
    for split in result.outcome.scores:
        scores, counts = result.outcome.scores[split], split == result.split
        column = COLUMNS[scores.measure]
        named = {name: getattr(scores, name) for name in (ROW_METRICS if counts else OTHER_ROW_METRICS)}
        for roi, values in scores.rois.items():
            named |= {f"{roi}.{name}": getattr(values, name) for name in (ROI_METRICS if counts else (column,))}
        found |= named if counts else _other(split, named, scores.measure, result.measure)
    if mixed := list(result.index.mixing_weights.values()):
        found |= {f"mixing/{space}": sum(roi[space] for roi in mixed) / len(mixed) for space in mixed[0]}
    for subject, own in result.scores.subjects.items():
        found[f"{subject}/score"] = own.score
        found |= {f"{subject}/{roi}.{COLUMNS[result.measure]}": value for roi, value in own.rois.items()}
    if optimism := result.outcome.optimism.get(result.split):
        parts = {name: getattr(optimism, name) for name in ("difference", "low", "high")}
        parts |= {f"choice.{name}": value for name, value in optimism.choice or ()}
        found |= _other("optimism", parts, optimism.measure, result.measure)
    comparable = {} if result.doubts else {"paper.score": result.row.reported}
    return dict(_known(found | comparable))


def of_space(result: Result, space: str) -> dict[str, float]:
    """The scores of one feature space: per ROI on every split, per subject on the one that counts."""
    found: dict[str, float | None] = {}
    for split in result.outcome.scores:
        counts, measure = split == result.split, result.outcome.scores[split].measure
        rois = result.table(split)
        rois = rois[rois["space"] == space]
        named = {"score": rois["score"].mean(skipna=False)}
        own = SPACE_METRICS if counts else ()
        for line in rois.to_dict("records"):
            named |= {f"{line['roi']}.{name}": line[name] for name in (COLUMNS[measure], *own)}
        found |= named if counts else _other(split, named, measure, result.measure)
    lines = result.by_subject(result.split)
    lines = lines[lines["space"] == space]
    found |= dict(zip(lines["subject"] + "/" + lines["roi"] + f".{COLUMNS[result.measure]}", lines["score"]))
    return dict(_known(found))


def curves(result: Result) -> Iterator[tuple[str, list[float]]]:
    """`epoch/<name>`, mean over ROIs, and `epoch/<ROI>.<name>`; a mean ends where the first ROI's does."""
    by_roi = result.curves
    for name in next(iter(by_roi.values()), {}):
        yield f"epoch/{name}", [sum(values) / len(by_roi) for values in zip(*(c[name] for c in by_roi.values()))]
        yield from ((f"epoch/{roi}.{name}", list(found[name])) for roi, found in by_roi.items())


def _other(group: str, named: Mapping[str, Any], measure: Measure, row_measure: Measure) -> dict[str, Any]:
    """Names in a group of their own; where their measure is not the row's, the name says which it is."""
    prefix = "" if measure == row_measure else {NORMALIZED: "normalized.", PLAIN: f"{PLAIN_KEY}."}[measure]
    return {f"{group}/{prefix}{name}": value for name, value in named.items()}


def _known(named: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the measures that have a value: a mean over no voxel has none, and the store takes no NaN for missing."""
    return ((name, float(value)) for name, value in named.items() if value is not None and math.isfinite(value))

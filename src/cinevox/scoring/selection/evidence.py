"""Evidence: how the chosen candidates score on clips of a split, how surely, and whether it could be chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.parallel import run
from cinevox.project.params import Scores
from cinevox.scoring import draws
from cinevox.scoring.outcomes import RoiScore, SplitScores, SubjectScore
from cinevox.scoring.scores import SpaceScore, block_means, roi_table, score, side_by_side
from cinevox.scoring.selection.choice import Candidates, Choice
from cinevox.statistics import metrics
from cinevox.statistics.aggregation import interval, roi_means
from cinevox.statistics.significance import (
    CROSSED,
    PermutationTest,
    chance_of_mean,
    false_discovery_rate,
    permutation_test,
    sign_flip_test,
)

Floats = NDArray[np.floating]
Measured = Mapping[tuple[str, str], Floats]
Predicted = Mapping[tuple[str, str, str], Floats]


@dataclass(frozen=True)
class Stratum:
    """Clips that are scored together: a split, and the choice that was made without them."""

    split: str
    choice: Choice


@dataclass(frozen=True)
class Evidence:
    """Scores of the chosen candidates (over several strata: means of the scores within each).

    scores: as of one candidate
    p, p_familywise: (n_voxels,), chance of so high an r; the family is the subject's voxels
    null: (n_permutations, n_blocks), blocks' mean score with permuted clips
    """

    columns: Columns
    scores: SpaceScore
    p: NDArray[np.float32]
    p_familywise: NDArray[np.float32]
    null: NDArray[np.float32]

    @property
    def measure(self) -> metrics.Measure:
        return metrics.measure_of(self.scores.normalized)


def gather(
    candidates: Candidates,
    strata: Sequence[Stratum],
    measured: Measured,
    predicted: Predicted,
    ceiling: NDArray[np.float64] | None,
    settings: Scores,
) -> Evidence:
    """The scores of the chosen candidates, and whether they could be chance: tested worker by worker a subject.

    The scores are the candidates' own, taken from them; predictions are scored anew only where blocks' means are of no
    candidate (voxels choose for themselves) or in another measure. The same seed draws the same clips for every row,
    so rows can be compared in pairs; see `draws` for several cohorts.

    measured, predicted: (cohort, split) and (cohort, split, space) -> (n_clips, n_voxels), a memory map at best
    ceiling: (n_voxels,), or None for plain correlations
    """
    columns = candidates.index.columns
    scored = [_taken(candidates, stratum, metrics.measure_of(ceiling)) for stratum in strata]
    known = [one for one in scored if one is not None]
    anew = len(known) < len(strata)
    drawn = {
        cohort.name: [
            draws.drawn(
                candidates.index, cohort, stratum.split, settings.seed, settings.n_bootstraps, settings.n_permutations
            )
            for stratum in strata
        ]
        for cohort in candidates.index.cohorts
    }

    def tasks() -> Iterator[Any]:  # one subject's arrays at a time
        for cohort in candidates.index.cohorts:
            resamples, orders = _together(drawn[cohort.name])
            choices = [stratum.choice.of(cohort.where) for stratum in strata]
            limits = None if ceiling is None else ceiling[cohort.where]
            for own, where in cohort.columns.by_subject:
                y = [measured[cohort.name, stratum.split][:, where] for stratum in strata]
                x = [
                    choice.predicted({s: predicted[cohort.name, stratum.split, s] for s in choice.used}, where)
                    for choice, stratum in zip(choices, strata)
                ]
                part = None if limits is None else limits[where]
                yield joblib.delayed(_of_subject)(y, x, part, own, resamples if anew else [], orders)

    n_drawn = 10 * settings.n_bootstraps * anew + settings.n_permutations  # multiply-adds for each clip and voxel
    n_clips = max(sum(orders.shape[1] for _, orders in each) for each in drawn.values())
    parts = list(run(tasks(), n_drawn * n_clips * columns.n_voxels))
    whole = side_by_side([own for own, _ in parts]) if anew else mean_scores(known)
    tests = [tested for _, tested in parts]
    p, p_familywise, null = (
        np.concatenate([getattr(tested, name) for tested in tests], axis=-1).astype(np.float32)
        for name in ("p", "p_familywise", "null_means")
    )
    return Evidence(columns, whole, p, p_familywise, null)


def _together(
    found: Sequence[tuple[NDArray[np.float64], NDArray[np.int32]]],
) -> tuple[list[NDArray[np.float64]], NDArray[np.int32]]:
    """The resamples of each stratum, and the orders of all strata's clips, each stratum's within itself."""
    starts = np.cumsum([0, *(own.shape[1] for _, own in found[:-1])])
    orders = np.concatenate([start + own for start, (_, own) in zip(starts, found)], axis=1).astype(np.int32)
    return [resamples for resamples, _ in found], orders


def _taken(candidates: Candidates, stratum: Stratum, measure: metrics.Measure) -> SpaceScore | None:
    return candidates.of(stratum.split, stratum.choice) if candidates.measure(stratum.split) == measure else None


def _of_subject(
    measured: Sequence[Floats],
    predicted: Sequence[Floats],
    ceiling: NDArray[np.float64] | None,
    columns: Columns,
    resamples: Sequence[Floats],
    orders: NDArray[np.int32],
) -> tuple[SpaceScore | None, PermutationTest]:
    """resamples: of each stratum; none where nothing is scored anew."""
    scored = [score(y, x, ceiling, columns, drawn) for y, x, drawn in zip(measured, predicted, resamples)]
    tested = permutation_test(measured, predicted, block_means(ceiling, columns), orders)
    return mean_scores(scored) if scored else None, tested


def mean_scores(parts: Sequence[SpaceScore]) -> SpaceScore:
    """Means over strata; a voxel counts as constant where it is in the stratum with the most such.

    Replicates of several are drawn away from the score by `CROSSED`: strata are folds that predict each other, and
    resampling them with the fits as they are makes an interval of 95 % that holds in 85 (benchmarks/results).
    """
    blocks = parts[0].blocks.copy()
    for name in ("score", "correlation", "normalized_correlation"):
        blocks[name] = np.mean([part.blocks[name] for part in parts], axis=0)
    blocks["n_constant"] = np.max([part.blocks["n_constant"] for part in parts], axis=0)
    correlation, replicates = (
        np.mean([getattr(part, n) for part in parts], axis=0) for n in ("correlation", "replicates")
    )
    known = [part.normalized for part in parts if part.normalized is not None]
    normalized = np.mean(known, axis=0) if known else None
    if len(parts) > 1:
        centre = blocks["score"].to_numpy(dtype=np.float32)
        replicates = centre + np.float32(CROSSED) * (replicates - centre)
    return SpaceScore(correlation, normalized, blocks, replicates)


def summary(found: Evidence, confidence: float, rng: np.random.Generator, chosen_here: bool = False) -> SplitScores:
    """A row's scores on these clips, in the numbers that are kept.

    The track's score is the unweighted mean over ROIs of the ROI's mean over subjects of the mean over
    voxels, of normalized correlations, or of plain ones without a ceiling (`measure`); `pooled_score` pools the voxels
    of all subjects within an ROI instead. Intervals resample the
    same clips for every ROI, so the track's interval holds their covariance. `p` permutes clips; `p_subjects` flips
    the signs of subjects, whose spread is `subject_error`, the standard error of their mean.

    chosen_here: whether these clips chose, too
    """
    blocks, rois = found.scores.blocks, found.columns.rois
    table = roi_table(found.scores, rois, confidence).set_index(["roi", "aggregation"])
    drawn = roi_means(found.scores.replicates, blocks, rois)
    null = roi_means(found.null, blocks, rois)
    voxels = _significant_voxels(found, 1 - confidence)
    detail = {}
    for number, roi in enumerate(rois):
        line = table.loc[(roi, "subjects")]
        keys = ("score", "normalized_correlation", "correlation", "standard_error", "low", "high")
        own = blocks.loc[blocks["roi"] == roi, "score"].dropna().to_numpy()
        detail[roi] = RoiScore(
            **{key: float(line[key]) for key in keys},
            pooled=float(table.loc[(roi, "voxels"), "score"]),
            p=chance_of_mean(float(line["score"]), null[:, number]),
            **over_subjects(own, rng),
            **voxels[roi],
            **{key: int(line[key]) for key in ("n_voxels", "n_excluded", "n_constant")},
        )
    score, pooled, correlation = (
        float(np.mean([table.loc[(roi, aggregation), column] for roi in rois]))
        for aggregation, column in (("subjects", "score"), ("voxels", "score"), ("subjects", "correlation"))
    )
    each = dict(iter(blocks.groupby("subject", sort=False)))
    means = {str(subject): float(part["score"].mean()) for subject, part in each.items()}
    return SplitScores(
        measure=found.measure,
        score=score,
        **interval(drawn.mean(axis=1), confidence),
        p=chance_of_mean(score, null.mean(axis=1)),
        **over_subjects(np.array(list(means.values())), rng),
        pooled_score=pooled,
        correlation=correlation,
        rois=detail,
        subjects={
            str(subject): SubjectScore(
                score=means[str(subject)], rois=dict(zip(part["roi"], part["score"].astype(float)))
            )
            for subject, part in each.items()
        },
        chosen_here=chosen_here,
    )


def over_subjects(values: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Subjects as replications: standard error of their mean and p of its being positive; NaN for fewer than two."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return {"subject_error": np.nan, "p_subjects": np.nan}
    error = float(known.std(ddof=1) / np.sqrt(len(known)))
    return {"subject_error": error, "p_subjects": float(sign_flip_test(known[:, None], rng).p[0])}


def _significant_voxels(found: Evidence, alpha: float) -> dict[str, dict[str, float]]:
    """ROI -> shares of its voxels that pass at alpha: by false discovery rate, and by family-wise error."""
    passed = np.empty((2, found.columns.n_voxels), dtype=bool)
    for _, where in found.columns.by_subject:
        passed[0, where] = false_discovery_rate(found.p[where]) <= alpha
        passed[1, where] = found.p_familywise[where] <= alpha
    shares = {}
    for roi in found.columns.rois:
        inside = [passed[:, w] for b, w in zip(found.columns.blocks, found.columns.slices) if b.roi == roi]
        share = np.concatenate(inside, axis=1).mean(axis=1)
        shares[roi] = {"significant_fdr": float(share[0]), "significant_fwe": float(share[1])}
    return shares

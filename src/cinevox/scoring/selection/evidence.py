"""Evidence: how the chosen candidates score on clips of a split, how surely, and whether it could be chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.parallel import run
from cinevox.scoring.scores import SpaceScore, block_means, roi_table, score
from cinevox.scoring.selection.choice import Choice
from cinevox.statistics import metrics
from cinevox.statistics.aggregation import AGGREGATIONS, interval, roi_means
from cinevox.statistics.significance import (
    CROSSED,
    chance_of_mean,
    false_discovery_rate,
    permutation_test,
    permuted_clips,
    sign_flip_test,
)
from cinevox.statistics.splits import generator

Floats = NDArray[np.floating]
Measured = Callable[[Sequence[str], Columns], Mapping[str, Floats]]
Predicted = Callable[[str, str], Floats]


@dataclass(frozen=True)
class Stratum:
    """Clips that are scored together: a split, and the choice that was made without them."""

    split: str
    n_clips: int
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
    strata: Sequence[Stratum],
    measured: Measured,
    predicted: Predicted,
    ceiling: NDArray[np.float64] | None,
    columns: Columns,
    n_bootstraps: int,
    n_permutations: int,
    seed: int,
) -> Evidence:
    """Score the chosen candidates, worker by worker a subject, so one subject's responses are in memory at a time.

    The same seed draws the same clips for every row, so rows can be compared in pairs.

    measured: (splits, columns of one subject) -> split -> its responses to the split's clips, (n_clips, n_voxels)
    predicted: (split, space) -> (n_clips, n_voxels of all subjects), a memory map at best
    """
    rng = generator(seed, *(stratum.split for stratum in strata))
    resamples = [metrics.resampled_clips(stratum.n_clips, n_bootstraps, rng) for stratum in strata]
    orders = permuted_clips([stratum.n_clips for stratum in strata], n_permutations, rng)
    tasks = (
        joblib.delayed(_of_subject)(strata, measured, predicted, _part(ceiling, where), own, where, resamples, orders)
        for own, where in columns.by_subject
    )
    n_drawn = 10 * n_bootstraps + n_permutations  # multiply-adds for each clip and voxel
    parts: list[Evidence] = list(run(tasks, n_drawn * sum(s.n_clips for s in strata) * columns.n_voxels))
    blocks = pd.concat([part.scores.blocks for part in parts], ignore_index=True)
    names = ("correlation", "replicates") if ceiling is None else ("correlation", "replicates", "normalized")
    joined = {name: np.concatenate([getattr(part.scores, name) for part in parts], axis=-1) for name in names}
    return Evidence(
        columns,
        SpaceScore(joined["correlation"], joined.get("normalized"), blocks, joined["replicates"]),
        *(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("p", "p_familywise", "null")),
    )


def _part(ceiling: NDArray[np.float64] | None, where: slice) -> NDArray[np.float64] | None:
    return None if ceiling is None else ceiling[where]


def _of_subject(
    strata: Sequence[Stratum],
    measured: Measured,
    predicted: Predicted,
    ceiling: NDArray[np.float64] | None,
    columns: Columns,
    where: slice,
    resamples: Sequence[Floats],
    orders: NDArray[np.int32],
) -> Evidence:
    responses = measured([stratum.split for stratum in strata], columns)
    y = [responses[stratum.split] for stratum in strata]
    x = [stratum.choice.predicted(partial(predicted, stratum.split), where) for stratum in strata]
    scored = mean_scores([score(a, b, ceiling, columns, drawn) for a, b, drawn in zip(y, x, resamples)])
    tested = permutation_test(y, x, block_means(ceiling, columns), orders)
    return Evidence(
        columns, scored, *(part.astype(np.float32) for part in (tested.p, tested.p_familywise, tested.null_means))
    )


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


def summary(found: Evidence, confidence: float, rng: np.random.Generator) -> dict[str, Any]:
    """What a row scores on these clips, in the numbers that are kept.

    The track's score is the unweighted mean over ROIs of the ROI's mean over subjects of the mean over
    voxels, of normalized correlations, or of plain ones without a ceiling (`measure`); `pooled_score` pools the voxels
    of all subjects within an ROI instead. Intervals resample the
    same clips for every ROI, so the track's interval holds their covariance. `p` permutes clips; `p_subjects` flips
    the signs of subjects, whose spread is `subject_error`, the standard error of their mean.
    """
    blocks, rois = found.scores.blocks, found.columns.rois
    table = roi_table(found.scores, rois, confidence).set_index(["roi", "aggregation"])
    drawn = roi_means(found.scores.replicates, blocks, rois)
    null = roi_means(found.null, blocks, rois)
    voxels = _significant_voxels(found, 1 - confidence)
    detail = {}
    for number, roi in enumerate(rois):
        line = table.loc[(roi, "subjects")]
        keys = ["score", "normalized_correlation", "correlation", "standard_error", "low", "high"]
        own = blocks.loc[blocks["roi"] == roi, "score"].dropna().to_numpy()
        detail[roi] = (
            {key: float(line[key]) for key in keys}
            | {"pooled": float(table.loc[(roi, "voxels"), "score"])}
            | {"p": chance_of_mean(float(line["score"]), null[:, number])}
            | over_subjects(own, rng)
            | voxels[roi]
            | {key: int(line[key]) for key in ("n_voxels", "n_excluded", "n_constant")}
        )
    means = {
        name: float(np.mean([entry[key] for entry in detail.values()]))
        for name, key in zip(AGGREGATIONS, ("score", "pooled"))
    }
    each = _by_subject(blocks)
    return {
        "measure": found.measure,
        "score": means["subjects"],
        **interval(drawn.mean(axis=1), confidence),
        "p": chance_of_mean(means["subjects"], null.mean(axis=1)),
        **over_subjects(np.array([entry["score"] for entry in each.values()]), rng),
        "pooled_score": means["voxels"],
        "correlation": float(np.mean([entry["correlation"] for entry in detail.values()])),
        "rois": detail,
        "subjects": each,
    }


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


def _by_subject(blocks: pd.DataFrame) -> dict[str, Any]:
    return {
        str(subject): {
            "score": float(part["score"].mean()),
            "rois": dict(zip(part["roi"], part["score"].astype(float))),
        }
        for subject, part in blocks.groupby("subject", sort=False)
    }

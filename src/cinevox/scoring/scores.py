"""Scores: predictions against measured responses, per voxel, per ROI and subject, with their uncertainty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.statistics import metrics
from cinevox.statistics.aggregation import AGGREGATIONS, block_weights, interval, weighted

Floats = NDArray[np.floating]

BLOCK_COLUMNS = (  # of a table of scores, one line per subject and ROI
    "subject", "roi", "score", "correlation", "normalized_correlation", "n_voxels", "n_excluded", "n_constant",
)  # fmt: skip


@dataclass(frozen=True)
class SpaceScore:
    """Scores of one feature space on one split.

    correlation, normalized: (n_voxels,); NaN in `normalized` where the voxel is excluded; None without a ceiling
    blocks: one line per subject and ROI (BLOCK_COLUMNS); `score` is the normalized correlation, or
        without a ceiling the correlation
    replicates: (n_resamples, n_blocks), score of each block in each bootstrap resample
    """

    correlation: NDArray[np.float32]
    normalized: NDArray[np.float32] | None
    blocks: pd.DataFrame
    replicates: NDArray[np.float32]


def score(
    measured: Floats, predicted: Floats, ceiling: NDArray[np.float64] | None, columns: Columns, resamples: Floats
) -> SpaceScore:
    """Score one space's predictions.

    Plain correlations average all voxels of a block; normalized ones (r / ceiling) those whose ceiling is not
    NaN. A voxel or a prediction that does not vary has r = 0, stays in both, and is counted in `n_constant`.
    The bootstrap resamples clips, the same ones for every voxel and subject, and keeps the ceiling fixed.
    Without a ceiling no voxel is left out, and plain correlations are what is resampled.

    measured, predicted: (n_clips, n_voxels); ceiling: (n_voxels,), from `metrics.noise_ceiling`, or None
    resamples: (n_resamples, n_clips), from `metrics.resampled_clips`
    """
    r = metrics.correlation_score(measured, predicted)
    score = r if ceiling is None else r / ceiling
    known = np.isfinite(score)
    constant = metrics.is_constant(measured) | metrics.is_constant(predicted)
    lines = []
    for block, where in zip(columns.blocks, columns.slices):
        scored = known[where]
        mean = score[where][scored].mean() if scored.any() else np.nan
        lines.append(
            {
                "subject": block.subject,
                "roi": block.roi,
                "score": mean,
                "correlation": r[where].mean(),
                "normalized_correlation": np.nan if ceiling is None else mean,
                "n_voxels": block.n_voxels,
                "n_excluded": block.n_voxels - int(scored.sum()),
                "n_constant": int(constant[where].sum()),
            }
        )
    weights = block_means(ceiling, columns)
    replicates = metrics.bootstrap_means(measured, predicted, weights, resamples)
    blocks = pd.DataFrame(lines)
    replicates[:, blocks["score"].isna()] = np.nan
    normalized = None if ceiling is None else score.astype(np.float32)
    return SpaceScore(r.astype(np.float32), normalized, blocks, replicates.astype(np.float32))


def side_by_side(parts: Sequence[SpaceScore]) -> SpaceScore:
    """The scores of all subjects, from those of some of them each."""
    if len(parts) == 1:
        return parts[0]
    names = ["correlation", "replicates"] + ["normalized"] * (parts[0].normalized is not None)
    joined = {name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names}
    blocks = pd.concat([part.blocks for part in parts], ignore_index=True)
    return SpaceScore(joined["correlation"], joined.get("normalized"), blocks, joined["replicates"])


def score_own(
    measured: Floats,
    predicted: Floats,
    ceiling: NDArray[np.float64] | None,
    columns: Columns,
    rois: Collection[str],
    resamples: Floats,
) -> SpaceScore:
    """`score` of the voxels that a feature space predicts; in the blocks of the others every number is NaN.

    rois: those whose voxels it predicts, as `Index.rois_of` has them; none for all
    """
    inside, where = columns.of_rois(rois)
    if where.all():
        return score(measured, predicted, ceiling, columns, resamples)
    if not where.any():  # these subjects have none of the ROIs
        return _nothing(ceiling, columns, len(resamples))
    part = None if ceiling is None else ceiling[where]
    found = score(measured[:, where], predicted[:, where], part, inside, resamples)
    other = [block for block in columns.blocks if block not in inside.blocks]
    lines = [{"subject": b.subject, "roi": b.roi, "n_voxels": b.n_voxels, "n_excluded": b.n_voxels} for b in other]
    blocks = pd.concat([found.blocks, pd.DataFrame(lines).assign(n_constant=0)]).set_index(["subject", "roi"])
    every = [(block.subject, block.roi) for block in columns.blocks]
    replicates = _among(found.replicates, np.array([block in inside.blocks for block in columns.blocks]))
    normalized = None if found.normalized is None else _among(found.normalized, where)
    return SpaceScore(_among(found.correlation, where), normalized, blocks.loc[every].reset_index(), replicates)


def _nothing(ceiling: NDArray[np.float64] | None, columns: Columns, n_resamples: int) -> SpaceScore:
    """The scores of a feature space that predicts none of these voxels: every number is NaN."""
    lines = [
        {"subject": b.subject, "roi": b.roi, "n_voxels": b.n_voxels, "n_excluded": b.n_voxels, "n_constant": 0}
        for b in columns.blocks
    ]
    blocks = pd.DataFrame(lines).reindex(columns=list(BLOCK_COLUMNS))
    nothing = np.full(columns.n_voxels, np.nan, dtype=np.float32)
    replicates = np.full((n_resamples, len(lines)), np.nan, dtype=np.float32)
    return SpaceScore(nothing, None if ceiling is None else nothing, blocks, replicates)


def _among(values: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The values of some columns, (..., n), among all; NaN in the others."""
    found = np.full((*values.shape[:-1], len(where)), np.nan, dtype=np.float32)
    found[..., where] = values
    return found


def of_voxels(found: Sequence[SpaceScore], split: str) -> dict[str, NDArray[np.float32]]:
    """`<split>.correlation`, and `.normalized` where there is a ceiling -> of each space, (n_spaces, n_voxels)."""
    arrays = {f"{split}.correlation": np.stack([one.correlation for one in found])}
    normalized = [one.normalized for one in found if one.normalized is not None]
    return arrays | ({f"{split}.normalized": np.stack(normalized)} if normalized else {})


def block_means(ceiling: NDArray[np.float64] | None, columns: Columns) -> NDArray[np.float64]:
    """Weights that turn the voxels' r into each block's mean of r / ceiling (r without one), (n_voxels, n_blocks)."""
    weights = np.zeros((columns.n_voxels, len(columns.blocks)))
    ceiling = np.ones(columns.n_voxels) if ceiling is None else ceiling
    for number, where in enumerate(columns.slices):
        scored = np.isfinite(ceiling[where])
        weights[where, number] = np.where(scored, 1 / np.where(scored, ceiling[where], 1), 0) / max(scored.sum(), 1)
    return weights


def roi_table(space_score: SpaceScore, rois: Sequence[str], confidence: float) -> pd.DataFrame:
    """One line per ROI and aggregation: mean scores, interval over clips, and how many voxels stand behind it."""
    blocks = space_score.blocks
    lines = []
    for roi in rois:
        inside = blocks[blocks["roi"] == roi]
        for aggregation in AGGREGATIONS:
            weights = block_weights(blocks, roi, aggregation)
            over = np.ones(len(inside)) if aggregation == "subjects" else inside["n_voxels"]
            lines.append(
                {
                    "roi": roi,
                    "aggregation": aggregation,
                    "score": float(weighted(blocks["score"].to_numpy(), weights)),
                    "correlation": np.average(inside["correlation"], weights=over),
                    "normalized_correlation": float(weighted(blocks["normalized_correlation"].to_numpy(), weights)),
                    **interval(weighted(space_score.replicates, weights), confidence),
                    **{name: int(inside[name].sum()) for name in ("n_voxels", "n_excluded", "n_constant")},
                }
            )
    return pd.DataFrame(lines)

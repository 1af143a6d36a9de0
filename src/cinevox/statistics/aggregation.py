"""Means of scores over the voxels, subjects and ROIs they belong to, and the spread of such means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.floating]

AGGREGATIONS = ("subjects", "voxels")  # mean of the subjects' means; mean over all their voxels pooled


def block_weights(blocks: pd.DataFrame, roi: str, aggregation: str) -> NDArray[np.float64]:
    """Weight of every block in an ROI's mean, (n_blocks,): equal over subjects, or by scored voxels.

    Blocks without a scored voxel weigh nothing; if none is left all weights are 0.
    """
    scored = blocks["n_voxels"] - blocks["n_excluded"]
    size = (scored > 0).astype(float) if aggregation == "subjects" else scored.astype(float)
    chosen = np.asarray(size.where(blocks["roi"] == roi, 0.0), dtype=np.float64)
    return chosen / max(chosen.sum(), 1e-300)


def weighted(values: Floats, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean along the last axis that leaves out what has no weight; NaN where nothing has any."""
    used = weights > 0
    if not used.any():
        return np.full(np.shape(values)[:-1], np.nan)
    return np.asarray(values, dtype=np.float64)[..., used] @ weights[used]


def roi_means(values: Floats, blocks: pd.DataFrame, rois: Sequence[str]) -> NDArray[np.float64]:
    """Each ROI's mean over subjects: (..., n_blocks) -> (..., n_rois); NaN where no block of it has a scored voxel."""
    return np.stack([weighted(values, block_weights(blocks, roi, "subjects")) for roi in rois], axis=-1)


def interval(replicates: Floats, confidence: float) -> dict[str, float]:
    """Standard error and percentile interval of bootstrap replicates, (n_resamples,); NaN without, or if they are."""
    if not (np.size(replicates) and np.isfinite(replicates).all()):
        return {"standard_error": np.nan, "low": np.nan, "high": np.nan}
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"standard_error": float(np.std(replicates, ddof=1)), "low": float(low), "high": float(high)}

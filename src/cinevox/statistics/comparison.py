"""Is one row better than another? The same clips and subjects answer for both, so differences are paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.statistics.significance import sign_flip_test

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Comparison:
    """A paired comparison: how much higher the first score is.

    low, high: interval over clips; p: two-sided, over clips
    n_subjects, n_higher: subjects, and how many of them score higher; p_subjects: two-sided, over subjects
    """

    difference: float
    low: float
    high: float
    p: float
    n_subjects: int
    n_higher: int
    p_subjects: float


def compare(
    score: float,
    other: float,
    replicates: Floats,
    other_replicates: Floats,
    subjects: Mapping[str, float],
    other_subjects: Mapping[str, float],
    confidence: float,
    rng: np.random.Generator,
) -> Comparison:
    """Compare two scores of the same clips.

    replicates, other_replicates: (n_resamples,), of the same resamples of the clips; the interval is the percentile
        interval of their differences, and p = 2 (1 + least number on one side of 0) / (1 + n_resamples), at most 1;
        NaN where a row has no score
    subjects, other_subjects: subject -> score; those in both are compared

    Raises
    ------
    ValueError
        The replicates are not of the same resamples.
    """
    if replicates.shape != other_replicates.shape:
        raise ValueError(f"replicates {replicates.shape} and {other_replicates.shape} are of different resamples")
    drawn = np.asarray(replicates, dtype=np.float64) - other_replicates
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    fewest = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    p = min(1.0, 2 * (1 + fewest) / (1 + len(drawn))) if np.isfinite(drawn).all() else np.nan
    both = [name for name in subjects if name in other_subjects]
    differences = np.array([subjects[name] - other_subjects[name] for name in both], dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    return Comparison(
        float(score - other),
        float(low),
        float(high),
        float(p),
        len(differences),
        int((differences > 0).sum()),
        _two_sided(differences, rng),
    )


def _two_sided(differences: NDArray[np.float64], rng: np.random.Generator) -> float:
    if len(differences) < 2:
        return float("nan")
    if not differences.any():
        return 1.0
    sides = [float(sign_flip_test(sign * differences[:, None], rng).p[0]) for sign in (1, -1)]
    return min(1.0, 2 * min(sides))

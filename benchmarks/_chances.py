"""The false positive rates of tests on data without signal: permuted clips, crossed outer folds and flipped signs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from _data_sets import ALPHA, Row, cross_predicted, rate, repeated, smooth
from cinevox.statistics import metrics, significance
from cinevox.statistics.significance import (
    chance_of_mean,
    false_discovery_rate,
    permutation_test,
    permuted_clips,
    sign_flip_test,
)


def _verdicts(measured: list, predicted: list, rng: np.random.Generator) -> tuple[bool, bool, bool, bool]:
    """Tell which tests find an effect in data without signal.

    In order: one voxel passes, any voxel passes family-wise, any passes by false discovery rate, the region passes.
    """
    n_voxels = measured[0].shape[1]
    orders = permuted_clips([len(part) for part in measured], 999, rng)
    found = permutation_test(measured, predicted, np.full((n_voxels, 1), 1 / n_voxels), orders)
    r = np.mean([metrics.correlation_score(x, y) for x, y in zip(measured, predicted)], axis=0)
    return (
        found.p[n_voxels // 2] <= ALPHA,
        (found.p_familywise <= ALPHA).any(),
        (false_discovery_rate(found.p) <= ALPHA).any(),
        chance_of_mean(r.mean(), found.null_means[:, 0]) <= ALPHA,
    )


VERDICTS = (
    "a voxel passes (p)",
    "any of 60 voxels passes (family-wise)",
    "any of 60 passes (false discovery rate)",
    "the region's mean passes",
)


def _silent(rng: np.random.Generator, n_clips: int, heavy: bool) -> tuple[bool, ...]:
    return _verdicts([smooth(rng, n_clips, 60, heavy)], [smooth(rng, n_clips, 60, heavy)], rng)


def permutations(less: int) -> Iterator[Row]:
    for n_clips, heavy in ((20, False), (102, False), (102, True)):
        found = repeated(_silent, 1000 // less, 1, n_clips, heavy)
        title = f"no signal, {n_clips} clips" + (", heavy tails (t, 3 degrees)" if heavy else "")
        yield from ((title, what, rate(hits)) for what, hits in zip(VERDICTS, found.T))


def _crossed(rng: np.random.Generator, n_folds: int, kind: str) -> tuple[bool, ...]:
    """No signal, each fold predicted by a fit on the others; as it is tested, and as if the folds did not cross."""
    x, y = rng.standard_normal((160, 30)), smooth(rng, 160, 60)
    measured, predicted = cross_predicted(x, y, n_folds, kind)
    found = _verdicts(measured, predicted, rng)
    honest, significance.CROSSED = significance.CROSSED, 1.0
    try:
        return found + _verdicts(measured, predicted, rng)
    finally:
        significance.CROSSED = honest


def crossed_folds(less: int) -> Iterator[Row]:
    for kind, n_folds in (("ridge", 5), ("ridge", 3), ("lasso", 5)):
        found = repeated(_crossed, 600 // less, 2, n_folds, kind)
        title = f"no signal, 160 clips, {n_folds} outer folds, {kind} fitted on the others"
        for number, what in enumerate(VERDICTS):
            naive = f"; {100 * found[:, 4 + number].mean():.1f} % if folds counted as independent"
            yield title, what, rate(found[:, number]) + naive


def _group(rng: np.random.Generator, n_subjects: int, skewed: bool) -> tuple[bool, bool]:
    values = smooth(rng, n_subjects, 60)
    if skewed:
        values = np.expm1(0.5 * values) - np.expm1(0.125)  # lognormal, its mean taken off
    found = sign_flip_test(values * rng.uniform(0.3, 2, (n_subjects, 1)), rng)
    return found.p[30] <= ALPHA, (found.p_familywise <= ALPHA).any()


def subjects(less: int) -> Iterator[Row]:
    for n_subjects, skewed in ((6, False), (10, False), (20, False), (10, True)):
        found = repeated(_group, 3000 // less, 3, n_subjects, skewed)
        title = f"mean 0 over {n_subjects} subjects of unequal noise" + (", skewed" if skewed else "")
        for what, hits in zip(("a place passes (p)", "any of 60 places passes (family-wise)"), found.T):
            yield title, what, rate(hits)

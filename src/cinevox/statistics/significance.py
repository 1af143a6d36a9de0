"""Could it be chance? Permuted clips for voxels and regions, flipped signs for subjects, and how many were tested.

Under the null hypothesis of `permutation_test` a prediction belongs to no clip more than to any other: the clips'
order is exchangeable. All voxels are permuted alike, so what they share stays in the null. Under that of
`sign_flip_test` a subject's score is as likely to be x as -x.

Permuting clips says what other clips would do, for these subjects; flipping signs what other subjects would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numba
import numpy as np
from numpy.typing import NDArray

from cinevox.statistics.metrics import unit

Floats = NDArray[np.floating]

WIDTH = 64  # voxels of one pass: what is made of them stays in the cache
MOST_FLIPS = 4096  # all 2^n signs are tried up to 12 subjects, so many random ones beyond
TIE = 1e-5  # r of float32 that differ by less are equal: orders that exchange equal values differ in their last bits
CROSSED = np.sqrt(2)  # standard error of a mean r over folds that predict each other, of that over independent ones


@dataclass(frozen=True)
class PermutationTest:
    """One family of voxels against permuted clips.

    p: (n_voxels,), of each voxel alone
    p_familywise: (n_voxels,), against the largest r of the whole family (Westfall and Young's max-T): the chance
        that any voxel of a family without signal falls under alpha is alpha
    null_means: (n_permutations, n_groups), weighted sums of the voxels' r in every permutation
    """

    p: NDArray[np.float64]
    p_familywise: NDArray[np.float64]
    null_means: NDArray[np.float64]


def permuted_clips(strata: Sequence[int], n_permutations: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Random orders of clips, (n_permutations, n_clips); clips stay within their stratum.

    strata: number of clips of each, one after another
    """
    starts = np.cumsum([0, *strata[:-1]])
    parts = [
        start + rng.permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1) for start, n in zip(starts, strata)
    ]
    return np.concatenate(parts, axis=1).astype(np.int32)


def permutation_test(
    measured: Sequence[Floats], predicted: Sequence[Floats], weights: Floats, orders: NDArray[np.int32]
) -> PermutationTest:
    """Test r > 0 of every voxel, alone and among its family, and make the null of weighted means.

    r of a voxel is the mean over strata of Pearson's r within each (there is one, but for nested selection). With
    zm, zp centred and of length one within a stratum, r of order pi is c sum_i zm[pi(i)] zp[i] / n_strata, and
        p = (1 + number of orders with r(pi) >= r) / (1 + number of orders)
    (Phipson and Smyth 2010: never 0). A group's null is c sum_i M[pi(i), i] with M = zm W zp', one matrix product for
    all orders.

    c is 1 for one stratum, and `CROSSED` for several: these are folds, each predicted by a fit on the others. A
    product of responses in fold k and fold j is in the scores of both, so without signal the scores go together
    (r = 1 / (n_strata - 1)) and their mean varies twice as much as permuting within folds, with the fits as they are,
    lets it. Without c, 12 of 100 voxels without signal pass at 5 % (benchmarks/results/inference.md).

    measured, predicted: per stratum (n_clips, n_voxels)
    weights: (n_voxels, n_groups), as for `metrics.bootstrap_means`
    orders: (n_permutations, n_clips of all strata), from `permuted_clips`

    A voxel that does not vary has p = 1.
    """
    x, y = (np.concatenate([unit(part) for part in parts]).astype(np.float32) for parts in (measured, predicted))
    y /= len(measured)
    n_clips, n_voxels = x.shape
    identity = np.arange(n_clips, dtype=np.int32)
    every = np.concatenate([identity[None], orders])  # the first is the order observed: sums of the same kind
    maxima = np.full(len(every), -np.inf, dtype=np.float32)
    counts, observed = np.zeros(n_voxels, dtype=np.int64), np.zeros(n_voxels, dtype=np.float32)
    scale = np.float32(1 if len(measured) == 1 else CROSSED)
    for start in range(0, n_voxels, WIDTH):
        part = slice(start, min(start + WIDTH, n_voxels))
        a, b = np.ascontiguousarray(x[:, part]), np.ascontiguousarray(y[:, part])
        _count(a, b, every, scale, observed[part], counts[part], maxima)
    null = np.sort(maxima[1:])
    above = len(null) - np.searchsorted(null, observed - np.float32(TIE), side="left")
    means = np.empty((len(orders), weights.shape[1]))
    for group, column in enumerate(np.asarray(weights, dtype=np.float64).T):
        inside = np.flatnonzero(column)
        pairs = (x[:, inside] * column[inside]) @ y[:, inside].T.astype(np.float64)
        means[:, group] = scale * pairs[orders, identity].sum(axis=1)
    return PermutationTest((1 + counts) / (1 + len(orders)), (1 + above) / (1 + len(orders)), means)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _count(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    orders: NDArray[np.int32],
    scale: np.float32,
    observed: NDArray[np.float32],
    counts: NDArray[np.int64],
    maxima: NDArray[np.float32],
) -> None:  # pragma: no cover - compiled
    """r of every voxel in every order: the first into `observed`, how often others reach it, the largest of each."""
    n_clips, n_voxels = x.shape
    tie = np.float32(TIE)
    r = np.empty(n_voxels, dtype=np.float32)
    for number in range(len(orders)):
        order = orders[number]
        r[:] = 0
        for i in range(n_clips):
            a, b = x[order[i]], y[i]
            for voxel in range(n_voxels):
                r[voxel] += a[voxel] * b[voxel]
        largest = maxima[number]
        for voxel in range(n_voxels):
            if number == 0:
                observed[voxel] = r[voxel]
            else:
                drawn = scale * r[voxel]
                largest = max(largest, drawn)
                counts[voxel] += drawn >= observed[voxel] - tie
        maxima[number] = largest


def chance_of_mean(observed: float, null: Floats) -> float:
    """p of a mean score against its null, (1 + number reaching it) / (1 + number); NaN if there is no score."""
    if not np.isfinite(observed):
        return float("nan")
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))


def false_discovery_rate(p: Floats) -> NDArray[np.float64]:
    """Benjamini and Hochberg's (1995) adjusted p: those <= q are, on average, false in a share of at most q.

    With p_(1) <= ... <= p_(n), the i-th one is the minimum over k >= i of n p_(k) / k, and at most 1. (As scipy.stats
    has it, which takes long to import.)

    p: (n_tests,); NaN stays NaN and counts as no test.
    """
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(np.asarray(p, dtype=np.float64)[known], kind="stable")][::-1]
    scaled = np.asarray(p, dtype=np.float64)[order] * (len(order) / np.arange(len(order), 0, -1))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1)
    return adjusted


@dataclass(frozen=True)
class SignFlipTest:
    """Mean over subjects against 0, one-sided, for many places. t, p, p_familywise: (n_places,), NaN where unknown."""

    t: NDArray[np.float64]
    p: NDArray[np.float64]
    p_familywise: NDArray[np.float64]


def sign_flip_test(values: Floats, rng: np.random.Generator) -> SignFlipTest:
    """Test mean > 0 over subjects by flipping each subject's sign for all places at once.

    The statistic is Student's t over the subjects that have a value. Flipping changes only the sum, sum = flips @
    values, as squares keep theirs, so all flips of some places are one matrix product. All 2^n_subjects flips are
    tried where they are at most 4,096 (the p is then exact, and never under 2^-n_subjects), else so many random
    ones. Family-wise by the largest t of all places (Nichols and Holmes 2002).

    values: (n_subjects, n_places); NaN where a subject has none; a place needs two subjects
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    usable = (known.sum(axis=0) >= 2) & (filled != 0).any(axis=0)
    filled, n = filled[:, usable], known.sum(axis=0)[usable]
    squares = (filled**2).sum(axis=0)
    flips, n_unseen = _signs(len(values), rng)
    observed = _t(filled.sum(axis=0), squares, n)
    reached = observed - 1e-6 * np.abs(observed)  # equal sums may differ in their last bits
    counts, maxima = np.zeros(len(observed), dtype=np.int64), np.full(len(flips), -np.inf)
    for start in range(0, len(observed), WIDTH):
        part = slice(start, start + WIDTH)
        drawn = _t(flips @ filled[:, part], squares[part], n[part])
        counts[part] = (drawn >= reached[part]).sum(axis=0)
        np.maximum(maxima, drawn.max(axis=1), out=maxima)
    above = len(flips) - np.searchsorted(np.sort(maxima), reached, side="left")
    found = np.full((3, len(usable)), np.nan)
    found[0, usable] = observed
    found[1, usable], found[2, usable] = ((n_unseen + c) / (n_unseen + len(flips)) for c in (counts, above))
    return SignFlipTest(*found)


def _signs(n_subjects: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], int]:
    """Every flip of so many signs; or random ones, and 1 for the observed that may not be among them."""
    if 2**n_subjects <= MOST_FLIPS:
        return np.array(list(product((1.0, -1.0), repeat=n_subjects))), 0
    return rng.choice((1.0, -1.0), size=(MOST_FLIPS, n_subjects)), 1


def _t(total: Floats, squares: Floats, n: NDArray[np.integer]) -> NDArray[np.float64]:
    """Student's t from sums over subjects; where they differ by less than 3e-5 of their size, as if by so much.

    Less is lost in the rounding of the sums, and the observed signs would not reach themselves: p = 0.
    """
    spread = np.sqrt(np.maximum(squares - total**2 / n, 1e-9 * squares) * n / (n - 1))
    return np.asarray(total / spread)

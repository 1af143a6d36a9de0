"""Scores of predictions, voxel by voxel, and how sure they are.

Correlations are Pearson's over clips. A voxel (or a prediction) that does not vary has no correlation; it
scores 0 here, and callers count it with `is_constant`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinevox.statistics.trials import present, rectangle

Floats = NDArray[np.floating]

Measure = Literal["normalized correlation", "plain correlation"]
NORMALIZED: Measure = "normalized correlation"  # r / noise ceiling
PLAIN: Measure = (
    "plain correlation"  # r itself, of clips that were shown once: nothing says how reliable their responses are
)
PLAIN_KEY = "plain_r"  # in metrics/<row>.json, around the numbers of a split that are plain correlations
BATCH = 4096  # voxels handled at once where a product over resamples or repetitions is formed


def correlation_score(measured: Floats, predicted: Floats) -> NDArray[np.float64]:
    """Pearson's r of each voxel, r = sum(zm * zp) with z = (y - mean) / |y - mean|.

    measured, predicted: (n_stimuli, n_voxels); returns (n_voxels,), 0 where either does not vary.

    Raises
    ------
    ValueError
        The shapes differ, or there are fewer than two stimuli.
    """
    if measured.shape != predicted.shape or measured.ndim != 2:
        raise ValueError(
            f"measured {measured.shape} and predicted {predicted.shape} must both be (n_stimuli, n_voxels)"
        )
    if len(measured) < 2:
        raise ValueError(f"a correlation needs at least 2 stimuli; there are {len(measured)}")
    return np.concatenate(
        [
            np.einsum("nv,nv->v", unit(measured[:, part]), unit(predicted[:, part]))
            for part in _batches(measured.shape[1])
        ]
        or [np.empty(0)]
    )


def is_constant(values: Floats) -> NDArray[np.bool_]:
    """Find the columns of (n_stimuli, n_voxels) that do not vary, to within rounding of their own size."""
    spread = np.ptp(values, axis=0) if len(values) else np.zeros(values.shape[1])
    return np.asarray(spread <= 1e-7 * np.abs(values).max(axis=0, initial=0.0))


def split_half_reliability(values: Floats) -> NDArray[np.float64]:
    """Reliability of the mean over repetitions: every distinct half split, stepped up to full length, averaged.

    For halves of p R and q R repetitions with correlation r, the reliability of all R is Horst's (1951)
        2 r / (sqrt(r^2 + 4 p q (1 - r^2)) + r),
    which for p = q = 1/2 is Spearman-Brown's 2 r / (1 + r). Ten repetitions have 126 distinct splits, three
    have 3. A half of zero variance counts as r = 0.

    Where trials are missing, r is that of the largest `rectangle` of R repetitions without a missing one, and the
    reliability is that of the means over the n_c repetitions that stimulus c has: a reliability rho of R repetitions
    makes the noise R (1 - rho) / rho times the signal in a single trial, so that of the means is
        rho / (rho + R mean_c(1 / n_c) (1 - rho));
    one of 0 or less stays as it is. Trials are taken to be missing at random.

    values: (n_stimuli, n_repetitions, n_voxels), a missing trial NaN in every voxel; returns (n_voxels,), which noise
    can make negative.

    The half means' covariances are sums of entries of the repetitions' covariance matrix, so each voxel's
    responses are passed once, whatever the number of splits.

    Raises
    ------
    ValueError
        Fewer than two stimuli with two repetitions each, or a stimulus without any.
    """
    counts, values = present(values).sum(axis=1), rectangle(values)
    n_stimuli, n_repetitions, n_voxels = values.shape
    if n_repetitions < 2 or n_stimuli < 2:
        raise ValueError(
            f"reliability needs at least 2 repetitions of 2 stimuli; there are {n_repetitions} of {n_stimuli}"
        )
    if not counts.all():
        raise ValueError(f"{np.count_nonzero(counts == 0)} of {len(counts)} stimuli have no repetition at all")
    halves = _half_splits(n_repetitions)  # (n_splits, n_repetitions), 0/1
    first = halves / halves.sum(axis=1, keepdims=True)
    second = (1 - halves) / (1 - halves).sum(axis=1, keepdims=True)
    share = halves[0].mean()
    reliability = np.empty(n_voxels)
    for part in _batches(n_voxels):
        # (voxels, stimuli, repetitions); one order in memory whatever it was, so the same bits
        trials = np.moveaxis(values[:, :, part].astype(np.float64, order="C"), 2, 0)
        trials -= trials.mean(axis=1, keepdims=True)
        covariance = np.matmul(trials.transpose(0, 2, 1), trials)
        between = np.einsum("sr,vrq,sq->vs", first, covariance, second, optimize=True)
        within = [np.einsum("sr,vrq,sq->vs", half, covariance, half, optimize=True) for half in (first, second)]
        scale = np.sqrt(within[0] * within[1])
        floor = 1e-12 * np.trace(covariance, axis1=1, axis2=2)[:, None]
        r = np.divide(between, scale, out=np.zeros_like(between), where=scale > floor)
        reliability[part] = _stepped_up(r, share).mean(axis=1)
    if counts.min() == counts.max() == n_repetitions:
        return reliability
    noise = n_repetitions * np.mean(1 / counts) * (1 - reliability)
    return np.divide(reliability, reliability + noise, out=reliability, where=reliability > 0)


def noise_ceiling(
    reliability: Floats, policy: Literal["exclude", "floor"], min_reliability: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Highest reachable correlation of each voxel, sqrt(reliability), and which voxels may be scored by it.

    Under `min_reliability` the ceiling is too uncertain to divide by. `exclude` leaves such voxels out of
    normalized scores (they stay in the plain correlations, and are counted); `floor` keeps them, with their
    reliability raised to the minimum. Neither ever scales a score up by a ceiling smaller than
    sqrt(min_reliability); no score is clipped. A reliability of 0 or less has no ceiling even without a minimum.

    reliability: (n_voxels,); returns the ceiling (n_voxels,), NaN where excluded, and the mask of those scored.
    """
    known = (np.asarray(reliability) >= min_reliability) & (np.asarray(reliability) > 0)
    if policy == "floor":
        return np.sqrt(np.fmax(reliability, min_reliability)), np.ones_like(known)
    return np.sqrt(np.where(known, reliability, np.nan)), known


def noise_ceilings(
    reliability: Mapping[str, Floats],
    splits: Iterable[str],
    policy: Literal["exclude", "floor"],
    min_reliability: float,
) -> dict[str, NDArray[np.float64] | None]:
    """The `noise_ceiling` of every split: split -> (n_voxels,), NaN where excluded, or None without a ceiling.

    splits: those with responses (validation, test); of clips that were shown once there is no reliability
    """
    return {
        split: noise_ceiling(reliability[split], policy, min_reliability)[0] if split in reliability else None
        for split in splits
    }


def measure_of(ceiling: Floats | None) -> Measure:
    """The quantity that a split is scored in: r / ceiling, or r where there is no ceiling."""
    return PLAIN if ceiling is None else NORMALIZED


def normalized_correlation_score(measured: Floats, predicted: Floats, ceiling: Floats) -> NDArray[np.float64]:
    """r / ceiling of each voxel, (n_voxels,); NaN where the ceiling is. Not clipped: it can exceed 1."""
    return correlation_score(measured, predicted) / np.asarray(ceiling, dtype=np.float64)


def resampled_clips(n_stimuli: int, n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw how often each clip is in each bootstrap resample, (n_resamples, n_stimuli); rows sum to n_stimuli."""
    return rng.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=n_resamples).astype(np.float64)


def bootstrap_means(measured: Floats, predicted: Floats, weights: Floats, resamples: Floats) -> NDArray[np.float64]:
    """Weighted sums of the voxels' correlations in every resample of the clips, by matrix products.

    The correlation of a resample in which clip i occurs c_i times is that of the weighted sums
    sum c x, sum c y, sum c x^2, sum c y^2, sum c x y: five products for all resamples at once.

    measured, predicted: (n_stimuli, n_voxels)
    weights: (n_voxels, n_groups), 1 / (n ceiling) for a group's mean normalized correlation, 0 elsewhere
    resamples: (n_resamples, n_stimuli), from `resampled_clips`
    returns (n_resamples, n_groups); a voxel that does not vary in a resample counts as 0 there
    """
    total = np.zeros((len(resamples), weights.shape[1]))
    share = resamples / resamples.sum(axis=1, keepdims=True)
    for part in _batches(measured.shape[1], BATCH // 4):
        x, y = unit(measured[:, part]), unit(predicted[:, part])
        mean_x, mean_y = share @ x, share @ y
        variance = (share @ (x * x) - mean_x**2) * (share @ (y * y) - mean_y**2)
        covariance = share @ (x * y) - mean_x * mean_y
        spread = np.sqrt(np.maximum(variance, 0))
        r = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-12 / len(measured))
        total += r @ weights[part]
    return total


def unit(values: Floats) -> NDArray[np.float64]:
    """Columns centred and of length one; 0 where they do not vary."""
    centred = values.astype(np.float64)
    centred -= centred.mean(axis=0)
    centred[:, is_constant(values)] = 0
    length = np.linalg.norm(centred, axis=0)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _batches(n: int, size: int = BATCH) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _half_splits(n: int) -> NDArray[np.float64]:
    """Every distinct split into halves (of n // 2 and the rest), as 0/1 rows: C(n, n//2), half that if n is even."""
    chosen = [half for half in combinations(range(n), n // 2) if n % 2 or 0 in half]
    rows = np.zeros((len(chosen), n))
    for row, half in zip(rows, chosen):
        row[list(half)] = 1
    return rows


def _stepped_up(r: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    root = np.sqrt(r**2 + 4 * share * (1 - share) * (1 - r**2).clip(min=0))
    return 2 * r / np.maximum(root + r, 1e-12)

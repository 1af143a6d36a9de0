"""Reliability of the mean over repetitions, by the estimators that studies report.

Trial k of stimulus c is y_ck = m + s_c + e_ck, k = 1 ... n_c, with a signal of variance S over stimuli and a noise of
variance N in each trial. The means over the repetitions vary by S + N h, with h = mean_c(1 / n_c), and their
reliability is S / (S + N h). Every estimator here takes (n_stimuli, n_repetitions, n_voxels) with a missing trial NaN
in every voxel, and estimates this; `split_half` is `metrics.split_half_reliability`. Stimuli may have different numbers
of repetitions, which are taken to be missing at random. docs/ceilings.md compares the estimators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.statistics.metrics import correlation_score, split_half_reliability
from cinevox.statistics.trials import present

Floats = NDArray[np.floating]

BLOCK = 2**21  # trials times voxels at once, in float64


@dataclass(frozen=True)
class Variances:
    """Variances of each voxel, (n_voxels,).

    noise: N, of a trial around its stimulus: sum_c (n_c - 1) var_c / sum_c (n_c - 1), where var_c is the variance over
        the repetitions of stimulus c (ddof 1); with as many repetitions of every stimulus the mean of var_c
    trials: of all trials around their mean (ddof 1), about S + N
    means: of the stimuli's means (ddof 1), S + N h
    inverse: h = mean_c(1 / n_c)
    """

    noise: NDArray[np.float64]
    trials: NDArray[np.float64]
    means: NDArray[np.float64]
    inverse: float


def variances(values: Floats) -> Variances:
    """The `Variances` of each voxel. A voxel of one value has none at all.

    Raises
    ------
    ValueError
        Fewer than two stimuli, none with two repetitions, or one without any.
    """
    counts = repetition_counts(values)
    found = np.empty((3, values.shape[2]))
    for part, means, within in _of_stimuli(values, counts):
        inside, between = within.sum(axis=1), means**2 @ counts
        found[:, part] = (
            inside / (counts - 1).sum(),
            (inside + between) / (counts.sum() - 1),
            means.var(axis=1, ddof=1),
        )
    noise, trials, stimuli = found
    return Variances(noise, trials, stimuli, float(np.mean(1 / counts)))


def repetition_counts(values: Floats) -> NDArray[np.intp]:
    """The number of repetitions of each stimulus, (n_stimuli,). Raises as `variances`."""
    counts = present(values).sum(axis=1)
    if len(counts) < 2 or counts.max(initial=0) < 2:
        raise ValueError(
            "reliability needs at least 2 stimuli, and 2 repetitions of one of them; there are "
            f"{counts.max(initial=0)} of {len(counts)}"
        )
    if not counts.all():
        raise ValueError(f"{np.count_nonzero(counts == 0)} of {len(counts)} stimuli have no repetition at all")
    return counts


def ncsnr(values: Floats) -> NDArray[np.float64]:
    """Noise-ceiling signal-to-noise ratio of a trial, sqrt(max(0, T - N) / N), (n_voxels,); Allen et al. 2022.

    T is the variance of all trials. The ratio is 0 where noise explains all of it (so it is biased upwards near 0),
    infinite where there is no noise. With R repetitions T is below S + N by (R - 1) S / (n_stimuli R - 1), which the
    authors, who z-scored trials, leave uncorrected. Raises as `variances`.
    """
    found = variances(values)
    signal = np.maximum(found.trials - found.noise, 0)
    return np.sqrt(np.divide(signal, found.noise, out=np.where(signal > 0, np.inf, 0.0), where=found.noise > 0))


def explainable_share(ratio: Floats, inverse: float = 1.0) -> NDArray[np.float64]:
    """NC % / 100: the share of variance that a model can explain, ncsnr^2 / (ncsnr^2 + h); Allen et al. 2022.

    ratio: `ncsnr`, (n_voxels,); inverse: h = mean_c(1 / n_c) of the responses that are predicted, 1 for single trials
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (1 + inverse / np.asarray(ratio, dtype=np.float64) ** 2))


def signal_to_noise(share: Floats) -> NDArray[np.float64]:
    """`ncsnr` of a single trial's explainable share, sqrt(share / (1 - share)); the inverse of `explainable_share`."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(np.asarray(share, dtype=np.float64) / (1 - np.asarray(share, dtype=np.float64))))


def ncsnr_reliability(values: Floats) -> NDArray[np.float64]:
    """NC / 100 of the means over repetitions, (n_voxels,), never negative. Raises as `variances`."""
    return explainable_share(ncsnr(values), float(np.mean(1 / repetition_counts(values))))


def analytic_reliability(values: Floats) -> NDArray[np.float64]:
    """(V - N h) / V, with V the variance of the means over stimuli, (n_voxels,); Lage-Castellanos et al. 2019.

    With R repetitions of every stimulus h is 1 / R. Noise can make it negative. Raises as `variances`.
    """
    found = variances(values)
    return _ratio(found.means - found.noise * found.inverse, found.means)


def signal_power(values: Floats) -> NDArray[np.float64]:
    """SP = (var(sum_r y_r) - sum_r var(y_r)) / (R (R - 1)), (n_voxels,), an estimate of S; Schoppe et al. 2016.

    That is the mean covariance of two repetitions. Where trials are missing it is the pooled one: the co-deviations of
    every pair of repetitions over the n_pair stimuli that have both, summed and divided by the sum of n_pair - 1. Each
    repetition has a mean of its own, so unlike the other estimators it lets responses drift from one to the next.

    Raises
    ------
    ValueError
        As `variances`, or no two repetitions have two stimuli in common.
    """
    counts, there = repetition_counts(values), present(values)
    both = there.T.astype(np.float64) @ there
    pairs = np.triu(both >= 2, k=1)
    if not pairs.any():
        raise ValueError(f"no two of {len(there[0])} repetitions have 2 of {len(counts)} stimuli in common")
    found = np.empty(values.shape[2])
    for part in _parts(values.shape[2], there.size):
        trials = _centred(values[:, :, part], there)
        products = np.matmul(trials, trials.transpose(0, 2, 1))
        sums = np.matmul(trials, there.astype(np.float64))  # [r, q]: of r, over the stimuli that q has
        deviations = products[:, pairs] - (sums * sums.transpose(0, 2, 1))[:, pairs] / both[pairs]
        found[part] = deviations.sum(axis=1) / (both[pairs] - 1).sum()
    return found


def schoppe_reliability(values: Floats) -> NDArray[np.float64]:
    """SP / V, `signal_power` over the variance of the means, (n_voxels,): r over its root is CCnorm.

    Noise can make it negative. Raises as `signal_power`.
    """
    return _ratio(signal_power(values), variances(values).means)


def ccnorm_score(values: Floats, predicted: Floats) -> NDArray[np.float64]:
    """CCnorm = cov(yhat, ybar) / sqrt(var(yhat) SP) = r / sqrt(SP / V), (n_voxels,); Schoppe et al. 2016.

    NaN where SP is not positive; not clipped.

    values: (n_stimuli, n_repetitions, n_voxels), ybar their means; predicted: yhat, (n_stimuli, n_voxels)
    """
    counts = repetition_counts(values)
    measured = np.nansum(values, axis=1, dtype=np.float64) / counts[:, None]
    reliability = schoppe_reliability(values)
    return correlation_score(measured, predicted) / np.sqrt(np.where(reliability > 0, reliability, np.nan))


METHODS: Mapping[str, Callable[[Floats], NDArray[np.float64]]] = {
    "split_half": split_half_reliability,
    "ncsnr": ncsnr_reliability,
    "analytic": analytic_reliability,
    "schoppe": schoppe_reliability,
}


TITLES: Mapping[str, str] = {
    "split_half": "from all split halves, stepped up (Spearman-Brown)",
    "ncsnr": "as NC % / 100, from the noise-ceiling signal-to-noise ratio (Allen et al. 2022)",
    "analytic": "from the variances of means and of trials (Lage-Castellanos et al. 2019)",
    "schoppe": "from the signal power (Schoppe et al. 2016)",
    "imported": "as the study itself gives it",
}


def explained_share(r: Floats, reliability: Floats) -> NDArray[np.float64]:
    """r^2 / reliability: the explained share of the explainable variance, (n_voxels,); a negative r explains nothing.

    It is the square of r / ceiling, as the ceiling is sqrt(reliability); (r / reliability)^2 is nothing at all. NaN
    where the reliability is not positive; not clipped.
    """
    known = np.where(np.asarray(reliability) > 0, reliability, np.nan)
    return np.asarray(np.maximum(r, 0) ** 2 / known, dtype=np.float64)


def resampled_analytic(values: Floats, resamples: Floats) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """`analytic_reliability` in resamples of the stimuli less that of all of them, some voxels at a time.

    With w_c of stimulus c the weighted sums of the means, of their squares and of the squared deviations inside of a
    stimulus are matrix products over all resamples at once. Stimuli stand twice in a resample of n, so the variance of
    its means is (n - 1) / n of that of all stimuli on average; it is divided by this.

    A resample without a repeated stimulus has no noise, and NaN.

    resamples: how often each stimulus is in each, (n_resamples, n_stimuli); yields voxels, (n of them, n_resamples)
    """
    counts = repetition_counts(values)
    drawn = np.ascontiguousarray(resamples.T)
    total, freedom = drawn.sum(axis=0), (counts - 1) @ drawn
    inverse = (1 / counts) @ drawn / total
    whole = float(np.mean(1 / counts))
    for part, means, within in _of_stimuli(values, counts):
        spread = (means**2 @ drawn - (means @ drawn) ** 2 / total) * total / (total - 1) ** 2
        noise = (within @ drawn) / np.where(freedom > 0, freedom, np.nan)
        centre = means.var(axis=1, ddof=1)
        here = _ratio(centre - within.sum(axis=1) / (counts - 1).sum() * whole, centre)
        yield part, _ratio(spread - noise * inverse, spread) - here[:, None]


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _of_stimuli(
    values: Floats, counts: NDArray[np.intp]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield some voxels, their means over repetitions less the mean of all trials, and sums of squares around them.

    Both are (n of the voxels, n_stimuli), and exactly 0 in a voxel of one value.
    """
    there = present(values)
    for part in _parts(values.shape[2], there.size):
        trials = _centred(values[:, :, part], there)
        means = trials.sum(axis=1) / counts
        trials -= means[:, None]
        if not there.all():
            trials *= there.T
        yield part, means, np.square(trials, out=trials).sum(axis=1)


def _centred(values: Floats, there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Trials less the mean of all that are there, (n_voxels, n_repetitions, n_stimuli); 0 for those that are not.

    A voxel of one value is exactly 0. Voxels come first, as in the files, which are read the faster for it.
    """
    trials = values.T.astype(np.float64, order="C")
    inside = True if there.all() else there.T
    high, low = (
        end(trials, axis=(1, 2), where=inside, initial=start) for end, start in ((np.max, -np.inf), (np.min, np.inf))
    )
    trials -= trials.mean(axis=(1, 2), where=inside, keepdims=True)
    constant = high - low <= 1e-7 * np.maximum(np.abs(high), np.abs(low))
    trials[constant] = 0
    if not there.all():
        trials[:, ~there.T] = 0
    return trials


def _parts(n_voxels: int, n_trials: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, n_trials))
    return (slice(start, start + step) for start in range(0, n_voxels, step))

"""Faults of single trials: missing, filled with one number, or copied from one another.

Such a trial passes for a measurement. Copied repetitions make a voxel look more reliable than it is (all alike, its
ceiling is 1 and a normalized score is the raw one), and filled ones make it look less so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.measured import voxel_positions
from cinevox.measured.voxel_blocks import voxel_blocks

Floats = NDArray[np.floating]
Trial = tuple[int, int]

MIN_VOXELS, MIN_COARSE = 3, 8  # in which two trials can only be equal because one was copied; of 16-bit numbers
MIN_SPARE = 10  # voxels beyond the repetitions, with which trials of noise are never dependent to within DEPENDENT
DEPENDENT = 1e-6  # 1 - r over voxels between a trial and its copy with float noise, less what all trials share,
EXACTLY = 1e-10  # and between one and a multiple of it, as they are; dependent trials' r have such an eigenvalue
N_TOLD = 5
BLOCK = 2**25  # bytes of trials, as float64, in memory at a time


@dataclass(frozen=True)
class Trials:
    """Single trials of a file, passed in blocks of voxels.

    stored: numbers, (n_stimuli, n_repetitions, n_voxels); there: trials that are not missing, (n_stimuli,
    n_repetitions)
    """

    stored: NDArray[Any]
    there: NDArray[np.bool_]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the voxels in float32, 0 in place of what is not finite, but for missing trials, which are NaN."""
        for _, values in voxel_blocks(self.stored):
            yield self.finite(values)

    def finite(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put 0 in place of what is not finite; some voxels, changed where they are."""
        if not np.isfinite(values).all():
            values[self.there[:, :, None] & ~np.isfinite(values)] = 0
        return values


class Passed:
    """Sums over voxels of each trial, (n_stimuli, n_repetitions), added up over blocks of voxels.

    prints: `trial_fingerprints`, equal for equal trials of files with as many voxels
    total: of all voxels; low, high: the least and the largest response in the voxels that vary
    some: the first four voxels that vary; n_varying: how many do
    """

    def __init__(self, trials: Trials) -> None:
        shape = trials.there.shape
        self._weights = voxel_positions.trial_weights(trials.stored.shape[2])
        self._n_passed, self.n_varying = 0, 0
        self.prints = np.zeros(shape, dtype=np.uint64)
        self.total = np.zeros(shape)
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.some = np.empty((*shape, 0), dtype=np.float32)

    def add(self, values: NDArray[np.float32], varies: NDArray[np.bool_]) -> None:
        """Take in the next voxels. values: as `Trials.blocks` has them, (n_stimuli, n_repetitions, n); varies: (n,)"""
        weights = self._weights[self._n_passed :][: values.shape[2]]
        self._n_passed += values.shape[2]
        for own, trials in zip(self.prints, values):
            own += voxel_positions.trial_fingerprints(trials, weights)
        self.total += values.sum(axis=2, dtype=np.float64)
        self.n_varying += int(np.count_nonzero(varies))
        if varies.any():
            varying = values if varies.all() else values[:, :, varies]
            np.fmin(self.low, varying.min(axis=2), out=self.low)
            np.fmax(self.high, varying.max(axis=2), out=self.high)
            self.some = np.concatenate([self.some, varying[:, :, : 4 - self.some.shape[2]]], axis=2)

    def keys(self, trials: Trials, min_voxels: int = MIN_VOXELS) -> NDArray[np.uint64]:
        """Collect the prints of all trials, by which a copy of one in another file is found.

        There are none where fewer than min_voxels voxels vary, and of whole numbers, which agree by chance.
        """
        if trials.stored.dtype.kind != "f" or self.n_varying < min_voxels:
            return np.empty(0, dtype=np.uint64)
        return np.unique(self.prints[trials.there])


def faults(trials: Trials, passed: Passed, min_voxels: int = MIN_VOXELS) -> dict[str, str | None]:
    """A sentence about the trials that have each fault, None where there are none.

    filled: all voxels have the same number
    copied: two repetitions of a stimulus are equal, or one is the other scaled and shifted
    imputed: a repetition of a stimulus is a weighted sum of others, as their mean is
    repeated: a trial is equal to one of another stimulus

    passed: of all voxels; min_voxels: that need to vary, for anything to be said
    """
    there = trials.there
    if passed.n_varying < min_voxels:
        return {"filled": None, "copied": None, "imputed": None, "repeated": None}
    filled = there & (passed.low == passed.high)
    usable = there & ~filled
    groups = _equal(usable, passed)
    copied = {pair for group in groups for pair in combinations(group, 2) if pair[0][0] == pair[1][0]}
    imputed = []
    if there.shape[1] > 1 and passed.n_varying >= there.shape[1] + MIN_SPARE:
        for stimulus, pairs in sorted(_dependent(trials, usable, passed.total).items()):
            copied |= pairs
            imputed += [] if pairs else [f"stimulus {stimulus + 1}"]
    repeated = [group for group in groups if len({stimulus for stimulus, _ in group}) > 1]
    return {
        "filled": named(filled),
        "copied": _pairs(sorted(copied), "repetition"),
        "imputed": _told(_counted(len(imputed), "stimulus"), imputed) if imputed else None,
        "repeated": _pairs([(group[0], next(t for t in group if t[0] != group[0][0])) for group in repeated], "trial"),
    }


def named(trials: NDArray[np.bool_]) -> str | None:
    """Say which trials these are, counted from 1; None if there are none. trials: (n_stimuli, n_repetitions)"""
    found = [(int(stimulus), int(repetition)) for stimulus, repetition in np.argwhere(trials)]
    return _told(f"{len(found)} of {trials.size} trials", [_name(trial) for trial in found]) if found else None


def named_stimuli(stimuli: NDArray[np.bool_]) -> str | None:
    """Say which stimuli these are, counted from 1; None if there are none. stimuli: (n_stimuli,)"""
    found = [f"stimulus {number + 1}" for number in np.flatnonzero(stimuli)]
    return _told(f"{len(found):,} of {len(stimuli):,} stimuli", found) if found else None


def _name(trial: Trial) -> str:
    return f"stimulus {trial[0] + 1} repetition {trial[1] + 1}"


def _counted(n: int, what: str) -> str:
    plural = "stimuli" if what == "stimulus" else f"{what}s"
    return f"{n:,} {what if n == 1 else plural}"


def _told(what: str, names: Sequence[str]) -> str:
    more = f", and {len(names) - N_TOLD:,} more" if len(names) > N_TOLD else ""
    return f"{what}: {', '.join(names[:N_TOLD])}{more}"


def _pairs(pairs: Sequence[tuple[Trial, Trial]], what: str) -> str | None:
    if not pairs:
        return None
    n_stimuli = len({trial[0] for pair in pairs for trial in pair})
    names = [
        f"{_name(first)} = {_name(second) if first[0] != second[0] else f'repetition {second[1] + 1}'}"
        for first, second in pairs
    ]
    return _told(f"{_counted(len(pairs), 'pair')} of {what}s, of {_counted(n_stimuli, 'stimulus')}", names)


def _equal(usable: NDArray[np.bool_], passed: Passed) -> list[list[Trial]]:
    """Groups of equal trials: by their prints, and by some voxels."""
    found = defaultdict(list)
    for stimulus, repetition in np.argwhere(usable):
        trial = int(stimulus), int(repetition)
        found[passed.prints[trial], passed.some[trial].tobytes()].append(trial)
    return [group for group in found.values() if len(group) > 1]


def _dependent(trials: Trials, usable: NDArray[np.bool_], total: Floats) -> dict[int, set[tuple[Trial, Trial]]]:
    """Stimuli whose repetitions are linearly dependent, and pairs of them that are copies.

    The smallest eigenvalue of the correlations, over voxels, between a stimulus's repetitions is 0 where one of them
    is a weighted sum of others. Patterns are taken as they are, and less the mean of all trials.

    total: sum over voxels of each trial
    """
    mean = np.where(usable, total, 0) / trials.stored.shape[2]
    product, along, length = _products(trials, usable, mean)
    found: dict[int, set[tuple[Trial, Trial]]] = defaultdict(set)
    less = product - along[:, :, None] - along[:, None, :] + length
    for covariance, limit in ((less, DEPENDENT), (product, EXACTLY)):
        r = _correlations(covariance, usable)
        for number in np.flatnonzero(np.linalg.eigvalsh(r)[:, 0] <= limit):
            stimulus = int(number)
            alike = np.argwhere(np.triu(r[number], 1) >= 1 - limit)
            found[stimulus] |= {((stimulus, int(first)), (stimulus, int(second))) for first, second in alike}
    return found


def _products(trials: Trials, usable: NDArray[np.bool_], mean: Floats) -> tuple[Floats, Floats, float]:
    """Sums over voxels of products of patterns, each less its mean over voxels.

    Returns those of a stimulus's repetitions with each other, (n_stimuli, n_repetitions, n_repetitions), of each trial
    with the mean of all trials, (n_stimuli, n_repetitions), and of that mean with itself.
    """
    n_stimuli, n_repetitions = usable.shape
    product, along, length = np.zeros((n_stimuli, n_repetitions, n_repetitions)), np.zeros(usable.shape), 0.0
    n_usable = np.count_nonzero(usable)
    for values in trials.blocks():
        values[~usable] = 0
        shared = values.sum(axis=(0, 1), dtype=np.float64) / n_usable - mean.sum() / n_usable
        length += float(shared @ shared)
        step = max(1, BLOCK // (8 * n_repetitions * values.shape[2]))
        for rows in (slice(start, start + step) for start in range(0, n_stimuli, step)):
            patterns = values[rows] - mean[rows, :, None]
            product[rows] += patterns @ patterns.transpose(0, 2, 1)
            along[rows] += patterns @ shared
    return product, along, length


def _correlations(covariance: Floats, there: NDArray[np.bool_]) -> Floats:
    """Compute the correlations between trials, (n_stimuli, n_repetitions, n_repetitions).

    A correlation with a trial that is missing or does not vary is 0.
    """
    variance = np.einsum("srr->sr", covariance)
    varies = there & (variance > 0)
    both = varies[:, :, None] & varies[:, None, :]
    spread = np.sqrt(np.where(varies, variance, 1))
    r: Floats = np.where(both, covariance / (spread[:, :, None] * spread[:, None, :]), 0)
    return r + ~varies[:, :, None] * np.eye(there.shape[1])

"""Faults of single trials: missing, filled with one number, or copied from one another.

Such a trial passes for a measurement. Copied repetitions make a voxel look more reliable than it is (all alike, its
ceiling is 1 and a normalized score is the raw one), and filled ones make it look less so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Trial = tuple[int, int]

MIN_VOXELS = 3  # in which two trials can only be equal because one was copied
MIN_SPARE = 10  # voxels beyond the repetitions, with which trials of noise are never dependent to within DEPENDENT
DEPENDENT = 1e-6  # 1 - r over voxels between a trial and its copy with float noise, less what all trials share,
EXACTLY = 1e-10  # and between one and a multiple of it, as they are; dependent trials' r have such an eigenvalue
N_TOLD = 5
BLOCK = 2**25  # bytes of trials, as float64, in memory at a time


def faults(values: Floats, there: NDArray[np.bool_], varies: NDArray[np.bool_]) -> dict[str, str | None]:
    """A sentence about the trials that have each fault, None where there are none.

    filled: all voxels have the same number
    copied: two repetitions of a stimulus are equal, or one is the other scaled and shifted
    imputed: a repetition of a stimulus is a weighted sum of others, as their mean is
    repeated: a trial is equal to one of another stimulus

    values: finite, (n_stimuli, n_repetitions, n_voxels); there: trials that are not missing, (n_stimuli,
    n_repetitions); varies: voxels, (n_voxels,)
    """
    voxels = np.flatnonzero(varies)
    if len(voxels) < MIN_VOXELS:
        return {"filled": None, "copied": None, "imputed": None, "repeated": None}
    some = values[:, :, voxels[:4]]
    filled = there & (np.ptp(some, axis=2) == 0)
    for trial in np.argwhere(filled):
        filled[tuple(trial)] = np.ptp(values[tuple(trial)][voxels]) == 0
    usable = there & ~filled
    groups = list(_equal(values, usable, some))
    copied = {pair for group in groups for pair in combinations(group, 2) if pair[0][0] == pair[1][0]}
    imputed = []
    if len(voxels) >= values.shape[1] + MIN_SPARE:
        for stimulus, pairs in sorted(_dependent(values, usable).items()):
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


def keys(values: NDArray[Any]) -> frozenset[bytes]:
    """Collect every trial's responses of some voxels, by which a copy of it in another file is found.

    Empty where fewer than MIN_VOXELS of them vary, and of whole numbers, which agree by chance.

    values: numbers, (n_stimuli, n_repetitions, n_voxels)
    """
    n_stimuli, n_repetitions, n_voxels = values.shape
    if not values.size or values.dtype.kind != "f":
        return frozenset()
    chosen = np.unique(np.linspace(0, n_voxels - 1, 8).astype(np.intp))
    with np.errstate(over="ignore"):
        some = np.asarray(values[:, :, chosen], dtype=np.float32).reshape(n_stimuli * n_repetitions, len(chosen))
    there = some[np.isfinite(some).all(axis=1)]
    if not len(there) or np.count_nonzero(np.ptp(there, axis=0)) < MIN_VOXELS:
        return frozenset()
    return frozenset(trial.tobytes() for trial in there)


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


def _equal(values: Floats, usable: NDArray[np.bool_], some: Floats) -> Iterator[list[Trial]]:
    """Groups of equal trials. some: a few voxels of them, which tell most trials apart."""
    for group in _grouped(np.argwhere(usable), lambda trial: some[trial].tobytes()):
        yield from _grouped(group, lambda trial: values[trial].tobytes())


def _grouped(trials: Any, key: Any) -> list[list[Trial]]:
    found = defaultdict(list)
    for stimulus, repetition in trials:
        found[key((stimulus, repetition))].append((int(stimulus), int(repetition)))
    return [group for group in found.values() if len(group) > 1]


def _dependent(values: Floats, usable: NDArray[np.bool_]) -> dict[int, set[tuple[Trial, Trial]]]:
    """Stimuli whose repetitions are linearly dependent, and pairs of them that are copies.

    The smallest eigenvalue of the correlations, over voxels, between a stimulus's repetitions is 0 where one of them
    is a weighted sum of others. Patterns are taken as they are, and less the mean of all trials.
    """
    n_stimuli, n_repetitions, n_voxels = values.shape
    shared = values[usable].mean(axis=0) if not usable.all() else values.mean(axis=(0, 1))
    shared = shared - shared.mean(dtype=np.float64)
    step = max(1, BLOCK // (8 * n_repetitions * n_voxels))
    found: dict[int, set[tuple[Trial, Trial]]] = defaultdict(set)
    for rows in (slice(start, start + step) for start in range(0, n_stimuli, step)):
        there = usable[rows]
        patterns = values[rows].astype(np.float64)
        patterns[~there] = 0
        patterns -= patterns.mean(axis=2, keepdims=True)
        product = patterns @ patterns.transpose(0, 2, 1)  # (stimuli, repetitions, repetitions)
        along = (patterns @ shared)[:, :, None]
        less = product - along - along.transpose(0, 2, 1) + shared @ shared
        for covariance, limit in ((less, DEPENDENT), (product, EXACTLY)):
            r = _correlations(covariance, there)
            for number in np.flatnonzero(np.linalg.eigvalsh(r)[:, 0] <= limit):
                stimulus = rows.start + int(number)
                alike = np.argwhere(np.triu(r[number], 1) >= 1 - limit)
                found[stimulus] |= {((stimulus, int(first)), (stimulus, int(second))) for first, second in alike}
    return found


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

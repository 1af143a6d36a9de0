"""Positions of voxels: whole-brain columns in the volume, and an ROI's columns among them.

The whole brain's columns go through its mask in C order (the last axis fastest), the mini track's columns in
Fortran order of the same volume (the first axis fastest): `to_volume(values, mask)` and
`to_volume(values, roi_mask(mask, where), order="F")` put them in the same places.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def to_volume(
    values: Floats, mask: NDArray[np.bool_], outside: float = np.nan, order: Literal["C", "F"] = "C"
) -> Floats:
    """Values (..., n_voxels) as a volume (..., *mask.shape).

    order: of the columns through the mask; C of the whole brain, F of an ROI of the mini track

    Raises
    ------
    ValueError
        The mask has another number of voxels.
    """
    n_voxels = int(np.count_nonzero(mask))
    if values.shape[-1] != n_voxels:
        raise ValueError(f"{values.shape[-1]} values (n_voxels) for a mask of {n_voxels} voxels")
    volume = np.full((*values.shape[:-1], *mask.shape), outside, dtype=values.dtype)
    volume[..., mask] = values if order == "C" else values[..., fortran_ranks(mask)]
    return volume


def roi_mask(mask: NDArray[np.bool_], where: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The volume of an ROI, given where its columns stand among those of the whole brain (see `locate`)."""
    inside = np.zeros(np.count_nonzero(mask), dtype=bool)
    inside[where] = True
    found = np.zeros_like(mask)
    found[mask] = inside
    return found


def fortran_ranks(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each whole-brain column, its place if the columns went through the mask in Fortran order, (n_voxels,)."""
    order = np.lexsort(np.nonzero(mask))
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def fingerprints(values: Floats) -> NDArray[np.uint64]:
    """A number for each column, equal for equal responses and practically never otherwise.

    h_v = sum_i w_i bits(y_iv) mod 2^64 with odd random w_i and the responses' float32 bits: two columns that
    differ share it with a probability below 2^-32.

    values: (n_stimuli, n_repetitions, n_voxels); returns (n_voxels,)
    """
    n_stimuli, n_repetitions, n_voxels = values.shape
    weights = np.random.default_rng(0).integers(2**63, size=(n_stimuli, n_repetitions, 1), dtype=np.uint64) * 2 + 1
    total = np.zeros(n_voxels, dtype=np.uint64)
    for trials, weight in zip(values, weights):
        with np.errstate(over="ignore"):
            bits = np.ascontiguousarray(trials, dtype=np.float32).view(np.uint32)
        total += (bits * weight).sum(axis=0, dtype=np.uint64)
    return total


def trial_weights(n_voxels: int) -> NDArray[np.uint64]:
    """The weights of `trial_fingerprints`, (n_voxels,)."""
    return np.random.default_rng(1).integers(2**63, size=n_voxels, dtype=np.uint64) * 2 + 1


def trial_fingerprints(values: NDArray[np.float32], weights: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each trial as `fingerprints` has for each column; those of some voxels add up to that of all.

    values: (n_trials, n_voxels); weights: of these voxels, see `trial_weights`; returns (n_trials,)
    """
    return np.asarray((np.ascontiguousarray(values).view(np.uint32) * weights).sum(axis=1, dtype=np.uint64))


def locate(wanted: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Locate each fingerprint of an ROI among those of the whole brain, (n_voxels,); -1 if it is nowhere."""
    order = np.argsort(among, kind="stable")
    found = order[np.minimum(np.searchsorted(among, wanted, sorter=order), len(order) - 1)]
    return np.where(among[found] == wanted, found, -1)

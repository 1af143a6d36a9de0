"""Trials of repeated stimuli, some of which may be missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def present(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The trials that are there, (n_stimuli, n_repetitions): a missing one is NaN in every voxel.

    Validation and conversion refuse a trial that is NaN in some voxels only, so one voxel tells.

    values: (n_stimuli, n_repetitions, n_voxels)
    """
    return np.asarray(~np.isnan(values[:, :, :1]).any(axis=2))


def rectangle(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The largest rectangle of trials without a missing one, (n_kept, n_repetitions_kept, n_voxels).

    A rectangle of R repetitions holds the first R measured trials of every stimulus that has as many; R is the number,
    at least 2, with which it holds the most trials. Where nothing is missing it is `values`.
    """
    there = present(values)
    if there.all():
        return values
    counts = there.sum(axis=1)
    R = max(range(2, values.shape[1] + 1), key=lambda n: n * np.count_nonzero(counts >= n), default=1)
    kept = np.flatnonzero(counts >= R)
    first = np.argsort(~there[kept], axis=1, kind="stable")[:, :R]
    return values[kept[:, None], first]

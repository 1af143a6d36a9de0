"""Responses in blocks of voxels: however large a file is, passing it takes the memory of one block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io

BLOCK = 2**25  # bytes of a block, in float32; work on it takes about five times that


def voxel_blocks(values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield consecutive voxels, and their responses in float32, (n_stimuli, n_repetitions, n): new arrays.

    values: numbers, (n_stimuli, n_repetitions, n_voxels), best memory-mapped; one too large for float32 is infinite
    """
    n_stimuli, n_repetitions, n_voxels = values.shape
    step = max(1, BLOCK // max(1, 4 * n_stimuli * n_repetitions))
    for start in range(0, n_voxels, step):
        where = slice(start, min(start + step, n_voxels))
        found = np.empty((n_stimuli, n_repetitions, where.stop - start), dtype=np.float32)
        for rows in pieces(values, BLOCK):
            with np.errstate(over="ignore"):
                found[rows] = values[rows, :, where]
            io.forget(values)
        yield where, found


def pieces(values: NDArray[Any], block: int) -> Iterator[slice]:
    """Stimuli to pass at a time: a voxel's values are all over a file in C order, which would all be in memory else."""
    n_stimuli = len(values)
    step = max(1, block * n_stimuli // max(1, values.nbytes)) if values.flags.c_contiguous else max(1, n_stimuli)
    return (slice(start, start + step) for start in range(0, n_stimuli, step))

"""Compiled kernels over ranges of voxels, on as many threads as numba is set to (one in a joblib process)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

CHUNK = 256


def over_voxels(kernel: Callable[[int, int], None], n_voxels: int) -> None:
    """Call `kernel(start, stop)`, which frees the interpreter lock, until every voxel is done.

    Small chunks are handed out as threads get free, since voxels differ in work.
    """
    n_threads = min(numba.get_num_threads(), -(-n_voxels // 16))
    if n_threads == 1:
        kernel(0, n_voxels)
        return
    size = min(CHUNK, -(-n_voxels // (4 * n_threads)))
    starts = range(0, n_voxels, size)
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(kernel, start, min(start + size, n_voxels)) for start in starts]:
            done.result()

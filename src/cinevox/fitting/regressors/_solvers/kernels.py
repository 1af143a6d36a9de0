"""Compiled kernels over ranges of voxels, on as many threads as numba is set to (one in a joblib process)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

CHUNK = 256


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays: cached on disk, without the interpreter lock, division as numpy's."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def summing_kernel(function: Callable[..., Any]) -> Any:
    """A kernel whose sums may be taken in any order, which lets them use vector instructions."""
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A part of every kernel that calls it, compiled there as that kernel is, its liberties with sums included."""
    return numba.njit(inline="always", error_model="numpy")(function)


def over_voxels(compiled: Callable[[int, int], None], n_voxels: int) -> None:
    """Call `compiled(start, stop)`, which frees the interpreter lock, until every voxel is done.

    Small chunks are handed out as threads get free, since voxels differ in work.
    """
    n_threads = min(numba.get_num_threads(), -(-n_voxels // 16))
    if n_threads == 1:
        compiled(0, n_voxels)
        return
    size = min(CHUNK, -(-n_voxels // (4 * n_threads)))
    starts = range(0, n_voxels, size)
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(compiled, start, min(start + size, n_voxels)) for start in starts]:
            done.result()

"""Agreement of repetitions: split-half correlations, added up over blocks of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.statistics import metrics
from cinevox.statistics.trials import rectangle

MIN_STIMULI = 12  # under which z says nothing: it is at most sqrt(n_stimuli - 1)
NOISELESS = 1 - 1e-6  # split-half r of a voxel whose repetitions are copies
ROWS = 1024  # of a matrix over pairs of stimuli, that are worked on at a time


class SplitHalves:
    """Split-half correlations of the largest rectangle of trials without a missing one.

    z is how far the mean r lies from what stimuli in any order would give, in standard deviations. With z-scored halves
    A, B, (n_stimuli, n_voxels), the mean r of an order pi is sum_i G[i, pi(i)] with G = A B' / (n_stimuli n_voxels).
    Over all orders its mean is 0 and its variance sum_ij G_ij^2 / (n_stimuli - 1), so no order needs to be drawn, and
    voxels may depend on each other.

    Reference: Hoeffding 1951, "A combinatorial central limit theorem".
    """

    def __init__(self) -> None:
        self._total, self._n_voxels, self._n_noiseless = 0.0, 0, 0
        self._gram: NDArray[np.floating] | None = None  # n_stimuli n_voxels G

    def add(self, values: NDArray[np.floating]) -> None:
        """Take in some voxels. values: (n_stimuli, n_repetitions, n), finite but for missing trials, which are NaN."""
        whole = rectangle(values)
        n_stimuli, n_repetitions, n_voxels = whole.shape
        if n_repetitions < 2 or n_stimuli < 2:
            return
        first, second = np.split(whole, [n_repetitions // 2], axis=1)
        halves = first.mean(axis=1), second.mean(axis=1)
        r = metrics.correlation_score(*halves)
        self._total += float(r.sum())
        self._n_voxels += n_voxels
        if n_stimuli < MIN_STIMULI:
            return
        self._n_noiseless += int(np.count_nonzero(r > NOISELESS))
        a, b = (_standard(half) for half in halves)
        if self._gram is None:
            self._gram = np.zeros((n_stimuli, n_stimuli), dtype=a.dtype)
        for start in range(0, n_stimuli, ROWS):
            self._gram[start : start + ROWS] += a[start : start + ROWS] @ b.T

    def row(self) -> dict[str, Any]:
        """The mean r, z, and the number of voxels without noise; each left out where there are too few trials."""
        if not self._n_voxels:
            return {}
        found: dict[str, Any] = {"split_half": round(self._total / self._n_voxels, 4)}
        if self._gram is not None:
            found |= {"split_half_z": round(self._z(self._gram), 2), "n_noiseless": self._n_noiseless}
        return found

    @staticmethod
    def _z(gram: NDArray[np.floating]) -> float:
        n_stimuli = len(gram)
        squares = sum(
            float(np.square(gram[start : start + ROWS], dtype=np.float64).sum()) for start in range(0, n_stimuli, ROWS)
        )
        return float(np.trace(gram) / np.sqrt(squares / (n_stimuli - 1))) if squares else 0.0


def _standard(half: NDArray[np.floating]) -> NDArray[np.floating]:
    centred = half - half.mean(axis=0)
    spread = centred.std(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)

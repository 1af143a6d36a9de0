"""Ridge with a penalty of its own for every band, in the features or in the bands' kernels, whichever is smaller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, Map
from cinevox.fitting.regressors._solvers.dual import DualMap, about_mean, linear_kernel
from cinevox.fitting.regressors._solvers.linear import LinearMap, centred
from cinevox.fitting.regressors._solvers.moments import Matrix
from cinevox.fitting.regressors._solvers.ridge import (
    FoldFit,
    kernel_ridge_duals,
    kernel_ridge_folds,
    ridge_coefficients,
    ridge_folds,
)
from cinevox.fitting.regressors._solvers.stacking import StackedMap
from cinevox.statistics.splits import Fold


class BandsInFeatures:
    """Ridge on features that are scaled by the root of their band's share."""

    def __init__(self, X: Floats, bands: Sequence[slice]) -> None:
        self.Xc, self.x_mean = centred(X)
        self.sizes = [band.stop - band.start for band in bands]

    def folds(self, share: Matrix, folds: Sequence[Fold]) -> list[FoldFit]:
        """The folds at one share per band, (n_bands,)."""
        return ridge_folds(self.Xc * self._scale(share), folds)

    def map(self, shares: Matrix, draw: NDArray[np.intp], Y: Floats, alpha: Matrix) -> Map:
        """The fit to all clips, each voxel with its row of shares (n_draws, n_bands) and its alpha, (n_voxels,)."""
        coef = np.empty((self.Xc.shape[1], Y.shape[1]), dtype=np.float32)
        for number in np.unique(draw):
            chosen, scale = draw == number, self._scale(shares[number])
            coef[:, chosen] = scale[:, None] * ridge_coefficients(self.Xc * scale, Y[:, chosen], alpha[chosen])
        return LinearMap(self.x_mean, Y.mean(axis=0, dtype=np.float64), coef)

    def _scale(self, share: Matrix) -> Matrix:
        return np.repeat(np.sqrt(share), self.sizes)


class BandsInKernels:
    """Kernel ridge on the sum of the bands' kernels, each times its share: for more features than clips.

    With duals D a voxel's prediction is y_mean + sum_b g_b k_b D. As shares sum to 1, that is a stack of the bands'
    predictions y_mean + k_b D, with the shares as weights.
    """

    def __init__(self, X: Floats, bands: Sequence[slice]) -> None:
        self.parts, self.ends = [X[:, band] for band in bands], np.array([band.stop for band in bands])
        self.kernels, self.means = zip(*map(linear_kernel, self.parts), strict=True)

    def folds(self, share: Matrix, folds: Sequence[Fold]) -> list[FoldFit]:
        """The folds at one share per band, (n_bands,)."""
        kernel = self._kernel(share)
        return kernel_ridge_folds((about_mean(kernel, fold.fit) for fold in folds), folds)

    def map(self, shares: Matrix, draw: NDArray[np.intp], Y: Floats, alpha: Matrix) -> Map:
        """The fit to all clips, each voxel with its row of shares (n_draws, n_bands) and its alpha, (n_voxels,)."""
        duals = np.empty(Y.shape)
        for number in np.unique(draw):
            chosen = draw == number
            kernel = self._kernel(shares[number])
            duals[:, chosen] = kernel_ridge_duals(kernel, Y[:, chosen], alpha[chosen], np.float64)
        y_mean = Y.mean(axis=0, dtype=np.float64)
        maps = tuple(DualMap(part, mean, y_mean, duals) for part, mean in zip(self.parts, self.means))
        return StackedMap(maps, self.ends, shares[draw].astype(np.float32)) if len(maps) > 1 else maps[0]

    def _kernel(self, share: Matrix) -> Matrix:
        return np.asarray(sum(weight * kernel for weight, kernel in zip(share, self.kernels)))

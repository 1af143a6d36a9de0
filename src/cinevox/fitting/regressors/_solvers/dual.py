"""Linear regressors of more features than clips, as weights of training clips instead of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.checks import check_new
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.fitting.regressors._solvers.moments import Matrix
from cinevox.statistics.splits import Indices

BLOCK_FEATURES = 4096


@dataclass(frozen=True)
class DualMap:
    """prediction = (x - x_mean) (X - x_mean)' D + y_mean, a linear map whose coefficients are (X - x_mean)' D.

    Of n_features > n_train_clips it is smaller than they are. Duals are float64, since large ones of opposite sign
    cancel where a ridge penalty is small. X is of the features' own type and kept by reference.

    X: (n_train_clips, n_features); x_mean: (n_features,); y_mean: (n_voxels,); duals: D, (n_train_clips, n_voxels)
    """

    X: Floats
    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    duals: NDArray[np.float64]

    @property
    def coef(self) -> NDArray[np.float32]:
        """The coefficients of `LinearMap`, (n_features, n_voxels)."""
        coef = np.empty((self.X.shape[1], self.duals.shape[1]), dtype=np.float32)
        for part, block in centred_blocks(self.X, self.x_mean):
            coef[part] = block.T @ self.duals
        return coef

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        check_new(X, len(self.x_mean))
        products = np.zeros((len(X), len(self.X)))
        for part, block in centred_blocks(self.X, self.x_mean):
            products += (X[:, part] - self.x_mean[part]) @ block.T
        return np.asarray(products @ self.duals + self.y_mean, dtype=np.float32)

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        return replace(self, y_mean=self.y_mean[voxels], duals=self.duals[:, voxels])

    def times(self, units: NDArray[np.float64]) -> Self:
        return replace(self, y_mean=self.y_mean * units, duals=self.duals * units)


def linear_kernel(X: Floats) -> tuple[Matrix, Matrix]:
    """(X - mean) (X - mean)', (n_clips, n_clips), in float64 from a block of features at a time; and the mean."""
    mean = X.mean(axis=0, dtype=np.float64)
    products = np.zeros((len(X), len(X)))
    for _, block in centred_blocks(X, mean):
        products += block @ block.T
    return products, mean


def about_mean(products: Matrix, rows: Indices) -> Matrix:
    """Inner products (n_clips, n_clips) about the mean of some clips, from those about any other point."""
    means = products[:, rows].mean(axis=1)
    return np.asarray(products - means[:, None] - means + means[rows].mean())


def centred_blocks(X: Floats, mean: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Training features without their mean, a block of columns at a time; a constant column is exactly 0."""
    for start in range(0, X.shape[1], BLOCK_FEATURES):
        part = slice(start, min(start + BLOCK_FEATURES, X.shape[1]))
        block = X[:, part] - mean[part]
        block[:, constant_columns(X[:, part])] = 0.0
        yield part, block

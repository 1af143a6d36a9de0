"""A fitted linear regressor: centred features times coefficients, plus the mean response."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.checks import check_new


@dataclass(frozen=True)
class LinearMap:
    """prediction = (x - x_mean) W + y_mean.

    x_mean: (n_features,); y_mean: (n_voxels,); coef: W, (n_features, n_voxels)
    """

    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    coef: NDArray[np.float32]

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        check_new(X, len(self.x_mean))
        centred = (X - self.x_mean).astype(np.float32)
        prediction: NDArray[np.float32] = centred @ self.coef
        prediction += self.y_mean.astype(np.float32)
        return prediction

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        return replace(self, y_mean=self.y_mean[voxels], coef=self.coef[:, voxels])

    def times(self, units: NDArray[np.float64]) -> Self:
        return replace(self, y_mean=self.y_mean * units, coef=self.coef * units.astype(np.float32))


def constant_columns(values: Floats) -> NDArray[np.bool_]:
    """Tell which columns hold one value only, (n_columns,)."""
    same: NDArray[np.bool_] = values.max(axis=0) == values.min(axis=0)
    return same


def centred(values: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A float64 copy without its column means (a constant column is exactly 0), and the means."""
    means = values.mean(axis=0, dtype=np.float64)
    copy = values - means
    copy[:, constant_columns(values)] = 0.0
    return copy, means

"""Ridge, alpha chosen for every voxel by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.regressors import Floats, RegressorSpec
from cinevox.regressors._solvers.checks import check_options, check_problem, grid
from cinevox.regressors._solvers.linear import LinearMap, centred, constant_columns
from cinevox.regressors._solvers.ridge import cv_errors, ridge_coefficients, ridge_folds
from cinevox.splits import Fold


class Ridge:
    """argmin_w |y - Xw|^2 + alpha |w|^2, alpha of the smallest mean held-out MSE (the first of equals)."""

    def __init__(self, *, alphas: Sequence[float]) -> None:
        check_options("ridge", {"alphas": alphas}, {"alphas": grid(alphas)})
        self.alphas = np.array(alphas, dtype=np.float64)
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        Xc, x_mean = centred(X)
        errors = cv_errors(ridge_folds(Xc, folds), Y, self.alphas)
        best = errors.argmin(axis=0)
        alpha = self.alphas[best]
        self.map = LinearMap(x_mean, Y.mean(axis=0, dtype=np.float64), ridge_coefficients(Xc, Y, alpha))
        self.diagnostics = {
            "alpha": alpha,
            "cv_error": errors[best, np.arange(len(best))],
            "constant": constant_columns(Y),
        }
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Ridge", make=Ridge)

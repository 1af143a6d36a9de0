"""Ridge, alpha chosen for every voxel or for every ROI by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, Map, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, grid, one_of
from cinevox.fitting.regressors._solvers.dual import DualMap, about_mean, linear_kernel
from cinevox.fitting.regressors._solvers.linear import LinearMap, centred, constant_columns
from cinevox.fitting.regressors._solvers.ridge import (
    at_ends,
    cv_errors,
    error_of_mean,
    kernel_ridge_duals,
    kernel_ridge_folds,
    ridge_coefficients,
    ridge_folds,
    shared,
)
from cinevox.statistics.splits import Fold


class Ridge:
    """argmin_w |y - Xw|^2 + alpha |w|^2, alpha of the smallest mean held-out MSE (the first of equals).

    More features than clips are solved by the kernel of the clips, from blocks of features, and X is then kept by
    reference (`_solvers.dual`).

    per: voxel (each its own alpha) | roi (one for all voxels of a subject's ROI: of the smallest mean over voxels of
        MSE / variance)
    """

    def __init__(self, *, alphas: Sequence[float], per: str) -> None:
        faults = {"alphas": grid(alphas), "per": one_of(per, "voxel", "roi")}
        check_options("ridge", {"alphas": alphas, "per": per}, faults)
        self.alphas, self.per = np.array(alphas, dtype=np.float64), per
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        wide = X.shape[1] > len(X)
        if wide:
            K, x_mean = linear_kernel(X)
            fits = kernel_ridge_folds((about_mean(K, fold.fit) for fold in folds), folds)
        else:
            Xc, x_mean = centred(X)
            fits = ridge_folds(Xc, folds)
        errors = cv_errors(fits, Y, self.alphas)
        best = errors.argmin(axis=0) if self.per == "voxel" else np.full(Y.shape[1], shared(errors, Y))
        alpha, error = self.alphas[best], errors[best, np.arange(len(best))]
        y_mean = Y.mean(axis=0, dtype=np.float64)
        if wide:
            self.map: Map = DualMap(X, x_mean, y_mean, kernel_ridge_duals(K, Y, alpha, np.float64))
        else:
            self.map = LinearMap(x_mean, y_mean, ridge_coefficients(Xc, Y, alpha))
        ends = at_ends(errors, best, self.alphas, error_of_mean(Y, folds))
        self.diagnostics = {"alpha": alpha, "cv_error": error, "constant": constant_columns(Y)} | ends
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Ridge", make=Ridge, shrinks_evenly=True)

"""Kernel ridge on the similarity of clips, alpha chosen for every voxel: what RES is the limit of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, grid
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.fitting.regressors._solvers.ridge import (
    at_ends,
    cv_errors,
    error_of_mean,
    kernel_ridge_duals,
    kernel_ridge_folds,
)
from cinevox.fitting.regressors._solvers.similarity import (
    SimilarityMap,
    center_and_weight,
    recentred,
    weighted_products,
)
from cinevox.statistics.splits import Fold


class SimilarityRidge:
    """prediction = y_mean + k (K + alpha)^-1 (Y - y_mean), K and k cosines of clips about m across features.

    K_ij = cosine(X_i - m, X_j - m), k_i = cosine(x - m, X_i - m); m is the mean of the training clips' features, within
    a fold of those that it fits. X may be a memory map of raw features, read in blocks and kept by reference. For large
    alpha the prediction less y_mean is proportional to that of `res` before its rows are scaled.
    """

    def __init__(self, *, alphas: Sequence[float]) -> None:
        check_options("similarity_ridge", {"alphas": alphas}, {"alphas": grid(alphas)})
        self.alphas = np.array(alphas, dtype=np.float64)
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds, finite_X=False)
        center, weight = center_and_weight(X, normalize=False)
        products = weighted_products(X, X, center, weight)[0]
        kernels = [recentred(products, fold.fit) for fold in folds]
        errors = cv_errors(kernel_ridge_folds(kernels, folds), Y, self.alphas)
        best = errors.argmin(axis=0)
        duals = kernel_ridge_duals(recentred(products, np.arange(len(X))), Y, self.alphas[best], np.float32)
        self.map = SimilarityMap(X, center, weight, Y.mean(axis=0, dtype=np.float64), duals, np.array(False))
        self.diagnostics = {
            "alpha": self.alphas[best],
            "cv_error": errors[best, np.arange(len(best))],
            "constant": constant_columns(Y),
        } | at_ends(errors, best, self.alphas, error_of_mean(Y, folds))
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Kernel ridge on similarity", make=SimilarityRidge, voxels="all")

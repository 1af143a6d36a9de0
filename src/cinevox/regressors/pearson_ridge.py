"""Kernel ridge on the similarity of clips, alpha chosen for every voxel: what RES is the limit of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.regressors import Floats, RegressorSpec
from cinevox.regressors._solvers.checks import check_options, check_problem, grid
from cinevox.regressors._solvers.linear import constant_columns
from cinevox.regressors._solvers.ridge import cv_errors, kernel_ridge_duals, kernel_ridge_folds
from cinevox.regressors._solvers.similarity import SimilarityMap, pearson_kernel
from cinevox.splits import Fold


class PearsonRidge:
    """prediction = y_mean + k (K + alpha)^-1 (Y - y_mean), K_ij = Pearson(X_i, X_j), k_i = Pearson(x, X_i).

    Pearson r is taken across features, so K is a kernel and X may be a memory map of raw features, read in
    blocks and kept by reference. For large alpha the prediction less y_mean is proportional to that of `res`
    before its rows are scaled.
    """

    def __init__(self, *, alphas: Sequence[float]) -> None:
        check_options("pearson_ridge", {"alphas": alphas}, {"alphas": grid(alphas)})
        self.alphas = np.array(alphas, dtype=np.float64)
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds, finite_X=False)
        kernel = pearson_kernel(X, X)
        errors = cv_errors(kernel_ridge_folds(kernel, folds), Y, self.alphas)
        best = errors.argmin(axis=0)
        duals = kernel_ridge_duals(kernel, Y, self.alphas[best])
        self.map = SimilarityMap(X, Y.mean(axis=0, dtype=np.float64), duals, np.array(False))
        self.diagnostics = {
            "alpha": self.alphas[best],
            "cv_error": errors[best, np.arange(len(best))],
            "constant": constant_columns(Y),
        }
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Kernel ridge on Pearson similarity", make=PearsonRidge, voxels="all")

"""Sparse linear regression: automatic relevance determination, every voxel on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.ard import relevance
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, whole, within
from cinevox.fitting.regressors._solvers.kernels import over_voxels
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.moments import problem
from cinevox.statistics.splits import Fold


class SparseLinear:
    """scikit-learn's ARDRegression for every voxel: a Gaussian prior per coefficient, most pruned. See `_ard`.

    tolerance: sum of changes of the coefficients that ends it; threshold: precision at which a feature is dropped
    """

    def __init__(self, *, max_iterations: int, tolerance: float, threshold: float) -> None:
        faults = {
            "max_iterations": whole(max_iterations, 1),
            "tolerance": within(tolerance, 0, np.inf),
            "threshold": within(threshold, 0, np.inf),
        }
        check_options("sparse_linear", dict(zip(faults, (max_iterations, tolerance, threshold))), faults)
        self.max_iterations, self.tolerance, self.threshold = max_iterations, float(tolerance), float(threshold)
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y)
        data = problem(X, Y, ())
        moments = data.whole
        coef = np.zeros(moments.cross.shape)
        steps, failed = np.zeros(len(coef), np.int64), np.zeros(len(coef), bool)

        def chunk(start: int, stop: int) -> None:
            relevance(start, stop, moments.gram, moments.cross, moments.yy, moments.n,
                      self.tolerance, self.max_iterations, self.threshold, coef, steps, failed)  # fmt: skip

        over_voxels(chunk, len(coef))
        coef[data.constant] = 0.0
        self.map = LinearMap(data.x_mean, data.y_mean, coef.T.astype(np.float32))
        self.diagnostics = {
            "iterations": steps,
            "n_kept": np.count_nonzero(coef, axis=1),
            "not_converged": failed,
            "empty": np.count_nonzero(coef, axis=1) == 0,
            "constant": data.constant,
        }
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Sparse linear regression (ARD)", make=SparseLinear, max_features=2_000)

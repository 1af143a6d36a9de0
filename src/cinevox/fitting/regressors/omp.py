"""Orthogonal matching pursuit, the number of features chosen for every voxel by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, whole
from cinevox.fitting.regressors._solvers.kernels import over_voxels
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.moments import MAX_FEATURES, problem
from cinevox.fitting.regressors._solvers.pursuit import pursuit_cv
from cinevox.statistics.splits import Fold


class Omp:
    """scikit-learn's OrthogonalMatchingPursuitCV for every voxel: least squares on few features. See `_pursuit`.

    max_features: the most that are tried (all features where there are fewer)
    """

    def __init__(self, *, max_features: int) -> None:
        check_options("omp", {"max_features": max_features}, {"max_features": whole(max_features, 1)})
        self.max_features = max_features
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        data = problem(X, Y, folds)
        fits, outs = [fold.fit for fold in data.folds], [fold.held_out for fold in data.folds]
        moments = (
            np.stack([fit.gram for fit in fits]),
            np.stack([fit.cross for fit in fits]),
            np.stack([out.gram for out in outs]),
            np.stack([out.cross for out in outs]),
            np.stack([out.yy for out in outs]),
            np.array([float(out.n) for out in outs]),
            data.whole.gram,
            data.whole.cross,
        )
        n_voxels, n_features = data.whole.cross.shape
        most = min(self.max_features, n_features)
        coef, chosen = np.zeros((n_voxels, n_features)), np.zeros(n_voxels, np.int64)
        error = np.empty(n_voxels)
        over_voxels(lambda start, stop: pursuit_cv(start, stop, *moments, most, coef, chosen, error), n_voxels)
        self.map = LinearMap(data.x_mean, data.y_mean, coef.T.astype(np.float32))
        self.diagnostics = {
            "n_kept": chosen,
            "cv_error": error,
            "empty": np.count_nonzero(coef, axis=1) == 0,
            "constant": data.constant,
        }
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Orthogonal matching pursuit", make=Omp, max_features=MAX_FEATURES)

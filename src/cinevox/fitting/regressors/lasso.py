"""Lasso, alpha chosen for every voxel by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem
from cinevox.fitting.regressors._solvers.moments import MAX_FEATURES
from cinevox.fitting.regressors._solvers.penalised import Path, elastic_net_cv
from cinevox.statistics.splits import Fold


class Lasso:
    """argmin_w (1 / 2n) |y - Xw|^2 + alpha |w|_1; scikit-learn's LassoCV for every voxel. See `_penalised`."""

    def __init__(
        self, *, n_alphas: int, alpha_ratio: float, tolerance: float, max_sweeps: int, early_stop: bool
    ) -> None:
        self.path = Path(n_alphas, alpha_ratio, tolerance, max_sweeps, early_stop)
        check_options("lasso", vars(self.path), self.path.faults())
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        self.map, self.diagnostics = elastic_net_cv(X, Y, folds, [1.0], self.path)
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Lasso", make=Lasso, max_features=MAX_FEATURES)

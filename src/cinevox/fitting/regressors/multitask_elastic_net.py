"""Multi-task elastic net: the voxels of a region share their features, alpha and l1 ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, grid
from cinevox.fitting.regressors._solvers.moments import MAX_FEATURES
from cinevox.fitting.regressors._solvers.multitask import multitask_elastic_net_cv
from cinevox.fitting.regressors._solvers.penalised import Path
from cinevox.statistics.splits import Fold


class MultitaskElasticNet:
    """argmin_W (1 / 2n) |Y - XW|^2 + alpha rho sum_j |W_j| + alpha (1 - rho) / 2 |W|^2, W_j the rows of W.

    scikit-learn's MultiTaskElasticNetCV with a list of l1 ratios rho. See `_multitask`.
    """

    def __init__(
        self,
        *,
        l1_ratios: Sequence[float],
        n_alphas: int,
        alpha_ratio: float,
        tolerance: float,
        max_sweeps: int,
        early_stop: bool,
    ) -> None:
        self.path = Path(n_alphas, alpha_ratio, tolerance, max_sweeps, early_stop)
        found = {"l1_ratios": l1_ratios, **vars(self.path)}
        check_options("multitask_elastic_net", found, {"l1_ratios": grid(l1_ratios, 1), **self.path.faults()})
        self.l1_ratios = l1_ratios
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        self.map, self.diagnostics = multitask_elastic_net_cv(X, Y, folds, self.l1_ratios, self.path)
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Multi-task elastic net", make=MultitaskElasticNet, voxels="roi", max_features=MAX_FEATURES)

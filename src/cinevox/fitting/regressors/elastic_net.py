"""Elastic net, alpha and the l1 ratio chosen for every voxel by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, grid
from cinevox.fitting.regressors._solvers.moments import MAX_FEATURES
from cinevox.fitting.regressors._solvers.penalised import Path, elastic_net_cv
from cinevox.statistics.splits import Fold


class ElasticNet:
    """argmin_w (1 / 2n) |y - Xw|^2 + alpha rho |w|_1 + alpha (1 - rho) / 2 |w|^2 for every voxel.

    scikit-learn's ElasticNetCV with a list of l1 ratios rho. See `_penalised`.
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
        check_options("elastic_net", found, {"l1_ratios": grid(l1_ratios, 1), **self.path.faults()})
        self.l1_ratios = l1_ratios
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        self.map, self.diagnostics = elastic_net_cv(X, Y, folds, self.l1_ratios, self.path)
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Elastic net", make=ElasticNet, max_features=MAX_FEATURES)

"""Ordinary least squares, the devkit's regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_problem
from cinevox.fitting.regressors._solvers.least_squares import least_squares
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.statistics.splits import Fold


class Linear:
    """W = pinv(Xc) Yc; see `_least_squares`. A constant voxel is predicted by its mean."""

    def __init__(self) -> None:
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y)
        self.map, rank = least_squares(X, Y)
        self.diagnostics = {"constant": constant_columns(Y), "rank": np.full(Y.shape[1], rank)}
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Linear regression", make=Linear)

"""Representational similarity encoding: training responses averaged by similarity of clips. Nothing is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, flag
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.fitting.regressors._solvers.similarity import SimilarityMap, center_and_weight
from cinevox.statistics.splits import Fold


class Res:
    """c_i = cosine(x - m, X_i - m) across features; w = c / sum |c|; prediction = y_mean + w (Y - y_mean).

    m is the mean of the training clips' features. Anderson et al. take Pearson's r across features, which takes each
    clip's mean over its features away instead; of components that mean depends on their signs, which are arbitrary
    (`_solvers.similarity`).

    Every new clip's weights are scaled by the sum of their magnitudes (the sum itself is about 0 for centred
    features). That choice changes correlations over clips, since it makes predictions of all clips equally
    large in weight; negative similarities are kept. A clip similar to none is predicted by the mean.
    X may be a memory map of raw features (float32, any number): it is read in blocks, and kept by reference.

    normalize: scale every feature to unit variance over the training clips first; no change for components that have it
    Reference: Anderson, Zinszer and Raizada (2016), NeuroImage 128, 44-53.
    """

    def __init__(self, *, normalize: bool) -> None:
        check_options("res", {"normalize": normalize}, {"normalize": flag(normalize)})
        self.normalize = normalize
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, finite_X=False)
        y_mean = Y.mean(axis=0, dtype=np.float64)
        center, weight = center_and_weight(X, normalize=self.normalize)
        self.map = SimilarityMap(X, center, weight, y_mean, np.subtract(Y, y_mean, dtype=np.float32), np.array(True))
        self.diagnostics = {"constant": constant_columns(Y)}
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


SPEC = RegressorSpec(title="Representational similarity encoding", make=Res, voxels="all")

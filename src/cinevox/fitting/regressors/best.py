"""The best of several regressors, chosen by cross-validation for all voxels it is given: a subject's ROI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Floats, Regressor, RegressorSpec
from cinevox.fitting.regressors._solvers.checks import check_problem
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.project import plugins
from cinevox.statistics.metrics import correlation_score
from cinevox.statistics.splits import Fold
from cinevox.statistics.splits import folds as inner_folds


class Best:
    """argmax_c mean_v mean_k r(Y_k[v], f_c(X_k)[v]), refitted on all clips; the first of equals.

    k: the folds, f_c fitted without the clips that k holds out; r: Pearson's over those clips, 0 where a voxel
    or its prediction does not vary. Correlations are averaged over folds, not pooled: a fold's mean
    is then no part of the score. Candidates that choose something themselves do it within each fold's fitted
    clips, on as many consecutive folds of them.

    candidates: regressor -> its options
    diagnostics: `chose_<regressor>`, the same for all voxels; `cv_score_<regressor>`, mean_k r of each voxel
    """

    def __init__(self, *, candidates: Mapping[str, Mapping[str, Any]]) -> None:
        self.candidates = {name: dict(options) for name, options in _checked(candidates).items()}
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        if short := [number for number, fold in enumerate(folds) if len(fold.held_out) < 2]:
            raise InputError(f"fold {short[0]} holds out 1 clip, and a correlation needs 2; lower splits.n_folds")
        scores = {name: self._cv_score(name, X, Y, folds, bands) for name in self.candidates}
        chosen = max(scores, key=lambda name: scores[name].mean())
        self.map = _build(chosen, self.candidates[chosen]).fit(X, Y, folds=folds, bands=bands).map
        self.diagnostics = (
            {"constant": constant_columns(Y)}
            | {f"chose_{name}": np.full(Y.shape[1], name == chosen) for name in scores}
            | {f"cv_score_{name}": score for name, score in scores.items()}
        )
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)

    def _cv_score(
        self, name: str, X: Floats, Y: Floats, folds: Sequence[Fold], bands: Sequence[slice]
    ) -> NDArray[np.float64]:
        total = np.zeros(Y.shape[1])
        for fold in folds:
            inner = inner_folds(len(fold.fit), len(folds))
            regressor = _build(name, self.candidates[name]).fit(X[fold.fit], Y[fold.fit], folds=inner, bands=bands)
            total += correlation_score(Y[fold.held_out], regressor.predict(X[fold.held_out]))
        return total / len(folds)


def _build(name: str, options: Mapping[str, Any]) -> Regressor:
    regressor: Regressor = plugins.load("regressors", name).build(options)
    return regressor


def _checked(candidates: Any) -> Mapping[str, Mapping[str, Any]]:
    expected = "expected two or more regressors, each with its options, as in {ridge: {alphas: [1.0]}, linear: {}}"
    if not isinstance(candidates, Mapping) or len(candidates) < 2:
        raise InputError(f"regressors.best.candidates is {candidates!r}; {expected}")
    faults = []
    for name, options in candidates.items():
        if name == "best":
            faults.append("best cannot be its own candidate; name its candidates here")
        elif not isinstance(options, Mapping):
            faults.append(f"{name} is {options!r}; {expected}")
        else:
            try:
                _build(name, options)
            except InputError as error:
                faults.append(f"{name}: {error}")
    if faults:
        raise InputError("regressors.best.candidates: " + "; ".join(faults))
    return candidates


SPEC = RegressorSpec(title="Best by cross-validation", make=Best, voxels="roi")

"""Second moments of a problem, whole and by fold: all that the penalised solvers see of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import ANY_NUMBER, Floats
from cinevox.fitting.regressors._solvers.linear import centred, constant_columns
from cinevox.statistics.splits import Fold, Indices

Matrix = NDArray[np.float64]

MAX_FEATURES = 10_000  # a Gram matrix has 0.8 GB then, and there are two for each fold and two more


@dataclass(frozen=True)
class Moments:
    """Moments about the means of the clips fitted: G = Xc'Xc, C = Yc'Xc, yy = sum Yc^2, of n clips.

    gram: (n_features, n_features); cross: (n_voxels, n_features); yy: (n_voxels,)
    """

    n: int
    gram: Matrix
    cross: Matrix
    yy: Matrix


@dataclass(frozen=True)
class FoldMoments:
    """Moments of the clips fitted and of those held out, both about the means of the clips fitted.

    So sum (y - yhat)^2 over the clips held out, intercept included, is yy - 2 w'c + w'Gw of `held_out`.
    """

    fit: Moments
    held_out: Moments


@dataclass(frozen=True)
class Problem:
    """x_mean: (n_features,); y_mean: (n_voxels,); constant: voxels that hold one value, (n_voxels,)."""

    x_mean: Matrix
    y_mean: Matrix
    constant: NDArray[np.bool_]
    whole: Moments
    folds: tuple[FoldMoments, ...]

    @property
    def error_of_mean(self) -> Matrix:
        """Mean over folds of the held-out MSE of predicting the mean of the clips fitted, (n_voxels,)."""
        return np.asarray(np.mean([fold.held_out.yy / fold.held_out.n for fold in self.folds], axis=0))


def problem(X: Floats, Y: Floats, folds: Sequence[Fold]) -> Problem:
    """Moments of X (n_clips, n_features) and Y (n_clips, n_voxels), in float64, without a copy of Y per fold.

    X'Y is formed once per set of held-out clips; where a fold fits all others, theirs is the rest of the whole.

    Raises
    ------
    InputError
        More features than MAX_FEATURES.
    """
    if X.shape[1] > MAX_FEATURES:
        raise InputError(
            f"X has {X.shape[1]:,} features, and the products of all pairs do not fit; take fewer, or {ANY_NUMBER}"
        )
    Xc, x_mean = centred(X)
    Yc, y_mean = centred(Y)
    whole = Moments(len(X), Xc.T @ Xc, Yc.T @ Xc, np.einsum("nv,nv->v", Yc, Yc))
    parts = tuple(_fold(Xc, Yc, whole, fold) for fold in folds)
    return Problem(x_mean, y_mean, constant_columns(Y), whole, parts)


def _fold(Xc: Matrix, Yc: Matrix, whole: Moments, fold: Fold) -> FoldMoments:
    X_fit, X_out, Y_out = _rows(Xc, fold.fit), _rows(Xc, fold.held_out), _rows(Yc, fold.held_out)
    raw_out, sum_out, square_out = Y_out.T @ X_out, Y_out.sum(axis=0), np.einsum("nv,nv->v", Y_out, Y_out)
    n_fit, n_out = len(X_fit), len(X_out)
    if n_fit + n_out == len(Xc):
        raw_fit, sum_fit, square_fit = whole.cross - raw_out, Yc.sum(axis=0) - sum_out, whole.yy - square_out
    else:
        Y_fit = _rows(Yc, fold.fit)
        raw_fit, sum_fit, square_fit = Y_fit.T @ X_fit, Y_fit.sum(axis=0), np.einsum("nv,nv->v", Y_fit, Y_fit)
    x_mean, y_mean = X_fit.mean(axis=0), sum_fit / n_fit
    dead = constant_columns(X_fit)
    X_fit, X_out = X_fit - x_mean, X_out - x_mean
    X_fit[:, dead] = 0.0
    cross_fit = raw_fit - np.outer(sum_fit, x_mean)
    cross_fit[:, dead] = 0.0
    fit = Moments(n_fit, X_fit.T @ X_fit, cross_fit, np.maximum(square_fit - n_fit * y_mean**2, 0.0))
    cross_out = raw_out - np.outer(sum_out, x_mean) - np.outer(y_mean, X_out.sum(axis=0))
    yy_out = square_out - 2.0 * y_mean * sum_out + n_out * y_mean**2
    return FoldMoments(fit, Moments(n_out, X_out.T @ X_out, cross_out, yy_out))


def _rows(values: Matrix, rows: Indices) -> Matrix:
    """Rows of a matrix, as a view where they are consecutive."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return values[first : last + 1]
    return values[rows]

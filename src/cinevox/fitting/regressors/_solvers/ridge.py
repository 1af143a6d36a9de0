"""Ridge for every voxel at its own alpha, in the features or in the kernel, whichever is smaller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.fitting.regressors._solvers.moments import Matrix
from cinevox.statistics.splits import Fold

Real = TypeVar("Real", np.float32, np.float64)

BLOCK_VOXELS = 512
FALLS = 0.01


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors of a Gram or kernel matrix whose eigenvalues are more than rounding.

    values: (rank,); vectors: (n, rank)
    """

    values: Matrix
    vectors: Matrix

    @classmethod
    def of(cls, matrix: Matrix) -> Self:
        values, vectors = scipy.linalg.eigh(matrix, check_finite=False, driver="evd")
        real = values > np.finfo(np.float64).eps * len(matrix) * max(values[-1], 0.0)
        return cls(values[real], np.ascontiguousarray(vectors[:, real]))


@dataclass(frozen=True)
class FoldFit:
    """A fold in the eigenvectors of its problem: held-out predictions A diag(1 / (values + alpha)) B'(Y - mean).

    values: (rank,); A: (n_held_out, rank); B: (n_fit, rank)
    """

    fold: Fold
    values: Matrix
    A: Matrix
    B: Matrix


def ridge_folds(X: Matrix, folds: Sequence[Fold]) -> list[FoldFit]:
    """Folds of ridge on features X (n_clips, n_features), each centred on the means of the clips it fits."""
    fits = []
    for fold in folds:
        X_fit = X[fold.fit] - X[fold.fit].mean(axis=0)
        X_out = X[fold.held_out] - X[fold.fit].mean(axis=0)
        if X_fit.shape[1] < len(X_fit):
            part = Spectrum.of(X_fit.T @ X_fit)
            fits.append(FoldFit(fold, part.values, X_out @ part.vectors, X_fit @ part.vectors))
        else:
            part = Spectrum.of(X_fit @ X_fit.T)
            fits.append(FoldFit(fold, part.values, (X_out @ X_fit.T) @ part.vectors, part.vectors))
    return fits


def kernel_ridge_folds(kernels: Iterable[Matrix], folds: Sequence[Fold]) -> list[FoldFit]:
    """Folds of kernel ridge, each with a kernel (n_clips, n_clips) taken as it is: only responses are centred."""
    fits = []
    for kernel, fold in zip(kernels, folds):
        part = Spectrum.of(kernel[np.ix_(fold.fit, fold.fit)])
        fits.append(FoldFit(fold, part.values, kernel[np.ix_(fold.held_out, fold.fit)] @ part.vectors, part.vectors))
    return fits


def cv_errors(fits: Sequence[FoldFit], Y: Floats, alphas: Matrix) -> Matrix:
    """Mean over folds of the held-out MSE, (n_alphas, n_voxels); Y: (n_clips, n_voxels), read a block at a time.

    With A = QR only R takes part in the search: what of Y is outside Q is an error that no alpha changes.
    """
    errors = np.zeros((len(alphas), Y.shape[1]))
    for fit in fits:
        weight = 1.0 / (len(fit.fold.held_out) * len(fits))
        tall = fit.A.shape[1] < fit.A.shape[0]
        Q, A = scipy.linalg.qr(fit.A, mode="economic", check_finite=False) if tall else (None, fit.A)
        scaled = [A / (fit.values + alpha) for alpha in alphas]
        for block, Y_block in voxel_blocks(Y):
            Y_fit, Y_out = Y_block[fit.fold.fit], Y_block[fit.fold.held_out]
            mean = Y_fit.mean(axis=0)
            target = Y_out - mean
            outside = np.einsum("nv,nv->v", target, target)
            if Q is not None:
                target = Q.T @ target
            outside -= np.einsum("nv,nv->v", target, target)
            loadings = fit.B.T @ (Y_fit - mean)
            for row, part in enumerate(scaled):
                residual = part @ loadings
                residual -= target
                errors[row, block] += weight * (np.einsum("nv,nv->v", residual, residual) + outside)
    return errors


def error_of_mean(Y: Floats, folds: Sequence[Fold]) -> Matrix:
    """Mean over folds of the held-out MSE of predicting the mean of the clips fitted, (n_voxels,)."""
    errors = np.zeros(Y.shape[1])
    for block, Y_block in voxel_blocks(Y):
        for fold in folds:
            rest = Y_block[fold.held_out] - Y_block[fold.fit].mean(axis=0)
            errors[block] += np.square(rest).mean(axis=0) / len(folds)
    return errors


def at_ends(errors: Matrix, best: NDArray[np.intp], alphas: Matrix, of_mean: Matrix) -> dict[str, NDArray[np.bool_]]:
    """Voxels whose alpha is the lowest or the highest of the grid and whose best alpha may lie beyond: two flags.

    There the error still falls: from the neighbouring alpha to the end by more than FALLS of the error of predicting
    the mean. Where it is flat the end does as well as what lies beyond: of a voxel without signal the best model is the
    mean, which high alphas come near to, and with more features than clips the lowest alphas make one and the same fit.

    errors: (n_alphas, n_voxels), see `cv_errors`; best: (n_voxels,), rows of it; of_mean: see `error_of_mean`
    """
    ends = np.argsort(alphas)
    ends = ends if len(ends) > 1 else np.repeat(ends, 2)  # a grid of one has no other alpha to fall from
    flags = {}
    for name, (end, neighbour) in {"alpha_lowest": ends[:2], "alpha_highest": ends[:-3:-1]}.items():
        flags[name] = (best == end) & (errors[neighbour] - errors[end] > FALLS * of_mean)
    return flags


def shared(errors: Matrix, Y: Floats) -> int:
    """The row of `cv_errors` that is best for all voxels: of the smallest mean of MSE / variance.

    So a voxel of large responses has no more say than others; one that does not vary has none.

    errors: (n_alphas, n_voxels); Y: (n_clips, n_voxels)
    """
    variance = np.concatenate([Y_block.var(axis=0) for _, Y_block in voxel_blocks(Y)])
    varies = ~constant_columns(Y)
    return int((errors[:, varies] / variance[varies]).mean(axis=1).argmin()) if varies.any() else 0


def ridge_coefficients(X: Matrix, Y: Floats, alpha: Matrix) -> NDArray[np.float32]:
    """W = (X'X + alpha)^-1 X'Yc = X' (XX' + alpha)^-1 Yc, alpha (n_voxels,); (n_features, n_voxels).

    X: (n_clips, n_features), centred; Y: (n_clips, n_voxels), centred here
    """
    if X.shape[1] < len(X):
        part = Spectrum.of(X.T @ X)
        return _shrunk(part, part.vectors, X @ part.vectors, Y, alpha, np.float32)
    part = Spectrum.of(X @ X.T)
    return _shrunk(part, X.T @ part.vectors, part.vectors, Y, alpha, np.float32)


def kernel_ridge_duals(kernel: Matrix, Y: Floats, alpha: Matrix, precision: type[Real]) -> NDArray[Real]:
    """(K + alpha)^-1 Yc within the range of K, alpha (n_voxels,); (n_clips, n_voxels)."""
    part = Spectrum.of(kernel)
    return _shrunk(part, part.vectors, part.vectors, Y, alpha, precision)


def voxel_blocks(Y: Floats) -> Iterator[tuple[slice, Matrix]]:
    """Y in float64, some hundred voxels at a time: what a processor's cache holds, and no copy of the whole."""
    for start in range(0, Y.shape[1], BLOCK_VOXELS):
        block = slice(start, min(start + BLOCK_VOXELS, Y.shape[1]))
        yield block, Y[:, block].astype(np.float64)


def _shrunk(
    part: Spectrum, left: Matrix, right: Matrix, Y: Floats, alpha: Matrix, precision: type[Real]
) -> NDArray[Real]:
    """left diag(1 / (values + alpha)) right' Yc."""
    out = np.empty((len(left), Y.shape[1]), dtype=precision)
    for block, Y_block in voxel_blocks(Y):
        loadings = right.T @ (Y_block - Y_block.mean(axis=0))
        out[:, block] = left @ (loadings / (part.values[:, None] + alpha[block]))
    return out

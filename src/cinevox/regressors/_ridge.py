"""Ridge for every voxel at its own alpha, in the features or in the kernel, whichever is smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cinevox.regressors._moments import Matrix
from cinevox.splits import Fold

BLOCK_VOXELS = 512


@dataclass(frozen=True)
class Spectrum:
    """A fold's problem in the eigenvectors of its Gram or kernel matrix: the fit at alpha predicts
    A diag(1 / (values + alpha)) B.

    values: (rank,); basis: (n, rank), columns are eigenvectors
    """

    values: Matrix
    basis: Matrix


def spectrum(matrix: Matrix) -> Spectrum:
    """Eigenvectors of a Gram or kernel matrix (n, n) whose eigenvalues are not rounding."""
    values, basis = scipy.linalg.eigh(matrix, check_finite=False, driver="evd")
    real = values > np.finfo(np.float64).eps * len(matrix) * max(values[-1], 0.0)
    return Spectrum(values[real], np.ascontiguousarray(basis[:, real]))


def add_errors(errors: Matrix, A: Matrix, B: Matrix, values: Matrix, alphas: Matrix, Y: Matrix, weight: float) -> None:
    """errors[a] += weight * sum over clips of (Y - A diag(1 / (values + alphas[a])) B)^2.

    A: (n_out, rank), B: (rank, n_voxels), Y: (n_out, n_voxels); errors: (n_alphas, n_voxels)
    With A = QR only R takes part: what of Y is outside Q is an error that no alpha changes.
    """
    yy = np.einsum("nv,nv->v", Y, Y)
    if A.shape[1] < A.shape[0]:
        Q, A = scipy.linalg.qr(A, mode="economic", check_finite=False)
        Y = Q.T @ Y
    outside = yy - np.einsum("nv,nv->v", Y, Y)
    n_voxels = Y.shape[1]
    for start in range(0, n_voxels, BLOCK_VOXELS):
        block = slice(start, min(start + BLOCK_VOXELS, n_voxels))
        B_block, Y_block = B[:, block], np.ascontiguousarray(Y[:, block])
        for a, alpha in enumerate(alphas):
            residual = (A / (values + alpha)) @ B_block
            residual -= Y_block
            errors[a, block] += weight * (np.einsum("nv,nv->v", residual, residual) + outside[block])


def ridge_cv_errors(X: Matrix, Y: Matrix, folds: Sequence[Fold], alphas: Matrix) -> Matrix:
    """Mean over folds of the held-out MSE of ridge, (n_alphas, n_voxels); each fold is centred on its own means.

    X: (n_clips, n_features); Y: (n_clips, n_voxels)
    """
    errors = np.zeros((len(alphas), Y.shape[1]))
    for fold in folds:
        X_fit, X_out = X[fold.fit], X[fold.held_out]
        x_mean, y_mean = X_fit.mean(axis=0), Y[fold.fit].mean(axis=0)
        X_fit, X_out = X_fit - x_mean, X_out - x_mean
        if X_fit.shape[1] < len(X_fit):
            basis = spectrum(X_fit.T @ X_fit)
            A, weights = X_out @ basis.basis, X_fit @ basis.basis
        else:
            basis = spectrum(X_fit @ X_fit.T)
            A, weights = (X_out @ X_fit.T) @ basis.basis, basis.basis
        B = weights.T @ Y[fold.fit] - np.outer(weights.sum(axis=0), y_mean)
        weight = 1.0 / (len(fold.held_out) * len(folds))
        add_errors(errors, A, B, basis.values, alphas, Y[fold.held_out] - y_mean, weight)
    return errors


def ridge_coefficients(X: Matrix, Y: Matrix, alpha: Matrix) -> NDArray[np.float64]:
    """Coefficients of ridge at alpha (n_voxels,), (n_features, n_voxels), of centred X and Y.

    W = (X'X + alpha)^-1 X'Y, or the same X' (XX' + alpha)^-1 Y where there are more features than clips.
    """
    if X.shape[1] < len(X):
        basis = spectrum(X.T @ X)
        loadings = basis.basis.T @ (X.T @ Y)
        return np.asarray(basis.basis @ (loadings / (basis.values[:, None] + alpha)))
    basis = spectrum(X @ X.T)
    loadings = basis.basis.T @ Y
    return np.asarray(X.T @ (basis.basis @ (loadings / (basis.values[:, None] + alpha))))

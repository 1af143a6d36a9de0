"""Least squares for every voxel from one factorisation of the features."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.linear import LinearMap, centred


def least_squares(X: Floats, Y: Floats) -> tuple[LinearMap, int]:
    """W = pinv(Xc) Yc, the least-squares coefficients of smallest norm, for centred Xc and Yc.

    One thin singular value decomposition Xc = U S V' serves all voxels: W = V S^-1 U' Yc, over the singular
    values above eps max(n_clips, n_features) max(S), as numpy.linalg.lstsq does. With more features than
    clips the fit is exact and the norm decides.

    X: (n_clips, n_features); Y: (n_clips, n_voxels)
    Returns the fitted map and the rank of Xc.
    """
    X_centred, x_mean = centred(X)
    U, S, Vt = scipy.linalg.svd(X_centred, full_matrices=False, overwrite_a=True, check_finite=False)
    smallest = np.finfo(np.float64).eps * max(X.shape) * S[0]
    rank = int((smallest < S).sum())
    y_mean = Y.mean(axis=0, dtype=np.float64)
    # U is orthogonal to the ones vector up to rounding, so Y is centred through U'Y - (U'1) y_mean
    loadings: NDArray[np.float64] = U[:, :rank].T @ Y - np.outer(U[:, :rank].sum(axis=0), y_mean)
    coef = Vt[:rank].T @ (loadings / S[:rank, None])
    return LinearMap(x_mean, y_mean, coef.astype(np.float32)), rank

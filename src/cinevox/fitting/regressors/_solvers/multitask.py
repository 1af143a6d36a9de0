"""Multi-task elastic net: one alpha, one l1 ratio and one set of features for all voxels together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.block_descent import block_path_errors, descend_blocks
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.moments import Matrix, Moments, problem
from cinevox.fitting.regressors._solvers.penalised import Path
from cinevox.fitting.regressors._solvers.ridge import FALLS
from cinevox.statistics.splits import Fold


def multitask_elastic_net_cv(
    X: Floats, Y: Floats, folds: Sequence[Fold], l1_ratios: Sequence[float], path: Path
) -> tuple[LinearMap, Mapping[str, NDArray[Any]]]:
    """argmin_W (1 / 2n) |Y - XW|^2 + alpha rho sum_j |W_j| + alpha (1 - rho) / 2 |W|^2, W_j the rows of W.

    alpha and rho have the smallest mean held-out MSE over all voxels; the grid starts at
    alpha_max = max_j |X_j'Y| / (n rho) of all clips. Penalty and loss do not change when the voxel axis is
    rotated, and every W on the path lies in the span of the rows of X'Y. So each problem is solved in an
    orthonormal basis of that span: exact, and any number of voxels costs as much as n_features of them.

    X: (n_clips, n_features); Y: (n_clips, n_voxels), one region's
    Returns the map and, by voxel: alpha, l1_ratio, cv_error (all voxels' mean), not_converged, empty, constant,
    alpha_lowest (by all voxels' errors).
    """
    data = problem(X, Y, folds)
    n_voxels = Y.shape[1]
    bases = [_basis(fold.fit) for fold in data.folds]
    fits, outs = [fold.fit for fold in data.folds], [fold.held_out for fold in data.folds]
    stacks = (
        np.stack([fit.gram for fit in fits]),
        np.sqrt([np.diagonal(fit.gram) for fit in fits]),
        np.stack([fit.cross.T @ basis for fit, basis in zip(fits, bases)]),
        np.sqrt([fit.yy.sum() for fit in fits]),
        np.array([float(fit.n) for fit in fits]),
        np.stack([out.gram for out in outs]),
        np.stack([out.cross.T @ basis for out, basis in zip(outs, bases)]),
        np.array([out.yy.sum() for out in outs]),
        np.array([float(out.n) for out in outs]),
    )
    largest = np.sqrt(np.einsum("vj,vj->j", data.whole.cross, data.whole.cross).max()) / len(X)
    best, converged = (np.inf, float(l1_ratios[0]), 0), True
    for rho in l1_ratios:
        alphas = largest / rho * path.grid()
        error, step, fine = block_path_errors(*stacks, alphas, rho, path.tolerance, path.max_sweeps, path.early_stop)
        converged = converged and fine
        if error < best[0]:
            best = (error, float(rho), int(step))
    error, rho, step = best
    alpha = float(largest / rho * path.grid()[step])
    ends = 0 < step == path.n_alphas - 1 and error < (1 - FALLS) * data.error_of_mean.sum()
    coef, fine = _refit(data.whole, alpha, rho, path)
    diagnostics: dict[str, NDArray[Any]] = {
        "alpha": np.full(n_voxels, alpha),
        "l1_ratio": np.full(n_voxels, rho),
        "cv_error": np.full(n_voxels, error / n_voxels),
        "not_converged": np.full(n_voxels, not (converged and fine)),
        "empty": np.count_nonzero(coef, axis=0) == 0,
        "constant": data.constant,
        "alpha_lowest": np.full(n_voxels, ends),
    }
    return LinearMap(data.x_mean, data.y_mean, coef.astype(np.float32)), diagnostics


def _refit(whole: Moments, alpha: float, rho: float, path: Path) -> tuple[Matrix, bool]:
    """Coefficients on all clips, (n_features, n_voxels), and whether they converged."""
    basis = _basis(whole)
    Q = np.ascontiguousarray(whole.cross.T @ basis)
    W = np.zeros_like(Q)
    norm = np.sqrt(np.diagonal(whole.gram))
    l1, l2 = whole.n * alpha * rho, whole.n * alpha * (1.0 - rho)
    least = path.tolerance * np.sqrt(whole.yy.sum())
    fine = descend_blocks(whole.gram, norm, W, Q, l1, l2, least, path.max_sweeps)
    return W @ basis.T, fine


def _basis(moments: Moments) -> Matrix:
    """Orthonormal columns that span the rows of X'Y, (n_voxels, min(n_voxels, n_features))."""
    Q: Matrix = scipy.linalg.qr(moments.cross, mode="economic", check_finite=False)[0]
    return Q

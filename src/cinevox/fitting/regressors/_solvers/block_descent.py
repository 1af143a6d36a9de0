"""Block coordinate descent for the multi-task elastic net: a feature serves all voxels or none. Compiled.

Minimises (1 / 2n) |Y - XW|^2 + alpha rho sum_j |W_j| + alpha (1 - rho) / 2 |W|^2 over W (n_features, n_tasks),
W_j its rows, with the gradient Q = X'Y - X'XW carried along and guessed along the path as in `descent`.
"""

from __future__ import annotations

import numpy as np

from cinevox.fitting.regressors._solvers.descent import EARLY_STOP_RISE, EARLY_STOP_STEPS, look_ahead
from cinevox.fitting.regressors._solvers.kernels import summing_kernel


@summing_kernel
def descend_blocks(gram, norm, W, Q, l1, l2, least, max_sweeps):
    """Solve one problem in place; whether it converged: no row wants to move by `least` or more.

    gram: (n_features, n_features); norm: (n_features,); W, Q: (n_features, n_tasks)
    l1, l2: n alpha rho and n alpha (1 - rho); least: the step times the feature's norm that counts as none
    """
    p, r = W.shape
    step = np.empty(r)
    wants = np.zeros(p, np.bool_)
    for _ in range(max_sweeps):
        moved = False
        for j in range(p):
            size, gradient, off = 0.0, 0.0, 0.0
            for t in range(r):
                size += W[j, t] * W[j, t]
                gradient += Q[j, t] * Q[j, t]
            if size > 0.0:
                pull = l2 + l1 / np.sqrt(size)
                for t in range(r):
                    off += (Q[j, t] - pull * W[j, t]) ** 2
                off = np.sqrt(off)
            else:
                off = np.sqrt(gradient) - l1
            wants[j] = off * norm[j] > least * (norm[j] * norm[j] + l2)
            moved = moved or wants[j]
        if not moved:
            return True
        for j in range(p):
            if wants[j]:
                d, size = norm[j] * norm[j], 0.0
                for t in range(r):
                    step[t] = Q[j, t] + d * W[j, t]
                    size += step[t] * step[t]
                shrink = max(0.0, 1.0 - l1 / np.sqrt(size)) / (d + l2) if size > 0.0 else 0.0
                for t in range(r):
                    new = shrink * step[t]
                    step[t] = new - W[j, t]
                    W[j, t] = new
                for i in range(p):
                    g = gram[j, i]
                    for t in range(r):
                        Q[i, t] -= g * step[t]
    return False


@summing_kernel
def fold_error(gram, cross, W, yy):
    """sum |Y - XW|^2 = yy - 2 sum W C + sum W (G W) of clips held out, C (n_features, n_tasks)."""
    GW = np.dot(gram, W)
    explained = 0.0
    for j in range(W.shape[0]):
        for t in range(W.shape[1]):
            explained += W[j, t] * (2.0 * cross[j, t] - GW[j, t])
    return yy - explained


@summing_kernel
def block_path_errors(
    gram, norm, cross, norm_y, n_fit, gram_out, cross_out, yy_out, n_out, alphas, rho, tolerance, max_sweeps, early_stop
):
    """The smallest mean over folds of the held-out squared error per clip, its step, and whether all converged.

    gram, gram_out: (n_folds, n_features, n_features); norm: (n_folds, n_features)
    cross, cross_out: (n_folds, n_features, n_tasks); norm_y, yy_out, n_fit, n_out: (n_folds,); alphas: (n_alphas,)
    """
    n_folds = len(n_fit)
    W, Q = np.zeros_like(cross), cross.copy()
    W_last, Q_last = W.copy(), Q.copy()
    best_error, best_step, converged = np.inf, 0, True
    for a in range(len(alphas)):
        ratio = (alphas[a] - alphas[a - 1]) / (alphas[a - 1] - alphas[a - 2]) if a > 1 else 0.0
        error = 0.0
        for k in range(n_folds):
            look_ahead(W[k], W_last[k], ratio)
            look_ahead(Q[k], Q_last[k], ratio)
            l1, l2 = n_fit[k] * alphas[a] * rho, n_fit[k] * alphas[a] * (1.0 - rho)
            if not descend_blocks(gram[k], norm[k], W[k], Q[k], l1, l2, tolerance * norm_y[k], max_sweeps):
                converged = False
            error += fold_error(gram_out[k], cross_out[k], W[k], yy_out[k]) / (n_out[k] * n_folds)
        if error < best_error:
            best_error, best_step = error, a
        if early_stop and a > best_step + EARLY_STOP_STEPS and error > EARLY_STOP_RISE * best_error:
            break
    return best_error, best_step, converged

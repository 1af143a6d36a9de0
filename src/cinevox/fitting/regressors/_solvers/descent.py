"""Coordinate descent for lasso and elastic net on shared Gram matrices, one voxel after another, compiled.

Minimises (1 / 2n) |y - Xw|^2 + alpha rho |w|_1 + alpha (1 - rho) / 2 |w|^2 over w, with the gradient
q = X'y - X'Xw carried along. Three things make a path cheap: the Gram matrix is shared by all voxels; the
error on held-out clips comes from a second gradient that is carried along with the first, so no clip is
visited; and, the path being piecewise linear in alpha, the next solution is first guessed along the line
through the last two, which costs one pass over w and q and is exact unless the active set changes.

Reference: Friedman, Hastie and Tibshirani (2010), J. Stat. Softw. 33(1).
"""

from __future__ import annotations

import numpy as np

from cinevox.fitting.regressors._solvers.kernels import inlined, kernel

EARLY_STOP_RISE = 1.01
EARLY_STOP_STEPS = 10


@kernel
def descend(gram, norm, w, q, l1, l2, least, max_sweeps, wants):
    """Solve one problem in place; whether it converged: no coefficient wants to move by `least` or more.

    A sweep first looks, without a branch, at which coefficients are off their optimum, then moves those in turn.
    gram: (n_features, n_features); norm: (n_features,), of the features; w, q: (n_features,)
    l1, l2: n alpha rho and n alpha (1 - rho); wants: (n_features,) workspace
    least: the step times the feature's norm that counts as none
    """
    p = w.shape[0]
    for _ in range(max_sweeps):
        moved = 0
        for j in range(p):
            towards = abs(q[j] - l2 * w[j] - (l1 if w[j] > 0.0 else -l1))
            off = towards if w[j] != 0.0 else abs(q[j]) - l1
            wants[j] = 1 if off * norm[j] > least * (norm[j] * norm[j] + l2) else 0
            moved += wants[j]
        if moved == 0:
            return True
        for j in range(p):
            if wants[j] == 1:
                d = norm[j] * norm[j]
                z = q[j] + d * w[j]
                new = (z - l1 if z > 0.0 else z + l1) / (d + l2) if abs(z) > l1 else 0.0
                step = new - w[j]
                w[j] = new
                for i in range(p):
                    q[i] -= step * gram[j, i]
    return False


@inlined
def look_ahead(values, last, ratio):
    """values <- values + ratio (values - last), last <- what values were; both of one shape, of two axes."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            now = values[i, j]
            values[i, j] = now + ratio * (now - last[i, j])
            last[i, j] = now


@kernel
def path_errors(
    start, stop, gram, gram_out, norm, cross, cross_out, yy, yy_out, n, n_out, alpha_max, grid, rho, tolerance,
    max_sweeps, early_stop, best_error, best_step, failed,
):  # fmt: skip
    """For voxels start..stop, the step of the grid with the smallest mean over folds of the held-out MSE.

    gram, gram_out: (n_folds, n_features, n_features), of the clips fitted and of those held out
    norm: (n_folds, n_features), of the features; cross, cross_out: (n_folds, n_voxels, n_features)
    yy, yy_out: (n_folds, n_voxels); n, n_out: (n_folds,); alpha_max: (n_voxels,); grid: (n_alphas,) from 1 down
    best_error, best_step, failed: (n_voxels,), written
    """
    n_folds, p = norm.shape
    state, last = np.empty((n_folds, 3, p)), np.empty((n_folds, 3, p))  # w, its gradient, its gradient held out
    before, wants = np.empty(p), np.empty(p, np.int64)
    for v in range(start, stop):
        best_error[v] = np.inf
        best_step[v] = 0
        state[:, 0] = 0.0
        state[:, 1] = cross[:, v]
        state[:, 2] = cross_out[:, v]
        last[:] = state
        for a in range(grid.shape[0]):
            ratio = (grid[a] - grid[a - 1]) / (grid[a - 1] - grid[a - 2]) if a > 1 else 0.0
            error = 0.0
            for k in range(n_folds):
                look_ahead(state[k], last[k], ratio)
                w, q, q_out = state[k, 0], state[k, 1], state[k, 2]
                before[:] = w
                penalty, least = n[k] * alpha_max[v] * grid[a], tolerance * np.sqrt(yy[k, v])
                l1, l2 = penalty * rho, penalty * (1.0 - rho)
                if not descend(gram[k], norm[k], w, q, l1, l2, least, max_sweeps, wants):
                    failed[v] = True
                for j in range(p):
                    step = w[j] - before[j]
                    if step != 0.0:
                        for i in range(p):
                            q_out[i] -= step * gram_out[k, j, i]
                explained = 0.0
                for j in range(p):
                    explained += w[j] * (cross_out[k, v, j] + q_out[j])
                error += (yy_out[k, v] - explained) / (n_out[k] * n_folds)
            if error < best_error[v]:
                best_error[v] = error
                best_step[v] = a
            if early_stop and a > best_step[v] + EARLY_STOP_STEPS and error > EARLY_STOP_RISE * best_error[v]:
                break


@kernel
def solve(start, stop, gram, norm, cross, yy, n, alpha, rho, tolerance, max_sweeps, coef, gap, failed):
    """For voxels start..stop, the coefficients at alpha (n_voxels,) and rho (n_voxels,), on all clips.

    gram: (n_features, n_features); norm: (n_features,); cross: (n_voxels, n_features); yy: (n_voxels,)
    coef: (n_voxels, n_features), gap: (n_voxels,) the duality gap over yy, failed: (n_voxels,); written
    """
    p = gram.shape[0]
    w, q = np.empty(p), np.empty(p)
    wants = np.empty(p, np.int64)
    for v in range(start, stop):
        w[:] = 0.0
        q[:] = cross[v]
        penalty = n * alpha[v]
        l1, l2 = penalty * rho[v], penalty * (1.0 - rho[v])
        if not descend(gram, norm, w, q, l1, l2, tolerance * np.sqrt(yy[v]), max_sweeps, wants):
            failed[v] = True
        gap[v] = duality_gap(w, q, cross[v], yy[v], l1, l2) / yy[v] if yy[v] > 0.0 else 0.0
        coef[v] = w


@kernel
def duality_gap(w, q, c, yy, l1, l2):
    """Primal less dual objective of (1/2) |y - Xw|^2 + l1 |w|_1 + (l2/2) |w|^2, from q = c - Gw."""
    largest, wc, wq, ww, w1 = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(w.shape[0]):
        largest = max(largest, abs(q[j] - l2 * w[j]))
        wc += w[j] * c[j]
        wq += w[j] * q[j]
        ww += w[j] * w[j]
        w1 += abs(w[j])
    residual = yy - wc - wq
    shrink = l1 / largest if largest > l1 else 1.0
    primal = 0.5 * residual + l1 * w1 + 0.5 * l2 * ww
    dual = shrink * (yy - wc) - 0.5 * shrink * shrink * (residual + l2 * ww)
    return primal - dual

"""Orthogonal matching pursuit on shared Gram matrices, one voxel after another, compiled.

At each step the feature of largest |x_j'(y - Xw)| joins, and w is the least-squares solution on those that
have joined, through a Cholesky factor that grows by a row.

Reference: Rubinstein, Zibulevsky and Elad (2008), Technion CS-2008-08.
"""

from __future__ import annotations

import numpy as np

from cinevox.fitting.regressors._solvers.kernels import kernel


@kernel
def pursue(gram, c, q, L, half, w, joined, size):
    """Let one more feature join after `size` have; False (and nothing done) when none is left to explain anything.

    gram: (n_features, n_features); c, q: (n_features,) X'y and X'(y - Xw); joined: (n_features,), the first `size` set
    L: the Cholesky factor; half: L^-1 c; w: coefficients in the order of joining
    """
    smallest = np.finfo(np.float64).eps
    best, largest = -1, 0.0
    for j in range(gram.shape[0]):
        free = True
        for i in range(size):
            free = free and joined[i] != j
        if free and abs(q[j]) > largest:
            best, largest = j, abs(q[j])
    if best < 0 or largest * largest < smallest * gram[best, best]:
        return False
    rest, value = gram[best, best], c[best]
    for i in range(size):
        total = gram[best, joined[i]]
        for k in range(i):
            total -= L[size, k] * L[i, k]
        L[size, i] = total / L[i, i]
        rest -= L[size, i] * L[size, i]
        value -= L[size, i] * half[i]
    if rest <= smallest * gram[best, best]:
        return False
    L[size, size] = np.sqrt(rest)
    half[size] = value / L[size, size]
    joined[size] = best
    for i in range(size, -1, -1):
        total = half[i]
        for k in range(i + 1, size + 1):
            total -= L[k, i] * w[k]
        w[i] = total / L[i, i]
    q[:] = c
    for i in range(size + 1):
        for j in range(len(q)):
            q[j] -= w[i] * gram[joined[i], j]
    return True


@kernel
def pursuit_cv(
    start,
    stop,
    gram,
    cross,
    gram_out,
    cross_out,
    yy_out,
    n_out,
    whole_gram,
    whole_cross,
    most,
    coef,
    chosen,
    best_error,
):
    """For voxels start..stop, the number of features of the smallest mean held-out MSE, and the fit with it.

    gram, gram_out: (n_folds, n_features, n_features); cross, cross_out: (n_folds, n_voxels, n_features)
    yy_out: (n_folds, n_voxels); n_out: (n_folds,); whole_gram, whole_cross: of all clips; most: features at most
    coef: (n_voxels, n_features), zeros, chosen, best_error: (n_voxels,); written
    """
    n_folds, p = gram.shape[0], gram.shape[1]
    q, half, w, joined, L = (
        np.empty(p),
        np.empty(most),
        np.empty(most),
        np.empty(most, np.int64),
        np.empty((most, most)),
    )
    error = np.empty(most)
    for v in range(start, stop):
        error[:] = 0.0
        steps = most
        for k in range(n_folds):
            q[:] = cross[k, v]
            for size in range(steps):
                if not pursue(gram[k], cross[k, v], q, L, half, w, joined, size):
                    steps = size
                    break
                explained = 0.0
                for i in range(size + 1):
                    explained += 2.0 * w[i] * cross_out[k, v, joined[i]]
                    for j in range(size + 1):
                        explained -= w[i] * w[j] * gram_out[k, joined[i], joined[j]]
                error[size] += (yy_out[k, v] - explained) / (n_out[k] * n_folds)
        best_error[v] = np.inf
        if steps == 0:
            best_error[v] = (yy_out[:, v] / n_out).mean()
        for size in range(steps):
            if error[size] < best_error[v]:
                best_error[v] = error[size]
                chosen[v] = size + 1
        q[:] = whole_cross[v]
        size = 0
        while size < chosen[v] and pursue(whole_gram, whole_cross[v], q, L, half, w, joined, size):
            size += 1
        for i in range(size):
            coef[v, joined[i]] = w[i]

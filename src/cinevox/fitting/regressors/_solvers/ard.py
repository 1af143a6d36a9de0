"""Automatic relevance determination on a shared Gram matrix, one voxel after another, compiled.

Every coefficient has a Gaussian prior of its own precision lambda_j; precisions and the noise precision alpha
are updated by MacKay's rules, and a feature whose precision passes a threshold is dropped for good:
S = (alpha G + diag(lambda))^-1, w = alpha S c, gamma = 1 - lambda diag(S), lambda = gamma / w^2,
alpha = (n - sum gamma) / |y - Xw|^2, with small constants of a Gamma prior as in scikit-learn's ARDRegression.

References: MacKay (1994), ASHRAE Trans. 100, 1053; Tipping (2001), JMLR 1, 211; Sato (2001), Neural Comput. 13.
"""

from __future__ import annotations

import numpy as np

from cinevox.fitting.regressors._solvers.kernels import kernel, summing_kernel

PRIOR = 1e-6


@summing_kernel
def invert_factor(A, m):
    """Replace the leading m x m of positive A by the inverse of its Cholesky factor; False if A is not positive."""
    for i in range(m):
        for j in range(i):
            total = A[i, j]
            for k in range(j):
                total -= A[i, k] * A[j, k]
            A[i, j] = total / A[j, j]
        total = A[i, i]
        for k in range(i):
            total -= A[i, k] * A[i, k]
        if not total > 0.0:
            return False
        A[i, i] = np.sqrt(total)
    row = np.empty(m)
    for i in range(m):
        row[:i] = 0.0
        for k in range(i):
            factor = A[i, k]
            for j in range(k + 1):
                row[j] -= factor * A[k, j]
        inverse = 1.0 / A[i, i]
        for j in range(i):
            A[i, j] = row[j] * inverse
        A[i, i] = inverse
    return True


@summing_kernel
def posterior(gram, c, alpha, precision, keep, m, A, w, variance):
    """w and the diagonal of S for the m features in keep, into their first m places; False if S has no inverse."""
    for i in range(m):
        for j in range(i + 1):
            A[i, j] = alpha * gram[keep[i], keep[j]]
        A[i, i] += precision[keep[i]]
    if not invert_factor(A, m):
        return False
    w[:m] = 0.0
    variance[:m] = 0.0
    for i in range(m):
        total = 0.0
        for j in range(i + 1):
            total += A[i, j] * c[keep[j]]
        total *= alpha
        for j in range(i + 1):
            w[j] += total * A[i, j]
            variance[j] += A[i, j] * A[i, j]
    return True


@kernel
def relevance(start, stop, gram, cross, yy, n, tolerance, max_iterations, threshold, coef, steps, failed):
    """Fit voxels start..stop.

    gram: (n_features, n_features); cross: (n_voxels, n_features); yy: (n_voxels,) of n clips, centred
    coef: (n_voxels, n_features), zeros, steps and failed: (n_voxels,); written
    """
    p = gram.shape[0]
    A, w, variance = np.empty((p, p)), np.empty(p), np.empty(p)
    precision, old, keep = np.empty(p), np.empty(p), np.empty(p, np.int64)
    for v in range(start, stop):
        alpha = 1.0 / (yy[v] / n + np.finfo(np.float64).eps)
        precision[:] = 1.0
        old[:] = 0.0
        keep[:] = np.arange(p)
        m = p
        failed[v] = True
        for iteration in range(max_iterations):
            steps[v] = iteration + 1
            if not posterior(gram, cross[v], alpha, precision, keep, m, A, w, variance):
                break
            squares, freedom, change, kept = yy[v], 0.0, 0.0, 0
            for i in range(m):
                j = keep[i]
                gamma = 1.0 - precision[j] * variance[i]
                # G w = c - (lambda / alpha) w at the posterior mean, so |y - Xw|^2 needs no product with G
                squares -= w[i] * (cross[v, j] + precision[j] / alpha * w[i])
                freedom += gamma
                precision[j] = (gamma + 2.0 * PRIOR) / (w[i] * w[i] + 2.0 * PRIOR)
                value = 0.0
                if precision[j] < threshold:
                    value = w[i]
                    keep[kept] = j
                    kept += 1
                change += abs(value - old[j])
                old[j] = value
            alpha = (n - freedom + 2.0 * PRIOR) / (max(squares, 0.0) + 2.0 * PRIOR)
            m = kept
            if m == 0 or (iteration > 0 and change < tolerance):
                failed[v] = False
                break
        if m > 0 and posterior(gram, cross[v], alpha, precision, keep, m, A, w, variance):
            for i in range(m):
                coef[v, keep[i]] = w[i]

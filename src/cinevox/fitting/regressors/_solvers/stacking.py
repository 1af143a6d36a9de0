"""Stacking: predictions of several feature spaces combined for every voxel, with weights on the simplex.

The weights are those of the smallest mean squared error of out-of-fold predictions. With R (n_clips, k) a voxel's
residuals, one column per space, a combination whose weights sum to 1 has the residual R w, so the problem is
argmin_w w'Sw, S = R'R / n_clips, w >= 0, sum w = 1. Its solution is z / sum z for z = argmin_(z >= 0) z'Sz / 2 - sum z,
which an active-set method finds exactly: spaces enter one at a time, and leave where their z would become negative.

References: Breiman (1996), Machine Learning 24, 49; Lin, Naselaris, Kay and Wehbe (2024), NeuroImage 298, 120772;
Lawson and Hanson (1974), Solving Least Squares Problems, chapter 23.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Floats, Map
from cinevox.fitting.regressors._solvers.checks import check_new
from cinevox.fitting.regressors._solvers.kernels import kernel, over_voxels
from cinevox.fitting.regressors._solvers.moments import Matrix
from cinevox.fitting.regressors._solvers.ridge import voxel_blocks

RIDGE = 1e-10  # of each diagonal entry: spaces that predict alike share their weight
ROUNDING = 1e-12  # of the sizes of a gradient's terms


@dataclass(frozen=True)
class StackedMap:
    """prediction = sum_p w_p map_p(X_p), X_p the columns of X that belong to space p.

    maps: one per space; ends: the column of X after the last one of each space, (n_spaces,)
    weights: (n_voxels, n_spaces)
    """

    maps: tuple[Map, ...]
    ends: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        check_new(X, int(self.ends[-1]))
        starts = [0, *self.ends[:-1]]
        predictions = (found(X[:, start:end]) for found, start, end in zip(self.maps, starts, self.ends))
        return combined(predictions, self.weights)

    def flat(self) -> StackedMap:
        """The same without a stack among its maps: a stack of stacks is one with the products of their weights."""
        maps: list[Map] = []
        ends, weights = [], []
        for found, start, end, weight in zip(self.maps, [0, *self.ends[:-1]], self.ends, self.weights.T):
            if isinstance(found, StackedMap):
                inner = found.flat()
                maps += inner.maps
                ends += list(start + inner.ends)
                weights += list(weight * inner.weights.T)
            else:
                maps.append(found)
                ends.append(end)
                weights.append(weight)
        return StackedMap(tuple(maps), np.array(ends), np.stack(weights, axis=1))

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        maps = tuple(found.of_voxels(voxels) for found in self.maps)
        return replace(self, maps=maps, weights=self.weights[voxels])

    def times(self, units: NDArray[np.float64]) -> Self:
        return replace(self, maps=tuple(found.times(units) for found in self.maps))


def sharing(found: Map, pool: list[Floats]) -> Map:
    """The same map with training features of the pool in place of equal ones; the pool gets what it does not have.

    Each batch of voxels comes back from its worker with training features of its own, where its map keeps some (`X`).
    The kinds of such maps are not named here: every fit loads this module, and need not load their solvers.
    """
    if isinstance(found, StackedMap):
        return replace(found, maps=tuple(sharing(part, pool) for part in found.maps))
    own: Floats | None = getattr(found, "X", None)
    if own is None:
        return found
    same = next((X for X in pool if X.dtype == own.dtype and np.array_equal(X, own)), None)
    if same is None:
        pool.append(own)
        return found
    return replace(found, X=same)  # type: ignore[type-var]


def combined(predictions: Iterable[Floats], weights: NDArray[np.floating]) -> NDArray[np.float32]:
    """Predictions of the spaces, each (n_clips, n_voxels), weighted by (n_voxels, n_spaces) and added up."""
    parts = zip(predictions, weights.astype(np.float32).T, strict=True)
    first, weight = next(parts)
    total: NDArray[np.float32] = np.multiply(first, weight, dtype=np.float32)
    for prediction, weight in parts:
        total += np.multiply(prediction, weight, dtype=np.float32)
    return total


def residual_products(Y: Floats, predictions: Sequence[Floats]) -> Matrix:
    """S = R'R / n_clips of every voxel, R the residuals of each space's predictions; (n_voxels, n_spaces, n_spaces).

    Y: (n_clips, n_voxels), responses to clips that are in no fit of their prediction
    predictions: one per space, (n_clips, n_voxels)

    Some hundred voxels at a time are read, and summed in float64.

    Raises
    ------
    InputError
        There are no predictions, some are of another shape, or some numbers are NaN or infinite.
    """
    if wrong := [f"space {number} has {p.shape}" for number, p in enumerate(predictions) if p.shape != Y.shape]:
        raise InputError(f"predictions of {', '.join(wrong)}; expected {Y.shape} (n_clips, n_voxels) as the responses")
    if not predictions:
        raise InputError("no predictions to combine; expected those of one feature space or more")
    S = np.empty((Y.shape[1], len(predictions), len(predictions)))
    for block, Y_block in voxel_blocks(Y):
        R = [Y_block - predicted[:, block] for predicted in predictions]
        for a, b in combinations_with_replacement(range(len(R)), 2):
            S[block, a, b] = S[block, b, a] = np.einsum("nv,nv->v", R[a], R[b]) / len(Y)
    if not np.isfinite(S).all():
        raise InputError("responses or predictions to be combined are NaN or infinite; check the fits of each space")
    return S


def with_block_means(S: NDArray[np.floating], blocks: Iterable[slice], worth: float = 1.0) -> Matrix:
    """Each voxel's S beside the mean over its block, which is worth as much as so many voxels; (n_voxels, k, k).

        T_v = S_v / s_v + worth x mean over u in the block of S_u / s_u,  s_v = min_j S_v,jj

    The weights of a voxel with little signal are mostly noise: where one space drives it, whatever another one takes of
    the weight is lost. With T they are drawn to those that its block has in common, the more so the less its own
    residuals tell. Voxels with a space that has no error stay as they are, and have no say in the mean.

    S: (n_voxels, k, k), from `residual_products`; blocks: voxels that share their weights, such as an ROI of a subject
    """
    T = np.array(S, dtype=np.float64)
    least = np.einsum("vjj->vj", T).min(axis=1)
    for block in blocks:
        own = np.arange(len(T))[block][least[block] > 0]
        if len(own):
            T[own] /= least[own, None, None]
            T[own] += worth * T[own].mean(axis=0)
    return T


def simplex_weights(S: NDArray[np.floating]) -> Matrix:
    """argmin_w w'Sw, w >= 0, sum w = 1, of every voxel; (n_voxels, k).

    S: (n_voxels, k, k), symmetric and positive semidefinite, in any unit

    The solution is unique, as every diagonal entry is raised by RIDGE of itself: spaces that predict alike get equal
    weights. Spaces without any error share all of the weight equally, so a voxel with S = 0 has equal weights.

    Raises
    ------
    InputError
        S has another shape, is not finite or not positive semidefinite.
    """
    if S.ndim != 3 or S.shape[1] != S.shape[2] or not S.shape[1]:
        raise InputError(f"S has shape {S.shape}; expected (n_voxels, k, k) of k = 1 or more feature spaces")
    if not np.isfinite(S).all():
        raise InputError("S has NaN or infinite entries; expected products of finite residuals")
    S = np.ascontiguousarray(S, dtype=np.float64)
    W, failed = np.zeros(S.shape[:2]), np.zeros(len(S), bool)
    over_voxels(lambda start, stop: weigh(start, stop, S, W, failed), len(S))
    if failed.any():
        raise InputError(
            f"S is not positive semidefinite in {failed.sum()} voxels (first: {np.flatnonzero(failed)[0]}); expected "
            "R'R of residuals R"
        )
    return W


@kernel
def factor(S, keep, first, m, L):
    """Rows first..m of the Cholesky factor L of S over the spaces in keep; False if S is not positive semidefinite."""
    for i in range(first, m):
        for j in range(i + 1):
            total = S[keep[i], keep[j]]
            if i == j:
                total *= 1.0 + RIDGE
            for c in range(j):
                total -= L[i, c] * L[j, c]
            if i > j:
                L[i, j] = total / L[j, j]
            elif total > 0.0:
                L[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def solve(L, m, x):
    """x = (L L')^-1 1 of the leading m x m."""
    for i in range(m):
        total = 1.0
        for j in range(i):
            total -= L[i, j] * x[j]
        x[i] = total / L[i, i]
    for i in range(m - 1, -1, -1):
        total = x[i]
        for j in range(i + 1, m):
            total -= L[j, i] * x[j]
        x[i] = total / L[i, i]


@kernel
def entering(S, keep, m, z):
    """The space outside of keep whose entry lowers z'Sz / 2 - sum z most by itself; -1 if none lowers it."""
    best, most = -1, 0.0
    for j in range(len(S)):
        slope, size, inside = 1.0, 1.0, False
        for i in range(m):
            inside = inside or keep[i] == j
            part = S[j, keep[i]] * z[keep[i]]
            slope -= part
            size += abs(part)
        if not inside and slope > ROUNDING * size and slope * slope > most * S[j, j]:
            best, most = j, slope * slope / S[j, j]
    return best


@kernel
def nonnegative(S, z, target, keep, L):
    """z = argmin_(z >= 0) z'Sz / 2 - sum z, whose S has a positive diagonal; False if S is not positive semidefinite.

    At the minimum over a set of spaces z'Sz = sum z, so the sum grows with every set that is an improvement, and no
    set comes twice: it ends. z, target, keep: (k,) and L: (k, k), written
    """
    m, reached = 0, 0.0
    z[:] = 0.0
    while True:
        new = entering(S, keep, m, z)
        if new < 0:
            return True
        keep[m] = new
        first, m = m, m + 1
        while True:
            if not factor(S, keep, first, m, L):
                return False
            solve(L, m, target)
            step, leaving = 1.0, -1
            for i in range(m):
                here = z[keep[i]]
                if target[i] <= 0.0:
                    fraction = here / (here - target[i]) if here > 0.0 else 0.0
                    if leaving < 0 or fraction < step:
                        step, leaving = fraction, i
            if leaving < 0:
                break
            for i in range(m):
                z[keep[i]] += step * (target[i] - z[keep[i]])
            z[keep[leaving]] = 0.0
            m -= 1
            for i in range(leaving, m):
                keep[i] = keep[i + 1]
            first = leaving
        total = 0.0
        for i in range(m):
            z[keep[i]] = target[i]
            total += target[i]
        if total <= reached:  # no improvement beyond rounding
            return True
        reached = total


@kernel
def weigh(start, stop, S, W, failed):
    """Weights of voxels start..stop.

    S: (n_voxels, k, k); W: (n_voxels, k) and failed: (n_voxels,), zeros, written
    """
    k = S.shape[1]
    A, L = np.empty((k, k)), np.empty((k, k))
    z, target, keep = np.empty(k), np.empty(k), np.empty(k, np.int64)
    for v in range(start, stop):
        exact, least = 0, np.inf
        for j in range(k):
            error = S[v, j, j]
            failed[v] = failed[v] or error < 0.0
            exact += error == 0.0
            if 0.0 < error < least:
                least = error
        if exact > 0:
            for j in range(k):
                W[v, j] = (S[v, j, j] == 0.0) / exact
            continue
        for i in range(k):
            for j in range(k):
                A[i, j] = S[v, i, j] / least
        failed[v] = failed[v] or not nonnegative(A, z, target, keep, L)
        total = z.sum()
        for j in range(k):
            W[v, j] = z[j] / total

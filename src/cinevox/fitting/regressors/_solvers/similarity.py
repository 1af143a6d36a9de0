"""Similarities of clips: the cosine of their features about the training mean, streamed over blocks of features.

A component's sign is arbitrary: it is that of an eigenvector. Pearson's r across features takes a clip's mean over its
features away, and that mean changes with the signs. The mean over training clips of every feature takes its place
here, so a similarity is the same for components of any sign and order, and with equal weights for any rotation of
them: that of all components is that of the features they were made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.checks import check_new
from cinevox.fitting.regressors._solvers.dual import about_mean
from cinevox.fitting.regressors._solvers.moments import Matrix
from cinevox.statistics.splits import Indices

BLOCK_FEATURES = 8192
MIN_SPREAD = 0.01  # of the median standard deviation of the features
ROUNDING = 1e-12  # of the center's square: (8 eps)^2 in float32


@dataclass(frozen=True)
class SimilarityMap:
    """prediction = y_mean + k D, k_i = cosine(x, X_i); with `scaled`, w = k / sum |k| in place of k (0 / 0 is 0).

    X: (n_train_clips, n_features), of the features' own type, a memory map at best; y_mean: (n_voxels,)
    x_mean, x_weight: (n_features,), what is taken off every feature, and what the difference is multiplied by
    duals: D, (n_train_clips, n_voxels); scaled: a single boolean
    """

    X: Floats
    x_mean: NDArray[np.float64]
    x_weight: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    duals: NDArray[np.float32]
    scaled: NDArray[np.bool_]

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        check_new(X, self.X.shape[1])
        weights = cosines(X, self.X, self.x_mean, self.x_weight)
        if self.scaled:
            total = np.abs(weights).sum(axis=1, keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        prediction: NDArray[np.float32] = weights.astype(np.float32) @ self.duals
        prediction += self.y_mean.astype(np.float32)
        return prediction

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        return replace(self, y_mean=self.y_mean[voxels], duals=self.duals[:, voxels])

    def times(self, units: NDArray[np.float64]) -> Self:
        return replace(self, y_mean=self.y_mean * units, duals=self.duals * units.astype(np.float32))


def center_and_weight(X: Floats, *, normalize: bool) -> tuple[Matrix, Matrix]:
    """Every feature's mean over training clips X, and its weight: 1, or with `normalize` 1 / its standard deviation.

    A deviation under MIN_SPREAD of the median one counts as that much, so that a feature that hardly varies over the
    training clips can't decide by itself what a new clip is like; one that doesn't vary at all has weight 0.

    X: (n_clips, n_features), read in blocks; returns (n_features,) twice
    """
    mean, spread = np.empty(X.shape[1]), np.zeros(X.shape[1])
    for part in _blocks(X.shape[1]):
        block = X[:, part]
        mean[part] = block.mean(axis=0, dtype=np.float64)
        if normalize:
            spread[part] = np.where(block.max(axis=0) > block.min(axis=0), block.std(axis=0, dtype=np.float64), 0)
    if not normalize:
        return mean, np.ones_like(mean)
    varies = spread > 0
    least = MIN_SPREAD * np.median(spread[varies]) if varies.any() else 1.0
    return mean, np.where(varies, 1.0 / np.maximum(spread, least), 0.0)


def cosines(A: Floats, B: Floats, center: Matrix, weight: Matrix) -> Matrix:
    """K_ij = cosine((A_i - center) weight, (B_j - center) weight); 0 where either is the center up to rounding.

    A: (n_a, n_features), B: (n_b, n_features), of which no more than a block of features is in memory at once
    center, weight: (n_features,)
    Returns (n_a, n_b). Products within a block are in the features' own precision (float32 at least), sums over
    blocks in float64.

    Raises
    ------
    InputError
        A feature is NaN or infinite.
    """
    products, squares = weighted_products(A, B, center, weight)
    least = ROUNDING * float(np.square(center * weight).sum())
    return np.asarray(products * np.outer(*(_inverse_root(found, least) for found in squares)))


def weighted_products(A: Floats, B: Floats, center: Matrix, weight: Matrix) -> tuple[Matrix, tuple[Matrix, Matrix]]:
    """Inner products of `cosines` before they are divided, and the squared lengths of A and of B about the center."""
    precision = np.result_type(A, B, np.float32)
    products, squares, same = np.zeros((len(A), len(B))), (np.zeros(len(A)), np.zeros(len(B))), A is B
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below, by name
        for part in _blocks(A.shape[1]):
            middle, scale = center[part].astype(precision), weight[part].astype(precision)
            a = (A[:, part] - middle) * scale
            b = a if same else (B[:, part] - middle) * scale
            products += a @ b.T
            for block, square in zip((a, b), squares):
                square += np.einsum("ij,ij->i", block, block)
    if not all(np.isfinite(square).all() for square in squares):
        raise InputError("X has NaN or infinite features; check the features stage")
    return products, squares


def recentred(products: Matrix, rows: Indices) -> Matrix:
    """Cosines about the mean of some clips, from all clips' inner products (n_clips, n_clips) about any center."""
    K = about_mean(products, rows)
    inverse = _inverse_root(np.diagonal(K), np.finfo(np.float32).eps * np.diagonal(products))
    return np.asarray(K * np.outer(inverse, inverse))


def _inverse_root(square: Matrix, least: Matrix | float) -> Matrix:
    """1 / sqrt(square), and 0 where a clip is no further from the center than rounding takes it."""
    away = square > least
    return np.where(away, 1.0 / np.sqrt(np.where(away, square, 1.0)), 0.0)


def _blocks(n_features: int) -> Iterator[slice]:
    for start in range(0, n_features, BLOCK_FEATURES):
        yield slice(start, min(start + BLOCK_FEATURES, n_features))

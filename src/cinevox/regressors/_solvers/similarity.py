"""Pearson similarities between clips across features, streamed over blocks of features; and what predicts by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.regressors import Floats
from cinevox.regressors._solvers.checks import check_new
from cinevox.regressors._solvers.moments import Matrix

BLOCK_FEATURES = 8192


@dataclass(frozen=True)
class SimilarityMap:
    """prediction = y_mean + k D, k_i = Pearson(x, X_i); with `scaled`, w = k / sum |k| in place of k (0 / 0 is 0).

    X: (n_train_clips, n_features), of the features' own type, a memory map at best; y_mean: (n_voxels,)
    duals: D, (n_train_clips, n_voxels); scaled: a single boolean
    """

    X: Floats
    y_mean: NDArray[np.float64]
    duals: NDArray[np.float32]
    scaled: NDArray[np.bool_]

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        check_new(X, self.X.shape[1])
        weights = pearson_kernel(X, self.X)
        if self.scaled:
            total = np.abs(weights).sum(axis=1, keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        prediction: NDArray[np.float32] = weights.astype(np.float32) @ self.duals
        prediction += self.y_mean.astype(np.float32)
        return prediction

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        return replace(self, y_mean=self.y_mean[voxels], duals=self.duals[:, voxels])


def pearson_kernel(A: Floats, B: Floats) -> NDArray[np.float64]:
    """K_ij = Pearson r across features of A_i and B_j; 0 where either has one value only.

    A: (n_a, n_features), B: (n_b, n_features), of which no more than a block of features is in memory at once
    Returns (n_a, n_b). Products within a block are in the features' own precision (float32 at least), sums over
    blocks in float64; rows are shifted by their means over the first block, which rounding sees and Pearson r
    does not.

    Raises
    ------
    InputError
        Fewer than two features, or a feature that is NaN or infinite.
    """
    if A.shape[1] < 2:
        raise InputError(f"Pearson similarity across {A.shape[1]} features; expected at least 2")
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below, by name
        products, (square_a, spread_a), (square_b, spread_b) = _products(A, B)
    if not (np.isfinite(spread_a).all() and np.isfinite(spread_b).all()):
        raise InputError("X has NaN or infinite features; check the features stage")
    inverse_a, inverse_b = _inverse_root(square_a, spread_a), _inverse_root(square_b, spread_b)
    return np.asarray(products * np.outer(inverse_a, inverse_b))


def _products(A: Floats, B: Floats) -> tuple[Matrix, tuple[Matrix, Matrix], tuple[Matrix, Matrix]]:
    """Sums of products about the rows' means; for A and B, sums of squares about the shift and about the mean."""
    n_features, same = A.shape[1], A is B
    precision = np.result_type(A, B, np.float32)
    shift_a, shift_b = (
        M[:, :BLOCK_FEATURES].mean(axis=1, dtype=np.float64, keepdims=True).astype(precision) for M in (A, B)
    )
    products = np.zeros((len(A), len(B)))
    sums = [np.zeros(len(A)), np.zeros(len(B))]
    squares = [np.zeros(len(A)), np.zeros(len(B))]
    for start in range(0, n_features, BLOCK_FEATURES):
        a = A[:, start : start + BLOCK_FEATURES] - shift_a
        b = a if same else B[:, start : start + BLOCK_FEATURES] - shift_b
        products += a @ b.T
        for block, total, square in zip((a, b), sums, squares):
            total += block.sum(axis=1)
            square += np.einsum("ij,ij->i", block, block)
    means = [total / n_features for total in sums]
    spread = [square - n_features * mean**2 for square, mean in zip(squares, means)]
    return products - n_features * np.outer(*means), (squares[0], spread[0]), (squares[1], spread[1])


def _inverse_root(square: Matrix, spread: Matrix) -> Matrix:
    """1 / sqrt(spread), and 0 where the spread is no more than rounding: a row that has one value only."""
    contrast = spread > np.finfo(np.float32).eps * square
    return np.where(contrast, 1.0 / np.sqrt(np.where(contrast, spread, 1.0)), 0.0)

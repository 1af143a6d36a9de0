"""Pearson similarities between clips across features, streamed over blocks of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.regressors import Floats

BLOCK_FEATURES = 8192


def pearson_kernel(A: Floats, B: Floats) -> NDArray[np.float64]:
    """K_ij = Pearson r across features of A_i and B_j; 0 where either has one value only.

    A: (n_a, n_features), B: (n_b, n_features), of which no more than a block of features is in memory at once
    Returns (n_a, n_b). Products are in the features' own precision within a block, sums over blocks in float64;
    rows are shifted by their means over the first block, which Pearson r does not see and rounding does.

    Raises
    ------
    InputError
        Fewer than two features, or a feature that is NaN or infinite.
    """
    n_features = A.shape[1]
    if n_features < 2:
        raise InputError(f"Pearson similarity across {n_features} features; expected at least 2")
    same = A is B
    shift_a, shift_b = (M[:, :BLOCK_FEATURES].mean(axis=1, dtype=np.float64) for M in (A, B))
    shift_a, shift_b = shift_a.astype(A.dtype)[:, None], shift_b.astype(B.dtype)[:, None]
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
    products -= n_features * np.outer(*means)
    if not all(np.isfinite(s).all() for s in spread):
        raise InputError("X has NaN or infinite features; check the features stage")
    # a constant row has a spread of rounding alone
    floors = [np.finfo(np.float32).eps * square for square in squares]
    inverse = [np.where(s > f, 1.0 / np.sqrt(np.maximum(s, np.finfo(float).tiny)), 0.0) for s, f in zip(spread, floors)]
    return np.asarray(products * np.outer(*inverse))

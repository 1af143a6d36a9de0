"""Reduction: the principal components of a layer's activations, exact, without holding the activations.

With far more features than clips, everything a PCA needs is in the clips' Gram matrix. It is summed over
blocks of features read one after another, so memory does not grow with the size of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.splits import Indices

BLOCK_VALUES = 8_000_000  # activations read at once: 32 MB as float32


@dataclass(frozen=True)
class Components:
    """Principal components of every clip, fitted on the training clips.

    scores: float32, (n_clips, n_components), the largest component first; a component's sign makes its
        largest training score positive
    explained: (n_components,), share of the training variance
    variance: that of all features together over the training clips; with `standardize` the number of those that vary,
        if they were scaled on these clips
    n_features: of the layer; n_constant: of those, how many do not vary over the training clips
    """

    scores: NDArray[np.float32]
    explained: NDArray[np.float64]
    variance: float
    n_features: int
    n_constant: int


def principal_components(
    features: NDArray[np.floating],
    train: Indices,
    n_components: int,
    *,
    standardize: bool,
    normalize: bool,
) -> Components:
    """Exact PCA through the Gram matrix.

    Z = (F - mean) / sd, statistics of the training clips (sd = 1 without `standardize`);
    K = Z Z_train' = sum over blocks of features; K_train = U S^2 U' ; scores = K U / S, which on the
    training clips is U S, what a singular value decomposition of Z_train gives. `normalize` divides each
    component by its standard deviation S / sqrt(n_train), so that every one has unit variance.

    features: (n_clips, n_features), or (n_clips, n_frames, n_features) with every frame kept, which count
        as n_frames * n_features features; any float type, a memory map at best
    train: positions of the training clips
    n_components: at most; n_train - 1 and the rank of the features bound it

    The sums of products are float32 within a block and float64 between blocks: components agree with a
    double-precision decomposition to about 1e-6 of the first.

    Raises
    ------
    InputError
        No feature varies over the training clips, or values are not finite.
    """
    flat = features.reshape(len(features), -1)
    n_clips, n_features = flat.shape
    n_train = len(train)
    order = np.concatenate([train, np.setdiff1d(np.arange(n_clips), train)])
    ordered = np.zeros((n_clips, n_train))
    n_constant = 0
    step = max(1, BLOCK_VALUES // n_clips)
    for start in range(0, n_features, step):
        block = flat[order, start : start + step].astype(np.float32, copy=False)
        n_constant += _scale(block, n_train, standardize)
        trained = block[:n_train]
        ordered[:n_train] += trained @ trained.T  # of a matrix with itself: BLAS computes one half
        ordered[n_train:] += block[n_train:] @ trained.T
    gram = np.empty_like(ordered)
    gram[order] = ordered
    if not np.isfinite(gram).all():
        raise InputError("the features hold NaN or infinite values; run the features stage again")
    if n_constant == n_features:
        raise InputError(f"none of the {n_features} features varies over the {len(train)} training clips")
    return Components(*_decompose(gram, train, n_components, normalize), n_features, n_constant)


def _scale(block: NDArray[np.float32], n_train: int, standardize: bool) -> int:
    """Z of a block of features, in place, training clips first; the number of constant ones, which become 0."""
    trained = block[:n_train]
    largest = np.maximum(trained.max(axis=0), -trained.min(axis=0))
    block -= trained.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = np.sqrt(np.einsum("ij,ij->j", trained, trained) / n_train)
    spread[np.isinf(spread)] = np.nan  # squares too large for float32 are told, not divided away
    constant = spread <= 1e-7 * largest
    if standardize:
        block /= np.where(constant, 1, spread)
    block[:, constant] = 0
    return int(constant.sum())


def _decompose(
    gram: NDArray[np.float64], train: Indices, n_components: int, normalize: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    variances, vectors = np.linalg.eigh((gram[train] + gram[train].T) / 2)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    rank = int((variances > 1e-6 * variances[0]).sum())
    kept = min(n_components, len(train) - 1, rank)
    scales = np.sqrt(variances[:kept])
    scores = gram @ (vectors[:, :kept] / scales)
    trained = scores[train]
    scores *= np.sign(trained[np.abs(trained).argmax(axis=0), np.arange(kept)])
    if normalize:
        scores *= np.sqrt(len(train)) / scales
    total = variances.clip(min=0).sum()
    return scores.astype(np.float32), variances[:kept] / total, float(total / len(train))

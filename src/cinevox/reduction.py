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
    duals: (n_train, n_components), the components as sums of training clips, see `projection`
    n_features: of the layer; n_constant: of those, how many do not vary over the training clips
    """

    scores: NDArray[np.float32]
    explained: NDArray[np.float64]
    variance: float
    duals: NDArray[np.float64]
    n_features: int
    n_constant: int


@dataclass(frozen=True)
class Projection:
    """A layer's components as a function of its features: (f - mean) W, (n_clips, n_components).

    mean: float32, (n_features,), of the training clips
    weights: W, float32, (n_features, n_components); standardisation and normalisation are in it
    """

    mean: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """features: (n_clips, n_features), or (n_clips, n_frames, n_features) as `principal_components` takes them.

        Raises
        ------
        InputError
            They have another number of features.
        """
        flat = features.reshape(len(features), -1)
        if flat.shape[1] != len(self.mean):
            raise InputError(f"{flat.shape[1]} features (n_clips, n_features); expected {len(self.mean)} as fitted")
        scores: NDArray[np.float32] = np.subtract(flat, self.mean, dtype=np.float32) @ self.weights
        return scores


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
    component by its standard deviation S / sqrt(n_train), so that every one has unit variance; without it all are
    divided by one number, so that their mean variance is 1 and a penalty means the same for a layer of any size.

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
        _, spread, constant = _scale(block, n_train)
        if standardize:
            block /= spread
        block[:, constant] = 0
        n_constant += int(constant.sum())
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


def projection(
    features: NDArray[np.floating], train: Indices, duals: NDArray[np.float64], *, standardize: bool
) -> Projection:
    """What turns features of any clip into the components that `principal_components` found for these.

    W = diag(1 / sd) Z_train' D, D the duals: their scores are Z Z_train' D. A feature that does not vary over the
    training clips has no weight. Features are read once more, in blocks, which a run without new clips saves.

    features, train, standardize: as for `principal_components`; duals: `Components.duals`
    """
    flat = features.reshape(len(features), -1)
    n_features = flat.shape[1]
    found = Projection(np.empty(n_features, np.float32), np.empty((n_features, duals.shape[1]), np.float32))
    step, scores = max(1, BLOCK_VALUES // len(train)), duals.astype(np.float32)
    for start in range(0, n_features, step):
        part = slice(start, start + step)
        block = flat[train, part].astype(np.float32, copy=False)
        found.mean[part], spread, constant = _scale(block, len(train))
        weights = block.T @ scores
        if standardize:
            weights /= spread[:, None] ** 2
        weights[constant] = 0
        found.weights[part] = weights
    return found


def _scale(
    block: NDArray[np.float32], n_train: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Centre a block of features in place, training clips first.

    Returns their means, standard deviations (1 for a constant one) and which are constant.
    """
    trained = block[:n_train]
    largest = np.maximum(trained.max(axis=0), -trained.min(axis=0))
    mean = trained.mean(axis=0, dtype=np.float64).astype(np.float32)
    block -= mean
    spread = np.sqrt(np.einsum("ij,ij->j", trained, trained) / n_train)
    spread[np.isinf(spread)] = np.nan  # squares too large for float32 are told, not divided away
    constant = spread <= 1e-7 * largest
    return mean, np.where(constant, np.float32(1), spread), constant


def _decompose(
    gram: NDArray[np.float64], train: Indices, n_components: int, normalize: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64], float, NDArray[np.float64]]:
    variances, vectors = np.linalg.eigh((gram[train] + gram[train].T) / 2)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    rank = int((variances > 1e-6 * variances[0]).sum())
    kept = min(n_components, len(train) - 1, rank)
    scales = np.sqrt(variances[:kept])
    duals = vectors[:, :kept] / scales
    trained = gram[train] @ duals
    duals *= np.sign(trained[np.abs(trained).argmax(axis=0), np.arange(kept)])
    duals *= np.sqrt(len(train)) / (scales if normalize else np.sqrt(np.mean(scales**2)))
    total = variances.clip(min=0).sum()
    return (gram @ duals).astype(np.float32), variances[:kept] / total, float(total / len(train)), duals

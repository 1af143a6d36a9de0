"""Reduction: the principal components of a layer's activations, exact, without holding the activations.

With far more features than clips, everything a PCA needs is in the clips' Gram matrix. It is summed over
blocks of features read one after another, so memory does not grow with the size of the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.project.params import Reduction
from cinevox.statistics.splits import Indices
from cinevox.statistics.spreads import least_spread

BLOCK_VALUES = 8_000_000  # activations read at once: 32 MB as float32


@dataclass(frozen=True)
class Scale:
    """The scaling of features before the PCA, fitted on the training clips: z = (f - mean) * weight.

    mean, weight: float32, (n_features,); a weight is 1 / max(sd, floor), or 1 where features are not standardised,
        and 0 for a feature that does not vary
    floor: the least standard deviation that counts; None where features are not standardised
    n_constant, n_floored: how many features do not vary, and how many vary by less than the floor
    lost: variance that the floor takes: the sum of 1 - (sd / floor)^2 over the features under it
    """

    mean: NDArray[np.float32]
    weight: NDArray[np.float32]
    floor: float | None
    n_constant: int
    n_floored: int
    lost: float


@dataclass(frozen=True)
class Components:
    """Principal components of every clip, fitted on the training clips.

    scores: float32, (n_clips, n_components), the largest component first; a component's sign makes its
        largest training score positive
    explained: (n_components,), share of the training variance
    variance: that of all features together over the training clips; with z-scores the number of those that vary
        less `scale.lost`, if they were scaled on these clips
    duals: (n_train, n_components), the components as sums of training clips, see `projection`
    scale: what each feature was centred and multiplied by
    """

    scores: NDArray[np.float32]
    explained: NDArray[np.float64]
    variance: float
    duals: NDArray[np.float64]
    scale: Scale

    def to_json(self) -> dict[str, Any]:
        """Return what is recorded of the components beside their scores."""
        return {
            "n_features": len(self.scale.mean),
            "n_constant": self.scale.n_constant,
            "n_floored": self.scale.n_floored,
            "floor": self.scale.floor,
            "n_components": self.scores.shape[1],
            "explained": float(self.explained.sum()),
            "variance": self.variance,
            "lost": self.scale.lost,
        }


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
    min_spread: float | None,
    normalize: bool,
) -> Components:
    """Exact PCA through the Gram matrix.

    Z = (F - mean) / max(sd, floor), statistics of the training clips;
    K = Z Z_train' = sum over blocks of features; K_train = U S^2 U' ; scores = K U / S, which on the
    training clips is U S, what a singular value decomposition of Z_train gives. `normalize` divides each
    component by its standard deviation S / sqrt(n_train), so that every one has unit variance; without it all are
    divided by one number, so that their mean variance is 1 and a penalty means the same for a layer of any size.

    features: (n_clips, n_features), or (n_clips, n_frames, n_features) with every frame kept, which count
        as n_frames * n_features features; any float type, a memory map at best
    train: positions of the training clips
    n_components: at most; n_train - 1 and the rank of the features bound it
    min_spread: the floor as a share of the layer's median sd, see `spreads.least_spread`; 0: plain z-scores; None:
        features keep their own spreads, Z = F - mean

    Features are read twice, in blocks: the median needs every sd before the first block is scaled. The sums of
    products are float32 within a block and float64 between blocks: components agree with a double-precision
    decomposition to about 1e-6 of the first.

    Raises
    ------
    InputError
        No feature varies over the training clips, or values are not finite.
    """
    flat = features.reshape(len(features), -1)
    n_clips, n_features = flat.shape
    n_train = len(train)
    scale = _scale(flat, train, min_spread)
    order = np.concatenate([train, np.setdiff1d(np.arange(n_clips), train)])
    ordered = np.zeros((n_clips, n_train))
    step = max(1, BLOCK_VALUES // n_clips)
    for start in range(0, n_features, step):
        block = _scaled(flat, order, slice(start, start + step), scale)
        trained = block[:n_train]
        ordered[:n_train] += trained @ trained.T  # of a matrix with itself: BLAS computes one half
        ordered[n_train:] += block[n_train:] @ trained.T
    gram = np.empty_like(ordered)
    gram[order] = ordered
    _require_finite(gram)
    return Components(*_decompose(gram, train, n_components, normalize), scale)


def reduced(space: str, features: NDArray[np.floating], train: Indices, settings: Reduction) -> Components:
    """Principal components of one space, as the parameters have them.

    space: its name, for messages

    Raises
    ------
    InputError
        As `principal_components`.
    """
    try:
        return principal_components(
            features, train, settings.n_components, min_spread=settings.min_spread, normalize=settings.normalize
        )
    except InputError as error:
        raise InputError(f"{space}: {error}") from None


def bound(described: Mapping[str, Any], n_train: int) -> str:
    """Say why there are no more components than there are. described: `Components.to_json`"""
    n_components, n_varying = described["n_components"], described["n_features"] - described["n_constant"]
    if n_components == n_train - 1:
        return f"there are {n_train} training clips"
    if n_components == n_varying:
        return f"no more than {n_varying} features vary"
    return f"the {n_varying} features that vary are combinations of {n_components}"


def projection(features: NDArray[np.floating], train: Indices, found: Components) -> Projection:
    """Build the projection of any clip's features onto the components that `principal_components` found for these.

    W = diag(weight) Z_train' D, D the duals: their scores are Z Z_train' D. A feature that does not vary over the
    training clips has no weight. Features are read once more, in blocks, which a run without new clips saves.

    features, train: as for `principal_components`
    """
    flat = features.reshape(len(features), -1)
    n_features, duals = flat.shape[1], found.duals.astype(np.float32)
    weights = np.empty((n_features, duals.shape[1]), np.float32)
    step = max(1, BLOCK_VALUES // len(train))
    for start in range(0, n_features, step):
        part = slice(start, start + step)
        weights[part] = found.scale.weight[part, None] * (_scaled(flat, train, part, found.scale).T @ duals)
    return Projection(found.scale.mean, weights)


def _scale(flat: NDArray[np.floating], train: Indices, min_spread: float | None) -> Scale:
    n_features = flat.shape[1]
    mean, spread = np.empty(n_features, np.float32), np.empty(n_features, np.float32)
    constant = np.empty(n_features, np.bool_)
    step = max(1, BLOCK_VALUES // len(train))
    for start in range(0, n_features, step):
        part = slice(start, start + step)
        block = flat[train, part].astype(np.float32, copy=False)
        largest = np.maximum(block.max(axis=0), -block.min(axis=0))
        mean[part] = block.mean(axis=0, dtype=np.float64)
        block -= mean[part]
        spread[part] = np.sqrt(np.einsum("ij,ij->j", block, block) / len(train))
        constant[part] = spread[part] <= 1e-7 * largest
    _require_finite(spread)  # also squares too large for float32 are told, not divided away
    if constant.all():
        raise InputError(
            f"none of the {n_features} features varies over the {len(train)} training clips; take another layer or pool"
        )
    if min_spread is None:
        return Scale(mean, np.where(constant, np.float32(0), np.float32(1)), None, int(constant.sum()), 0, 0.0)
    floor = least_spread(spread[~constant], min_spread)
    under = ~constant & (spread < floor)
    weight = np.divide(1, np.maximum(spread, np.float32(floor)), out=np.zeros_like(spread), where=~constant)
    lost = float(np.sum(1 - np.square(spread[under] / floor, dtype=np.float64)))
    return Scale(mean, weight, floor, int(constant.sum()), int(under.sum()), lost)


def _scaled(flat: NDArray[np.floating], clips: Indices, part: slice, scale: Scale) -> NDArray[np.float32]:
    """Z of these clips and features."""
    block: NDArray[np.float32] = flat[clips, part].astype(np.float32, copy=False)
    block -= scale.mean[part]
    block *= scale.weight[part]
    return block


def _require_finite(values: NDArray[np.floating]) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            "the features hold NaN or infinite values, or some whose squares are beyond float32 (over 1e19); divide "
            "features that you brought by a number, and make others again (the stage features)"
        )


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

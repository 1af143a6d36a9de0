"""Feature spaces: which layers of a network stand together as the regressors of one candidate, and their matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cinevox.project.params import FEATURES_GRAMMAR
from cinevox.statistics.spreads import MIN_SHARE, least_spread

Floats = NDArray[np.floating]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Space:
    """One candidate: the layers side by side, as components or raw, with polynomial terms up to a degree."""

    layers: tuple[str, ...]
    raw: bool = False
    degree: int = 1

    @property
    def name(self) -> str:
        return "+".join(self.layers)


def candidates(features: str, layers: Sequence[str]) -> tuple[Space, ...]:
    """The candidates that a row's `features` word asks for.

    layer: each layer; pair: each pair of layers; all: all layers together. `_raw`: without PCA;
    `_poly2`: with all products of two features (degree 2; 3, ... likewise).

    Raises
    ------
    ValueError
        The word does not follow the grammar.
    """
    match = FEATURES_GRAMMAR.fullmatch(features)
    if match is None:
        raise ValueError(f"features {features!r}: expected layer, pair or all, then _raw, then _poly2")
    size = {"layer": 1, "pair": 2, "all": len(layers)}[match["group"]]
    raw, degree = match["raw"] is not None, int(match["degree"] or 1)
    return tuple(Space(chosen, raw, degree) for chosen in combinations(layers, size))


def joined(space: Space, layers: Sequence[Floats]) -> Floats:
    """The space's layers side by side, with all products of up to `degree` features where asked.

    layers: those of the space, in order, (n_clips, ...) each; returns (n_clips, n_features)
    """
    flat = [layer.reshape(len(layer), -1) for layer in layers]
    X = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    if space.degree == 1:
        return X
    from sklearn.preprocessing import PolynomialFeatures  # a second, and few rows have such terms

    terms: Floats = PolynomialFeatures(space.degree, include_bias=False).fit_transform(X)
    return terms


def bands(space: Space, layers: Sequence[Floats], n_features: int) -> tuple[slice, ...]:
    """Which columns of `joined` are each layer's own; products of several layers' features make it one band."""
    if space.degree > 1:
        return (slice(0, n_features),)
    sizes = [layer[0].size for layer in layers]
    return tuple(slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes)))


@dataclass(frozen=True)
class Scaling:
    """z-scores of polynomial terms, which differ in size by orders.

    mean, spread: (n_features,); a spread is at least MIN_SHARE of the terms' median, see `spreads.least_spread`
    """

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, space: Space, X: Floats, train: Indices) -> Self | None:
        """Fitted on the training clips of X (n_clips, n_features); None for a space without such terms."""
        if space.degree == 1:
            return None
        trained = X[train]
        spread = trained.std(axis=0)
        floor = least_spread(spread, MIN_SHARE)
        return cls(trained.mean(axis=0), np.maximum(spread, floor) if floor else np.ones_like(spread))

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        return ((X - self.mean) / self.spread).astype(np.float32)

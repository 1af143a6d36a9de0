"""Feature spaces: which layers of a network stand together as the regressors of one candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from cinevox.params import FEATURES_GRAMMAR


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

"""Named feature spaces: the PCA that one goes through, and the files that their maps lie in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinevox.project.params import FeatureMap, FeatureSpace, Reduction
from cinevox.statistics.spreads import MIN_SHARE


def floor_of(min_spread: float | None) -> float:
    """The share of a space's median spread that a feature of a standardized space counts as having at least.

    min_spread: that of params.reduction, which is null where layers are not standardized
    """
    return MIN_SHARE if min_spread is None else min_spread


def pca_of(space: FeatureSpace, settings: Reduction) -> Reduction | None:
    """The PCA of a named space; None where it has none.

    settings: params.reduction, whose floor and normalization hold for named spaces as well
    """
    if space.n_components is None:
        return None
    return Reduction(
        n_components=space.n_components,
        standardize=space.standardize,
        min_spread=floor_of(settings.min_spread) if space.standardize else None,
        normalize=settings.normalize,
    )


def map_files(sidecar: Mapping[str, Any]) -> dict[FeatureMap, str]:
    """Feature map -> name of its file, of a network's features. sidecar: its features.json"""
    return {FeatureMap.from_json(entry): entry["name"] for entry in sidecar["maps"]}

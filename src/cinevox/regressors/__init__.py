"""Regressors: one file each, the file name is the key. See docs/adding.md.

A regressor maps features X (n_clips, n_features) to responses Y (n_clips, n_voxels), all voxels at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.splits import Fold

Floats = NDArray[np.floating]

FEWER_FEATURES = (
    "reduce them (features: layer, not layer_raw), or take a regressor for any number: res, pearson_ridge, ridge"
)


class Map(Protocol):
    """What a fitted regressor is: a function of features, whose fields are arrays and nothing else.

    So it is kept as arrays and made again from them (`_solvers.maps`), without a pickle.
    """

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        """Predicted responses, (n_clips, n_voxels), from features (n_clips, n_features)."""
        ...

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        """The same for some of its voxels, given as a mask or as positions."""
        ...


class Regressor(Protocol):
    """What every regressor does. The options are arguments of its constructor.

    diagnostics: after `fit`, arrays of length n_voxels (alpha chosen, converged, empty model, ...) by name.
    """

    diagnostics: Mapping[str, NDArray[Any]]

    @property
    def map(self) -> Map:
        """What was fitted, by which `predict` predicts."""
        ...

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        """Fit every column of Y.

        X: (n_clips, n_features); Y: (n_clips, n_voxels), both of the training clips, neither changed
        folds: for whatever is chosen by cross-validation
        bands: columns of X that belong to one layer, in order
        """
        ...

    def predict(self, X: Floats) -> NDArray[np.float32]:
        """Predicted responses to other clips, (n_clips, n_voxels)."""
        ...


@dataclass(frozen=True)
class RegressorSpec:
    """A regressor as a plug-in.

    title: for tables
    make: builds it from its options in params.yaml, as keyword arguments; raises InputError on a bad value
    voxels: which voxels it is given at once: a "batch" (each is fitted by itself; the batch bounds the memory), an
        "roi" of one subject (they share something), or "all" (what it does with X outweighs any number of them)
    max_features: how many features it can take, None for any number; for what holds matrices of their pairs
    """

    title: str
    make: Callable[..., Regressor]
    voxels: Literal["batch", "roi", "all"] = "batch"
    max_features: int | None = None

    def build(self, options: Mapping[str, Any]) -> Regressor:
        """The regressor with these options.

        Raises
        ------
        InputError
            An option is unknown, missing, or has a value that it cannot have.
        """
        known = list(inspect.signature(self.make).parameters)
        unknown, missing = sorted(set(options) - set(known)), sorted(set(known) - set(options))
        if unknown or missing:
            faults = [
                f"{word} {', '.join(names)}" for word, names in (("unknown", unknown), ("missing", missing)) if names
            ]
            raise InputError(f"{self.title}: options {'; '.join(faults)}; expected {', '.join(known) or 'none'}")
        return self.make(**options)

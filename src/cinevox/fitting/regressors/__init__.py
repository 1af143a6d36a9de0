"""Regressors: one file each, the file name is the key. See docs/adding.md.

A regressor maps features X (n_clips, n_features) to responses Y (n_clips, n_voxels), all voxels at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.statistics.splits import Fold

if TYPE_CHECKING:
    from cinevox.fitting.regressors._solvers.units import InUnits

Floats = NDArray[np.floating]

ANY_NUMBER = "take a regressor for any number of features: res, similarity_ridge, ridge"  # what is too large for others


class Map(Protocol):
    """A fitted regressor as a function of features, whose fields are arrays and nothing else.

    So it is kept as arrays and made again from them (`_solvers.maps`), without a pickle.
    """

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        """Predicted responses, (n_clips, n_voxels), from features (n_clips, n_features)."""
        ...

    def of_voxels(self, voxels: NDArray[Any]) -> Self:
        """The same for some of its voxels, given as a mask or as positions."""
        ...

    def times(self, units: NDArray[np.float64]) -> Self:
        """The same with every prediction of a voxel multiplied by its unit, (n_voxels,)."""
        ...


class Regressor(Protocol):
    """The interface of every regressor. The options are arguments of its constructor.

    Responses come to it divided by their unit (`_solvers.units`), so it may have absolute numbers: a smallest
    coefficient, a tolerance.

    diagnostics: after `fit`, arrays of length n_voxels (alpha chosen, converged, empty model, ...) by name.
    """

    @property
    def diagnostics(self) -> Mapping[str, NDArray[Any]]: ...

    @property
    def map(self) -> Map:
        """The fitted map, by which `predict` predicts."""
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
    shrinks_evenly: whether it shrinks all coefficients alike where features are uncorrelated and of one variance
        (X'X = n I: components of one layer with reduction.normalize); its alpha then changes no correlation
    """

    title: str
    make: Callable[..., Regressor]
    voxels: Literal["batch", "roi", "all"] = "batch"
    max_features: int | None = None
    shrinks_evenly: bool = False

    def together(self, options: Mapping[str, Any]) -> Literal["batch", "roi", "all"]:
        """`voxels`, as options have it: an option `per: roi` is chosen for an ROI and needs all of it."""
        return "roi" if options.get("per") == "roi" else self.voxels

    def most_features(self, options: Mapping[str, Any]) -> int | None:
        """`max_features`, as options have it: where it chooses among several regressors, the least of theirs."""
        chosen_from = (plugins.load("regressors", name).max_features for name in options.get("candidates", ()))
        return min((most for most in (self.max_features, *chosen_from) if most is not None), default=None)

    def build(self, options: Mapping[str, Any]) -> InUnits:
        """The regressor with these options, which divides the unit of the responses out and puts it back.

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
        from cinevox.fitting.regressors._solvers.units import InUnits  # which needs this module

        return InUnits(self.make(**options))


def cautions(
    regressor: str, options: Mapping[str, Any], features: str, lone: Sequence[str] = (), *, normalize: bool
) -> list[str]:
    """Choices of a row that a regressor makes without effect, a sentence each.

    options: the regressor's; features: the row's word; normalize: whether components have unit variance, as with
    reduction.normalize
    lone: of a row of named spaces those whose components a model is given by themselves, see
        `feature_spaces.lone_components`
    """
    name, _ = plugins.regressor_of(regressor, options)
    names = (name, *options.get("candidates", ()))
    even = [name for name in names if plugins.load("regressors", name).shrinks_evenly]
    if not (even and normalize and (lone or features == "layer")):
        return []
    what, or_else = "layer", "take several layers together or raw features (all, layer_raw)"
    if lone:
        what, or_else = "space", f"set n_components to null in these spaces: {', '.join(lone)}"
    return [
        f"{' and '.join(even)} on one {what}'s components of unit variance is least squares whatever its alpha, which "
        "shrinks all coefficients alike: correlations are those of `linear`. Set reduction.normalize to false, so that "
        f"components keep their relative sizes, or {or_else}"
    ]

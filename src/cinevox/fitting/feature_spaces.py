"""Candidates: which feature spaces stand together as the regressors of one fit, how, and their matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.project.params import FEATURES_GRAMMAR, FeatureSpace, JointRow, Row, Together
from cinevox.statistics.spreads import MIN_SHARE, least_spread

Floats = NDArray[np.floating]
Indices = NDArray[np.intp]
Combine = Literal["columns", "stack", "mean"]

CONSTANT = 1e-7  # of the largest value: a spread of less is rounding
TOTAL_VARIANCE = 100.0  # of each of several spaces side by side: that of 100 components of unit variance


@dataclass(frozen=True)
class Candidate:
    """One candidate of a row: feature spaces, and how they predict together.

    name: in tables and files
    spaces: their names; of the paper's words they are layers
    raw: whether they are features without PCA
    degree: of polynomial terms
    standardized: those of the spaces that are z-scored on the training clips of the fit
    even: whether each space is scaled to the same variance in total, so that none outweighs the others by its size
    floor: the share of a space's median spread that a z-scored feature counts as having at least
    combine: columns (one model of all, side by side) | stack (a model for each, weighted for every voxel) | mean
    rois: the ROIs that it is fitted to and predicts; none for all of them
    """

    name: str
    spaces: tuple[str, ...]
    raw: bool = False
    degree: int = 1
    standardized: tuple[str, ...] = ()
    even: bool = False
    floor: float = MIN_SHARE
    combine: Combine = "columns"
    rois: tuple[str, ...] = ()

    @property
    def is_scaled(self) -> bool:
        """Whether its matrix is scaled on the training clips of a fit."""
        return self.degree > 1 or self.even or bool(self.standardized)

    @property
    def members(self) -> tuple[Candidate, ...]:
        """Its spaces by themselves, each a candidate."""
        return tuple(
            replace(
                self, name=name, spaces=(name,), standardized=tuple({name} & {*self.standardized}), combine="columns"
            )
            for name in self.spaces
        )

    @property
    def fitted(self) -> tuple[Candidate, ...]:
        """The models of it: one of all its spaces, or one for each."""
        return (self,) if self.combine == "columns" else self.members


def candidates(features: str, layers: Sequence[str]) -> tuple[Candidate, ...]:
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
    return tuple(Candidate("+".join(chosen), chosen, raw, degree) for chosen in combinations(layers, size))


def joint_candidates(
    spaces: Mapping[str, FeatureSpace],
    together: Together,
    fixed: Mapping[str, tuple[str, ...]] | None = None,
    floor: float = MIN_SHARE,
) -> tuple[Candidate, ...]:
    """The candidates of a row of named spaces: each by itself, or one of all of them.

    fixed: ROI -> its spaces side by side, where ROIs have theirs (`JointRow.fixed`): a candidate for each of those,
        for the ROIs that have it
    floor: of the spreads that standardized spaces without a PCA are divided by, see `named_spaces.floor_of`
    """
    unscaled = {name for name, space in spaces.items() if space.n_components is None and space.standardize}

    def candidate(name: str, names: Sequence[str], **settings: bool | Combine | tuple[str, ...]) -> Candidate:
        own = tuple(name for name in names if name in unscaled)
        return Candidate(name, tuple(names), standardized=own, floor=floor, **settings)  # type: ignore[arg-type]

    if fixed:
        served = {names: tuple(roi for roi in fixed if fixed[roi] == names) for names in fixed.values()}
        return tuple(candidate("+".join(names), names, rois=rois) for names, rois in served.items())
    match together:
        case "each":
            return tuple(candidate(name, [name]) for name in spaces)
        case "concat" | "banded":
            return (candidate(together, list(spaces), even=True),)
        case "stack" | "mean":
            return (candidate(together, list(spaces), combine=together),)


def lone_components(row: Row, spaces: Mapping[str, FeatureSpace]) -> tuple[str, ...]:
    """The spaces of a row of named ones whose components a model is given by themselves, not beside other spaces.

    spaces: those of the row; a row with one of the paper's words has none
    """
    if not isinstance(row, JointRow):
        return ()
    models = [fitted.spaces for found in joint_candidates(spaces, row.together, row.fixed) for fitted in found.fitted]
    return tuple(names[0] for names in models if len(names) == 1 and spaces[names[0]].n_components is not None)


def joined(candidate: Candidate, spaces: Sequence[Floats]) -> Floats:
    """The candidate's spaces side by side, with all products of up to `degree` features where asked.

    spaces: those of the candidate, in order, (n_clips, ...) each; returns (n_clips, n_features)
    """
    flat = [space.reshape(len(space), -1) for space in spaces]
    X = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    if candidate.degree == 1:
        return X
    from sklearn.preprocessing import PolynomialFeatures  # a second, and few rows have such terms

    terms: Floats = PolynomialFeatures(candidate.degree, include_bias=False).fit_transform(X)
    return terms


def bands(candidate: Candidate, spaces: Sequence[Floats], n_features: int) -> tuple[slice, ...]:
    """Return the columns of `joined` that are each space's own; products of several spaces' features make one band."""
    if candidate.degree > 1:
        return (slice(0, n_features),)
    sizes = [space[0].size for space in spaces]
    return tuple(slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes)))


@dataclass(frozen=True)
class Scaling:
    """The scaling of a matrix, (X - mean) / spread, fitted on the training clips of a fit.

    Columns that are z-scored (polynomial terms, which differ in size by orders; spaces that ask for it) are divided by
    their standard deviation s, or by the floor of `spreads.least_spread` if that is larger; with a floor of 0, a column
    that does not vary stays as it is. Those of each of several spaces that count alike are then divided by one number,
    so that their variances sum to TOTAL_VARIANCE:

        spread_j = max(s_j, floor) sqrt(sum_i (s_i / max(s_i, floor))^2 / TOTAL_VARIANCE)

    A space that does not vary at all stays as it is.

    mean, spread: (n_features,)
    """

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, candidate: Candidate, X: Floats, bands: Sequence[slice], train: Indices) -> Self | None:
        """Fitted on the training clips of X (n_clips, n_features); None for a candidate that is not scaled."""
        if not candidate.is_scaled:
            return None
        trained = X[train]
        if candidate.degree > 1:
            sd = trained.std(axis=0)
            floor = least_spread(sd, MIN_SHARE)
            return cls(trained.mean(axis=0), np.maximum(sd, floor) if floor else np.ones_like(sd))
        mean, sd = trained.mean(axis=0, dtype=np.float64), trained.std(axis=0, dtype=np.float64)
        spread = np.ones_like(sd)
        for name, band in zip(candidate.spaces, bands):
            own = sd[band]
            if name in candidate.standardized and (floor := least_spread(own, candidate.floor)):
                spread[band] = np.maximum(own, floor)
            elif name in candidate.standardized:
                varies = own > CONSTANT * np.abs(trained[:, band]).max(axis=0)
                spread[band] = np.where(varies, own, 1.0)
            if candidate.even and (total := np.sum(np.square(own / spread[band]))):
                spread[band] *= np.sqrt(total / TOTAL_VARIANCE)
        return cls(mean, spread)

    def __call__(self, X: Floats) -> NDArray[np.float32]:
        return ((X - self.mean) / self.spread).astype(np.float32)

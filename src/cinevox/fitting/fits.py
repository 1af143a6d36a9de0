"""Fits: one regressor on every candidate feature space, for all voxels of all subjects at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal, Self

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.feature_spaces import Candidate, Scaling, bands, joined
from cinevox.fitting.regressors import FEWER_FEATURES, Map, Regressor, RegressorSpec
from cinevox.fitting.regressors._solvers.stacking import (
    StackedMap,
    residual_products,
    simplex_weights,
    with_block_means,
)
from cinevox.measured.responses import Columns
from cinevox.project import plugins
from cinevox.project.params import Params
from cinevox.statistics.splits import Indices, Partition, folds

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Method:
    """The way in which a row is fitted, whichever the feature space.

    spec, options: the regressor
    n_folds: inside the training clips, for what the regressor chooses itself
    batch_voxels: how many are fitted at once, where the regressor takes each by itself
    """

    spec: RegressorSpec
    options: Mapping[str, Any]
    n_folds: int
    batch_voxels: int

    @classmethod
    def of(cls, regressor: str, params: Params) -> Self:
        """As the parameters have it. params: has the sections splits, regressors and fits."""
        name, options = plugins.regressor_of(regressor, params.regressors[regressor])
        return cls(plugins.load("regressors", name), options, params.splits.n_folds, params.fits.batch_voxels)

    @property
    def voxels(self) -> Literal["batch", "roi", "all"]:
        """The voxels that the regressor is given at once."""
        return self.spec.together(self.options)

    def batches(self, columns: Columns) -> list[slice]:
        """The voxels that are fitted at once, see `RegressorSpec.voxels`."""
        n_voxels = columns.n_voxels
        match self.voxels:
            case "roi":
                return list(columns.slices)
            case "all":
                return [slice(0, n_voxels)]
        starts = range(0, n_voxels, self.batch_voxels)
        return [slice(start, min(start + self.batch_voxels, n_voxels)) for start in starts]

    def fitted(
        self, X: Floats, Y: Floats, bands: Sequence[slice], units: NDArray[np.float64], groups: Indices | None = None
    ) -> Regressor:
        """The regressor, fitted to training clips. units: of each column of Y, as for `InUnits.fit`; groups: of rows"""
        regressor = self.spec.build(self.options)
        return regressor.fit(X, Y, folds=folds(len(X), self.n_folds, groups), bands=bands, units=units)


@dataclass(frozen=True)
class Shown:
    """The clips that some subjects saw, training clips first.

    rows: their positions among all clips; None: all of them
    groups: of each training clip of these the number of its group, which no fold divides; None: every clip by itself
    """

    rows: Indices | None = None
    groups: Indices | None = None

    def __call__(self, features: Sequence[Floats]) -> Sequence[Floats]:
        """The features of these clips, (n_clips, ...) each."""
        return features if self.rows is None else [values[self.rows] for values in features]

    def rows_of(self, n_clips: int) -> Indices:
        """Their positions among all `n_clips`."""
        return np.arange(n_clips) if self.rows is None else self.rows

    def groups_of(self, clips: Indices) -> Indices | None:
        """The groups of some of the training clips, positions among these."""
        return None if self.groups is None else self.groups[clips]


EVERY_CLIP = Shown()


@dataclass(frozen=True)
class Fit:
    """The result of fitting one candidate.

    predicted: split name -> float32 (n_clips, n_voxels), for the clips that the partition predicts
    diagnostics: name -> what the solver says of each voxel (or of all): flags, or numbers; see `summary`
    maps: what was fitted, one of each of `Method.batches`; none unless they are kept
    """

    candidate: Candidate
    predicted: dict[str, NDArray[np.float32]]
    diagnostics: dict[str, NDArray[Any]]
    maps: tuple[Map, ...] = ()


def fit(
    candidates: Sequence[Candidate],
    features: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    partition: Partition,
    method: Method,
    keep_maps: bool = False,
    units: NDArray[np.float64] | None = None,
    shown: Shown = EVERY_CLIP,
) -> Iterator[Fit]:
    """Fit every candidate on a partition's training clips and predict those it leaves out.

    A task is one candidate and one batch of voxels (`RegressorSpec.voxels`: some of them, an ROI of one subject, or
    all); workers take them in turn, and a candidate is yielded as soon as its last batch is done. Nothing sees a
    clip outside `partition.train` in fitting.

    features: space -> (n_clips, n_features), components or raw, of all clips
    measured: (n_train_clips, n_voxels), mean responses to the training set's clips (training and validation)
    partition: positions among the clips that are shown to these subjects
    keep_maps: whether what was fitted comes back too; workers then send as many numbers as there are coefficients
    units: what each voxel's responses are divided by for the fit, (n_voxels,); None: `Columns.units` of the training
        clips, which is right where every block is here with all its voxels
    shown: the clips that these subjects saw

    Raises
    ------
    InputError
        A candidate has more features than the regressor can take; before the first fit.
    """
    _check_sizes(candidates, features, method.spec)
    batches = method.batches(columns)
    if units is None:
        units = columns.units(measured, partition.train)
    # made once: workers get each array once
    responses = [(measured[partition.train, batch], units[batch]) for batch in batches]
    spaces = {candidate.name: [features[space] for space in candidate.spaces] for candidate in candidates}
    weights = {
        candidate.name: _weights(candidate, spaces[candidate.name], responses, columns, partition.train, method, shown)
        for candidate in candidates
    }
    tasks = (
        joblib.delayed(_fit_batch)(
            candidate,
            spaces[candidate.name],
            *part,
            weights[candidate.name][batch],
            partition,
            method,
            shown,
            keep_maps,
        )
        for candidate in candidates
        for part, batch in zip(responses, batches)
    )
    return _side_by_side(candidates, len(batches), tasks)


def _side_by_side(candidates: Sequence[Candidate], n_batches: int, tasks: Iterable[Any]) -> Iterator[Fit]:
    """Run the tasks, and put each candidate's batches together as they come."""
    results = joblib.Parallel(return_as="generator")(tasks)
    for candidate in candidates:
        parts = [next(results) for _ in range(n_batches)]
        yield Fit(
            candidate,
            {name: np.concatenate([predicted[name] for predicted, _, _ in parts], axis=1) for name in parts[0][0]},
            _joined([diagnostics for _, diagnostics, _ in parts]),
            tuple(found for _, _, found in parts if found is not None),
        )


def _check_sizes(candidates: Sequence[Candidate], features: Mapping[str, Floats], spec: RegressorSpec) -> None:
    sizes = {fitted.name: _n_features(fitted, features) for candidate in candidates for fitted in _fitted(candidate)}
    if spec.max_features is not None and (large := {k: n for k, n in sizes.items() if n > spec.max_features}):
        listed = ", ".join(f"{name} {n:,}" for name, n in large.items())
        raise InputError(
            f"{spec.title} takes at most {spec.max_features:,} features, and {len(large)} of {len(sizes)} feature "
            f"spaces have more: {listed}. {FEWER_FEATURES.capitalize()}"
        )


def _fitted(candidate: Candidate) -> tuple[Candidate, ...]:
    """The models of a candidate: one of all its spaces, or one for each."""
    return (candidate,) if candidate.combine == "columns" else candidate.members


def _n_features(candidate: Candidate, features: Mapping[str, Floats]) -> int:
    """All products of up to `degree` of n features: C(n + degree, degree) - 1."""
    n = sum(int(np.prod(features[space].shape[1:])) for space in candidate.spaces)
    return comb(n + candidate.degree, candidate.degree) - 1


def feature_matrix(candidate: Candidate, spaces: Sequence[Floats], train: Indices) -> tuple[Floats, tuple[slice, ...]]:
    """The regressors of one candidate: `joined`, scaled on the training clips where it is; and its bands.

    Returns (n_clips, n_features) and, for each space, which columns are its own.
    """
    X = joined(candidate, spaces)
    own = bands(candidate, spaces, X.shape[1])
    scaling = Scaling.of(candidate, X, own, train)
    return X if scaling is None else scaling(X), own


def _fit_batch(
    candidate: Candidate,
    spaces: Sequence[Floats],
    Y: NDArray[np.float32],
    units: NDArray[np.float64],
    weights: NDArray[np.float64],
    partition: Partition,
    method: Method,
    shown: Shown,
    keep: bool,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]], Map | None]:
    X, own = feature_matrix(candidate, shown(spaces), partition.train)
    groups = shown.groups_of(partition.train)
    if candidate.combine == "columns":
        regressor = method.fitted(X[partition.train], Y, own, units, groups)
        predicted = {name: regressor.predict(X[rows]) for name, rows in partition.predicted.items()}
        return predicted, dict(regressor.diagnostics), regressor.map if keep else None
    found: dict[str, NDArray[Any]] = {}
    if candidate.combine == "stack":
        found = {f"weight_{name}": weights[:, number] for number, name in enumerate(candidate.spaces)}
    trained = X[partition.train]
    regressors = [
        method.fitted(trained[:, band], Y, (slice(0, band.stop - band.start),), units, groups) for band in own
    ]
    ends = np.array([band.stop for band in own])
    combined = StackedMap(tuple(regressor.map for regressor in regressors), ends, weights.astype(np.float32))
    predicted = {name: combined(X[rows]) for name, rows in partition.predicted.items()}
    flags = [{name: v for name, v in each.diagnostics.items() if v.dtype == bool} for each in regressors]
    found |= {name: np.any([each[name] for each in flags if name in each], axis=0) for each in flags for name in each}
    return predicted, found, combined if keep else None


def _weights(
    candidate: Candidate,
    spaces: Sequence[Floats],
    responses: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]],
    columns: Columns,
    train: Indices,
    method: Method,
    shown: Shown,
) -> NDArray[np.float64]:
    """Weights of a candidate's models, (n_voxels, n_models): equal ones, or of a stack those that it chooses.

    It chooses them on predictions of clips that were in no fit of theirs: with S_v of `_residual_products` and T_v its
    sum with the mean over the subject's ROI (`with_block_means`),

        w_v = argmin w' T_v w over w >= 0, sum w = 1.

    responses: Y and units of every batch
    """
    n_models = len(_fitted(candidate))
    if candidate.combine != "stack":
        return np.full((columns.n_voxels, n_models), 1 / n_models)
    tasks = (joblib.delayed(_residual_products)(candidate, spaces, *part, train, method, shown) for part in responses)
    return simplex_weights(with_block_means(np.concatenate(joblib.Parallel()(tasks)), columns.slices))


def _residual_products(
    candidate: Candidate,
    spaces: Sequence[Floats],
    Y: NDArray[np.float32],
    units: NDArray[np.float64],
    train: Indices,
    method: Method,
    shown: Shown,
) -> NDArray[np.float64]:
    """R'R / n_clips of each voxel, R its residuals outside of the fits, a column for each space.

    For each of `n_folds` folds of the training clips every space is fitted to the other folds, whatever the regressor
    chooses included, and predicts the fold.
    """
    outside, groups = [np.empty_like(Y) for _ in candidate.members], shown.groups_of(train)
    for fold in folds(len(train), method.n_folds, groups):
        inside = None if groups is None else groups[fold.fit]
        for held_out, member, space in zip(outside, candidate.members, spaces):
            X, own = feature_matrix(member, shown([space]), train[fold.fit])
            regressor = method.fitted(X[train[fold.fit]], Y[fold.fit], own, units, inside)
            held_out[fold.held_out] = regressor.predict(X[train[fold.held_out]])
    return residual_products(Y, outside)


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def summary(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """What solvers say of their voxels: name -> a count of flags, or the range of a number. parts: of some each"""
    return {
        name: int(values.sum())
        if values.dtype == bool
        else {"min": values.min(), "median": np.median(values), "max": values.max()}
        for name, values in _joined(parts).items()
    }

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
from cinevox.fitting.regressors._solvers.stacking import StackedMap, residual_products, simplex_weights
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
        """Which voxels the regressor is given at once."""
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

    def fitted(self, X: Floats, Y: Floats, bands: Sequence[slice], units: NDArray[np.float64]) -> Regressor:
        """The regressor, fitted to training clips. units: of each column of Y, as for `InUnits.fit`"""
        regressor = self.spec.build(self.options)
        return regressor.fit(X, Y, folds=folds(len(X), self.n_folds), bands=bands, units=units)


@dataclass(frozen=True)
class Fit:
    """The result of fitting one candidate.

    predicted: split name -> float32 (n_clips, n_voxels), for the clips that the partition predicts
    diagnostics: name -> what the solver says of its voxels: a count of flags, or the range of a number
    maps: what was fitted, one of each of `Method.batches`; none unless they are kept
    """

    candidate: Candidate
    predicted: dict[str, NDArray[np.float32]]
    diagnostics: dict[str, Any]
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
) -> Iterator[Fit]:
    """Fit every candidate on a partition's training clips and predict those it leaves out.

    A task is one candidate and one batch of voxels (`RegressorSpec.voxels`: some of them, an ROI of one subject, or
    all); workers take them in turn, and a candidate is yielded as soon as its last batch is done. Nothing sees a
    clip outside `partition.train` in fitting.

    features: space -> (n_clips, n_features), components or raw, of all clips
    measured: (n_train_clips, n_voxels), mean responses to the training set's clips (training and validation)
    keep_maps: whether what was fitted comes back too; workers then send as many numbers as there are coefficients
    units: what each voxel's responses are divided by for the fit, (n_voxels,); None: `Columns.units` of the training
        clips, which is right where every block is here with all its voxels

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
    tasks = (
        joblib.delayed(_fit_batch)(
            candidate, [features[space] for space in candidate.spaces], *part, partition, method, keep_maps
        )
        for candidate in candidates
        for part in responses
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
            _summary([diagnostics for _, diagnostics, _ in parts]),
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
    partition: Partition,
    method: Method,
    keep: bool,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]], Map | None]:
    X, own = feature_matrix(candidate, spaces, partition.train)
    if candidate.combine == "columns":
        regressor = method.fitted(X[partition.train], Y, own, units)
        predicted = {name: regressor.predict(X[rows]) for name, rows in partition.predicted.items()}
        return predicted, dict(regressor.diagnostics), regressor.map if keep else None
    found: dict[str, NDArray[Any]] = {}
    weights = np.full((Y.shape[1], len(own)), 1 / len(own))
    if candidate.combine == "stack":
        weights, found = _weights(candidate, spaces, Y, units, partition.train, method)
    trained = X[partition.train]
    regressors = [method.fitted(trained[:, band], Y, (slice(0, band.stop - band.start),), units) for band in own]
    ends = np.array([band.stop for band in own])
    combined = StackedMap(tuple(regressor.map for regressor in regressors), ends, weights.astype(np.float32))
    predicted = {name: combined(X[rows]) for name, rows in partition.predicted.items()}
    flags = [{name: v for name, v in each.diagnostics.items() if v.dtype == bool} for each in regressors]
    found |= {name: np.any([each[name] for each in flags if name in each], axis=0) for each in flags for name in each}
    return predicted, found, combined if keep else None


def _weights(
    candidate: Candidate,
    spaces: Sequence[Floats],
    Y: NDArray[np.float32],
    units: NDArray[np.float64],
    train: Indices,
    method: Method,
) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Weights of a stack's models, chosen on predictions of clips that were in no fit of theirs.

    For each of `n_folds` folds of the training clips every space is fitted to the other folds, whatever the regressor
    chooses included, and predicts the fold. With R_v the residuals of voxel v, a column for each space,

        w_v = argmin |R_v w|^2 over w >= 0, sum w = 1.

    Returns (n_voxels, n_spaces), and each space's weight as a diagnostic.
    """
    outside = [np.empty_like(Y) for _ in candidate.members]
    for fold in folds(len(train), method.n_folds):
        for held_out, member, space in zip(outside, candidate.members, spaces):
            X, own = feature_matrix(member, [space], train[fold.fit])
            regressor = method.fitted(X[train[fold.fit]], Y[fold.fit], own, units)
            held_out[fold.held_out] = regressor.predict(X[train[fold.held_out]])
    weights = simplex_weights(residual_products(Y, outside))
    return weights, {f"weight_{name}": weights[:, number] for number, name in enumerate(candidate.spaces)}


def _summary(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    joined = {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}
    return {
        name: int(values.sum())
        if values.dtype == bool
        else {"min": values.min(), "median": np.median(values), "max": values.max()}
        for name, values in joined.items()
    }

"""Fits: one regressor on every candidate feature space, for all voxels of all subjects at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.feature_spaces import Candidate, Scaling, bands, joined
from cinevox.fitting.method import EVERY_CLIP, Method, Served, Shown
from cinevox.fitting.regressors import ANY_NUMBER, Map
from cinevox.fitting.regressors._solvers.stacking import (
    StackedMap,
    residual_products,
    sharing,
    simplex_weights,
    with_block_means,
)
from cinevox.measured.responses import Columns
from cinevox.statistics.splits import Indices, Partition, folds

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Fit:
    """The result of fitting one candidate.

    predicted: split name -> float32 (n_clips, n_voxels), for the clips that the partition predicts; NaN in the voxels
        of ROIs that are not the candidate's
    diagnostics: name -> what the solver says of each voxel (or of all): flags, or numbers; see `summary`
    maps: what was fitted, one of each of `Method.batches`; none unless they are kept
    weights: mixing weights of a stack, float32 (n_voxels, n_spaces); None of anything else
    """

    candidate: Candidate
    predicted: dict[str, NDArray[np.float32]]
    diagnostics: dict[str, NDArray[Any]]
    maps: tuple[Map, ...] = ()
    weights: NDArray[np.float32] | None = None


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
    clip outside `partition.train` in fitting. A candidate for some ROIs is fitted to their voxels and to no others.

    features: space -> (n_clips, n_features), components or raw, of all clips
    measured: (n_train_clips, n_voxels), mean responses to the training set's clips (training and validation)
    partition: positions among the clips that are shown to these subjects
    keep_maps: whether what was fitted comes back too; workers then send as many numbers as there are coefficients, or
        training features, which all batches then share
    units: what each voxel's responses are divided by for the fit, (n_voxels,); None: `Columns.units` of the training
        clips, which is right where every block is here with all its voxels
    shown: the clips that these subjects saw

    Raises
    ------
    InputError
        A candidate has more features than the regressor can take; before the first fit.
    """
    check_sizes(candidates, {name: int(np.prod(values.shape[1:])) for name, values in features.items()}, method)
    if units is None:
        units = columns.units(measured, partition.train)
    of_rois = {
        rois: Served.of(rois, measured, columns, units, partition.train, method)
        for rois in dict.fromkeys(candidate.rois for candidate in candidates)
    }
    served = [of_rois[candidate.rois] for candidate in candidates]
    spaces = {candidate.name: [features[space] for space in candidate.spaces] for candidate in candidates}
    weights = [
        _weights(candidate, spaces[candidate.name], own, partition.train, method, shown)
        for candidate, own in zip(candidates, served)
    ]
    tasks = (
        joblib.delayed(_fit_batch)(
            candidate, spaces[candidate.name], *part, mixed[batch], partition, method, shown, keep_maps
        )
        for candidate, own, mixed in zip(candidates, served, weights)
        for part, batch in zip(own.responses, own.batches)
    )
    return _side_by_side(candidates, served, weights, partition, tasks)


def _side_by_side(
    candidates: Sequence[Candidate],
    served: Sequence[Served],
    weights: Sequence[NDArray[np.float64]],
    partition: Partition,
    tasks: Iterable[Any],
) -> Iterator[Fit]:
    """Run the tasks, and put each candidate's batches together as they come, which may be none."""
    results = joblib.Parallel(return_as="generator")(tasks)
    for candidate, own, mixed in zip(candidates, served, weights):
        parts, maps, pool = [], [], list[Floats]()
        for _ in own.batches:
            *part, found = next(results)
            parts.append(part)
            maps += [] if found is None else [sharing(found, pool)]
        joined = {
            name: np.concatenate([np.empty((len(clips), 0), np.float32), *(found[name] for found, _ in parts)], axis=1)
            for name, clips in partition.predicted.items()
        }
        yield Fit(
            candidate,
            {name: own.widened(values) for name, values in joined.items()},
            _joined([diagnostics for _, diagnostics in parts]),
            tuple(maps),
            mixed.astype(np.float32) if candidate.combine == "stack" else None,
        )


def check_sizes(candidates: Sequence[Candidate], n_features: Mapping[str, int], method: Method) -> None:
    """Require that the regressor can take the features of every candidate.

    n_features: of each space

    Raises
    ------
    InputError
        One or more candidates have too many.
    """
    most = method.spec.most_features(method.options)
    sizes = {each: _n_features(each, n_features) for candidate in candidates for each in candidate.fitted}
    large = {each: n for each, n in sizes.items() if most is not None and n > most}
    if large:
        listed = ", ".join(f"{each.name} {n:,}" for each, n in large.items())
        raise InputError(
            f"{method.spec.title} takes at most {most:,} features, and {len(large)} of {len(sizes)} candidates have "
            f"more: {listed}. {_fewer(next(iter(large)))}, or {ANY_NUMBER}"
        )


def _fewer(candidate: Candidate) -> str:
    """The cure of a candidate that has too many features."""
    if candidate.raw:
        return "Take components: the row's word without _raw"
    if candidate.degree > 1:
        return "Take no products (the row's word without _poly), or fewer components (reduction.n_components)"
    return (
        "Take fewer components (n_components of the spaces, or of params.reduction for rows with one of the paper's "
        "words), or maps of fewer, larger fields (pool of the spaces)"
    )


def _n_features(candidate: Candidate, n_features: Mapping[str, int]) -> int:
    """All products of up to `degree` of n features: C(n + degree, degree) - 1."""
    n = sum(n_features[space] for space in candidate.spaces)
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
    served: Served,
    train: Indices,
    method: Method,
    shown: Shown,
) -> NDArray[np.float64]:
    """Weights of a candidate's models, (n_voxels, n_models): equal ones, or of a stack those that it chooses.

    It chooses them on predictions of clips that were in no fit of theirs: with S_v of `_residual_products` and T_v its
    sum with the mean over the subject's ROI (`with_block_means`),

        w_v = argmin w' T_v w over w >= 0, sum w = 1.
    """
    n_models = len(candidate.fitted)
    if candidate.combine != "stack":
        return np.full((served.columns.n_voxels, n_models), 1 / n_models)
    tasks = (
        joblib.delayed(_residual_products)(candidate, spaces, *part, train, method, shown) for part in served.responses
    )
    products = [np.empty((0, n_models, n_models)), *joblib.Parallel()(tasks)]
    return simplex_weights(with_block_means(np.concatenate(products), served.columns.slices))


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
    known = [part for part in parts if part]
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in known]) for name in known[0]} if known else {}


def summary(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """What solvers say of their voxels: name -> a count of flags, or the range of a number. parts: of some each"""
    return {
        name: int(values.sum())
        if values.dtype == bool
        else {"min": values.min(), "median": np.median(values), "max": values.max()}
        for name, values in _joined(parts).items()
    }

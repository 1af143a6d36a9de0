"""Fits: one regressor on every candidate feature space, for all voxels of all subjects at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import PolynomialFeatures

from cinevox.errors import InputError
from cinevox.regressors import FEWER_FEATURES, RegressorSpec
from cinevox.responses import Columns
from cinevox.spaces import Space
from cinevox.splits import Partition, folds

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Fit:
    """What one feature space gives.

    predicted: split name -> float32 (n_clips, n_voxels), for the clips that the partition predicts
    diagnostics: name -> what the solver says of its voxels: a count of flags, or the range of a number
    """

    space: Space
    predicted: dict[str, NDArray[np.float32]]
    diagnostics: dict[str, Any]


def fit(
    spaces: Sequence[Space],
    layers: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    partition: Partition,
    n_folds: int,
    spec: RegressorSpec,
    options: Mapping[str, Any],
    batch_voxels: int,
) -> Iterator[Fit]:
    """Fit every candidate on a partition's training clips and predict those it leaves out.

    A task is one space and one batch of voxels (`RegressorSpec.voxels`: some of them, an ROI of one subject, or
    all); workers take them in turn, and a space is yielded as soon as its last batch is done. Nothing sees a
    clip outside `partition.train` in fitting.

    layers: layer -> (n_clips, n_features), components or raw, of all clips
    measured: (n_train_clips, n_voxels), mean responses to the training set's clips (training and validation)

    Raises
    ------
    InputError
        A space has more features than the regressor can take; before the first fit.
    """
    _check_sizes(spaces, layers, spec)
    batches = {
        "batch": _batches(columns.n_voxels, batch_voxels),
        "roi": list(columns.slices),
        "all": [slice(0, columns.n_voxels)],
    }[spec.voxels]
    responses = [measured[partition.train, batch] for batch in batches]  # made once: workers get each array once
    tasks = (
        joblib.delayed(_fit_batch)(
            space, [layers[layer] for layer in space.layers], Y, partition, n_folds, spec, options
        )
        for space in spaces
        for Y in responses
    )
    return _side_by_side(spaces, len(batches), tasks)


def _side_by_side(spaces: Sequence[Space], n_batches: int, tasks: Iterable[Any]) -> Iterator[Fit]:
    """Run the tasks, and put each space's batches together as they come."""
    results = joblib.Parallel(return_as="generator")(tasks)
    for space in spaces:
        parts = [next(results) for _ in range(n_batches)]
        yield Fit(
            space,
            {name: np.concatenate([predicted[name] for predicted, _ in parts], axis=1) for name in parts[0][0]},
            _summary([diagnostics for _, diagnostics in parts]),
        )


def _check_sizes(spaces: Sequence[Space], layers: Mapping[str, Floats], spec: RegressorSpec) -> None:
    sizes = {space.name: _n_features(space, layers) for space in spaces}
    if spec.max_features is not None and (large := {k: n for k, n in sizes.items() if n > spec.max_features}):
        listed = ", ".join(f"{name} {n:,}" for name, n in large.items())
        raise InputError(
            f"{spec.title} takes at most {spec.max_features:,} features, and {len(large)} of {len(sizes)} feature "
            f"spaces have more: {listed}. {FEWER_FEATURES.capitalize()}"
        )


def _n_features(space: Space, layers: Mapping[str, Floats]) -> int:
    """All products of up to `degree` of n features: C(n + degree, degree) - 1."""
    n = sum(int(np.prod(layers[layer].shape[1:])) for layer in space.layers)
    return comb(n + space.degree, space.degree) - 1


def feature_matrix(space: Space, layers: Sequence[Floats], partition: Partition) -> tuple[Floats, tuple[slice, ...]]:
    """The regressors of one space: its layers side by side, polynomial terms added where asked.

    Polynomial terms are all products of up to `degree` features, z-scored on the training clips.
    Returns (n_clips, n_features) and, per layer, which columns are its own (a space with products of
    features from several layers is one band).
    """
    flat = [layer.reshape(len(layer), -1) for layer in layers]
    stops = list(accumulate(layer.shape[1] for layer in flat))
    bands = tuple(slice(stop - layer.shape[1], stop) for layer, stop in zip(flat, stops))
    X = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    if space.degree == 1:
        return X, bands
    X = PolynomialFeatures(space.degree, include_bias=False).fit_transform(X)
    spread = X[partition.train].std(axis=0)
    X = (X - X[partition.train].mean(axis=0)) / np.where(spread > 0, spread, 1)
    return X.astype(np.float32), (slice(0, X.shape[1]),)


def _fit_batch(
    space: Space,
    layers: Sequence[Floats],
    Y: NDArray[np.float32],
    partition: Partition,
    n_folds: int,
    spec: RegressorSpec,
    options: Mapping[str, Any],
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
    X, bands = feature_matrix(space, layers, partition)
    regressor = spec.build(options).fit(X[partition.train], Y, folds=folds(len(partition.train), n_folds), bands=bands)
    predicted = {name: regressor.predict(X[rows]) for name, rows in partition.predicted.items()}
    return predicted, dict(regressor.diagnostics)


def _batches(n_voxels: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n_voxels)) for start in range(0, n_voxels, size)]


def _summary(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    joined = {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}
    return {
        name: int(values.sum())
        if values.dtype == bool
        else {"min": values.min(), "median": np.median(values), "max": values.max()}
        for name, values in joined.items()
    }

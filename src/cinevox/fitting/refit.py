"""Refit: each voxel's chosen feature space, fitted again on all of the training set's clips.

What the submission predicts with, and what an encoding model keeps.

Validation clips have done their work once the spaces are chosen; a tenth more clips to fit on is worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.fitting.feature_spaces import Space
from cinevox.fitting.fits import Method, fit
from cinevox.fitting.regressors import Map
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Reduction
from cinevox.statistics.splits import Partition
from cinevox.stimuli.reduction import Components, Projection, principal_components, projection

Floats = NDArray[np.floating]
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Part:
    """The predictions of one feature space for the voxels that chose it.

    voxels: their columns; predicted: float32, (n_test_clips, n_voxels of these)
    diagnostics: as of `cinevox.fitting.fits.Fit`
    maps: what was fitted, each with the columns of its voxels; none unless they are kept
    """

    space: Space
    voxels: NDArray[np.intp]
    predicted: NDArray[np.float32]
    diagnostics: Mapping[str, Any]
    maps: tuple[tuple[NDArray[np.intp], Map], ...]


@dataclass(frozen=True)
class Refitted:
    """Every voxel's prediction by its own space and, where the fit is kept, what makes it again for other clips.

    predicted: float32, (n_test_clips, n_voxels)
    layers: layer -> (n_clips, n_features), what the spaces in use were made from: components or raw features
    projections: layer -> its projection to components; none for raw features
    parts: one for each space in use
    """

    predicted: NDArray[np.float32]
    layers: Mapping[str, Floats]
    projections: Mapping[str, Projection]
    parts: tuple[Part, ...]


def spaces_in_use(candidates: Sequence[Space], chosen: NDArray[np.integer], columns: Columns) -> tuple[Space, ...]:
    """Those of the candidates that some voxel has.

    chosen: (n_voxels,), each voxel's position in `candidates`, as the stage selection wrote it

    Raises
    ------
    FileError
        The choice is not one for these voxels among these candidates.
    """
    known = np.arange(len(candidates))
    if chosen.shape != (columns.n_voxels,) or not np.isin(chosen, known).all():
        raise FileError(
            f"the selection is {chosen.dtype} {chosen.shape} of up to {chosen.max(initial=-1) + 1} feature spaces, and "
            f"there are {columns.n_voxels} voxels and {len(candidates)} spaces; run `dvc repro selection` again"
        )
    return tuple(candidates[number] for number in np.unique(chosen))


def refit(
    candidates: Sequence[Space],
    chosen: NDArray[np.integer],
    features: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    reduction: Reduction,
    method: Method,
    progress: Progress,
    *,
    keep: bool = False,
) -> Refitted:
    """Fit each space in use on all training clips, and predict each voxel's responses to the test clips by its own.

    chosen: as for `spaces_in_use`; features: layer -> (n_clips, n_features) of all clips, the test clips last;
    measured: (n_train_clips, n_voxels), mean responses. Only layers in use are read.
    keep: whether projections and parts are returned; they are empty otherwise
    """
    used = spaces_in_use(candidates, chosen, columns)
    layers = {layer: features[layer] for space in used for layer in space.layers}
    projections, parts = {}, []
    if not used[0].raw:
        reduced = progress(components(layers, len(measured), reduction, keep), len(layers), "PCA")
        for layer, found, projection in reduced:
            layers[layer] = found.scores
            if projection is not None:
                projections[layer] = projection
    n_clips = len(next(iter(layers.values())))
    predicted = np.full((n_clips - len(measured), columns.n_voxels), np.nan, dtype=np.float32)
    fitted = _by_space(candidates, chosen, layers, measured, columns, method, keep)
    for part in progress(fitted, len(used), "refit"):
        predicted[:, part.voxels] = part.predicted
        if keep:
            parts.append(part)
    return Refitted(predicted, layers, projections, tuple(parts))


def components(
    features: Mapping[str, Floats], n_train: int, settings: Reduction, keep: bool
) -> Iterator[tuple[str, Components, Projection | None]]:
    """Principal components of each layer, fitted on the first `n_train` clips, as they come.

    features: layer -> (n_clips, n_features), memory maps at best
    keep: whether the layer's projection, for other clips, comes too
    """
    tasks = (joblib.delayed(_components)(layer, n_train, settings, keep) for layer in features.values())
    for name, found in zip(features, joblib.Parallel(return_as="generator")(tasks)):
        yield name, *found


def _components(layer: Floats, n_train: int, settings: Reduction, keep: bool) -> tuple[Components, Projection | None]:
    train = np.arange(n_train)
    found = principal_components(
        layer, train, settings.n_components, min_spread=settings.min_spread, normalize=settings.normalize
    )
    return found, projection(layer, train, found) if keep else None


def _by_space(
    candidates: Sequence[Space],
    chosen: NDArray[np.integer],
    layers: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    method: Method,
    keep_maps: bool,
) -> Iterator[Part]:
    """Each space in use, fitted on all training clips for the voxels it serves, and what it predicts of the rest.

    A regressor that shares something over an ROI is given the whole ROI, as when it was chosen, and the voxels of
    other spaces are left out of what it predicts.

    layers: layer -> (n_clips, n_features), components or raw, of all clips
    """
    n_train, n_clips = len(measured), len(next(iter(layers.values())))
    units = columns.units(measured, np.arange(n_train))
    everything = Partition("train", np.arange(n_train), {"test": np.arange(n_train, n_clips)})
    for number in np.unique(chosen):
        serves = chosen == number
        fitted = _whole_blocks(serves, columns) if method.voxels == "roi" else serves
        responses = measured if fitted.all() else measured[:, fitted]
        restricted = _restricted(columns, fitted)
        own = units[fitted]  # of whole blocks, whichever of their voxels are here
        (found,) = fit([candidates[number]], layers, responses, restricted, everything, method, keep_maps, own)
        yield Part(
            candidates[number],
            np.flatnonzero(serves),
            found.predicted["test"][:, serves[fitted]],
            found.diagnostics,
            tuple(_serving(found.maps, method.batches(restricted), np.flatnonzero(fitted), serves)),
        )


def _serving(
    maps: Sequence[Map], batches: Sequence[slice], columns: NDArray[np.intp], serves: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], Map]]:
    """Each batch's map without the voxels that it does not serve; columns: those of all fitted voxels."""
    for found, batch in zip(maps, batches):
        inside = serves[columns[batch]]
        if inside.any():
            yield columns[batch][inside], found if inside.all() else found.of_voxels(inside)


def _whole_blocks(serves: NDArray[np.bool_], columns: Columns) -> NDArray[np.bool_]:
    whole = serves.copy()
    for where in columns.slices:
        whole[where] = serves[where].any()
    return whole


def _restricted(columns: Columns, kept: NDArray[np.bool_]) -> Columns:
    counts = [int(kept[where].sum()) for where in columns.slices]
    return Columns(tuple(Block(b.subject, b.roi, count) for b, count in zip(columns.blocks, counts) if count))

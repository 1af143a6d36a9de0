"""Refit: each voxel's chosen feature space, fitted again on all of the training set's clips, predicts the test clips.

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
from cinevox.fits import fit
from cinevox.metrics import is_constant
from cinevox.params import Reduction
from cinevox.reduction import principal_components
from cinevox.regressors import RegressorSpec
from cinevox.responses import Block, Columns
from cinevox.spaces import Space
from cinevox.splits import Partition

Floats = NDArray[np.floating]
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Refit:
    """What one feature space predicts for the voxels that chose it.

    voxels: their columns; predicted: float32, (n_test_clips, n_voxels of these)
    diagnostics: as of `cinevox.fits.Fit`
    """

    space: Space
    voxels: NDArray[np.intp]
    predicted: NDArray[np.float32]
    diagnostics: Mapping[str, Any]


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


def predict(
    candidates: Sequence[Space],
    chosen: NDArray[np.integer],
    features: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    reduction: Reduction,
    n_folds: int,
    spec: RegressorSpec,
    options: Mapping[str, Any],
    batch_voxels: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Responses to the test clips, (n_test_clips, n_voxels), each voxel's by its own space.

    chosen: as for `spaces_in_use`; features: layer -> (n_clips, n_features) of all clips, the test clips last;
    measured: (n_train_clips, n_voxels). Only layers in use are read.
    """
    used = spaces_in_use(candidates, chosen, columns)
    layers = {layer: features[layer] for space in used for layer in space.layers}
    if not used[0].raw:
        reduced = components(layers, len(measured), reduction)
        layers = dict(progress(reduced, len(layers), "PCA"))
    fitted = refit(candidates, chosen, layers, measured, columns, n_folds, spec, options, batch_voxels)
    n_clips = len(next(iter(layers.values())))
    found = np.full((n_clips - len(measured), columns.n_voxels), np.nan, dtype=np.float32)
    for part in progress(fitted, len(used), "refit"):
        found[:, part.voxels] = part.predicted
    return found


def components(features: Mapping[str, Floats], n_train: int, settings: Reduction) -> Iterator[tuple[str, Floats]]:
    """Principal components of each layer, (n_clips, n_components), fitted on the first `n_train` clips; as they come.

    features: layer -> (n_clips, n_features), memory maps at best
    """
    tasks = (
        joblib.delayed(principal_components)(
            layer,
            np.arange(n_train),
            settings.n_components,
            standardize=settings.standardize,
            normalize=settings.normalize,
        )
        for layer in features.values()
    )
    for name, found in zip(features, joblib.Parallel(return_as="generator")(tasks)):
        yield name, found.scores


def refit(
    candidates: Sequence[Space],
    chosen: NDArray[np.integer],
    layers: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    n_folds: int,
    spec: RegressorSpec,
    options: Mapping[str, Any],
    batch_voxels: int,
) -> Iterator[Refit]:
    """Fit each space in use on all training clips, for the voxels it serves, and predict the clips after them.

    A regressor that shares something over an ROI is given the whole ROI, as when it was chosen, and the voxels of
    other spaces are left out of what it predicts.

    chosen: as for `spaces_in_use`; layers: layer -> (n_clips, n_features), components or raw, of all clips
    measured: (n_train_clips, n_voxels), mean responses to the training set's clips
    """
    n_train, n_clips = len(measured), len(next(iter(layers.values())))
    everything = Partition("train", np.arange(n_train), {"test": np.arange(n_train, n_clips)})
    for number in np.unique(chosen):
        serves = chosen == number
        fitted = _whole_blocks(serves, columns) if spec.voxels == "roi" else serves
        responses = measured if fitted.all() else measured[:, fitted]
        (found,) = fit(
            [candidates[number]], layers, responses, _restricted(columns, fitted), everything, n_folds, spec, options,
            batch_voxels,
        )  # fmt: skip
        yield Refit(
            candidates[number], np.flatnonzero(serves), found.predicted["test"][:, serves[fitted]], found.diagnostics
        )


def _whole_blocks(serves: NDArray[np.bool_], columns: Columns) -> NDArray[np.bool_]:
    whole = serves.copy()
    for where in columns.slices:
        whole[where] = serves[where].any()
    return whole


def _restricted(columns: Columns, kept: NDArray[np.bool_]) -> Columns:
    counts = [int(kept[where].sum()) for where in columns.slices]
    return Columns(tuple(Block(b.subject, b.roi, count) for b, count in zip(columns.blocks, counts) if count))


def fill_constant(predicted: NDArray[np.float32], columns: Columns) -> dict[str, int]:
    """Give voxels with the same prediction for every clip the mean of their ROI's others, in place.

    A constant (a sparse regressor's empty model) has no correlation, and a scorer that divides by its spread makes
    the whole ROI's mean NaN. The others are the subject's own, or, where all of those are constant, other subjects';
    an ROI in which no prediction of any subject varies stays as it is.

    predicted: (n_clips, n_voxels); returns how many were filled from which
    """
    constant, count = is_constant(predicted), {"own_roi": 0, "other_subjects": 0}
    for roi in columns.rois:
        slices = [where for block, where in zip(columns.blocks, columns.slices) if block.roi == roi]
        means = [predicted[:, where][:, ~constant[where]].mean(axis=1) for where in slices if not constant[where].all()]
        for where in slices:
            if not constant[where].any() or not means:
                continue
            block, own = predicted[:, where], not constant[where].all()
            mean = block[:, ~constant[where]].mean(axis=1) if own else np.mean(means, axis=0)
            block[:, constant[where]] = mean[:, None]
            count["own_roi" if own else "other_subjects"] += int(constant[where].sum())
    return count

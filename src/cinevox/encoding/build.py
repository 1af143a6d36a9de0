"""An encoding model from a row's files: its chosen spaces refitted as the submission's are, or its kept networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.encoding.model import Floats, Roiwise, SpaceModel, Voxelwise
from cinevox.errors import InputError
from cinevox.fits import Method
from cinevox.params import Reduction, Transfer
from cinevox.refit import Progress, components, refit, spaces_in_use
from cinevox.responses import Columns
from cinevox.spaces import Scaling, Space, joined


def voxelwise(
    candidates: Sequence[Space],
    chosen: NDArray[np.integer],
    features: Mapping[str, Floats],
    measured: NDArray[np.float32],
    columns: Columns,
    reduction: Reduction,
    method: Method,
    progress: Progress,
) -> tuple[Voxelwise, NDArray[np.float32]]:
    """Each voxel's space fitted on all training clips, and its predictions for the test clips, (n_clips, n_voxels).

    Arguments are those of `cinevox.refit.predict`, which makes the submission's predictions: these are the same.
    """
    used = spaces_in_use(candidates, chosen, columns)
    layers = {layer: features[layer] for space in used for layer in space.layers}
    projections = {}
    if not used[0].raw:
        reduced = progress(components(layers, len(measured), reduction, keep=True), len(layers), "PCA")
        for layer, found, projection in reduced:
            layers[layer], projections[layer] = found.scores, projection
    train, spaces = np.arange(len(measured)), []
    predicted = np.full((len(next(iter(layers.values()))) - len(train), columns.n_voxels), np.nan, np.float32)
    for part in progress(refit(candidates, chosen, layers, measured, columns, method, True), len(used), "refit"):
        predicted[:, part.voxels] = part.predicted
        scaling = None
        if part.space.degree > 1:
            scaling = Scaling.of(part.space, joined(part.space, [layers[name] for name in part.space.layers]), train)
        spaces.append(SpaceModel(part.space, scaling, part.maps))
    return Voxelwise(projections, tuple(spaces)), predicted


def roiwise(row: str, folder: Path, columns: Columns, settings: Transfer) -> Roiwise:
    """The networks that the stage transfer kept. folder: of its checkpoints

    Raises
    ------
    InputError
        It did not keep every subject's and ROI's.
    """
    files = tuple(folder / f"{block.subject}-{block.roi}.pt" for block in columns.blocks)
    if missing := [file.stem for file in files if not file.is_file()]:
        raise InputError(
            f"{row}: the networks of {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''} were not kept "
            f"({len(missing)} of {len(files)}; transfer.keep_weights is {settings.keep_weights}). Set "
            f"transfer.keep_weights to all, then `dvc repro encoding@{row}` trains them again and keeps them"
        )
    return Roiwise(files, columns.blocks, settings.compute)

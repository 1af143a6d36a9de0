"""The model itself: from what networks give for a clip to the responses of all voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cinevox.encoding.about import About
from cinevox.errors import InputError
from cinevox.fitting.feature_spaces import Candidate, Scaling, joined
from cinevox.fitting.regressors import Map
from cinevox.measured.responses import Block
from cinevox.stimuli.reduction import Projection

Floats = NDArray[np.floating]
Activations = Mapping[str, Floats]


class Model(Protocol):
    """A fitted model: features in, responses out."""

    def reduced(self, maps: Activations) -> dict[str, Floats]:
        """Compute the input of `__call__` from maps of networks that spaces are made from: space -> (n_clips, ...)."""
        ...

    def __call__(self, features: Activations) -> NDArray[np.float32]:
        """Responses, (n_clips, n_voxels)."""
        ...


@dataclass(frozen=True)
class CandidateModel:
    """One candidate and what was fitted to it, each map with the columns of its voxels."""

    candidate: Candidate
    scaling: Scaling | None
    maps: tuple[tuple[NDArray[np.integer], Map], ...]


@dataclass(frozen=True)
class Voxelwise:
    """A regressor's maps. projections: space -> its components, of those that have some; parts: one for a candidate"""

    projections: Mapping[str, Projection]
    parts: tuple[CandidateModel, ...]

    def reduced(self, maps: Activations) -> dict[str, Floats]:
        flat = {space: values.reshape(len(values), -1) for space, values in maps.items()}
        return flat | {space: project(maps[space]) for space, project in self.projections.items()}

    def __call__(self, features: Activations) -> NDArray[np.float32]:
        n_voxels = sum(len(voxels) for part in self.parts for voxels, _ in part.maps)
        found = np.full((len(next(iter(features.values()))), n_voxels), np.nan, dtype=np.float32)
        for part in self.parts:
            X = joined(part.candidate, [features[space] for space in part.candidate.spaces])
            X = X if part.scaling is None else part.scaling(X)
            for voxels, predict in part.maps:
                found[:, voxels] = predict(X)
        return found


@dataclass(frozen=True)
class Roiwise:
    """A transfer network for each ROI of each subject, read when first asked for.

    files: of the networks, in the order of the columns; blocks: whose they are
    """

    files: tuple[Path, ...]
    blocks: tuple[Block, ...]
    compute: Literal["float32", "bfloat16"]

    @cached_property
    def networks(self) -> list[Any]:
        from cinevox.fitting.transfer import (  # torch: seconds, which fitted rows don't need
            TransferError,
            read_checkpoint,
        )

        found = [read_checkpoint(file) for file in self.files]
        for file, network, block in zip(self.files, found, self.blocks):
            if (n_voxels := network.head.last.out_features) != block.n_voxels:
                raise TransferError(
                    f"{file} predicts {n_voxels} voxels; expected {block.n_voxels}, as encoding.json has it"
                )
        return found

    def reduced(self, maps: Activations) -> dict[str, Floats]:
        return dict(maps)

    def __call__(self, features: Activations) -> NDArray[np.float32]:
        from cinevox.fitting.transfer import predict

        [values] = features.values()
        return np.hstack([predict(network, values, self.compute, "cpu") for network in self.networks])


@dataclass(frozen=True)
class EncodingModel:
    """An encoding model.

    voxels: of every voxel, (n_voxels,): `correlation`, `normalized` and `q` on the split that counts, and `place`,
        its position in the flat volume (C order; -1 where not known), if there is one
    """

    about: About
    model: Model
    voxels: Mapping[str, NDArray[Any]]

    def predict(self, features: Activations) -> NDArray[np.float32]:
        """Responses, (n_clips, n_voxels), in the order of `about.columns`.

        features: space -> (n_clips, ...), of the shapes in `about.shapes`

        Raises
        ------
        InputError
            A space is missing or has another shape, or is not finite.
        """
        faults, shapes = [], self.about.shapes
        for space, shape in shapes.items():
            values = features.get(space)
            if values is None:
                faults.append(f"no features of {space}")
            elif list(values.shape[1:]) != shape:
                faults.append(f"{space} has {values.shape[1:]} numbers a clip, expected {tuple(shape)}")
            elif not np.isfinite(values).all():
                faults.append(f"{space} has NaN or infinite features")
        if faults:
            raise InputError(f"{self.about.row}: {'; '.join(faults)}")
        return self.model({space: features[space] for space in shapes})

    def means(self, responses: Floats) -> Floats:
        """Mean over the voxels of each region, (n_clips, n_regions), from responses (n_clips, n_voxels)."""
        return np.stack([responses[:, where].mean(axis=1) for where in self.about.columns.slices], axis=1)

"""The truth of an in-silico data set: what every voxel listens to, its noise-free signal, its reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN
from cinevox.project.params.generators import parts

TRUTH = "truth"  # the folder beside the data
FILE = "truth.json"  # in it: the names of the generators, and how they were made
NO_SIGNAL = "none"
NO_FIELD = -1


@dataclass(frozen=True)
class Truth:
    """The truth about the voxels of one ROI of one subject, in the order of its response file.

    generators: (n_voxels,), names; "none" for a voxel without signal
    fields: (n_parts, n_voxels), receptive field in the map of each part of the generator; NO_FIELD where it has none.
        Of a grid of k x k it is row * k + column.
    reliability_train, reliability_test: (n_voxels,), of the mean over the repetitions of these clips
    signal: float32, (n_clips, n_voxels), noise-free responses; the training clips come first
    """

    generators: NDArray[np.str_]
    fields: NDArray[np.int16]
    reliability_train: NDArray[np.float64]
    reliability_test: NDArray[np.float64]
    signal: NDArray[np.float32]


def is_simulated(folder: Path) -> bool:
    """Whether a data set's folder has the truth of a simulation beside its responses."""
    return (folder / TRUTH / FILE).is_file()


def read_truth(folder: Path, subject: str, roi: str) -> Truth:
    """Read the truth about the voxels of one ROI (or WB) of one subject.

    Raises
    ------
    InputError
        The folder holds no simulated data set, not this subject, or not this ROI.
    """
    names = np.array([*io.read_json(folder / TRUTH / FILE)["generators"], NO_SIGNAL])
    components = io.read_arrays(folder / TRUTH / "components.npz")
    content = io.read_arrays(folder / TRUTH / f"{subject}.npz")
    content[f"columns_{WHOLE_BRAIN}"] = np.arange(len(content["generator"]))
    if f"columns_{roi}" not in content:
        raise InputError(f"{folder}: no ROI {roi!r}; there are {', '.join((*MINI_ROIS, WHOLE_BRAIN))}")
    chosen = content[f"columns_{roi}"]
    generator, weights = content["generator"][chosen], content["weights"][:, chosen]
    everywhere = content.get("fields", no_fields(1, len(content["generator"])))  # where no map is pooled it has none
    fields = everywhere[:, chosen]
    return Truth(
        names[generator],
        fields,
        content["reliability_train"][chosen],
        content["reliability_test"][chosen],
        signals(names[:-1].tolist(), generator, weights, fields, components),
    )


def no_fields(n_parts: int, n_voxels: int) -> NDArray[np.int16]:
    """Fields of voxels that listen to no pooled map, (n_parts, n_voxels)."""
    return np.full((n_parts, n_voxels), NO_FIELD, dtype=np.int16)


def signals(
    names: Sequence[str],
    generator: NDArray[np.int8],
    weights: NDArray[np.float32],
    fields: NDArray[np.int16],
    components: Mapping[str, NDArray[np.floating]],
) -> NDArray[np.float32]:
    """Noise-free responses to every clip, (n_clips, n_voxels); 0 for voxels without signal.

    names: of the generators
    generator: (n_voxels,), index among them, -1 for none
    weights: (n_rows, n_voxels), of the components of the generator's parts, one part after another
    fields: (n_parts, n_voxels), as in `Truth`
    components: part -> (n_clips, n_components), or of a pooled map (n_clips, n_fields, n_components)
    """
    n_clips = len(next(iter(components.values())))
    signal = np.zeros((n_clips, len(generator)), dtype=np.float32)
    for index, name in enumerate(names):
        driven = generator == index
        first, *others = part_signals(name, weights[:, driven], fields[:, driven], components)
        signal[:, driven] = first
        for added in others:
            signal[:, driven] += added
    return signal


def part_signals(
    name: str,
    weights: NDArray[np.float32],
    fields: NDArray[np.int16],
    components: Mapping[str, NDArray[np.floating]],
) -> list[NDArray[np.float32]]:
    """The share of each part of one generator in the signal of its voxels, each (n_clips, n_voxels).

    weights, fields, components: as for `signals`, of these voxels alone
    """
    found, start = [], 0
    for own, part in zip(fields, parts(name)):
        values = components[part].astype(np.float32)
        stop = start + values.shape[-1]
        found.append(_weighted(values, weights[start:stop], own))
        start = stop
    return found


def _weighted(values: NDArray[np.float32], weights: NDArray[np.float32], fields: NDArray[np.int16]) -> NDArray[Any]:
    if values.ndim == 2:
        return values @ weights
    added = np.zeros((len(values), len(fields)), dtype=np.float32)
    for field in np.unique(fields):
        inside = fields == field
        added[:, inside] = values[:, field] @ weights[:, inside]
    return added

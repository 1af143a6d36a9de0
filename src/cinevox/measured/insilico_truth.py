"""The truth of an in-silico data set: what every voxel listens to, its noise-free signal, its reliability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN

TRUTH = "truth"  # the folder beside the data
FILE = "truth.json"  # in it: the names of the generators, and how they were made
NO_SIGNAL = "none"


@dataclass(frozen=True)
class Truth:
    """The truth about the voxels of one ROI of one subject, in the order of its response file.

    generators: (n_voxels,), names; "none" for a voxel without signal
    reliability_train, reliability_test: (n_voxels,), of the mean over the repetitions of these clips
    signal: float32, (n_clips, n_voxels), noise-free responses; the training clips come first
    """

    generators: NDArray[np.str_]
    reliability_train: NDArray[np.float64]
    reliability_test: NDArray[np.float64]
    signal: NDArray[np.float32]


def is_simulated(folder: Path) -> bool:
    """Whether a data set's folder has the truth of a simulation beside its responses."""
    return (folder / TRUTH / FILE).is_file()


def read_truth(folder: Path, subject: str, roi: str) -> Truth:
    """What is true of the voxels of one ROI (or WB) of one subject.

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
    return Truth(
        names[generator],
        content["reliability_train"][chosen],
        content["reliability_test"][chosen],
        signals(generator, weights, {name: components[name] for name in names[:-1]}),
    )


def signals(
    generator: NDArray[np.int8], weights: NDArray[np.float32], generators: Mapping[str, NDArray[np.floating]]
) -> NDArray[np.float32]:
    """Noise-free responses to every clip, (n_clips, n_voxels); 0 for voxels without signal.

    generator: (n_voxels,), index among the generators, -1 for none
    weights: (n_components, n_voxels), of that generator's components
    generators: name -> (n_clips, n_components), in the order of the indices
    """
    n_clips = len(next(iter(generators.values())))
    signal = np.zeros((n_clips, len(generator)), dtype=np.float32)
    for index, components in enumerate(generators.values()):
        driven = generator == index
        signal[:, driven] = components.astype(np.float32) @ weights[: components.shape[1], driven]
    return signal

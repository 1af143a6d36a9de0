"""Data sets: one file each, the file name is the key. See docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cinevox import params as settings
from cinevox import plugins
from cinevox.params import Track
from cinevox.responses import Columns, Responses, side_by_side

Part = Literal["train", "test"]


class Dataset(Protocol):
    """Clips and responses of one study. Opening reads names only; responses are read when asked for."""

    @property
    def clips(self) -> tuple[Path, ...]:
        """Every clip in order: the training clips, then the test clips."""
        ...

    @property
    def n_train_clips(self) -> int:
        """How many of the clips train, the first ones; the response files say so, one of which is read."""
        ...

    @property
    def subjects(self) -> tuple[str, ...]: ...

    def rois(self, track: Track, subject: str) -> tuple[str, ...]:
        """The ROIs there are of a subject."""
        ...

    def file(self, part: Part, track: Track, subject: str, roi: str) -> Path:
        """Where these responses are, or would be (for messages and validation)."""
        ...

    def arrays(self, part: Part, track: Track, subject: str, roi: str) -> Mapping[str, NDArray]:
        """The arrays of that file as they are stored.

        train or test, as `part` says: any type of number, (n_stimuli, n_repetitions, n_voxels)
        voxel_mask: with the whole brain, where its columns lie

        Raises
        ------
        FileError
            The file is missing, or is not what this data set writes.
        """
        ...

    def has_test_responses(self, track: Track) -> bool: ...

    def responses(self, part: Part, track: Track, subject: str, roi: str) -> Responses:
        """Single-trial responses to the training or the test clips; see `has_test_responses`.

        Raises
        ------
        FileError
            The file is missing, or is not what this data set writes.
        """
        ...

    def voxel_mask(self, subject: str) -> NDArray[np.bool_] | None:
        """Volume: where the whole-brain columns lie, in C order; None without the full track."""
        ...


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as a plug-in.

    volume: shape of its voxel masks
    affine: maps voxel indices of the masks to MNI152 millimetres, (4, 4)
    licence: its terms, in words
    restricted: it may not be passed on, so DVC may push it to the remote named `private` alone; see `cinevox.guard`
    """

    title: str
    open: Callable[[settings.Dataset], Dataset]
    volume: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    licence: str = "not known"
    restricted: bool = True


def open_dataset(wanted: settings.Dataset) -> Dataset:
    """The data set that params.dataset names and points to.

    Raises
    ------
    InputError
        No such plug-in, or its folder is not there or holds something else.
    """
    dataset: Dataset = plugins.load("cinevox.datasets", wanted.name).open(wanted)
    return dataset


def measured(
    dataset: Dataset, track: Track, columns: Columns, clips: Mapping[str, NDArray[np.intp]]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Mean responses of these blocks to the clips of each split, (n_clips, n_voxels); a file is read once.

    clips: split -> positions among all clips; `test` is read from the test responses, the others from training

    Raises
    ------
    FileError
        A file is missing, or is not what this data set writes.
    """
    parts: tuple[Part, ...] = ("train", "test")
    for part in parts:
        names = [name for name in clips if (name == "test") == (part == "test")]
        if names:
            blocks = (dataset.responses(part, track, block.subject, block.roi) for block in columns.blocks)
            responses, _ = side_by_side(blocks)
            first = 0 if part == "train" else dataset.n_train_clips
            yield from ((name, responses[clips[name] - first]) for name in names)

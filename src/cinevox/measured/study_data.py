"""The study that every later step sees, whatever its files: what a data set's plug-in gives; see docs/adding.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Part, Responses
from cinevox.project.params import Track


@dataclass(frozen=True)
class Grid:
    """A volume.

    shape: of its voxel masks
    affine: maps voxel indices of the masks to millimetres, (4, 4)
    space: the space of these millimetres, as BIDS names it; subjects share it if its name begins with MNI
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    space: str = "MNI152"


def is_template(space: str) -> bool:
    """Whether a volume's space is the MNI template's, in whatever version; others are a subject's own."""
    return space.startswith("MNI")


class StudyData(Protocol):
    """Clips and responses of one study. Opening reads names only; responses are read when asked for."""

    @property
    def clips(self) -> tuple[Path, ...]:
        """Every clip in order: the training clips, as many as each training response file has stimuli, then the others,
        the test clips."""
        ...

    @property
    def subjects(self) -> tuple[str, ...]: ...

    def rois(self, track: Track, subject: str) -> tuple[str, ...]:
        """The ROIs there are of a subject."""
        ...

    def file(self, part: Part, track: Track, subject: str, roi: str) -> Path:
        """Return the path where these responses are, or would be (for messages and validation)."""
        ...

    def arrays(self, part: Part, track: Track, subject: str, roi: str) -> Mapping[str, NDArray]:
        """The arrays of that file as they are stored, read-only; larger ones over the file, taking no memory.

        train or test, as `part` says: any type of number, (n_stimuli, n_repetitions, n_voxels)
        voxel_mask: with the training responses of the whole brain, 1 where its columns lie, in C order

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

    @property
    def grid(self) -> Grid | None:
        """The volume of the voxel masks; None where nothing in the folder says where voxels lie.

        Raises
        ------
        FileError
            The file that should say so is broken.
        """
        ...

    @property
    def places_rois(self) -> bool:
        """Whether ROIs hold voxels of the whole-brain file, each one in one ROI at most, in Fortran order."""
        ...


@dataclass(frozen=True)
class Stimulus:
    """A stimulus of a study.

    id: text, of this stimulus alone; file: its clip or image, None where that is not on this disk
    columns: what else the study says of it, by which a split can be held together (params.splits.together)
    """

    id: str
    file: Path | None
    columns: Mapping[str, str] = field(default_factory=dict)


class TrialData(StudyData, Protocol):
    """A study whose subjects may have seen different stimuli, and each of them another number of times.

    Its arrays are as those of any study, but (n_stimuli seen, the most repetitions, n_voxels): a repetition that a
    stimulus does not have is NaN in every voxel.
    """

    @property
    def stimuli(self) -> tuple[Stimulus, ...]:
        """The training stimuli, then the test stimuli, as the study's split has them; its files may have any order."""
        ...

    @property
    def n_train(self) -> int:
        """Number of training stimuli."""
        ...

    def seen(self, part: Part, subject: str) -> NDArray[np.intp]:
        """The subject's stimuli: for each row of its arrays the position among those of this part, in rising order."""
        ...

    def shape(self, part: Part, track: Track, subject: str, roi: str) -> tuple[int, int, int]:
        """Shape of these arrays, as the tables have it."""
        ...

    def digest(self, subject: str) -> str:
        """SHA-256 of all that decides a subject's arrays beside the file of its responses."""
        ...


@dataclass(frozen=True)
class OwnVoxels:
    """The voxels of one subject's whole-brain columns, (n_voxels, 3) indices into a volume (see `Grid`)."""

    indices: NDArray[np.intp]
    grid: Grid


@dataclass(frozen=True)
class OwnVertices:
    """The vertices of one subject's whole-brain columns.

    places: (n_voxels, 2), hemisphere (0 left, 1 right) and vertex, -1 where a column is none
    n_vertices: of the surface of each hemisphere, L and R; space: of the surface, as BIDS names it
    """

    places: NDArray[np.intp]
    n_vertices: Mapping[str, int]
    space: str


@runtime_checkable
class PlacedData(Protocol):
    """A study that says of each subject by itself where its units lie, whether or not they share a `grid`."""

    def own_places(self, subject: str) -> OwnVoxels | OwnVertices | None:
        """Where the subject's whole-brain columns lie; None where nothing says so."""
        ...


@runtime_checkable
class CeilingData(Protocol):
    """A study with noise ceilings of its own, for ceiling.method: imported."""

    def ceilings(self, track: Track, subject: str, roi: str) -> Mapping[str, NDArray[np.floating]]:
        """Return the ceilings that there are, by name, (n_voxels,) in the order of `arrays`, NaN without a value."""
        ...

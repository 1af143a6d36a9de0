"""Data sets: one file each, the file name is the key. See docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import getattr_static
from pathlib import Path
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.measured.responses import Part as Part
from cinevox.measured.responses import Responses
from cinevox.project import params as settings
from cinevox.project import plugins
from cinevox.project.params import Track

PICTURES = (".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # ends of files' names


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


@dataclass(frozen=True)
class Expected:
    """Properties of a study's files that validation holds them to, where params.validation says null.

    None: anything, as long as the files agree with each other.

    numbered: the clips' names begin with their numbers, NNNN_ or NNNN., one after another
    clip_size: width and height in pixels; clip_seconds, fps: from, to; n_repetitions: of each training clip
    """

    numbered: bool = False
    clip_size: tuple[int, int] | None = None
    clip_seconds: tuple[float, float] | None = None
    fps: tuple[float, float] | None = None
    n_repetitions: int | None = None


@dataclass(frozen=True)
class Terms:
    """A study's name, its licence in words, and whether it may not be passed on."""

    title: str
    licence: str
    restricted: bool


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as a plug-in.

    licence: its terms, in words
    restricted: it may not be passed on, so DVC may push it to the remote named `private` alone
        (`cinevox.project.remote_guard`)
    n_train, n_test: how many clips the published study has; None where that is the user's own affair
    simulated: its responses are made by a program, and are marked as such wherever a result of them is shown
    unequal: stimuli may have different numbers of repetitions, so that there are fewer than the most is no fault
    described: reads the name and the terms of the study in a folder, where they are not the plug-in's own
    """

    title: str
    open: Callable[[settings.Dataset], StudyData]
    licence: str = "not known"
    restricted: bool = True
    n_train: int | None = None
    n_test: int | None = None
    simulated: bool = False
    unequal: bool = False
    expected: Expected = Expected()
    described: Callable[[Path], Terms] | None = None

    def at(self, folder: Path) -> DatasetSpec:
        """The plug-in with the name and the terms that the study in a folder says."""
        if self.described is None:
            return self
        terms = self.described(folder)
        return replace(self, title=terms.title, licence=terms.licence, restricted=terms.restricted)


def open_dataset(wanted: settings.Dataset) -> StudyData:
    """The data set that params.dataset names and points to.

    Raises
    ------
    InputError
        No such plug-in, or its folder is not there or holds something else, or `test` divides a study that is divided;
        or stimuli may be unequal by its spec, and it does not say who saw which.
    """
    spec: DatasetSpec = plugins.load("datasets", wanted.name)
    dataset: StudyData = spec.open(wanted)
    if spec.unequal != is_trial_data(dataset):
        lacking = ", ".join(_lacking(dataset)) or "nothing"
        raise InputError(
            f"the data set {wanted.name} has unequal: {spec.unequal} in its SPEC, and of TrialData it lacks {lacking}; "
            "expected all of it with True, and less with False"
        )
    if wanted.test is not None and not is_trial_data(dataset):
        raise InputError(
            f"params.yaml: dataset.test divides studies in the format trials, and {wanted.name} has training and test "
            "clips of its own; set it to null"
        )
    return dataset


def is_trial_data(dataset: StudyData) -> TypeGuard[TrialData]:
    """Whether subjects may have seen different stimuli. Looks at names only: nothing of the study is read."""
    return not _lacking(dataset)


def _lacking(dataset: StudyData) -> list[str]:
    names = (name for name in dir(TrialData) if not name.startswith("_"))
    return [name for name in names if getattr_static(dataset, name, dataset) is dataset]


def stimuli_of(dataset: StudyData) -> tuple[Stimulus, ...]:
    """The stimuli of a study, those for training first; clips have the names of their files for ids."""
    if is_trial_data(dataset):
        return dataset.stimuli
    return tuple(Stimulus(path.name, path) for path in dataset.clips)


def word_for_stimuli(dataset: StudyData) -> str:
    """The word for a study's stimuli wherever results are shown: clips, or stimuli if some may be images."""
    files = [stimulus.file for stimulus in stimuli_of(dataset)]
    return "clips" if all(file is not None and file.suffix.lower() not in PICTURES for file in files) else "stimuli"


def blocks_of(dataset: StudyData, wanted: settings.Dataset, track: Track) -> list[tuple[str, str]]:
    """Every subject and ROI of a track that is there, subjects who saw the same stimuli one after another.

    Raises
    ------
    InputError
        Subjects have none of the ROIs, or no subject has one of them; and `missing_rois` is skip.
    """
    blocks = wanted.blocks(track)
    if wanted.missing_rois == "skip":
        there = {subject: dataset.rois(track, subject) for subject in wanted.subjects}
        blocks = [(subject, roi) for subject, roi in blocks if roi in there[subject]]
        without = [f"{s} has none of dataset.rois" for s in wanted.subjects if s not in {own for own, _ in blocks}]
        without += [f"no subject has {r}" for r in wanted.track_rois(track) if r not in {own for _, own in blocks}]
        if without:
            known = "; ".join(f"{subject} has {', '.join(rois) or 'none'}" for subject, rois in there.items())
            raise InputError(
                f"{wanted.folder}: {'; '.join(without)}; {known}; correct dataset.rois or dataset.subjects in "
                "params.yaml"
            )
    if not is_trial_data(dataset):
        return blocks
    lists = {s: tuple(dataset.seen(part, s).tobytes() for part in ("train", "test")) for s in wanted.subjects}
    order = list(dict.fromkeys(lists.values()))
    return sorted(blocks, key=lambda block: order.index(lists[block[0]]))

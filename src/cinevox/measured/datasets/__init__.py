"""Data sets: one file each, the file name is the key. See docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import getattr_static
from pathlib import Path
from typing import TypeGuard

from cinevox.errors import InputError
from cinevox.measured.responses import Part
from cinevox.measured.study_data import (
    CeilingData,
    Grid,
    OwnVertices,
    OwnVoxels,
    PlacedData,
    Stimulus,
    StudyData,
    TrialData,
    is_template,
)
from cinevox.project import params as settings
from cinevox.project import plugins
from cinevox.project.params import Track

__all__ = [
    "CeilingData",
    "DatasetSpec",
    "Expected",
    "Grid",
    "OwnVertices",
    "OwnVoxels",
    "Part",
    "PlacedData",
    "Stimulus",
    "StudyData",
    "Terms",
    "TrialData",
    "blocks_of",
    "is_template",
    "is_trial_data",
    "open_dataset",
    "stimuli_of",
    "word_for_stimuli",
]

PICTURES = (".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # ends of files' names


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

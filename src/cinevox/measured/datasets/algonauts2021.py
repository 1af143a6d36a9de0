"""The Algonauts Project 2021: 1102 three-second clips, ten subjects, nine ROIs and the whole brain.

    <clips>/NNNN_<source>.mp4
    <responses>/{mini_track,full_track}/subXX/<ROI>.pkl     train: (n_train, n_repetitions, n_voxels)
    test_responses/{mini_track,full_track}/subXX/<ROI>.pkl  test: the same for the test clips, where they are known

WB.pkl also holds `voxel_mask`. The clips beyond the training responses are the test clips.

Reference: Cichy et al. 2021, arXiv:2104.13714.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io, links
from cinevox.measured.datasets import DatasetSpec, Expected, Grid
from cinevox.measured.responses import Part, Responses
from cinevox.project import params as settings
from cinevox.project.params import Track

TRACK_FOLDERS: dict[Track, str] = {"mini": "mini_track", "full": "full_track"}
TEST_FOLDER = "test_responses"
MASK = "voxel_mask"
CLIPS = (".mp4",)
Kind = TypeVar("Kind", bound="Algonauts2021")
VOLUME = (78, 93, 71)
EXPECTED = Expected(numbered=True, clip_size=(268, 268), clip_seconds=(2.5, 3.5), fps=(15, 30), n_repetitions=3)
AFFINE = ((2.5, 0.0, 0.0, -96.5), (0.0, 2.5, 0.0, -132.5), (0.0, 0.0, 2.75, -78.5), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Algonauts2021:
    """The folder as the challenge unpacks it; see `cinevox.measured.datasets.StudyData`."""

    folder: Path
    clips_folder: str
    responses_folder: str
    cure: str

    @property
    def grid(self) -> Grid:
        return Grid(VOLUME, AFFINE)

    @property
    def places_rois(self) -> bool:
        return True

    @cached_property
    def clips(self) -> tuple[Path, ...]:
        return tuple(io.files(self.folder / self.clips_folder, CLIPS))

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        return tuple(sorted({name for track in TRACK_FOLDERS for name in _folders(self._track_folder("train", track))}))

    def rois(self, track: Track, subject: str) -> tuple[str, ...]:
        folder = self._track_folder("train", track) / subject
        return tuple(sorted(path.stem for path in folder.glob("*.pkl")))

    def file(self, part: Part, track: Track, subject: str, roi: str) -> Path:
        return self._track_folder(part, track) / subject / f"{roi}.pkl"

    def arrays(self, part: Part, track: Track, subject: str, roi: str) -> dict[str, NDArray]:
        path = self.file(part, track, subject, roi)
        if not path.is_file() and not path.is_symlink():
            there_is = self._there_is(part, track, subject)
            is_there = self._track_folder(part, track).is_dir()
            wanted = "dataset.subjects and dataset.rois" if is_there else "dataset.tracks"
            raise FileError(f"{path}: no such file; {there_is}; {self.cure}, or set {wanted}")
        return self._checked(path, part)

    def responses(self, part: Part, track: Track, subject: str, roi: str) -> Responses:
        return Responses(self.arrays(part, track, subject, roi)[part].astype(np.float32, copy=False), subject, roi)

    def has_test_responses(self, track: Track) -> bool:
        return self._track_folder("test", track).is_dir()

    def _track_folder(self, part: Part, track: Track) -> Path:
        return self.folder / (TEST_FOLDER if part == "test" else self.responses_folder) / TRACK_FOLDERS[track]

    def _there_is(self, part: Part, track: Track, subject: str) -> str:
        folder = self._track_folder(part, track)
        rois = sorted(path.stem for path in (folder / subject).glob("*.pkl"))
        if rois:
            return f"of {subject} there is {', '.join(rois)}"
        if not folder.is_dir():
            return f"there is no {folder.name}"
        return f"in {folder.name} there is {', '.join(_folders(folder)) or 'nothing'}"

    def _checked(self, path: Path, part: Part) -> dict[str, NDArray]:
        content = io.read_pickle(links.inside(path, self.folder), mapped=True)
        if not isinstance(content, dict):
            raise FileError(f"{path}: holds a {type(content).__name__}; expected a dict with {part!r}; {self.cure}")
        if part not in content:
            keys = ", ".join(repr(key)[:40] for key in list(content)[:10]) or "nothing"
            raise FileError(f"{path}: holds {keys}; expected the key {part!r}; {self.cure}")
        for key, axes in ((part, "(n_stimuli, n_repetitions, n_voxels)"), (MASK, "the three axes of the volume")):
            value = content.get(key, np.empty((0, 0, 0)))
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or value.ndim != 3:
                array = isinstance(value, np.ndarray)
                found = f"{value.dtype} of shape {value.shape}" if array else f"a {type(value).__name__}"
                raise FileError(f"{path}: {key!r} is {found}; expected numbers of shape {axes}; {self.cure}")
        return {key: value for key, value in content.items() if isinstance(value, np.ndarray)}


def open_folder(wanted: settings.Dataset) -> Algonauts2021:
    """Look whether the folder is one of this data set; nothing in it is read.

    Raises
    ------
    FileError
        The folder, its clips or its responses are missing; everything that is missing is named.
    """
    return open_as(Algonauts2021, wanted, "unpack the challenge's archive there again")


def open_as(kind: type[Kind], wanted: settings.Dataset, cure: str) -> Kind:
    """Open a folder of this layout; `cure` ends the messages about what is missing or broken."""
    folder, clips, responses = wanted.folder, wanted.clips, wanted.responses
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; {cure}, or set dataset.folder in params.yaml")
    faults = []
    if not io.files(folder / clips, CLIPS):
        faults.append(f"no {clips}/*.mp4 (dataset.clips)")
    if not any((folder / responses / track).is_dir() for track in TRACK_FOLDERS.values()):
        faults.append(f"no {responses}/mini_track or full_track (dataset.responses)")
    if faults:
        found = ", ".join(_folders(folder)) or "no folder"
        zips = sorted(path.name for path in folder.glob("*.zip"))
        elsewhere = _elsewhere(folder) if len(faults) == 1 and "responses" in faults[0] else ""
        if elsewhere:
            cure = f"set dataset.responses: {elsewhere} in params.yaml"
        elif zips:
            cure = f"`cinevox unpack {folder}` unpacks {', '.join(zips)} there"
        raise FileError(f"{folder}: {' and '.join(faults)} in it; found {found}; {cure}")
    return kind(folder, clips, responses, cure)


def _elsewhere(folder: Path) -> str:
    """Find where in a folder, two levels deep at most, the tracks are; "" if nowhere."""
    places = [
        place
        for depth in ("", "*/", "*/*/")
        for track in TRACK_FOLDERS.values()
        for place in folder.glob(depth + track)
    ]
    there = [place.parent.relative_to(folder) for place in places if place.is_dir()]
    return next((place.as_posix() for place in there if place.parts[:1] != (TEST_FOLDER,)), "")


def _folders(folder: Path) -> list[str]:
    entries: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in entries if path.is_dir() and not path.name.startswith("."))


SPEC = DatasetSpec(
    title="Algonauts 2021",
    open=open_folder,
    licence="for non-commercial research, not to be redistributed",
    restricted=True,
    n_train=1000,
    n_test=102,
    expected=EXPECTED,
)

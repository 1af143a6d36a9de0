"""Any study, as a trials table: betas of single trials, and a line for each trial, unit and stimulus; docs/trials.md.

Subjects may share all, some or no stimuli, and a stimulus may have any number of repetitions. The track `mini` has the
ROIs and `full` all units (ROI WB), voxels in C order of their volume.

The training stimuli come first, then the test stimuli, each in the order of their ids as text. Left out are stimuli
that none of the subjects asked for was shown; test stimuli stay where no subject has responses to any of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured.datasets import DatasetSpec, Grid, OwnVertices, OwnVoxels, Stimulus, Terms
from cinevox.measured.responses import Part, Responses
from cinevox.measured.trials_table import split as splits
from cinevox.measured.trials_table import tables
from cinevox.measured.trials_table.layout import DESCRIPTION, HEMISPHERES, STIMULI, SUBJECT, SubjectFiles, subjects_in
from cinevox.measured.trials_table.reading import Subject, read_subject, require
from cinevox.measured.trials_table.sidecar import Sidecar, read_description
from cinevox.measured.trials_table.stimuli import WARNINGS, Stimuli, read_stimuli
from cinevox.project import params as settings
from cinevox.project.params import WHOLE_BRAIN, Track
from cinevox.project.params.sections import TestSplit

MASK = "voxel_mask"
UNKNOWN = "unknown"  # space of units of which nothing says it
DENSITIES = {"3k": 2562, "10k": 10242, "41k": 40962, "164k": 163842, "8k": 7842, "32k": 32492, "59k": 59292}  # vertices
SURFACES = {"fsaverage": 163842, "fsaverage4": 2562, "fsaverage5": 10242, "fsaverage6": 40962, "fsLR": 32492}


@dataclass(frozen=True)
class TrialsTable:
    """One study (`cinevox.measured.datasets.TrialData`). Tables are read when something of them is asked for.

    asked: the subjects of params.dataset, whose stimuli count
    test, together: how stimuli are split, as params.dataset has it
    """

    folder: Path
    asked: tuple[str, ...]
    test: TestSplit | None = None
    together: str | None = None
    places_rois = False

    @cached_property
    def table(self) -> Stimuli:
        """The table of stimuli.

        Raises
        ------
        FileError
            It breaks a rule.
        """
        found = read_stimuli(self.folder)
        require(found.table.path, found.faults, WARNINGS)
        return found

    @cached_property
    def split(self) -> splits.Split:
        """Every stimulus of each part, whoever was shown it.

        Raises
        ------
        FileError
            The split breaks a rule.
        """
        subjects = {name: self.subject(name).trials for name in self._asked}
        found = splits.split_of(self.table, self.test, self.together, subjects)
        require(self.folder / found.where, found.faults, splits.WARNINGS)
        return found

    @property
    def subjects(self) -> tuple[str, ...]:
        return subjects_in(self.folder)

    @cached_property
    def _asked(self) -> tuple[str, ...]:
        if unknown := [name for name in self.asked if name not in self.subjects]:
            there = ", ".join(self.subjects) or "none"
            raise FileError(f"{self.folder}: no subject {', '.join(unknown)}; there are {there}; set dataset.subjects")
        return self.asked

    @cached_property
    def _subjects(self) -> dict[str, Subject]:
        return {}

    def subject(self, name: str) -> Subject:
        """The tables of a subject.

        Raises
        ------
        FileError
            They break a rule.
        """
        if name not in self._subjects:
            found = read_subject(self.folder, name)
            require(found.files.trials, found.trials.faults(self.table.ids), tables.WARNINGS)
            require(found.files.units, found.units.faults, tables.WARNINGS)
            self._subjects[name] = found
        return self._subjects[name]

    @cached_property
    def _parts(self) -> dict[str, tuple[str, ...]]:
        """Part -> the ids of its stimuli, in canonical order."""
        shown = set().union(*(self.subject(name).trials.used["stimulus_id"] for name in self._asked))
        train, test = self.split.train, self.split.test
        return {
            "train": tuple(key for key in train if key in shown),
            "test": tuple(key for key in test if key in shown) or test,
        }

    @cached_property
    def stimuli(self) -> tuple[Stimulus, ...]:
        files, columns = self.table.files, self.table.columns
        return tuple(Stimulus(key, files[key], columns[key]) for part in ("train", "test") for key in self._parts[part])

    @property
    def n_train(self) -> int:
        return len(self._parts["train"])

    @property
    def clips(self) -> tuple[Path, ...]:
        """The files of the stimuli that are on this disk, in order."""
        return tuple(each.file for each in self.stimuli if each.file is not None)

    def seen(self, part: Part, subject: str) -> NDArray[np.intp]:
        return self.subject(subject).seen(self._parts[part])

    def shape(self, part: Part, track: Track, subject: str, roi: str) -> tuple[int, int, int]:
        return self.subject(subject).shape(self._parts[part], len(self._units(track, subject, roi)))

    def rois(self, track: Track, subject: str) -> tuple[str, ...]:
        return (WHOLE_BRAIN,) if track == "full" else tuple(self.subject(subject).rois)

    def file(self, part: Part, track: Track, subject: str, roi: str) -> Path:
        return SubjectFiles(self.folder, subject).betas_path

    def arrays(self, part: Part, track: Track, subject: str, roi: str) -> dict[str, NDArray]:
        """See `StudyData`. Responses are a `Rectangle`, which reads what is indexed; np.asarray reads it whole."""
        own, units = self.subject(subject), self._units(track, subject, roi)
        found = cast(NDArray, own.rectangle(self._parts[part], units, self._parts["train"]))
        if track == "mini" or part == "test" or self.grid is None or own.voxels is None:
            return {part: found}
        mask = np.zeros(self.grid.shape, dtype=np.uint8)
        mask[tuple(own.voxels.T)] = 1
        return {part: found, MASK: mask}

    def _units(self, track: Track, subject: str, roi: str) -> NDArray[np.intp]:
        own = self.subject(subject)
        if track == "full":
            return own.in_volume
        if roi in own.rois:
            return own.rois[roi]
        there = ", ".join(own.rois) or "none"
        raise FileError(
            f"{own.files.units}: {subject} has no unit of {roi}; its ROIs are {there}; set dataset.rois, or "
            "dataset.missing_rois: skip"
        )

    def ceilings(self, track: Track, subject: str, roi: str) -> dict[str, NDArray[np.float64]]:
        """The ceilings that units.tsv has for these units, by name: (n_units,), NaN where there is none."""
        units = self._units(track, subject, roi)
        return {name: values[units] for name, values in self.subject(subject).units.ceilings.items()}

    def has_test_responses(self, track: Track) -> bool:
        return any(len(self.seen("test", name)) for name in self._asked)

    def responses(self, part: Part, track: Track, subject: str, roi: str) -> Responses:
        return Responses(np.asarray(self.arrays(part, track, subject, roi)[part]), subject, roi)

    @cached_property
    def grid(self) -> Grid | None:
        """The volume of the subjects asked for; None where one of them has none, or another one."""
        own = [self.subject(name) for name in self._asked]
        grids = [each.grid for each in own]
        affine = grids[0][1]
        if affine is None or any(each.voxels is None for each in own):
            return None
        if any(other is None or not np.allclose(other, affine, atol=1e-3) for _, other in grids):
            return None
        shapes = {shape for shape, _ in grids if shape is not None}
        reach = np.max([each.voxels.max(axis=0) for each in own], axis=0) + 1  # type: ignore[union-attr]
        if len(shapes) > 1:
            return None
        spaces = {each.sidecar.space or UNKNOWN for each in own}
        return _grid(next(iter(shapes), tuple(reach)), affine, spaces.pop() if len(spaces) == 1 else UNKNOWN)

    def own_places(self, subject: str) -> OwnVoxels | OwnVertices | None:
        """Where the subject's columns of the whole brain lie (`datasets.PlacedData`)."""
        own = self.subject(subject)
        (shape, affine), vertices = own.grid, own.units.vertices
        space = own.sidecar.space or UNKNOWN
        if own.voxels is not None and affine is not None:
            indices = own.voxels[own.in_volume]
            return OwnVoxels(indices, _grid(shape or tuple(indices.max(axis=0) + 1), affine, space))
        if vertices is None:
            return None
        reach = {side: int(vertices[vertices[:, 0] == n, 1].max(initial=-1)) + 1 for n, side in enumerate(HEMISPHERES)}
        return OwnVertices(
            vertices[own.in_volume], {side: _n_vertices(own.sidecar, n) for side, n in reach.items()}, space
        )

    def digest(self, subject: str) -> str:
        """SHA-256 of all that decides a subject's arrays beside the betas: tables, masks, split and subjects."""
        own = self.subject(subject).files
        paths = [self.folder / STIMULI, own.trials, own.units, own.sidecar, *own.masks, *own.roi_masks.values()]
        said: list[Any] = [io.sha256(path) if path.is_file() else None for path in paths]
        return hashlib.sha256(repr([*said, self._parts]).encode()).hexdigest()


def _grid(shape: tuple[int, ...], affine: NDArray[np.float64], space: str) -> Grid:
    x, y, z = map(int, shape)
    return Grid((x, y, z), tuple(tuple(map(float, row)) for row in affine), space)  # type: ignore[misc]


def _n_vertices(sidecar: Sidecar, least: int) -> int:
    """Number of vertices of a hemisphere's surface, by its density or its template; else as many as have units."""
    return max(DENSITIES.get(str(sidecar.density), SURFACES.get(str(sidecar.space), least)), least)


def open_folder(wanted: settings.Dataset) -> TrialsTable:
    """Look whether the folder is a trials table; nothing in it is read.

    Raises
    ------
    FileError
        The folder, the table of stimuli or every subject is missing; everything that is missing is named. Or the
        parameters say where files are in the folder, which the tables say.
    """
    folder = wanted.folder
    if (wanted.clips, wanted.responses) != (".", "."):
        raise FileError(
            f"params.yaml: dataset.clips is {wanted.clips} and dataset.responses {wanted.responses}; a trials table "
            f"says itself where its files are in {folder}: set both to ."
        )
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; put the study there, or set dataset.folder in params.yaml")
    faults = [] if (folder / STIMULI).is_file() else [f"no {STIMULI}"]
    if not subjects_in(folder):
        faults.append(f"no folder {SUBJECT}XX of a subject")
    if faults:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise FileError(f"{folder}: {' and '.join(faults)} in it; found {found}; docs/trials.md has the layout")
    test, together = wanted.test, wanted.together
    return TrialsTable(folder, tuple(wanted.subjects), test, together)


def terms_of(folder: Path) -> Terms:
    """The name and the terms in dataset_description.json; a study is restricted unless it says otherwise."""
    content, fault = read_description(folder / DESCRIPTION)
    if fault is not None:
        return Terms(SPEC.title, SPEC.licence, True)
    licence = str(content.get("License") or "not known")
    return Terms(content["Name"], licence, content["cinevox"].get("restricted", True))


SPEC = DatasetSpec(
    title="Trials table",
    open=open_folder,
    licence="as its dataset_description.json says",
    restricted=True,
    unequal=True,
    described=terms_of,
)

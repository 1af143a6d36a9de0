"""One subject of a study: tables, betas, regions and the rectangle of its trials, put together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.measured.trials_table.betas import AFFINE_TOLERANCE, Betas, NotBetas, open_betas
from cinevox.measured.trials_table.layout import SubjectFiles
from cinevox.measured.trials_table.rectangle import Rectangle
from cinevox.measured.trials_table.rois import Grid, rois_of
from cinevox.measured.trials_table.scaling import Scaling, few, scaling_of
from cinevox.measured.trials_table.sidecar import Sidecar, read_sidecar
from cinevox.measured.trials_table.tables import Faults
from cinevox.measured.trials_table.trials import Trials, read_trials
from cinevox.measured.trials_table.units import Units, read_units

CURE = "`make validate` lists every fault of the study with its cure"


@dataclass(frozen=True)
class Subject:
    """The recordings of one subject. Tables are read at once, headers of the betas when they are asked for."""

    files: SubjectFiles
    trials: Trials
    units: Units

    @cached_property
    def _sidecar(self) -> tuple[Sidecar, str | None]:
        return read_sidecar(self.files.sidecar)

    @property
    def sidecar(self) -> Sidecar:
        """Raises FileError where the sidecar is missing or broken."""
        found, fault = self._sidecar
        if fault is not None:
            raise FileError(f"{self.files.sidecar}: {fault}; {CURE}")
        return found

    @cached_property
    def betas(self) -> Betas:
        """The betas, and that they fit the tables.

        Raises
        ------
        FileError
            They are missing or broken, their shape is not that of trials and units, or nothing says their scale.
        """
        try:
            opened = open_betas(self.files, self.units.voxels, self.units.vertices)
        except NotBetas as error:
            raise FileError(f"{error.path}: {error}") from None
        tables = (len(self.trials.table.frame), len(self.units))
        if opened.shape != tables:
            told = f"shape {opened.shape} (n_trials, n_units); the tables have {tables[0]} trials and {tables[1]} units"
            raise FileError(f"{self.files.betas_path}: {told}; {CURE}")
        if fault := scale_fault(opened.dtype, self.sidecar.scale):
            raise FileError(f"{self.files.sidecar}: {fault}")
        return Betas(self.files.betas_path, opened, self.sidecar.scale or 1.0)

    @cached_property
    def grid(self) -> Grid:
        """Shape and affine of the volume: those of the images, or else of the sidecar; each None where nothing says it.

        Raises
        ------
        FileError
            The sidecar is broken, or has another grid than the images.
        """
        sidecar, own = self.sidecar, self.betas.opened.grid
        if self.voxels is None:
            return None, None
        if own is None:
            return sidecar.shape, sidecar.affine
        if fault := grid_fault(own, sidecar):
            raise FileError(f"{self.files.sidecar}: {fault}")
        return own

    @cached_property
    def voxels(self) -> NDArray[np.intp] | None:
        """Voxel of every unit, (n_units, 3), by the table of units or else by the images' mask; None: no places."""
        places = self.units.voxels
        if places is None and "nifti" in self.files.betas:
            places = self.betas.opened.places
        return places

    @cached_property
    def rois(self) -> dict[str, NDArray[np.intp]]:
        """ROI -> its units, in their order.

        Raises
        ------
        FileError
            A mask is broken or off the grid.
        """
        masks = self.files.roi_masks
        try:
            return rois_of(self.units, self.voxels, masks, self.grid if masks else (None, None), self.files.folder)
        except NotBetas as error:
            raise FileError(f"{error.path}: {error}") from None

    @cached_property
    def in_volume(self) -> NDArray[np.intp]:
        """Every unit, voxels in C order of the volume (the last axis fastest), others in their own order."""
        return np.arange(len(self.units)) if self.voxels is None else np.lexsort(self.voxels.T[::-1])

    def seen(self, stimuli: Sequence[str]) -> NDArray[np.intp]:
        """Positions, among these stimuli, of those that the subject was shown."""
        mine = set(self.trials.used["stimulus_id"])
        return np.flatnonzero([key in mine for key in stimuli]).astype(np.intp)

    def shape(self, stimuli: Sequence[str], n_units: int) -> tuple[int, int, int]:
        """Shape of their rectangle, by the table of trials."""
        counts = self.trials.used["stimulus_id"].value_counts()
        mine = counts[counts.index.isin(set(stimuli))]
        return len(mine), int(mine.max()) if len(mine) else 0, n_units

    def rectangle(self, stimuli: Sequence[str], units: NDArray[np.intp], training: Collection[str]) -> Rectangle:
        """Single trials of the stimuli that were shown, in their order. training: ids that z-scores are taken of."""
        used = self.trials.used
        mine = [stimuli[position] for position in self.seen(stimuli)]
        number = {key: position for position, key in enumerate(mine)}
        position = used["stimulus_id"].map(number)
        some = used[position.notna()]
        stimulus = position[position.notna()].to_numpy(dtype=np.intp)
        repetition = some.groupby("stimulus_id", sort=False).cumcount().to_numpy()
        shape = (len(mine), int(repetition.max(initial=-1)) + 1)
        rows = np.full(shape, -1, dtype=np.intp)
        rows[stimulus, repetition] = some["row"]
        if self.sidecar.normalized != "none":
            return Rectangle(self.betas, rows, units, self.files.betas_path)
        scaling = self._scaling(units, training)
        sessions = np.zeros(shape, dtype=np.intp)
        sessions[stimulus, repetition] = np.searchsorted(scaling.sessions, some["session"].to_numpy(dtype=str))
        return Rectangle(self.betas, rows, units, self.files.betas_path, scaling, sessions)

    def _scaling(self, units: NDArray[np.intp], training: Collection[str]) -> Scaling:
        used = self.trials.used
        sessions = used["session"].to_numpy(dtype=str)
        trains = used["stimulus_id"].isin(set(training)).to_numpy(dtype=bool)
        return scaling_of(self.betas, units, used["row"].to_numpy(dtype=np.intp), sessions, trains)

    def few(self, training: Collection[str]) -> dict[str, int]:
        """Session -> number of its training trials, of those that are not z-scored by themselves; see `scaling`."""
        used = self.trials.used
        if self.sidecar.normalized != "none":
            return {}
        trains = used["stimulus_id"].isin(set(training)).to_numpy(dtype=bool)
        return few(used["session"].to_numpy(dtype=str), trains)


def scale_fault(dtype: np.dtype, scale: float | None) -> str | None:
    """Say why stored numbers can't be made responses."""
    if dtype.kind in "iu" and scale is None:
        return f"the betas are {dtype.name}, and Scale is not there; write what they are divided by (NSD: 300), or 1"
    if dtype.kind == "f" and scale not in (None, 1):
        return f"Scale is {scale:g}, and the betas are {dtype.name}: are they divided by it already? Then take it out"
    return None


def grid_fault(own: tuple[tuple[int, ...], NDArray[np.float64]], sidecar: Sidecar) -> str | None:
    """Say how a sidecar's grid differs from the images'."""
    shape, affine = own
    if sidecar.affine is not None and not np.allclose(sidecar.affine, affine, atol=AFFINE_TOLERANCE):
        return f"Affine is {sidecar.affine.tolist()}, and the images have {affine.tolist()}; take it out of the sidecar"
    if sidecar.shape is not None and tuple(sidecar.shape) != tuple(shape):
        return (
            f"Shape is {list(sidecar.shape)}, and the images have {list(map(int, shape))}; take it out of the sidecar"
        )
    return None


def read_subject(folder: Path, subject: str) -> Subject:
    """Read a subject's tables; what is wrong with them is in their faults."""
    files = SubjectFiles(folder, subject)
    return Subject(files, read_trials(files.trials), read_units(files.units))


def require(path: Path, faults: Faults, but: Collection[str] = ()) -> None:
    """Stop at a table with faults, those rules left out that may be broken.

    Raises
    ------
    FileError
        There is one; the message has all of them.
    """
    found = [f"{rule.replace('_', ' ')}: {told}" for rule, told in faults.items() if told and rule not in but]
    if found:
        raise FileError(f"{path}: {'; '.join(found)}; {CURE}")

"""File names and columns of the trials table, shared by what reads, writes and checks it.

dataset_description.json     the study's name, its licence and the format's version
stimuli.tsv                  a line for each stimulus
participants.tsv             a line for each subject
splits/<name>.json           {"train": [ids], "test": [ids]}
rois/<name>.nii.gz           a mask of an ROI on the grid of the betas; in sub-XX/rois one of a subject alone
sub-XX/sub-XX_trials.tsv     a line for each row of the betas
sub-XX/sub-XX_units.tsv      a line for each column of the betas
sub-XX/sub-XX_betas.json     what the numbers are
sub-XX/sub-XX_betas.npy      the betas, or one of the other kinds of `BETAS`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VERSION = 1  # of the format, as dataset_description.json has it under "cinevox"
DESCRIPTION, STIMULI, PARTICIPANTS = "dataset_description.json", "stimuli.tsv", "participants.tsv"
SPLITS, ROIS = "splits", "rois"
MISSING = "n/a"  # an empty cell, as BIDS writes it
ROI, CEILING = "roi:", "ceiling:"  # how columns of units.tsv begin that an ROI's name follows
HDF5_DATASET = "betas"
SUBJECT = "sub-"  # how a subject's name begins

Kind = Literal["voxel", "vertex", "parcel"]
Normalized = Literal["session", "run", "none"]
KINDS: tuple[Kind, ...] = ("voxel", "vertex", "parcel")
PLACES: dict[str, tuple[str, ...]] = {"voxel": ("i", "j", "k"), "vertex": ("hemi", "vertex"), "parcel": ("label",)}
HEMISPHERES = ("L", "R")
NORMALIZED: tuple[Normalized, ...] = ("session", "run", "none")
DTYPES = ("float32", "float16", "int16")  # of betas in arrays


@dataclass(frozen=True)
class Columns:
    """The columns of a table: those that it must have, and those that it may have; others are kept where said so."""

    needed: tuple[str, ...]
    known: tuple[str, ...] = ()


STIMULI_COLUMNS = Columns(("stimulus_id", "file"), ("split", "duration", "sha256"))
PARTICIPANTS_COLUMNS = Columns(("participant_id",))
TRIALS_COLUMNS = Columns(("trial", "stimulus_id", "session"), ("run", "repetition", "onset", "exclude"))
UNITS_COLUMNS = Columns(("unit", "kind"), ("hemi", "i", "j", "k", "vertex", "label"))


@dataclass(frozen=True)
class BetasKind:
    """A kind of file that betas may stand in.

    title: its name in messages; suffixes: how its names end, which tell it from the others
    several: a subject may have several files, whose trials count on in the order of their names, run-2 before run-10
    """

    title: str
    suffixes: tuple[str, ...]
    several: bool = False


BETAS: dict[str, BetasKind] = {
    "npy": BetasKind("a .npy array", ("_betas.npy",)),
    "hdf5": BetasKind("HDF5", ("_betas.h5", "_betas.hdf5")),
    "zarr": BetasKind("zarr", ("_betas.zarr",)),
    "nifti": BetasKind("4-D NIfTI", ("_statmap.nii", "_statmap.nii.gz", "_betas.nii", "_betas.nii.gz"), several=True),
    "gifti": BetasKind("GIFTI", (".func.gii",), several=True),
    "cifti": BetasKind("CIFTI", (".dscalar.nii", ".dtseries.nii"), several=True),
}


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject."""

    folder: Path
    subject: str

    def named(self, suffix: str) -> Path:
        """The subject's file whose name ends so, `sub-XX<suffix>`."""
        return self.folder / self.subject / f"{self.subject}{suffix}"

    @property
    def trials(self) -> Path:
        return self.named("_trials.tsv")

    @property
    def units(self) -> Path:
        return self.named("_units.tsv")

    @property
    def sidecar(self) -> Path:
        return self.named("_betas.json")

    @property
    def array(self) -> Path:
        """The .npy file of the betas, which is what the writer writes."""
        return self.named("_betas.npy")

    @property
    def betas(self) -> dict[str, tuple[Path, ...]]:
        """Kind of BETAS -> the subject's files of that kind, by name; kinds without a file are left out."""
        own = self.folder / self.subject
        there = sorted(own.glob(f"{self.subject}_*"), key=_in_order)
        found = {kind: tuple(p for p in there if p.name.endswith(each.suffixes)) for kind, each in BETAS.items()}
        return {kind: paths for kind, paths in found.items() if paths}

    @property
    def betas_path(self) -> Path:
        """The file of the betas; of several the pattern of their names, which is no file."""
        paths = [path for found in self.betas.values() for path in found]
        if len(paths) > 1:
            return paths[0].with_name(f"{self.subject}_*{''.join(paths[0].suffixes)}")
        return paths[0] if paths else self.array

    @property
    def masks(self) -> tuple[Path, ...]:
        """The masks of the 4-D betas, `sub-XX*_mask.nii(.gz)`, by name."""
        own = self.folder / self.subject
        return tuple(sorted((*own.glob(f"{self.subject}*_mask.nii"), *own.glob(f"{self.subject}*_mask.nii.gz"))))

    @property
    def roi_masks(self) -> dict[str, Path]:
        """ROI -> its mask, the subject's own before the one that all subjects share."""
        folders = (self.folder / ROIS, self.folder / self.subject / ROIS)
        paths = [path for folder in folders for path in sorted((*folder.glob("*.nii"), *folder.glob("*.nii.gz")))]
        return {path.name.removesuffix(".gz").removesuffix(".nii"): path for path in paths if path.name[0] != "."}


def _in_order(path: Path) -> tuple[list[tuple[str, int]], str]:
    """A key by which names are sorted with their numbers in order: run-2 before run-10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", path.name)], path.name


def subjects_in(folder: Path) -> tuple[str, ...]:
    """The subjects that have a folder."""
    return tuple(sorted(path.name for path in folder.glob(f"{SUBJECT}*") if path.is_dir()))

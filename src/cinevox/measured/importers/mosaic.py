"""MOSAIC: eight studies with one preprocessing, on 91,282 grayordinates (fsLR 32k and subcortical voxels).

    sub-XX_<SET>.hdf5, or sub-XX_<SET>_crc32-<hash>.hdf5, or a merged file with a group for each of these
        /betas/sub-XX_<SET>_stimulus-<stem>_phase-<train, test>_rep-<k>      (91282,), a dataset for each trial, with
            attributes phase, repetition, presented_stimulus_filename, nan_indices
        /noiseceilings/sub-XX_<SET>_phase-<phase>_n-<1, avg>...              (91282,), percent; some subjects have none
    *.dlabel.nii                                                             a parcellation: the ROIs

Trials have no sessions, and are z-scored already. Where `nan_indices` says that nothing was measured, early versions of
the files have the mean of the neighbours: such values are missing here. Subject sub-01 of NSD is sub-NSD01.

Reference: Lahner et al. 2025, MOSAIC; its repository mosaic-preprocessing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError
from cinevox.measured.importers import (
    Choices,
    Importer,
    Source,
    SubjectData,
    chosen_subjects,
    refuse,
    trials_in_block,
)
from cinevox.measured.importers._files import AGAIN, Files, hdf5
from cinevox.measured.importers._grayordinates import N_UNITS, Parcels, parcels_in, units_of

WHOSE = r"(sub-\d+)_([A-Za-z0-9]+)"
TRIAL = re.compile(rf"{WHOSE}_stimulus-(.+)_phase-(\w+?)_rep-(\d+)")
CEILING = re.compile(rf"{WHOSE}_phase-(\w+?)_n-(1|avg)(?:_.*)?")


def open_source(files: Files, choices: Choices) -> Source:
    """Look at the names, attributes and shapes of every trial of the subjects asked for."""
    faults: list[str] = []
    found = _subjects(files, faults)
    if not found and not faults:
        faults.append("sub-01_NSD.hdf5: not there, nor of another subject and set, nor a merged file of them")
    try:
        parcels = parcels_in(files)
    except InputError as error:
        faults.append(str(error))
        parcels = None
    parts = {}
    for name in chosen_subjects(found, choices.subjects, faults) if found else []:
        try:
            parts[name] = _Subject.open(*found[name], parcels, choices.units == "rois")
        except InputError as error:
            faults.append(str(error))
    stimuli = _stimuli([part.trials for part in parts.values()], faults) if parts else None
    refuse("mosaic", files.folder, faults)
    assert stimuli is not None
    bare = "no .dlabel.nii in this folder, so there are no ROIs: only the whole brain can be fitted"
    return Source({name: part.data() for name, part in parts.items()}, stimuli, notes=() if parcels else (bare,))


def _subjects(files: Files, faults: list[str]) -> dict[str, tuple[Path, str]]:
    """Subject -> its file and the group in it."""
    found: dict[str, tuple[Path, str]] = {}
    for path, _ in files.matching(r".+\.(?:hdf5|h5)"):
        try:
            with hdf5(path) as opened:
                groups = {path.stem.split("_crc32-")[0]: "/"} if "betas" in opened else {
                    name: name for name, group in opened.items() if isinstance(group, h5py.Group) and "betas" in group
                }  # fmt: skip
        except InputError as error:
            faults.append(str(error))
            continue
        for whose, group in groups.items():
            if match := re.fullmatch(WHOSE, whose):
                name = f"sub-{match[2]}{match[1].removeprefix('sub-')}"
                if name in found:
                    faults.append(f"{path}: {whose} is in {found[name][0].name}, too; leave one of them in the folder")
                found[name] = path, group
    return found


@dataclass(frozen=True)
class _Subject:
    """One subject. trials: by stimulus and repetition, with the dataset of each; columns: of the betas, the units"""

    path: Path
    group: str
    trials: pd.DataFrame
    units: pd.DataFrame
    columns: NDArray[np.intp]

    @classmethod
    def open(cls, path: Path, group: str, parcels: Parcels | None, rois_only: bool) -> _Subject:
        with hdf5(path) as opened:
            betas = opened[group]["betas"]
            if not isinstance(betas, h5py.Group):
                raise FileError(
                    f"{path}: {betas.name} is one array, as in the merged file of chunks, which has no phases; "
                    "expected a dataset for each trial; take the single subjects' files, or the merged one of them"
                )
            trials = _trials(path, betas)
            units = units_of(parcels).assign(**_ceilings(opened[group].get("noiseceilings")))
        rois = [name for name in units if name.startswith("roi:")]
        inside = units[rois].any(axis=1).to_numpy() if rois_only and rois else np.ones(N_UNITS, dtype=bool)
        columns = np.flatnonzero(inside)
        return cls(path, group, trials, units.iloc[columns].reset_index(drop=True), columns)

    def data(self) -> SubjectData:
        step = trials_in_block(N_UNITS)
        return SubjectData(
            trials=self.trials[["stimulus_id", "session", "repetition"]],
            units=self.units,
            sidecar={
                "Space": "fsLR",
                "Density": "91k",
                "Normalized": "session",
                "Pipeline": "fMRIPrep 23.2.0, GLMsingle 1.2 (MOSAIC)",
            },
            blocks=partial(self._blocks, step),
            n_blocks=-(-len(self.trials) // step),
            sources=(self.path,),
        )

    def _blocks(self, step: int) -> Iterator[NDArray[Any]]:
        names = self.trials["dataset"].to_numpy()
        with hdf5(self.path) as opened:
            betas = opened[self.group]["betas"]
            for start in range(0, len(names), step):
                block = np.empty((len(names[start : start + step]), len(self.columns)), dtype=np.float32)
                for row, name in zip(block, names[start : start + step]):
                    row[:] = _without_filled(betas[name])[self.columns]
                yield block


def _without_filled(dataset: h5py.Dataset) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.asarray(dataset[()], dtype=np.float32).reshape(-1)
    filled = np.asarray(dataset.attrs.get("nan_indices", ()))
    if filled.size:
        values[filled.astype(np.intp).reshape(-1)] = np.nan
    return values


def _trials(path: Path, betas: h5py.Group) -> pd.DataFrame:
    """A line for each trial, ordered by stimulus and repetition: the file's own order says nothing."""
    lines, broken = [], []
    for name, dataset in betas.items():
        match = TRIAL.fullmatch(name)
        if match is None or not isinstance(dataset, h5py.Dataset) or dataset.size != N_UNITS:
            broken.append(name)
            continue
        shown = _text(dataset.attrs.get("presented_stimulus_filename", match[3]))
        phase = _text(dataset.attrs.get("phase", match[4]))
        repetition = int(_text(dataset.attrs.get("repetition", match[5])))
        if Path(shown).stem != match[3] and shown != match[3]:
            broken.append(f"{name} (presented_stimulus_filename {shown})")
        lines.append((shown, repetition, phase, name))
    if broken or not lines:
        raise FileError(
            f"{path}: {len(broken)} of {len(betas)} datasets are not as expected, such as "
            f"{', '.join(broken[:3]) or '-'}; expected ({N_UNITS},), named "
            f"sub-XX_SET_stimulus-NAME_phase-train_rep-0; {AGAIN}"
        )
    trials = pd.DataFrame(sorted(lines), columns=["stimulus_id", "repetition", "phase", "dataset"])
    return trials.assign(session="all", repetition=trials.groupby("stimulus_id").cumcount() + 1)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _ceilings(group: h5py.Group | None) -> dict[str, NDArray[np.float32]]:
    """The study's noise ceilings, percent of variance, of one trial (n-1) and of the mean over trials (n-avg)."""
    found = {}
    for name, dataset in (group or {}).items():
        if (match := CEILING.fullmatch(name)) and dataset.size == N_UNITS:
            found[f"ceiling:nc_{match[3]}_n-{match[4]}"] = _without_filled(dataset)
    return found


def _stimuli(trials: list[pd.DataFrame], faults: list[str]) -> pd.DataFrame:
    every = pd.concat(trials)[["stimulus_id", "phase"]].drop_duplicates().sort_values("stimulus_id")
    if (twice := every[every["stimulus_id"].duplicated()]["stimulus_id"]).size:
        faults.append(
            f"{', '.join(twice[:3])}: {twice.size} stimuli are in the phases train and test, which would leak; "
            "expected one phase for each stimulus; import the subjects of one set at a time (--subject)"
        )
    names = every["stimulus_id"].to_numpy()
    return pd.DataFrame({"stimulus_id": names, "name": names, "split": every["phase"].to_numpy()})


SPEC = Importer(
    title="MOSAIC",
    expects=(
        "sub-XX_<SET>.hdf5   a subject each, one dataset a trial; or a merged file with a group for each subject",
        "*.dlabel.nii        a parcellation of fsLR 32k, such as Glasser's, if you want ROIs",
        "stimuli             by their file names, in this folder or with --stimuli (from each study's authors)",
    ),
    licence="as each study's: see its publication; stimuli under the terms of their authors",
    restricted=True,
    size="11 GB for the 30,000 trials of an NSD subject, two thirds of that with a parcellation of the cortex",
    open=open_source,
)

"""THINGS-fMRI: 8,740 images of 720 object concepts, three subjects; 100 of the images in each of twelve sessions.

The "table format" of the record, by either of its two sets of names:

    sub-NN_ResponseData.h5, sub-NN_task-things_voxel-wise-responses.h5
        betas (voxels, trials), a table that pandas wrote
    sub-NN_StimulusMetadata.csv, sub-NN_task-things_stimulus-metadata.csv
        trial_type, session, run, trial_id, stimulus
    sub-NN_VoxelMetadata.csv, sub-NN_task-things_voxel-metadata.csv
        voxel_id, voxel_x, voxel_y, voxel_z, ceilings, ROIs (0 or 1)
    sub-NN_space-T1w_brainmask.nii.gz
        where the voxels lie

Trials and voxels are joined by trial_id and voxel_id, whatever their order. pandas pickles the labels of its columns;
they are read as data.

Reference: Hebart et al. 2023, eLife 12, e82580.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator, Mapping
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
    repetitions,
    trials_in_block,
)
from cinevox.measured.importers._files import AGAIN, Files, hdf5, roi_name, table, volume

RESPONSES = r"(sub-\d+)_(?:ResponseData|task-things_voxel-wise-responses)\.h5"
OTHERS = {
    "trials": ("{}_StimulusMetadata.csv", "{}_task-things_stimulus-metadata.csv"),
    "voxels": ("{}_VoxelMetadata.csv", "{}_task-things_voxel-metadata.csv"),
}
MASK = "{}_space-T1w_brainmask.nii.gz"
NO_GRID = f"{{0}}: no {MASK.format('{0}')} with all voxels in it, so nothing says where they lie: scores without maps"
ATLAS = "glasser-"  # parcels of the whole cortex, which say nothing about what a voxel is selective for
CEILINGS = ("nc_singletrial", "nc_testset")  # percent of variance
NO_ROI = ("voxel_id", "subject_id", "voxel_x", "voxel_y", "voxel_z")
ROWS_AT_A_TIME = 2**14
LABELS = ("BININT", "LONG", "INT", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE")  # opcodes of a pickle


def open_source(files: Files, choices: Choices) -> Source:
    """Look at every file of the subjects asked for."""
    faults: list[str] = []
    found = {match[1]: path for path, match in files.matching(RESPONSES)}
    if not found:
        faults.append("sub-01_ResponseData.h5: not there, nor of another subject; the record has it in betas_csv")
    parts, grids = {}, {}
    for name in chosen_subjects(found, choices.subjects, faults) if found else []:
        paths = {kind: _either(files, name, kind, faults) for kind in OTHERS}
        if None in paths.values():
            continue
        try:
            parts[name] = _Subject.open(found[name], paths["trials"], paths["voxels"], choices.units == "rois")
            grids[name] = _grid(files, name, parts[name].units)
        except InputError as error:
            faults.append(str(error))
    stimuli = _stimuli([part.shown for part in parts.values()], faults) if parts else None
    refuse("things", files.folder, faults)
    assert stimuli is not None
    subjects = {name: part.data(grids[name]) for name, part in parts.items()}
    return Source(subjects, stimuli, notes=tuple(NO_GRID.format(name) for name in parts if not grids[name]))


def _either(files: Files, subject: str, kind: str, faults: list[str]) -> Any:
    first, second = (name.format(subject) for name in OTHERS[kind])
    return files.only(second) or files.need(first, f"betas_csv/{first}", faults)


def _grid(files: Files, subject: str, units: pd.DataFrame) -> dict[str, Any]:
    """Affine and shape of the volume, of a brain mask that has all voxels in it; empty where there is none."""
    path = files.only(MASK.format(subject))
    if path is None:
        return {}
    inside, affine = volume(path)
    places = units[["i", "j", "k"]].to_numpy()
    fits = (places < inside.shape).all() and (inside[tuple(places.T)] > 0).all()
    return {"Affine": affine.tolist(), "Shape": list(inside.shape)} if fits else {}


@dataclass(frozen=True)
class _Responses:
    """The betas in a file that pandas wrote.

    dataset: its name; first: the column of the first trial; trials: of the columns from there on; voxels: of the rows
    """

    dataset: str
    first: int
    trials: NDArray[np.intp]
    voxels: NDArray[np.intp]

    @classmethod
    def read(cls, path: Path) -> _Responses:
        with hdf5(path) as opened:
            for group in (group for group in opened.values() if isinstance(group, h5py.Group)):
                if group.attrs.get("pandas_type") in (b"frame", "frame") and (found := cls._of(group)) is not None:
                    return found
        raise FileError(
            f"{path}: no table of pandas with a column voxel_id and a numbered column for each trial; expected the "
            f"record's own file; {AGAIN}"
        )

    @classmethod
    def _of(cls, group: h5py.Group) -> _Responses | None:
        """A frame is stored in blocks of columns, one for each type: responses and voxel_id, or both in one."""
        found, voxels = None, None
        for number in range(int(group.attrs.get("nblocks", 0))):
            values, labels = group[f"block{number}_values"], _labels(group[f"block{number}_items"])
            if values.ndim != 2 or values.shape[1] != len(labels):
                return None
            if "voxel_id" in labels:
                voxels = values[:, labels.index("voxel_id")].astype(np.intp)
            where = [place for place, label in enumerate(labels) if label.isdigit()]
            if where and where == list(range(where[0], where[-1] + 1)) and found is None:
                found = values.name, where[0], np.array([labels[place] for place in where], dtype=np.intp)
            elif where:
                return None
        return None if found is None or voxels is None else cls(*found, voxels)


def _labels(items: h5py.Dataset) -> list[str]:
    """The labels of a block's columns: an array, or a pickle of a list, of which nothing is run."""
    if items.attrs.get("CLASS") not in (b"VLARRAY", "VLARRAY"):
        return [each.decode() if isinstance(each, bytes) else str(each) for each in items[()]]
    found: list[str] = []
    inside = False
    try:
        for opcode, argument, _ in pickletools.genops(items[0].tobytes()):
            if inside and opcode.name == "TUPLE":
                break
            if inside and isinstance(argument, int | str) and opcode.name.startswith(LABELS):
                found.append(str(argument))
            inside = inside or opcode.name == "EMPTY_LIST"
    except ValueError:
        return []
    return found


@dataclass(frozen=True)
class _Subject:
    """One subject's files. rows: of the betas, in file order, that become units"""

    path: Path
    responses: _Responses
    shown: pd.DataFrame
    units: pd.DataFrame
    rows: NDArray[np.intp]
    sources: tuple[Path, ...]

    @classmethod
    def open(cls, path: Path, trials: Path, voxels: Path, rois_only: bool) -> _Subject:
        responses = _Responses.read(path)
        shown = table(trials, ",", ("trial_type", "session", "run", "trial_id", "stimulus"))
        shown = _joined(shown, "trial_id", responses.trials, trials, path, "columns")
        about = table(voxels, ",", ("voxel_id", "voxel_x", "voxel_y", "voxel_z"))
        units = _units(_joined(about, "voxel_id", responses.voxels, voxels, path, "rows"))
        rois = [column for column in units if column.startswith("roi:") and not column.startswith(f"roi:{ATLAS}")]
        if rois_only and not rois:
            raise FileError(f"{voxels}: no column of 0 and 1 for an ROI; {AGAIN}, or import all voxels (--units all)")
        rows = np.flatnonzero(units[rois].any(axis=1)) if rois_only else np.arange(len(units))
        return cls(path, responses, shown, units.iloc[rows].reset_index(drop=True), rows, (path, trials, voxels))

    def data(self, grid: Mapping[str, Any]) -> SubjectData:
        trials = pd.DataFrame(
            {
                "stimulus_id": self.shown["stimulus"],
                "session": self.shown["session"],
                "run": self.shown["run"],
                "repetition": repetitions(self.shown["stimulus"], self.responses.trials),
            }
        )
        step = trials_in_block(len(self.rows))
        return SubjectData(
            trials=trials,
            units=self.units,
            sidecar={"Space": "T1w", **grid, "Normalized": "none", "Pipeline": "THINGS-fMRI single trial responses"},
            blocks=partial(self._blocks, step),
            n_blocks=-(-len(trials) // step),
            sources=self.sources,
        )

    def _blocks(self, step: int) -> Iterator[NDArray[Any]]:
        """Blocks of trials, each gathered in runs of rows: the file has a row for a voxel."""
        with hdf5(self.path) as opened:
            betas, column = opened[self.responses.dataset], self.responses.first
            for start in range(0, len(self.shown), step):
                end = min(start + step, len(self.shown))
                block = np.empty((end - start, len(self.rows)), dtype=np.float32)
                for first in range(0, len(betas), ROWS_AT_A_TIME):
                    low, high = np.searchsorted(self.rows, (first, first + ROWS_AT_A_TIME))
                    if low < high:
                        values = betas[first : first + ROWS_AT_A_TIME, column + start : column + end]
                        block[:, low:high] = values[self.rows[low:high] - first].T
                yield block


def _joined(
    about: pd.DataFrame, key: str, wanted: NDArray[np.intp], path: Path, betas: Path, axis: str
) -> pd.DataFrame:
    """Lines of a table in the order of the betas' labels; each label needs exactly one."""
    ids = pd.to_numeric(about[key], errors="coerce").to_numpy()
    labels, count = np.unique(ids, return_counts=True)
    missing, more = np.setdiff1d(wanted, ids), np.setdiff1d(ids, wanted)
    if missing.size or more.size or (count > 1).any() or len(np.unique(wanted)) < len(wanted):
        first = [f"{key} {each:g}" for each in [*missing[:3], *more[:3], *labels[count > 1][:3]]]
        raise FileError(
            f"{path}: {len(about):,} lines, expected one for each of {len(wanted):,} {axis} of {betas.name} "
            f"({', '.join(first) or 'labels there stand twice'}); fetch both again, of the same version"
        )
    order = np.argsort(ids, kind="stable")
    return about.iloc[order[np.searchsorted(ids[order], wanted)]].reset_index(drop=True)


def _units(about: pd.DataFrame) -> pd.DataFrame:
    """The units table: places, ceilings, and ROIs; of lEBA and rEBA also EBA."""
    columns: dict[str, Any] = {"kind": "voxel"}
    columns |= {axis: about[f"voxel_{name}"].astype(float).astype(int) for axis, name in zip("ijk", "xyz")}
    columns |= {f"ceiling:{name}": pd.to_numeric(about[name]) for name in CEILINGS if name in about}
    rois = {}
    for name in (
        name for name in about.columns if not name.startswith(("prf-", "nc_", "splithalf_")) and name not in NO_ROI
    ):
        values = pd.to_numeric(about[name], errors="coerce")
        if values.isin((0, 1)).all() and values.any():
            rois[roi_name(name)] = values.astype(int)
    for name in [name[1:] for name in rois if name.startswith("l") and f"r{name[1:]}" in rois]:
        rois.setdefault(name, rois[f"l{name}"] | rois[f"r{name}"])
    return pd.DataFrame(columns | {f"roi:{name}": values for name, values in rois.items()}, index=about.index)


def _stimuli(shown: list[pd.DataFrame], faults: list[str]) -> pd.DataFrame:
    """The stimuli of all subjects. The concept is the name up to its number, dog of dog_12s.jpg."""
    every = pd.concat(shown)[["stimulus", "trial_type"]].drop_duplicates().sort_values("stimulus")
    if (twice := every[every["stimulus"].duplicated()]["stimulus"]).size:
        faults.append(
            f"{', '.join(twice[:3])}: of {twice.size} stimuli trial_type says train and test; expected one of them; "
            f"{AGAIN}"
        )
    names = every["stimulus"].to_numpy()
    return pd.DataFrame(
        {
            "stimulus_id": names,
            "name": names,
            "split": every["trial_type"].to_numpy(),
            "concept": [name.rpartition("_")[0] for name in names],
        }
    )


SPEC = Importer(
    title="THINGS-fMRI",
    expects=(
        "sub-NN_ResponseData.h5       betas (or sub-NN_task-things_voxel-wise-responses.h5)",
        "sub-NN_StimulusMetadata.csv  trials (or sub-NN_task-things_stimulus-metadata.csv)",
        "sub-NN_VoxelMetadata.csv     voxels, ROIs, ceilings (or sub-NN_task-things_voxel-metadata.csv)",
        "sub-NN_space-T1w_brainmask.nii.gz  where voxels lie, for maps",
        "<concept>_NNs.jpg            THINGS images, in this folder or with --stimuli",
    ),
    licence="betas CC0 (OpenNeuro ds004192); images under the terms of the THINGS database, no redistribution",
    restricted=True,
    size="17 GB become 4 bytes a trial and voxel: 8.3 GB for all 211,339 voxels (--units all)",
    open=open_source,
)

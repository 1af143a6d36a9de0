"""Inspection of a trials table: a row for each table, each subject's betas and each mask; rules as in docs/trials.md.

Nothing here judges; the suites of `SUITES` in `expectations/` do. In a column of a rule stands which lines break it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from cinevox.errors import FileError
from cinevox.measured import voxel_positions
from cinevox.measured.trials_table import split as splits
from cinevox.measured.trials_table.betas import Betas, NotBetas, open_betas
from cinevox.measured.trials_table.layout import DESCRIPTION, PARTICIPANTS, PARTICIPANTS_COLUMNS, SPLITS, STIMULI
from cinevox.measured.trials_table.reading import Subject, grid_fault, read_subject, scale_fault
from cinevox.measured.trials_table.rois import units_in
from cinevox.measured.trials_table.scaling import MIN_TRIALS
from cinevox.measured.trials_table.sidecar import read_description, read_sidecar
from cinevox.measured.trials_table.stimuli import read_stimuli
from cinevox.measured.trials_table.tables import N_TOLD, is_missing, read_table, repeated, told, told_where
from cinevox.project import params as settings
from cinevox.project.params.sections import TestSplit
from cinevox.validation import copies
from cinevox.validation.consistency import Row

NAME = "trials"  # of the data set whose folders are trials tables
SUITES = ("study_files", "stimuli_table", "split", "trials_tables", "units_tables", "betas", "roi_masks")
STEP = 256  # trials whose values are looked at together


def tables(wanted: settings.Dataset) -> dict[str, list[Row]]:
    """Everything of the study that `wanted` asks for: suite -> its rows; a suite without rows is left out."""
    folder = wanted.folder
    stimuli = read_stimuli(folder)
    subjects = [read_subject(folder, name) for name in wanted.subjects]
    trials = {own.files.subject: own.trials for own in subjects}
    split = splits.split_of(stimuli, wanted.test, wanted.together, trials)
    empty = _empty(subjects, split)
    looked = Parallel()(delayed(_betas)(own, folder) for own in subjects)
    betas = [
        row | told for (row, _), told in zip(looked, copies.told_of(subjects, [prints for _, prints in looked], split))
    ]
    found = {
        "study_files": _study_files(folder, wanted.subjects, wanted.test),
        "stimuli_table": [{"file": STIMULI, **stimuli.faults}],
        "split": [{"file": split.where, **split.faults}],
        "trials_tables": [
            {"file": _path(own.files.trials, folder), **own.trials.faults(stimuli.ids), **empty[number]}
            | {"few_trials": _few(own, split)}
            for number, own in enumerate(subjects)
        ],
        "units_tables": [
            {"file": _path(own.files.units, folder), **own.units.faults, "lacks": _lacks(own, wanted)}
            | {"same_units": _same_units(own, wanted)}
            for own in subjects
        ],
        "betas": betas,
        "roi_masks": _masks(subjects, folder),
    }
    return {name: rows for name, rows in found.items() if rows}


def _path(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _study_files(folder: Path, subjects: Sequence[str], test: TestSplit | None) -> list[Row]:
    rows: list[Row] = [{"file": DESCRIPTION, "fault": read_description(folder / DESCRIPTION)[1]}]
    if (folder / PARTICIPANTS).is_file():
        table = read_table(folder / PARTICIPANTS, PARTICIPANTS_COLUMNS)
        ids = table.frame["participant_id"]
        unlisted = [] if table.fault else [name for name in subjects if name not in set(ids)]
        twice = told_where(ids, repeated(ids) & ~is_missing(ids))
        unlisted_told = ", ".join(unlisted) or None
        rows.append({"file": PARTICIPANTS, "fault": table.fault, "id_twice": twice, "unlisted": unlisted_told})
    used = None if test is None else test.file
    for name in splits.named_splits(folder):
        rows.append({"file": f"{SPLITS}/{name}.json", "fault": None, "unused": None if name == used else "not used"})
    return rows


def _empty(subjects: Sequence[Subject], split: splits.Split) -> list[Row]:
    """Into each subject's row: whether it has no training trial, or no test trial while others have some."""
    counts = [
        {part: len(own.seen(split.part(part))) for part in ("train", "test")} if len(own.trials.rows) else None
        for own in subjects
    ]
    tested = any(each["test"] for each in counts if each)
    rows: list[Row] = []
    for each in counts:
        row: Row = {"no_training": None, "no_test": None}
        if each and split.train and not each["train"]:
            row["no_training"] = f"none of {len(split.train):,} training stimuli"
        if each and tested and not each["test"]:
            row["no_test"] = f"none of {len(split.test):,} test stimuli"
        rows.append(row)
    return rows


def _few(own: Subject, split: splits.Split) -> str | None:
    """Sessions that can't be z-scored by themselves."""
    sidecar, fault = read_sidecar(own.files.sidecar)
    if fault is not None or sidecar.normalized != "none" or not len(own.trials.rows):
        return None
    few = [f"{name} has {n}" for name, n in own.few(split.train).items()]
    more = f", and {len(few) - N_TOLD:,} more sessions" if len(few) > N_TOLD else ""
    return f"{', '.join(few[:N_TOLD])}{more}, of {MIN_TRIALS} that are needed" if few else None


def _lacks(own: Subject, wanted: settings.Dataset) -> str | None:
    """The ROIs that are asked for and that a subject does not have, where none may be missing."""
    if wanted.missing_rois == "skip" or "mini" not in wanted.tracks or own.units.table.fault:
        return None
    try:
        there = own.rois
    except FileError:  # told of betas and masks
        return None
    missing = [roi for roi in wanted.rois if roi not in there]
    return f"{', '.join(missing)}; there are {', '.join(there) or 'none'}" if missing else None


def _same_units(own: Subject, wanted: settings.Dataset) -> str | None:
    """The ROIs that have the same units under two names; that they overlap is no fault."""
    names: dict[bytes, list[str]] = {}
    try:
        there = own.rois if "mini" in wanted.tracks and own.units.table.fault is None else {}
    except FileError:  # told of betas and masks
        return None
    for roi in wanted.rois:
        if len(units := there.get(roi, np.empty(0, dtype=np.intp))):
            names.setdefault(units.tobytes(), []).append(roi)
    return "; ".join(" = ".join(each) for each in names.values() if len(each) > 1) or None


def _betas(own: Subject, folder: Path) -> tuple[Row, dict[int, int]]:
    """Describe a subject's betas, by their headers, and where these fit the tables by their values; also returns
    prints of its trials (`_values`).
    """
    row: Row = {"file": _path(own.files.betas_path, folder), "fault": None}
    sidecar, row["bad_sidecar"] = read_sidecar(own.files.sidecar)
    try:
        opened = open_betas(own.files, own.units.voxels, own.units.vertices)
    except NotBetas as error:
        where = "" if error.path == own.files.betas_path else f"{_path(error.path, folder)}: "
        return row | {"fault": f"{where}{error}"}, {}
    except FileError as error:
        return row | {"fault": _bare(error, own.files.betas_path)}, {}
    n_trials, n_units = len(own.trials.table.frame), len(own.units)
    row |= {"n_trials": opened.shape[0], "n_trials_listed": None if own.trials.table.fault else n_trials}
    row |= {"n_units": opened.shape[1], "n_units_listed": None if own.units.table.fault else n_units}
    row["in_columns"] = "in Fortran order" if opened.order == "F" else None
    if row["bad_sidecar"] is None:
        row["bad_scale"] = scale_fault(opened.dtype, sidecar.scale)
        row["bad_grid"] = None if opened.grid is None else grid_fault(opened.grid, sidecar)
    if opened.shape != (n_trials, n_units) or np.any(own.trials.rows >= n_trials):
        return row, {}
    row["other_places"] = _other_places(own, opened.places)
    try:
        told, prints = _values(own, Betas(own.files.betas_path, opened))
        return row | told, prints
    except FileError as error:
        return row | {"fault": _bare(error, own.files.betas_path)}, {}


def _other_places(own: Subject, places: Any) -> str | None:
    """The units that stand in other places in the files of the betas than in the table."""
    mine = own.units.vertices
    if places is None or mine is None or places.shape[1] != mine.shape[1]:
        return None
    apart = np.flatnonzero((places != mine).any(axis=1))
    if not len(apart):
        return None
    unit = int(apart[0])
    where = [
        f"hemi {'LR'[place[0]]} vertex {place[1]}" if place[0] >= 0 else "no vertex"
        for place in (places[unit], mine[unit])
    ]
    return f"{len(apart):,} units: unit {unit} is {where[0]} in the file and {where[1]} in the table"


def _values(own: Subject, betas: Betas) -> tuple[Row, dict[int, int]]:
    """Look at every value: trials that count and are not finite, units that do not vary; and take prints of trials.

    Prints are by the row of the betas, of trials that count and are not filled with one number.
    """
    n_trials, n_units = betas.shape
    rows, counts = own.trials.rows, ~own.trials.excluded
    line_of = {int(row): int(line) for row, line, counted in zip(rows, own.trials.table.frame.index, counts) if counted}
    bad: list[tuple[int, str]] = []
    units_bad = np.zeros(n_units, dtype=bool)
    low, high = np.full(n_units, np.inf), np.full(n_units, -np.inf)
    weights = voxel_positions.trial_weights(n_units)
    prints: dict[int, int] = {}  # row of the betas -> print
    filled: list[tuple[int, str]] = []
    for start in range(0, n_trials, STEP):
        mine = [row for row in range(start, min(start + STEP, n_trials)) if row in line_of]
        values = betas.columns(np.arange(n_units), np.array(mine, dtype=np.intp))
        finite = np.isfinite(values)
        units_bad |= ~finite.all(axis=0)
        for number in np.flatnonzero(~finite.all(axis=1)):
            n = int(np.count_nonzero(~finite[number]))
            bad.append((line_of[mine[number]], f"trial {mine[number]} in {n:,} of {n_units:,} units"))
        alike = finite.all(axis=1) & (values == values[:, :1]).all(axis=1)
        filled += [(line_of[mine[number]], f"trial {mine[number]}") for number in np.flatnonzero(alike)]
        found = voxel_positions.trial_fingerprints(values, weights)
        prints |= {row: int(number) for row, number, filled in zip(mine, found, alike) if not filled}
        low = np.fmin(low, np.min(values, axis=0, initial=np.inf, where=finite))
        high = np.fmax(high, np.max(values, axis=0, initial=-np.inf, where=finite))
    constant = np.flatnonzero(high <= low)
    shown = ", ".join(f"unit {unit}" for unit in constant[:N_TOLD])
    telling = n_units - len(constant) >= copies.least_units(betas.opened.dtype)
    return {
        "not_finite": told(sorted(bad)),
        "n_units_not_finite": int(np.count_nonzero(units_bad)) if bad else None,
        "filled": told(sorted(filled)) if telling else None,
        "constant": f"{len(constant):,} of {n_units:,} do not: {shown}" if len(constant) else None,
    }, prints if telling else {}


def _masks(subjects: Sequence[Subject], folder: Path) -> list[Row]:
    """A row for each mask of an ROI; of one that subjects share, with what is wrong for each."""
    found: dict[str, dict[str, list[str]]] = {}
    for own in subjects:
        for roi, path in own.files.roi_masks.items():
            row = found.setdefault(_path(path, folder), {"fault": [], "empty": []})
            try:
                if not len(units_in(path, roi, own.units, own.voxels, own.grid, folder)):
                    row["empty"].append(own.files.subject)
            except (NotBetas, FileError) as error:
                row["fault"].append(str(error) if isinstance(error, NotBetas) else _bare(error, path))
    return [{"file": file, **{rule: _joined(told) for rule, told in row.items()}} for file, row in found.items()]


def _bare(error: FileError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _joined(found: Sequence[str]) -> str | None:
    return "; ".join(dict.fromkeys(found)) or None

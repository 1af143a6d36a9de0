"""Writing of a trials table: subject by subject, in blocks of trials, whole or not at all.

    dataset_description.json   stimuli.tsv   participants.tsv   splits/<name>.json
    sub-XX/sub-XX_trials.tsv   sub-XX/sub-XX_units.tsv   sub-XX/sub-XX_betas.npy   sub-XX/sub-XX_betas.json

Work lies in `<target>.unfinished` until the table is whole. After a kill the same call goes on with the subjects that
are not done. However many trials there are, memory holds one block of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from cinevox.errors import InputError
from cinevox.files import disk, io
from cinevox.measured.trials_table.layout import DESCRIPTION, MISSING, PARTICIPANTS, SPLITS, STIMULI, VERSION

STIMULUS_FILES = "stimuli"  # the folder of images and clips
DONE = "done"  # records of finished subjects, within the unfinished table
UNITS_IN_MEMORY = 2**26  # bytes of betas that are copied at a time where units are left out


class TableWriter:
    """A trials table under construction.

    target: the folder that it becomes
    made_from: what it is made from, `study` and a digest for each of `subjects`; a target of the same needs no work
    """

    def __init__(self, target: Path, made_from: Mapping[str, Any]) -> None:
        self.target, self.made_from = target, io.as_read(dict(made_from))
        self.folder = target.with_name(f"{target.name}.unfinished")

    def is_there(self) -> bool:
        """Whether the target is a whole table of the same origin.

        Raises
        ------
        InputError
            Something else is in its place.
        """
        if not self.target.exists():
            return False
        try:
            found = io.read_json(self.target / DESCRIPTION)["cinevox"]["made_from"]
        except (InputError, KeyError, TypeError):
            found = {}
        if found == self.made_from:
            return True
        mine = found.get("study") == self.made_from["study"] if isinstance(found, dict) else False
        what = f"{', '.join(found['subjects'])}, by other choices or from other files" if mine else "something else"
        raise InputError(f"{self.target}: exists and holds {what}; remove it, or name another folder with --to")

    def done(self, subject: str, digest: str) -> dict[str, Any] | None:
        """The report of a subject that was finished before a kill, from the same files; None where it has to be done.

        digest: of all that the subject's files follow from
        """
        record = self._record(subject)
        if not record.is_file() or not (self.folder / subject).is_dir():
            return None
        found: dict[str, Any] = io.read_json(record)
        return found["report"] if found["digest"] == digest else None

    def subject(
        self, subject: str, trials: pd.DataFrame, units: pd.DataFrame, dtype: DTypeLike, zero_is_missing: bool = False
    ) -> SubjectWriter:
        """A writer of one subject, in the place of whatever an earlier one left."""
        self._record(subject).unlink(missing_ok=True)
        for leftover in (self.folder / subject, self.folder / f"{subject}.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        part = io.folder(self.folder / f"{subject}.part")
        return SubjectWriter(part, subject, trials, units, np.dtype(dtype), zero_is_missing)

    def keep(self, writer: SubjectWriter, sidecar: Mapping[str, Any], digest: str) -> dict[str, Any]:
        """Finish a subject and remember that it is done; returns its report: n_trials, n_units, units_left_out."""
        report = writer.finish(sidecar)
        writer.folder.rename(self.folder / writer.subject)
        io.write_json(self._record(writer.subject), {"digest": digest, "report": report})
        return report

    def finish(
        self,
        subjects: Sequence[str],
        stimuli: pd.DataFrame,
        participants: pd.DataFrame,
        description: Mapping[str, Any],
        splits: Mapping[str, Mapping[str, Sequence[str]]],
    ) -> None:
        """Write what all subjects share and move the table to its place.

        description: Name, License and so on of dataset_description.json; `cinevox` gets this writer's entries
        splits: name -> {"train": ids, "test": ids}
        """
        write_table(self.folder / STIMULI, stimuli)
        write_table(self.folder / PARTICIPANTS, participants)
        for name, ids in splits.items():
            io.write_json(self.folder / SPLITS / f"{name}.json", ids)
        own = dict(description.get("cinevox", {})) | {"version": VERSION, "made_from": self.made_from}
        io.write_json(self.folder / DESCRIPTION, {**description, "cinevox": own})
        kept = {*subjects, STIMULI, PARTICIPANTS, DESCRIPTION, STIMULUS_FILES, *([SPLITS] if splits else [])}
        for path in self.folder.iterdir():  # of earlier calls, for other subjects
            if path.name not in {*kept, DONE}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.folder / DONE)  # last, as without it all subjects are to be done
        self.folder.rename(self.target)

    def _record(self, subject: str) -> Path:
        return self.folder / DONE / f"{subject}.json"


class SubjectWriter:
    """One subject's trials, units and betas. Blocks of betas come in the order of the trials.

    A unit without a value in a trial is left out at the end, with its line of the units: NaN or infinity in any trial,
    and, with `zero_is_missing`, 0 in every trial of a session, which is how integers say that nothing was measured. A
    trial without a value in any unit stays, with `exclude` 1, and leaves no unit out.
    """

    def __init__(
        self,
        folder: Path,
        subject: str,
        trials: pd.DataFrame,
        units: pd.DataFrame,
        dtype: np.dtype,
        zero_is_missing: bool,
    ) -> None:
        self.folder, self.subject, self.trials, self.units, self.dtype = folder, subject, trials, units, dtype
        self.betas = folder / f"{subject}_betas.npy"
        disk.allocate({self.betas: ((len(trials), len(units)), dtype)})
        self.sessions = trials["session"].to_numpy().astype(str) if zero_is_missing else None
        self.n_written = 0
        self._missing = np.zeros(len(units), dtype=bool)
        self._empty = np.zeros(len(trials), dtype=bool)
        self._active: dict[str, NDArray[np.bool_]] = {}

    def append(self, block: NDArray[Any]) -> None:
        """Write the next trials, (n_trials, n_units).

        Raises
        ------
        ValueError
            More trials than there are, or another number of units.
        """
        end = self.n_written + len(block)
        if block.ndim != 2 or block.shape[1] != len(self.units) or end > len(self.trials):
            raise ValueError(
                f"{self.subject}: a block {block.shape} (n_trials, n_units) after {self.n_written} of "
                f"{len(self.trials)} trials of {len(self.units)} units"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and so is a missing value
            values = np.ascontiguousarray(block, dtype=self.dtype)
        self._look_at(values)
        with self.betas.open("r+b") as stream:
            stream.seek(-(len(self.trials) - self.n_written) * len(self.units) * self.dtype.itemsize, os.SEEK_END)
            stream.write(values.data)
        self.n_written = end

    def _look_at(self, values: NDArray[Any]) -> None:
        if self.dtype.kind == "f":
            finite = np.isfinite(values)
            empty = ~finite.any(axis=1)
            self._empty[self.n_written : self.n_written + len(values)] = empty
            self._missing |= ~finite[~empty].all(axis=0)
        if self.sessions is not None:
            sessions = self.sessions[self.n_written : self.n_written + len(values)]
            for session in np.unique(sessions):
                active = self._active.setdefault(session, np.zeros(len(self.units), dtype=bool))
                active |= (values[sessions == session] != 0).any(axis=0)

    def finish(self, sidecar: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out units without values, write the tables, and return a report.

        Raises
        ------
        InputError
            No unit has a value in every trial.
        ValueError
            Trials were not written.
        """
        if self.n_written != len(self.trials):
            raise ValueError(f"{self.subject}: {self.n_written} of {len(self.trials)} trials were written")
        missing = self._missing.copy()
        for active in self._active.values():
            missing |= ~active
        if missing.all():
            raise InputError(
                f"{self.subject}: none of {len(missing):,} units has a value in every trial; expected NaN (or 0) at "
                "the edge of the volume only; fetch the betas again, or leave the subject out"
            )
        if missing.any():
            self._leave_out(missing)
        trials = self.trials.assign(exclude=self._empty.astype(int)) if self._empty.any() else self.trials
        trials.insert(0, "trial", np.arange(len(trials)))
        units = self.units[~missing].reset_index(drop=True).replace([np.inf, -np.inf], np.nan)
        units.insert(0, "unit", np.arange(len(units)))
        write_table(self.folder / f"{self.subject}_trials.tsv", trials)
        write_table(self.folder / f"{self.subject}_units.tsv", units)
        left_out = int(np.count_nonzero(missing))
        io.write_json(self.folder / f"{self.subject}_betas.json", {**sidecar, "UnitsLeftOut": left_out})
        return {
            "n_trials": len(trials),
            "n_units": len(units),
            "units_left_out": left_out,
            "trials_excluded": int(np.count_nonzero(self._empty)),
        }

    def _leave_out(self, missing: NDArray[np.bool_]) -> None:
        before = io.read_array(self.betas)
        smaller = self.betas.with_suffix(".smaller.npy")
        shape = len(before), int(np.count_nonzero(~missing))
        disk.allocate({smaller: (shape, self.dtype)})
        step = max(1, UNITS_IN_MEMORY // max(1, before.shape[1] * self.dtype.itemsize))
        with smaller.open("r+b") as stream:
            stream.seek(-shape[0] * shape[1] * self.dtype.itemsize, os.SEEK_END)
            for start in range(0, len(before), step):
                stream.write(np.ascontiguousarray(before[start : start + step, ~missing]).data)
                io.forget(before)
        del before
        smaller.replace(self.betas)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as BIDS has them: tabs, a header, `n/a` for what is missing.

    Raises
    ------
    InputError
        A text has a tab or an end of line in it.
    """
    for column in table.select_dtypes(["object", "string"]).columns:
        values = table[column].dropna().astype(str)
        if (broken := values[values.str.contains(r"[\t\r\n]")]).size:
            raise InputError(
                f"{path.name}: {column} {broken.iloc[0]!r} has a tab or an end of line in it; expected one line of "
                "text; rename it in the study's files"
            )
    io.write_bytes(path, table.to_csv(sep="\t", index=False, na_rep=MISSING, lineterminator="\n").encode())

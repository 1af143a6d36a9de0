"""The trials of a subject: sub-XX_trials.tsv."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.trials_table.layout import TRIALS_COLUMNS
from cinevox.measured.trials_table.tables import (
    Faults,
    Table,
    close_names,
    is_missing,
    numbers,
    read_table,
    repeated,
    told,
    told_where,
    truths,
    whole_numbers,
)


@dataclass(frozen=True)
class Trials:
    """The table of trials. Lines may stand in any order."""

    table: Table

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """The row of the betas of each line; -1 where the table has no such number."""
        return whole_numbers(self.table.frame["trial"])

    @cached_property
    def excluded(self) -> NDArray[np.bool_]:
        return truths(self.table.column("exclude"))[0]

    @cached_property
    def used(self) -> pd.DataFrame:
        """The trials that count: row, stimulus_id, session, run; of a stimulus one after another by repetition.

        That is the number in the column `repetition`, or else the row of the betas.
        """
        frame = pd.DataFrame(
            {
                "row": self.rows,
                "line": self.table.frame.index,
                "repetition": self._repetitions,
                **{name: self.table.column(name).to_numpy() for name in ("stimulus_id", "session", "run")},
            }
        )
        return frame[~self.excluded].sort_values(["stimulus_id", "repetition", "row"], kind="stable", ignore_index=True)

    @property
    def _repetitions(self) -> NDArray[np.intp]:
        return whole_numbers(self.table.column("repetition"))

    def faults(self, ids: Collection[str]) -> Faults:
        """Rule -> the lines that break it. ids: of the stimuli that there are"""
        frame, trial = self.table.frame, self.table.frame["trial"]
        stimuli, repetition = frame["stimulus_id"], self.table.column("repetition")
        known = stimuli.isin(set(ids)).to_numpy(dtype=bool) | (self.excluded & is_missing(stimuli))
        as_other = {_bare(key): key for key in ids}
        padded = np.array([not ok and _bare(key) in as_other for key, ok in zip(stimuli, known)], dtype=bool)
        counted = ~is_missing(repetition)
        onset = self.table.column("onset")
        again = pd.Series([f"{key} repetition {n}" for key, n in zip(stimuli, repetition)], frame.index, dtype=object)
        return {
            "fault": self.table.fault,
            "bad_trial": told_where(trial, (self.rows < 0) | (self.rows >= len(frame))),
            "trial_twice": told_where(trial, pd.Series(self.rows).duplicated() & (self.rows >= 0)),
            "written_otherwise": told(
                (int(line), f"{key}, {as_other[_bare(key)]} in stimuli.tsv") for line, key in stimuli[padded].items()
            ),
            "unknown_stimulus": told_where(stimuli, ~known & ~padded),
            "without_session": told_where(stimuli, is_missing(frame["session"])),
            "bad_exclude": told_where(self.table.column("exclude"), truths(self.table.column("exclude"))[1]),
            "bad_repetition": told_where(repetition, counted & (self._repetitions < 0)),
            "repetition_twice": told_where(again, self._again(counted)),
            "close_name": close_names(self.table, TRIALS_COLUMNS),
            "bad_onset": told_where(onset, ~is_missing(onset) & ~np.isfinite(numbers(onset))),
        }

    def _again(self, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The lines of a stimulus and a repetition that an earlier line has too, the excluded ones left out."""
        mine = np.flatnonzero(counted & ~self.excluded & (self._repetitions >= 0))
        pairs = self.table.frame["stimulus_id"].iloc[mine] + "\t" + self._repetitions[mine].astype(str)
        found = np.zeros(len(counted), dtype=bool)
        found[mine] = repeated(pairs)
        return found


def _bare(key: str) -> str:
    """An id as a spreadsheet might have written it: the number 7 of 007 or 7.0."""
    return str(int(float(key))) if key.replace(".", "", 1).isdecimal() and key.isascii() else key


def read_trials(path: Path) -> Trials:
    """Read a subject's trials; what is wrong with them is in `faults`."""
    return Trials(read_table(path, TRIALS_COLUMNS))

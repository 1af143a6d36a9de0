"""The units of a subject, its voxels, vertices or parcels: sub-XX_units.tsv."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.trials_table.layout import CEILING, HEMISPHERES, KINDS, PLACES, ROI, UNITS_COLUMNS
from cinevox.measured.trials_table.tables import (
    Faults,
    Table,
    close_names,
    is_missing,
    numbers,
    read_table,
    repeated,
    told_where,
    truths,
    whole_numbers,
)
from cinevox.project.params import WHOLE_BRAIN
from cinevox.project.params.names import NAME


@dataclass(frozen=True)
class Units:
    """The table of units. Lines may stand in any order: what counts is their number in the column `unit`."""

    table: Table

    def __len__(self) -> int:
        return len(self.table.frame)

    @cached_property
    def numbers(self) -> NDArray[np.intp]:
        return whole_numbers(self.table.frame["unit"])

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """The lines in the order of the columns of the betas."""
        return np.argsort(self.numbers, kind="stable")

    @cached_property
    def voxels(self) -> NDArray[np.intp] | None:
        """Voxel (i, j, k) of every unit, (n_units, 3); None where they have no such places."""
        return self._places("voxel")

    @cached_property
    def vertices(self) -> NDArray[np.intp] | None:
        """Hemisphere (0 L, 1 R) and vertex of every unit, (n_units, 2), -1 of others; None where no place is known."""
        return self._places("vertex")

    def _places(self, kind: str) -> NDArray[np.intp] | None:
        mine = (self.table.frame["kind"] == kind).to_numpy(dtype=bool)
        if not mine.any() or not all(name in self.table.frame for name in PLACES[kind]):
            return None
        found = np.stack([self._numbers(name) for name in PLACES[kind]], axis=1)
        found[~mine] = -1
        if (kind == "voxel" and not mine.all()) or (found[mine] < 0).any():
            return None
        return found[self.order]

    def _numbers(self, name: str) -> NDArray[np.intp]:
        column = self.table.column(name)
        if name == "hemi":
            return column.map({side: number for number, side in enumerate(HEMISPHERES)}).fillna(-1).to_numpy(np.intp)
        return whole_numbers(column)

    @cached_property
    def rois(self) -> dict[str, NDArray[np.intp]]:
        """ROI of a column -> its units, in their order; one without units is left out."""
        found = {
            name: np.flatnonzero(truths(self.table.column(f"{ROI}{name}"))[0][self.order])
            for name in self.table.named(ROI)
        }
        return {name: units for name, units in found.items() if len(units)}

    @cached_property
    def ceilings(self) -> dict[str, NDArray[np.float64]]:
        """Name of a column of ceilings -> the ceiling of each unit, (n_units,), NaN where there is none."""
        return {name: numbers(self.table.column(f"{CEILING}{name}"))[self.order] for name in self.table.named(CEILING)}

    @cached_property
    def faults(self) -> Faults:
        """Rule -> the lines that break it."""
        frame = self.table.frame
        unit, kind, hemi = frame["unit"], frame["kind"], self.table.column("hemi")
        known = kind.isin(KINDS).to_numpy(dtype=bool)
        place, incomplete = self._described()
        names = self.table.named(ROI)
        odd = [name for name in names if not NAME.fullmatch(name) or name == WHOLE_BRAIN]
        return {
            "fault": self.table.fault,
            "bad_unit": told_where(unit, (self.numbers < 0) | (self.numbers >= max(1, len(self)))),
            "unit_twice": told_where(unit, pd.Series(self.numbers).duplicated() & (self.numbers >= 0)),
            "bad_kind": told_where(kind, ~known),
            "bad_hemi": told_where(hemi, ~is_missing(hemi) & ~hemi.isin(HEMISPHERES).to_numpy(dtype=bool)),
            "bad_place": told_where(place, incomplete),
            "place_twice": told_where(place, repeated(place) & ~incomplete & (place != "").to_numpy(dtype=bool)),
            "bad_roi_name": ", ".join(odd) or None,
            "bad_roi": self._lines(ROI, names),
            "close_name": close_names(self.table, UNITS_COLUMNS, ROI, CEILING),
            "bad_ceiling": self._lines(CEILING, self.table.named(CEILING)),
        }

    def _described(self) -> tuple[pd.Series, NDArray[np.bool_]]:
        """The place of each line as text, "" where its kind has none; the lines that lack what others of it have."""
        frame = self.table.frame
        place = pd.Series("", frame.index, dtype=object)
        incomplete = np.zeros(len(frame), dtype=bool)
        for kind, names in PLACES.items():
            mine = (frame["kind"] == kind).to_numpy(dtype=bool)
            gone = np.stack([is_missing(self.table.column(name)) for name in names], axis=1)
            if gone[mine].all():
                continue
            bad = gone if kind == "parcel" else np.stack([self._numbers(name) < 0 for name in names], axis=1)
            shown = ("hemi", *names) if kind == "parcel" else names
            for name in shown:
                place[mine] += f" {name} " + self.table.column(name)[mine]
            place[mine] = kind + place[mine]
            incomplete |= mine & bad.any(axis=1)
        return place, incomplete

    def _lines(self, prefix: str, names: list[str]) -> str | None:
        """The lines of columns of 0 and 1, or of ceilings, that hold something else."""
        found = []
        for name in names:
            column = self.table.column(f"{prefix}{name}")
            values = numbers(column)
            bad = truths(column)[1] if prefix == ROI else ~is_missing(column) & ~(np.isfinite(values) & (values >= 0))
            if told := told_where(column, bad):
                found.append(f"{prefix}{name} in {told}")
        return "; ".join(found) or None


def read_units(path: Path) -> Units:
    """Read a subject's units; what is wrong with them is in `faults`."""
    return Units(read_table(path, UNITS_COLUMNS))

"""Single trials as (n_stimuli, n_repetitions, n_units): NaN in a repetition that a stimulus does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cinevox.errors import FileError
from cinevox.measured.trials_table.betas import Betas
from cinevox.measured.trials_table.scaling import Scaling

FLOAT32 = np.dtype(np.float32)
BLOCK = 2**26  # bytes of single trials that are read at a time


@dataclass(frozen=True)
class Flags:
    """What consumers ask of an array's `flags`: it lies in no order in memory."""

    c_contiguous: bool = False
    f_contiguous: bool = False


@dataclass(frozen=True)
class Rectangle:
    """A read-only array that reads what is indexed, and takes no memory otherwise; np.asarray reads it whole.

    rows: of the betas, (n_stimuli, n_repetitions), -1 where there is no such trial
    units: columns of the betas; scaling: of these units, with sessions as positions, as `rows`; None: as they are
    path: for messages
    """

    betas: Betas
    rows: NDArray[np.intp]
    units: NDArray[np.intp]
    path: Path
    scaling: Scaling | None = None
    sessions: NDArray[np.intp] | None = None

    dtype = FLOAT32
    ndim = 3
    flags = Flags()

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.rows.shape, len(self.units))

    @property
    def size(self) -> int:
        return self.rows.size * len(self.units)

    @property
    def nbytes(self) -> int:
        return self.size * FLOAT32.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or FLOAT32, copy=False)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> NDArray[Any]:
        return self.__array__(dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Index it as an array, units by a number, a slice or an array."""
        stimuli, repetitions, units = (*(key if isinstance(key, tuple) else (key,)), slice(None), slice(None))[:3]
        cells = np.arange(self.rows.size).reshape(self.rows.shape)[stimuli, repetitions]
        chosen = np.arange(len(self.units))[units]
        return self._read(cells.ravel(), chosen.ravel()).reshape((*cells.shape, *chosen.shape))

    def _read(self, cells: NDArray[np.intp], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read cells, flat positions in `rows`, of some units, (n_cells, n_units); in blocks of units.

        Raises
        ------
        FileError
            A trial that counts is not finite in some unit.
        """
        found = np.full((len(cells), len(chosen)), np.nan, dtype=FLOAT32)
        rows = self.rows.ravel()[cells]
        there = rows >= 0
        step = max(1, BLOCK // (FLOAT32.itemsize * max(1, len(rows))))
        for start in range(0, len(chosen), step):
            some = chosen[start : start + step]
            values = self.betas.columns(self.units[some], rows[there])
            if not np.isfinite(values).all():
                raise self._undeclared(rows[there][~np.isfinite(values).all(axis=1)])
            if self.scaling is not None and self.sessions is not None:
                self.scaling.scale(values, self.sessions.ravel()[cells][there], some)
            found[there, start : start + step] = values
        return found

    def _undeclared(self, rows: NDArray[np.intp]) -> FileError:
        return FileError(
            f"{self.path}: trial {rows.min()} is NaN or infinite in a unit and is not declared; write 1 into its "
            "column exclude, or take the unit out of betas and units.tsv; `make validate` lists all of them"
        )

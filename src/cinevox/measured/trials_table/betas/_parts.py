"""The parts that all kinds of betas share: an opened file, and reading of some rows and columns in spans."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.trials_table.layout import DTYPES

SPAN = 256  # trials that are read at a time
GAP = 8  # trials that are read and left out, rather than read anew behind them

Read = Callable[[slice, slice], NDArray[Any]]
"""Values of consecutive trials and units, (n_trials, n_units), as they are stored."""


class Source(Protocol):
    """Files of betas that were looked at and are opened again for each reading, so that workers can be given them."""

    def reading(self) -> AbstractContextManager[Read]: ...


@dataclass(frozen=True)
class Opened:
    """Betas of which the headers were read.

    shape: (n_trials, n_units); dtype: as stored, or float32 where the file scales its numbers itself
    order: C where a trial's units lie together, F where a unit's trials do
    places: where the files say that units lie: of volumes (n_units, 3), the voxel; of surfaces (n_units, 2), hemisphere
        (0 L, 1 R) and vertex, -1 of a unit that is no vertex
    grid: shape and affine of the volume
    """

    source: Source
    shape: tuple[int, int]
    dtype: np.dtype
    order: str = "C"
    places: NDArray[np.intp] | None = None
    grid: tuple[tuple[int, ...], NDArray[np.float64]] | None = None


class NotBetas(Exception):
    """An error about a file: what was found, what was expected and the cure, without the path."""

    def __init__(self, path: Path, told: str) -> None:
        super().__init__(told)
        self.path = path


def require_matrix(path: Path, shape: Sequence[int], dtype: np.dtype) -> None:
    """Refuse an array that is not (n_trials, n_units) of the types that betas may have.

    Raises
    ------
    NotBetas
        It has other axes or another type.
    """
    if len(shape) != 2:
        told = f"shape {tuple(shape)}, expected (n_trials, n_units); save betas.reshape(n_trials, -1)"
        raise NotBetas(path, told)
    if dtype.name not in DTYPES:
        told = f"holds {dtype.name}, expected {', '.join(DTYPES)}; save betas.astype(numpy.float32)"
        raise NotBetas(path, told)


def gather(source: Source, rows: NDArray[np.intp], units: NDArray[np.intp]) -> NDArray[np.float32]:
    """Values of these trials and units, (n_rows, n_units), float32; in memory are the result and a span of trials."""
    found = np.empty((len(rows), len(units)), dtype=np.float32)
    if not found.size:
        return found
    order = np.argsort(rows, kind="stable")
    columns = slice(int(units.min()), int(units.max()) + 1)
    whole = np.array_equal(units, np.arange(columns.start, columns.stop))
    with source.reading() as read:
        for mine in _spans(rows, order):
            lines = slice(int(rows[mine[0]]), int(rows[mine[-1]]) + 1)
            values = read(lines, columns)[rows[mine] - lines.start]
            with np.errstate(over="ignore"):
                found[mine] = values if whole else values[:, units - columns.start]
    return found


def _spans(rows: NDArray[np.intp], order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Positions in `rows` of trials that lie close together and in one SPAN of the file, in rising order of trials."""
    rising = rows[order]
    apart = (np.diff(rising // SPAN) > 0) | (np.diff(rising) > GAP)
    return np.split(order, np.flatnonzero(apart) + 1)


def several(lengths: Sequence[int], read: Callable[[int, slice], NDArray[Any]], rows: slice) -> NDArray[Any]:
    """Rows of files whose rows count on from one to the next.

    lengths: number of rows of each file; read: gives rows of a file
    """
    stops = list(accumulate(lengths))
    parts, start = [], rows.start
    while start < rows.stop:
        number = bisect_right(stops, start)
        first = stops[number] - lengths[number]
        stop = min(rows.stop, stops[number])
        parts.append(read(number, slice(start - first, stop - first)))
        start = stop
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

"""The stimulus of each row of an array: from a file beside it, or else the order of the stimuli's names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.own_study import arrays

TABLES = {".tsv": "\t", ".csv": ","}
SUFFIXES = (".txt", ".json", ".npy", *TABLES)
COLUMNS = (
    "stimulus_id", "stimulus", "stim_id", "stim", "image_id", "image", "image_name", "filename", "file_name", "file",
    "stim_file", "label", "video", "clip", "name", "trial_type",
)  # fmt: skip
_WORD = re.compile(r"order|design|stim|trials|events|conditions|(?:^|[._-])ids?(?:$|[._-])", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """The stimulus of each row of the betas, as the file writes it, and its session and run where these are said.

    is_index: the cells are numbers that count the stimuli in the order of their names, from 0 on
    """

    path: Path
    cells: tuple[str, ...]
    sessions: tuple[str, ...] | None = None
    runs: tuple[str, ...] | None = None
    is_index: bool = False


def is_order(path: Path) -> bool:
    """Whether a file's name says that it lists stimuli."""
    return path.name.startswith("DESIGNINFO") or (
        path.suffix.lower() in SUFFIXES and _WORD.search(path.name.rpartition(".")[0]) is not None
    )


def read(path: Path) -> Order:
    """Read an order.

    Raises
    ------
    InputError
        The file is damaged, or has no column that could be the stimuli's.
    """
    if path.name.startswith("DESIGNINFO"):
        conditions, runs, sessions = (
            None if each is None else tuple(map(str, each.tolist())) for each in arrays.design(path)
        )
        return Order(path, conditions or (), sessions, runs, is_index=True)
    match path.suffix.lower():
        case ".npy":
            return Order(path, tuple(map(str, np.ravel(io.read_array(path)).tolist())))
        case ".json":
            found = io.read_json(path)
            if not isinstance(found, list):
                raise InputError(f"{path}: expected a list of stimuli, one for each row of the betas")
            return Order(path, tuple(map(str, found)))
        case ".txt":
            return Order(path, tuple(line.strip() for line in path.read_text().splitlines() if line.strip()))
        case suffix:
            return _of_table(path, TABLES[suffix])


def _of_table(path: Path, separator: str) -> Order:
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise InputError(f"{path}: no table: {error}") from None
    names = {str(name).strip().lower(): name for name in table.columns}
    column = next((names[name] for name in COLUMNS if name in names), None)
    if column is None:
        raise InputError(
            f"{path}: its columns are {', '.join(map(str, table.columns))}; expected one called stimulus_id, with the "
            "stimulus of each row of the betas"
        )

    def other(name: str) -> tuple[str, ...] | None:
        return tuple(table[names[name]]) if name in names else None

    return Order(path, tuple(table[column]), other("session"), other("run"))


def resolved(order: Order, stimuli: Sequence[str], forms: Mapping[str, str]) -> tuple[list[str], str]:
    """The id of the stimulus of each row, and a guess that was made ("" without one).

    stimuli: ids in the order of their names; empty where none is on this disk: then ids are as they are written
    forms: every way to write a stimulus (its id, name, path) -> its id

    Raises
    ------
    InputError
        Cells name no stimulus, or it cannot be told how numbers count.
    """
    if not stimuli:
        return list(order.cells), ""
    if all(cell in forms for cell in order.cells) and not order.is_index:
        return [forms[cell] for cell in order.cells], ""
    numbers = _whole(order.cells)
    unknown = [cell for cell, n in Counter(order.cells).items() if cell not in forms]
    if numbers is None:
        raise InputError(
            f"{order.path}: {len(unknown):,} of its stimuli are no file of the study: {', '.join(unknown[:3])}; "
            f"expected names such as {stimuli[0]}"
        )
    n, least, most = len(stimuli), int(numbers.min()), int(numbers.max())
    if order.is_index or least == 0:
        first = 0
    elif most == n:
        first = 1
    else:
        raise InputError(
            f"{order.path}: numbers from {least} to {most} for {n:,} stimuli, which may count from 0 or from 1; write "
            f"the names of the stimuli ({stimuli[0]}, ...) in their place"
        )
    if most - first >= n:
        raise InputError(f"{order.path}: stimulus {most}, counted from {first}, and there are {n:,} files of stimuli")
    by_name(stimuli)
    told = f"numbers in {order.path.name} count the stimuli in the order of their names, from {first} on"
    return [stimuli[number - first] for number in numbers], told


def _whole(cells: Sequence[str]) -> NDArray[np.intp] | None:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        return None
    whole = values.astype(np.intp)
    return whole if (whole == values).all() and (whole >= 0).all() else None


def by_name(stimuli: Sequence[str]) -> None:
    """Require that the order of names is the same for people and for programs.

    Raises
    ------
    InputError
        Sorted as text, numbers in the names are out of order (img10 before img2).
    """

    def counted(name: str) -> list[tuple[int, int | str]]:
        return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]

    for one, other in zip(sorted(stimuli), sorted(stimuli, key=counted)):
        if one != other:
            raise InputError(
                f"only the order of names says which stimulus each row is of, and names can be ordered in two ways "
                f"({one} or {other} first): put order.txt beside the arrays, with the name of a stimulus on each line, "
                "in place of numbers"
            )

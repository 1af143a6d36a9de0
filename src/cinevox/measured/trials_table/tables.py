"""Reading of one table: tab-separated text, in which everything is text until somebody says otherwise."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.trials_table.layout import MISSING, Columns

N_TOLD = 3  # lines that a message names
CLOSE = 0.8  # similarity of two names, from which one may be meant for the other
WARNINGS = ("close_name",)  # rules that every table has and may break
TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, MISSING: False, "": False}


Faults = dict[str, str | None]
"""Rule -> the lines that break it and what stands there; None where it holds."""


@dataclass(frozen=True)
class Table:
    """A table as it stands in a file.

    frame: text; its index are the numbers of the lines in the file, the header being line 1
    fault: why it can't be used, None where it can; then the frame has no lines
    """

    path: Path
    frame: pd.DataFrame
    fault: str | None = None

    def column(self, name: str) -> pd.Series:
        """The text of a column; MISSING in every line where the table does not have it."""
        return self.frame[name] if name in self.frame else pd.Series(MISSING, self.frame.index, dtype=object)

    def named(self, prefix: str) -> list[str]:
        """What follows the prefix in the names of columns that begin with it."""
        return [name.removeprefix(prefix) for name in self.frame.columns if name.startswith(prefix)]


def read_table(path: Path, columns: Columns) -> Table:
    """Read a table; what is wrong with the file itself stands in `fault`."""
    try:
        header, rows, lines = _parsed(path)
        fault = _fault(header, rows, lines, columns)
    except FileNotFoundError:
        header, rows, lines, fault = [], [], [], f"is not there; expected a table with {', '.join(columns.needed)}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        header, rows, lines, fault = [], [], [], f"cannot be read as UTF-8 text ({error})"
    if fault is not None:
        return Table(path, pd.DataFrame(columns=list(columns.needed), dtype=object), fault)
    cells = np.array(rows, dtype=object).reshape(len(rows), len(header))
    return Table(path, pd.DataFrame(cells, index=lines, columns=header, dtype=object))


def _parsed(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the lines below it without empty ones, and their numbers."""
    reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter="\t")
    found = [([cell.strip() for cell in row], reader.line_num) for row in reader if any(map(str.strip, row))]
    if not found:
        return [], [], []
    return found[0][0], [row for row, _ in found[1:]], [line for _, line in found[1:]]


def _fault(header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], columns: Columns) -> str | None:
    missing = [name for name in columns.needed if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    ragged = [(line, f"{len(row)} cells") for row, line in zip(rows, lines) if len(row) != len(header)]
    if missing:
        commas = "; its cells are separated by commas, expected tabs" if len(header) == 1 and "," in header[0] else ""
        return f"has no column {', '.join(missing)}, only {', '.join(header) or 'nothing'}{commas}"
    if twice:
        return f"has the column {', '.join(twice)} twice"
    if ragged:
        return f"has other numbers of cells than its header, {len(header)}: {told(ragged)}"
    return None if rows else "has no lines below its header"


def close_names(table: Table, columns: Columns, *prefixes: str) -> str | None:
    """Say which columns are called nearly as one that the table may have, and so are not used.

    prefixes: of columns that are named by what follows, roi: or ceiling:
    """
    known, found = {*columns.needed, *columns.known}, []
    for name in (name for name in table.frame.columns if name not in known and not name.startswith(prefixes)):
        near = get_close_matches(name.lower(), sorted(known - {*table.frame.columns}), 1, CLOSE)
        near += [prefix for prefix in prefixes if name.lower().startswith(prefix.rstrip(":"))]
        found += [f"{name} ({near[0]}?)"] if near else []
    return ", ".join(found) or None


def told(found: Iterable[tuple[int, str]]) -> str | None:
    """Say which lines these are and what stands there; None if there are none."""
    lines = list(found)
    named = ", ".join(f"line {line}: {text}" if text else f"line {line}" for line, text in lines[:N_TOLD])
    more = f", and {len(lines) - N_TOLD:,} more lines" if len(lines) > N_TOLD else ""
    return f"{named}{more}" if lines else None


def told_where(column: pd.Series, where: NDArray[np.bool_] | pd.Series) -> str | None:
    """`told` of the lines of a column where something holds."""
    return told((int(line), str(text)) for line, text in column[np.asarray(where, dtype=bool)].items())


def is_missing(column: pd.Series) -> NDArray[np.bool_]:
    return column.isin(["", MISSING]).to_numpy(dtype=bool)


def whole_numbers(column: pd.Series) -> NDArray[np.intp]:
    """The whole numbers of a column, -1 where there is something else; 3.0 is 3, as pandas writes it beside gaps."""
    good = column.str.fullmatch(r"[0-9]{1,9}(\.0+)?").to_numpy(dtype=bool)
    return np.where(good, column.str.split(".").str[0].where(good, "-1"), "-1").astype(np.intp)


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """The numbers of a column, NaN where there is something else."""
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def truths(column: pd.Series) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each line of a column of 0 and 1 says so, missing ones do not; and which lines hold something else."""
    lower = column.str.lower()
    known = lower.isin(list(TRUTH)).to_numpy(dtype=bool)
    return lower.map(TRUTH).where(known, False).to_numpy(dtype=bool), ~known


def repeated(column: pd.Series) -> NDArray[np.bool_]:
    """The lines whose text stands in an earlier line too."""
    return column.duplicated().to_numpy(dtype=bool)

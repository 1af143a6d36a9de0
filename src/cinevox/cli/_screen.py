"""Helpers that every command needs to answer on one screen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table

Commands = dict[str, tuple[Callable[[argparse.Namespace], int | None], dict[str, dict]]]
"""Name -> (function, whose docstring is the command's help; options, each with the arguments of `add_argument`)."""


UNBOUNDED = 10_000  # characters in a line


def new_table(*headers: str, whole: Sequence[str] = (), numbers: Sequence[str] = ()) -> Table:
    """A table without lines between its cells.

    whole: columns that are never wrapped, so that the paths and addresses in them can be copied
    numbers: columns of numbers beside those that always are, such as ROIs
    """
    made = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    numeric = {"layers", "features", "times", "score", "reported", "size", *numbers}
    numeric |= {"subjects", "pooled", "correlation", "n_voxels", "n_excluded", "n_constant"}
    numeric |= {"was", "now", "change", "allowed drop", "interval"}
    for header in headers:
        justify: JustifyMethod = "right" if header in numeric else "left"
        made.add_column(header, justify=justify, overflow="fold", no_wrap=header in whole)
    return made


def show(table: Table) -> None:
    """Within the terminal's width, unless a column has to stay whole; a file or a pipe gets whole lines.

    Cells are texts: what stands in brackets or between colons there is no markup and no picture.
    """
    wrapped = sys.stdout.isatty() and not any(column.no_wrap for column in table.columns)
    Console(width=None if wrapped else UNBOUNDED, markup=False, emoji=False).print(table)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def port(text: str) -> int:
    """Read a port among a command's words; argparse refuses what raises ValueError."""
    if not 0 < (found := int(text)) < 2**16:
        raise ValueError
    return found

"""What every command needs to answer on one screen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from cinevox import params

Commands = dict[str, tuple[Callable[[argparse.Namespace], int | None], dict[str, dict]]]
"""Name -> (function, whose docstring is the command's help; options, each with the arguments of `add_argument`)."""


def new_table(*headers: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    numeric = {"layers", "score", "reported", "size", *params.MINI_ROIS, params.WHOLE_BRAIN}
    numeric |= {"subjects", "pooled", "correlation", "n_voxels", "n_excluded", "n_constant"}
    numeric |= {"was", "now", "change", "allowed drop", "interval"}
    for header in headers:
        made.add_column(header, justify="right" if header in numeric else "left", overflow="fold")
    return made


def show(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

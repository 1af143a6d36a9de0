"""The gate on the screen: this run's scores against a baseline, and a new baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinevox.cli._screen import Commands, new_table, show
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project import params
from cinevox.project.paths import Paths


def _gate(chosen: argparse.Namespace) -> int:
    """compare the scores with the committed baseline, or with that of a git revision

    Exit code 0: nothing fell by more than its limit; 1: something did, is gone, or is of other data; 2: there is
    nothing to compare with, or the metrics are not those of one run.
    """
    from cinevox.outlets.gate import judge, tables

    paths = Paths()
    settings = params.load(paths.params)
    if chosen.update and (chosen.against or chosen.markdown):
        raise InputError("--update compares with nothing; look at the gate first, then `cinevox gate --update` alone")
    if chosen.update:
        return _update_baseline(paths, settings)
    verdict = judge(paths, settings, chosen.against)
    table = new_table(*tables.HEADERS)
    for line in reversed(tables.in_order(verdict)):
        table.add_row(*tables.cells(line), style="bold red" if line.failed else None)
    show(table)
    print("", *tables.notes(verdict), tables.sentence(verdict), sep="\n")
    if chosen.markdown:
        io.write_bytes(chosen.markdown, tables.to_markdown(verdict).encode())
    return int(verdict.failed)


def _update_baseline(paths: Paths, settings: params.Params) -> int:
    from cinevox.outlets import gate

    now = gate.read_current(paths, settings)
    if missing := [row for row in settings.experiments.rows if row not in now.rows]:
        raise gate.GateError(f"no metrics of {', '.join(missing)}; `dvc repro` makes them")
    gate.write_baseline(paths.baseline, now)
    print(f"{paths.baseline} and .npz: {len(now.rows)} rows; commit both.")
    return 0


COMMANDS: Commands = {
    "gate": (
        _gate,
        {
            "--against": {
                "metavar": "REVISION",
                "default": "",
                "help": "a git revision, whose baseline and limits count, instead of the present baseline",
            },
            "--update": {"action": "store_true", "help": "make the present scores the baseline"},
            "--markdown": {"type": Path, "metavar": "FILE", "help": "write what moved and what failed there, too"},
        },
    ),
}

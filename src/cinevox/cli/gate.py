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
    """compare the scores with the committed baseline or a git revision

    Exit code 0: nothing fell by more than its limit; 1: something did, is gone, or is of other data; 2: there is
    nothing to compare with, or the metrics are not those of one run.
    """
    from cinevox.outlets import gate

    paths = Paths()
    settings = params.load(paths.params)
    if chosen.update and (chosen.against or chosen.markdown):
        raise InputError("--update compares with nothing; look at the gate first, then `cinevox gate --update` alone")
    if chosen.update:
        return _update_baseline(paths, settings)
    verdict = gate.judge(paths, settings, chosen.against)
    table = new_table(*gate.HEADERS)
    for line in (*verdict.of("same"), *verdict.of(*gate.MOVED), *verdict.of(*gate.FAILURES)):
        table.add_row(*gate.cells(line), style="bold red" if line.verdict in gate.FAILURES else None)
    show(table)
    print("", *gate.rule(verdict), *([gate.MEANT] if verdict.failed else ()), gate.sentence(verdict), sep="\n")
    if chosen.markdown:
        io.write_bytes(chosen.markdown, gate.to_markdown(verdict).encode())
    return verdict.exit_code


def _update_baseline(paths: Paths, settings: params.Params) -> int:
    from cinevox.outlets import gate

    now = gate.read_current(paths, settings)
    if missing := [row for row in settings.experiments.rows if row not in now.rows]:
        raise gate.GateError(f"no metrics of {', '.join(missing)}; `dvc repro` makes them")
    gate.write_baseline(paths.baseline, now, gate.limits_of(settings))
    alone = [row for row, entry in now.rows.items() if entry.responses is None]
    if alone:
        told = ", ".join(alone) if len(alone) < 4 else f"{len(alone)} rows"
        print(f"No bootstrap replicates of {told} (there is no data/selection): better `dvc repro` first.")
    print(f"{paths.baseline} and .npz: {len(now.rows)} rows; commit both.")
    return 0


COMMANDS: Commands = {
    "gate": (
        _gate,
        {
            "--against": {
                "metavar": "REVISION",
                "default": "",
                "help": "a git revision, whose limits count, instead of the committed baseline",
            },
            "--update": {"action": "store_true", "help": "make the present scores the baseline"},
            "--markdown": {"type": Path, "metavar": "FILE", "help": "write the table there too"},
        },
    ),
}

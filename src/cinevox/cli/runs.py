"""Preparations, and the gate."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinevox.cli._screen import Commands, new_table, show
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project import params, plugins
from cinevox.project.paths import Paths


def _warm(_: argparse.Namespace) -> None:
    """compile the numeric kernels ahead of the first run, once for an installation"""
    import tempfile

    import numpy as np

    from cinevox.simulation import make_clip
    from cinevox.statistics.significance import permutation_test, permuted_clips
    from cinevox.statistics.splits import folds

    settings = params.load(Paths().params).regressors
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((24, n)).astype(np.float32) for n in (6, 20))
    for name in plugins.names("regressors"):
        regressor = plugins.load("regressors", name).build(settings[name])
        regressor.fit(X, Y, folds=folds(24, 3), bands=(slice(0, 3), slice(3, 6))).predict(X)
    permutation_test([Y], [Y[::-1]], np.ones((Y.shape[1], 1)), permuted_clips([len(Y)], 2, rng))
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder), 0, 0)


def _smoke(chosen: argparse.Namespace) -> None:
    """make a folder in which all of the paper's rows can be run in small, on in-silico data

    `make paper-smoke` does so and runs them.
    """
    from cinevox.project import smoke

    smoke.make(chosen.folder)
    print(f"{chosen.folder}: {len(params.load(Paths(chosen.folder).params).experiments.rows)} rows")


def _gate(chosen: argparse.Namespace) -> int:
    """compare the scores with the committed baseline or a git revision

    Exit code 0: nothing fell by more than its limit; 1: something did, is gone, or is of other data; 2: there is
    nothing to compare with.
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
    faults = [f"{row}: {why}" for row, why in now.elsewhere.items()]
    faults += [entry.alone for entry in now.rows.values() if entry.edited]
    if missing := [row for row in settings.experiments.rows if row not in now.rows and row not in now.elsewhere]:
        faults.append(f"no metrics of {', '.join(missing)}; `dvc repro` makes them")
    if faults:
        raise gate.GateError("\n".join([f"{paths.baseline} was left as it is", *faults] if len(faults) > 1 else faults))
    gate.write_baseline(paths.baseline, now, gate.limits_of(settings))
    alone = [row for row, entry in now.rows.items() if entry.responses is None]
    if alone:
        told = ", ".join(alone) if len(alone) < 4 else f"{len(alone)} rows"
        print(f"No bootstrap replicates of {told} (there is no data/selection): better `dvc repro` first.")
    print(f"{paths.baseline} and .npz: {len(now.rows)} rows; commit both.")
    return 0


COMMANDS: Commands = {
    "warm": (_warm, {}),
    "smoke": (_smoke, {"folder": {"type": Path, "help": "new, or made by this command: then it is replaced"}}),
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

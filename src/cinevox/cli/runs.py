"""Runs: prepared, gated."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinevox import params, plugins
from cinevox.cli._screen import Commands
from cinevox.paths import Paths


def _warm(_: argparse.Namespace) -> None:
    """compile the numeric kernels ahead of the first run, once for an installation"""
    import tempfile

    import numpy as np

    from cinevox.significance import permutation_test, permuted_clips
    from cinevox.simulation import make_clip
    from cinevox.splits import folds

    settings = params.load(Paths().params).regressors
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((24, n)).astype(np.float32) for n in (6, 20))
    for name in plugins.names("cinevox.regressors"):
        regressor = plugins.load("cinevox.regressors", name).build(settings[name])
        regressor.fit(X, Y, folds=folds(24, 3), bands=(slice(0, 3), slice(3, 6))).predict(X)
    permutation_test([Y], [Y[::-1]], np.ones((Y.shape[1], 1)), permuted_clips([len(Y)], 2, rng))
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder), 0, 0)


def _smoke(chosen: argparse.Namespace) -> None:
    """make a folder in which all of the paper's rows can be run in small, on in-silico data

    `make paper-smoke` does so and runs them.
    """
    from cinevox import smoke

    smoke.make(chosen.folder)
    print(f"{chosen.folder}: {len(params.load(Paths(chosen.folder).params).experiments.rows)} rows")


def _gate(chosen: argparse.Namespace) -> int:
    """compare the scores with the committed baseline or a git revision

    Exit code 0: nothing fell; 1: a regression; 2: nothing to compare with.
    """
    from cinevox import gate

    paths = Paths()
    settings = params.load(paths.params)
    now = gate.read_current(paths, settings.experiments.rows)
    if chosen.update:
        gate.write_baseline(paths.baseline, now)
        print(f"{paths.baseline}: {len(now)} rows; commit it")
        return 0
    if chosen.against:
        was, limits = gate.read_revision(paths, chosen.against)
    else:
        was, limits = gate.read_baseline(paths.baseline), settings.gate
    verdict = gate.compare(was, now, limits, chosen.against or str(paths.baseline))
    print(verdict.to_markdown())
    if chosen.markdown:
        chosen.markdown.write_text(verdict.to_markdown())
    return verdict.exit_code


COMMANDS: Commands = {
    "warm": (_warm, {}),
    "smoke": (_smoke, {"folder": {"type": Path, "help": "what lies there is replaced"}}),
    "gate": (
        _gate,
        {
            "--against": {"metavar": "REVISION", "help": "a git revision instead of the committed baseline"},
            "--update": {"action": "store_true", "help": "make the present scores the baseline"},
            "--markdown": {"type": Path, "metavar": "FILE", "help": "write the table there too"},
        },
    ),
}

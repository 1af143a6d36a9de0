"""Preparations: numeric kernels compiled, and the paper's run in small laid out."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinevox.cli._screen import Commands
from cinevox.project import params, plugins
from cinevox.project.paths import Paths


def _warm(_: argparse.Namespace) -> None:
    """compile the numeric kernels ahead of the first run, once for an installation"""
    import tempfile

    import numpy as np

    from cinevox.fitting.regressors._solvers.stacking import simplex_weights
    from cinevox.simulation import make_clip
    from cinevox.statistics.significance import permutation_test, permuted_clips
    from cinevox.statistics.splits import folds

    settings = params.load(Paths().params).regressors
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((24, n)).astype(np.float32) for n in (6, 20))
    for name in (name for name in plugins.names("regressors") if name in settings):
        regressor = plugins.load("regressors", name).build(settings[name])
        regressor.fit(X, Y, folds=folds(24, 3), bands=(slice(0, 3), slice(3, 6))).predict(X)
    simplex_weights(np.eye(2)[None])
    permutation_test([Y], [Y[::-1]], np.ones((Y.shape[1], 1)), permuted_clips([len(Y)], 2, rng))
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder), 0, 0)


def _smoke(chosen: argparse.Namespace) -> None:
    """make a folder in which all rows of the paper, or of another run, can be run in small, on in-silico data

    `make paper-smoke` and `make winners-smoke` do so and run them.
    """
    from cinevox.project import smoke

    smoke.make(chosen.folder, large=chosen.params)
    print(f"{chosen.folder}: {len(params.load(Paths(chosen.folder).params).experiments.rows)} rows")


COMMANDS: Commands = {
    "warm": (_warm, {}),
    "smoke": (
        _smoke,
        {
            "folder": {"type": Path, "help": "new, or made by this command: then it is replaced"},
            "--params": {"default": "params.paper.yaml", "help": "of the large run (default: params.paper.yaml)"},
        },
    ),
}

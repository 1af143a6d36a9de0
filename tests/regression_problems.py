"""Small regression problems that solvers find hard, for the tests of regressors."""

from __future__ import annotations

import numpy as np

from cinevox.project import plugins
from cinevox.statistics.splits import folds

TIGHT = {"n_alphas": 30, "alpha_ratio": 1e-3, "tolerance": 1e-10, "max_sweeps": 200_000, "early_stop": False}
OPTIONS = {
    "banded_ridge": {"alphas": [0.1, 1.0, 10.0, 100.0], "n_draws": 4, "seed": 0},
    "best": {"candidates": {"linear": {}, "ridge": {"alphas": [1.0, 100.0], "per": "voxel"}}},
    "elastic_net": {"l1_ratios": [0.3, 0.9], **TIGHT},
    "lasso": TIGHT,
    "linear": {},
    "multitask_elastic_net": {"l1_ratios": [0.3, 0.9], **TIGHT},
    "omp": {"max_features": 6},
    "res": {"normalize": False},
    "ridge": {"alphas": [0.1, 1.0, 10.0, 100.0], "per": "voxel"},
    "similarity_ridge": {"alphas": [0.01, 0.1, 1.0, 10.0]},
    "sparse_linear": {"max_iterations": 300, "tolerance": 1e-3, "threshold": 1e4},
}
KINDS = ("whitened", "correlated", "wide", "constant_feature", "one_feature")


def options(name):
    if name not in OPTIONS:
        raise LookupError(f"{name} has no options to be tested with; add it to OPTIONS in tests/regression_problems.py")
    return OPTIONS[name]


def build(name, **changes):
    return plugins.load("regressors", name).build({**options(name), **changes})


def problem(kind, n_voxels=8, n=90, seed=0):
    """X (n, n_features) and Y (n, n_voxels) of one kind; means are not zero, a quarter of the voxels is noise.

    The unit of Y (the median of its standard deviations) is 1, so that options mean what they mean to an oracle.
    """
    rng = np.random.default_rng(seed)
    p = {"wide": 2 * n, "one_feature": 1}.get(kind, 12)
    X = rng.standard_normal((n, p))
    if kind == "whitened":
        X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(n)
    if kind == "correlated":
        X = X @ (rng.standard_normal((p, p)) * np.geomspace(1, 0.02, p)) + 0.01 * rng.standard_normal((n, p))
    if kind == "constant_feature":
        X[:, 3] = 0.1
        X[: n // 2, 4] = 0.3  # constant within some folds
    W = rng.standard_normal((p, n_voxels)) * (rng.random((p, n_voxels)) < 0.5)
    W[:, ::4] = 0.0
    signal = X @ W
    Y = signal / max(signal.std(), 1e-12) + rng.standard_normal((n, n_voxels))
    return X + 2.0, Y / np.median(Y.std(axis=0)) + 3.0


def fitted(name, X, Y, n_folds=3, bands=None, units=None, **changes):
    bands = bands or [slice(0, X.shape[1])]
    return build(name, **changes).fit(X, Y, folds=folds(len(X), n_folds), bands=bands, units=units)


def cv(n, n_folds=3):
    """The same folds for scikit-learn and himalaya."""
    return [(fold.fit, fold.held_out) for fold in folds(n, n_folds)]

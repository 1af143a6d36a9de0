"""The regressors beside scikit-learn and himalaya, on a problem of the paper's size."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import himalaya.backend
import himalaya.ridge
import joblib
import numpy as np
import torch
from sklearn import linear_model
from threadpoolctl import threadpool_limits

from _harness import Case, Contender, main
from cinevox.fitting.regressors.banded_ridge import draw_shares
from cinevox.project import plugins
from cinevox.statistics.splits import folds

N_CLIPS, N_FEATURES = 900, 100
PATH = {"n_alphas": 100, "alpha_ratio": 1e-3, "tolerance": 1e-6, "max_sweeps": 1000}
ALPHAS = np.logspace(0, 5, 20)
FOLDS = folds(N_CLIPS, 3)
CV = [(fold.fit, fold.held_out) for fold in FOLDS]
CORES = joblib.cpu_count()


def problem(n_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """Whitened components; sparse and dense voxels of all signal to noise ratios, a fifth of them noise; float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_CLIPS, N_FEATURES))
    X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(N_CLIPS)
    density, strength = rng.uniform(0.02, 0.6, n_voxels), rng.uniform(0, 0.15, n_voxels)
    strength[::5] = 0
    W = rng.standard_normal((N_FEATURES, n_voxels)) * (rng.random((N_FEATURES, n_voxels)) < density) * strength
    Y = X @ W + rng.standard_normal((N_CLIPS, n_voxels))
    Y /= np.median(Y.std(axis=0))  # the unit that this project's regressors divide out: others then see the same
    return X.astype(np.float32), Y.astype(np.float32)


def ours(name: str, X: np.ndarray, Y: np.ndarray, bands: Sequence[slice] = (), **options: Any) -> Contender:
    regressor = plugins.load("regressors", name).build(options)
    return Contender("cinevox", lambda: regressor.fit(X, Y, folds=FOLDS, bands=bands))


def _fit_voxels(make: Callable[[], Any], X: np.ndarray, Y: np.ndarray) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [make().fit(X, y) for y in Y.T]


def best_of_sklearn(title: str, make: Callable[[], Any], X: np.ndarray, Y: np.ndarray, n_done: int) -> Contender:
    """A process per core over voxels, one BLAS thread each: the arrangement that was fastest."""
    X, part = X.astype(float), Y[:, :n_done].astype(float)
    pieces = np.array_split(np.arange(part.shape[1]), 2 * CORES)

    def run() -> list[Any]:
        with joblib.parallel_config(backend="loky", n_jobs=CORES, inner_max_num_threads=1):
            done = joblib.Parallel()(joblib.delayed(_fit_voxels)(make, X, part[:, piece]) for piece in pieces)
        return [fitted for piece in done for fitted in piece]

    return Contender(f"{title}, {CORES} processes", run, share=part.shape[1] / Y.shape[1], repeats=3)


def as_written(title: str, make: Callable[[], Any], X: np.ndarray, Y: np.ndarray, n_done: int) -> Contender:
    """A loop over voxels that lets scikit-learn and BLAS take the threads they want."""
    X, part = X.astype(float), Y[:, :n_done].astype(float)

    def run() -> list[Any]:
        with threadpool_limits(CORES):
            return _fit_voxels(make, X, part)

    return Contender(f"{title} as written, {CORES} BLAS threads", run, n_done / Y.shape[1], repeats=2)


def same_coefficients(mine: Any, theirs: Any) -> str:
    """Voxels of equal alpha, and the largest difference of their coefficients over the largest coefficient."""
    if isinstance(theirs, list):
        coef = np.array([fitted.coef_ for fitted in theirs]).T
        alpha = np.array([getattr(fitted, "alpha_", np.nan) for fitted in theirs])
    else:
        coef = theirs.coef_ if theirs.coef_.shape == mine.map.coef.shape else theirs.coef_.T
        alpha = getattr(theirs, "best_alphas_", getattr(theirs, "alpha_", np.full(coef.shape[1], np.nan)))
    n = coef.shape[1]
    chosen = "alpha" in mine.diagnostics and np.isfinite(alpha).all()
    same = (
        np.isclose(mine.diagnostics["alpha"][:n], np.broadcast_to(alpha, n), rtol=1e-5) if chosen else np.full(n, True)
    )
    worst = np.abs(mine.map.coef[:, :n] - coef)[:, same].max() / np.abs(coef).max()
    return (f"alpha {same.sum()}/{n}, " if chosen else "") + f"coef {worst:.0e}"


def penalised_cases(quick: bool) -> list[Case]:
    n_voxels, n_done, n_few = (200, 16, 4) if quick else (1500, 120, 16)
    X, Y = problem(n_voxels)

    def lasso() -> Any:
        return linear_model.LassoCV(alphas=100, cv=CV)

    def lasso_jobs() -> Any:
        return linear_model.LassoCV(alphas=100, cv=CV, n_jobs=2)

    def net() -> Any:
        return linear_model.ElasticNetCV(l1_ratio=0.5, alphas=100, cv=CV)

    rivals = [
        best_of_sklearn("LassoCV", lasso, X, Y, n_done),
        as_written("LassoCV(n_jobs=2)", lasso_jobs, X, Y, n_few),
    ]
    n_joint = 40 if quick else 80
    joint = linear_model.MultiTaskElasticNetCV(l1_ratio=0.5, alphas=100, cv=CV, n_jobs=CORES)
    return [
        Case(f"lasso, full path, {n_voxels} voxels", ours("lasso", X, Y, **PATH, early_stop=False), rivals,
             same_coefficients, "30, 400 as written"),
        Case(f"lasso, early stop, {n_voxels} voxels", ours("lasso", X, Y, **PATH, early_stop=True), rivals,
             same_coefficients, "150, 400 as written"),
        Case(f"elastic net, one l1 ratio, full path, {n_voxels} voxels",
             ours("elastic_net", X, Y, l1_ratios=[0.5], **PATH, early_stop=False),
             [best_of_sklearn("ElasticNetCV", net, X, Y, n_done)], same_coefficients, "30"),
        Case(f"multi-task elastic net, one l1 ratio, full path, {n_joint} voxels",
             ours("multitask_elastic_net", X, Y[:, :n_joint], l1_ratios=[0.5], **PATH, early_stop=False),
             [Contender(f"MultiTaskElasticNetCV(n_jobs={CORES})",
                        lambda: joint.fit(X.astype(float), Y[:, :n_joint].astype(float)), repeats=2)],
             same_coefficients, "25"),
    ]  # fmt: skip


def sparse_cases(quick: bool) -> list[Case]:
    n_voxels, n_done = (100, 16) if quick else (1500, 120)
    X, Y = problem(n_voxels)

    def omp() -> Any:
        return linear_model.OrthogonalMatchingPursuitCV(max_iter=10, cv=CV)

    options = {"max_iterations": 300, "tolerance": 1e-3, "threshold": 1e4}
    return [
        Case(f"sparse linear (ARD), {n_voxels} voxels", ours("sparse_linear", X, Y, **options),
             [best_of_sklearn("ARDRegression", linear_model.ARDRegression, X, Y, n_done)], same_coefficients, "20"),
        Case(f"matching pursuit, {n_voxels} voxels", ours("omp", X, Y, max_features=10),
             [best_of_sklearn("OrthogonalMatchingPursuitCV", omp, X, Y, n_done)], same_coefficients),
    ]  # fmt: skip


def whole_brain_cases(quick: bool) -> list[Case]:
    n_voxels = 2000 if quick else 16000
    X, Y = problem(n_voxels)

    def himalaya_ridge(backend: str) -> Contender:
        def run() -> Any:
            torch.set_num_threads(1)
            used = himalaya.backend.set_backend(backend)
            model = himalaya.ridge.RidgeCV(alphas=ALPHAS, fit_intercept=True, cv=CV)
            model.fit(used.asarray(X), used.asarray(Y))
            model.coef_, model.best_alphas_ = used.to_numpy(model.coef_), used.to_numpy(model.best_alphas_)
            himalaya.backend.set_backend("numpy")
            return model

        return Contender(f"himalaya RidgeCV, {backend}, float32", run, repeats=3)

    few = Y[:, : n_voxels // 10]
    bands = [slice(start, start + 25) for start in range(0, N_FEATURES, 25)]
    shares = draw_shares(len(bands), 10, seed=0)

    def banded() -> Any:
        model = himalaya.ridge.GroupRidgeCV(
            groups="input", fit_intercept=True, cv=CV, random_state=0,
            solver_params={"n_iter": shares, "alphas": ALPHAS, "progress_bar": False},
        )  # fmt: skip
        return model.fit([X[:, band] for band in bands], few)

    return [
        Case(f"ridge, 20 alphas, alpha per voxel, {n_voxels} voxels",
             ours("ridge", X, Y, alphas=ALPHAS.tolist(), per="voxel"),
             [himalaya_ridge("numpy"), himalaya_ridge("torch")], same_coefficients, "3"),
        Case(f"banded ridge, 4 bands, 10 draws, {few.shape[1]} voxels",
             ours("banded_ridge", X, few, bands, alphas=ALPHAS.tolist(), n_draws=10, seed=0),
             [Contender("himalaya GroupRidgeCV, numpy, float32", banded, repeats=2)], same_coefficients),
        Case(f"linear, {n_voxels} voxels", ours("linear", X, Y),
             [Contender("scikit-learn LinearRegression", lambda: linear_model.LinearRegression().fit(X, Y))],
             same_coefficients),
    ]  # fmt: skip


def similarity_case(quick: bool, folder: Path) -> Case:
    """Raw features of the first layer of AlexNet on disk, 102 new clips."""
    n_features, n_new, n_done = (20_000 if quick else 290_400), 102, 1
    X = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float32, (1000 + n_new, n_features))
    rng = np.random.default_rng(0)
    for start in range(0, len(X), 58):
        X[start : start + 58] = np.abs(rng.standard_normal((len(X[start : start + 58]), n_features), dtype=np.float32))
    Y = rng.standard_normal((1000, 1500), dtype=np.float32)
    res = plugins.load("regressors", "res").build({"normalize": False})
    res.fit(X[:1000], Y, folds=(), bands=())

    middle = X[:1000].mean(axis=0)

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows - middle
        return centred / np.linalg.norm(centred, axis=-1, keepdims=True)

    def formula() -> np.ndarray:
        rows = []
        for clip in X[1000 : 1000 + n_done]:
            c = np.array([unit(clip) @ unit(row) for row in X[:1000]])
            rows.append(Y.mean(axis=0) + c / np.abs(c).sum() @ (Y - Y.mean(axis=0)))
        return np.array(rows)

    def one_product() -> np.ndarray:
        c = unit(X[1000:]) @ unit(X[:1000]).T
        return Y.mean(axis=0) + c / np.abs(c).sum(axis=1, keepdims=True) @ (Y - Y.mean(axis=0))

    def agreement(mine: np.ndarray, theirs: np.ndarray) -> str:
        return f"prediction {np.abs(mine[: len(theirs)] - theirs).max() / np.abs(theirs).max():.0e}"

    return Case(
        f"RES, {n_new} clips x 1000, {n_features} raw features in a file, 1500 voxels",
        Contender("cinevox", lambda: res.predict(X[1000:])),
        [
            Contender("numpy, one product of everything, float32", one_product, repeats=2),
            Contender("numpy, pair by pair", formula, n_done / n_new, repeats=2),
        ],
        agreement,
    )


COMPILE = """
import sys, numpy as np
sys.path.insert(0, "benchmarks")
import regressors as b, time
X, Y = b.problem(64)
for name, options in (("lasso", dict(**b.PATH, early_stop=True)),
                      ("multitask_elastic_net", dict(l1_ratios=[1.0], **b.PATH, early_stop=True)),
                      ("sparse_linear", dict(max_iterations=300, tolerance=1e-3, threshold=1e4)),
                      ("omp", dict(max_features=10))):
    start = time.perf_counter()
    b.ours(name, X, Y, **options).run()
    print(name, round(time.perf_counter() - start, 2), end="; ")
"""


def compile_times() -> dict[str, str]:
    """Seconds of the first fit of 64 voxels in a new process: compiled now, and from numba's cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        cold, warm = (
            subprocess.run(
                [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True,
                cwd=Path(__file__).parent.parent,
            ).stdout.strip("; ")
            for _ in range(2)
        )  # fmt: skip
    return {"first fit in a new process, s, compiling": cold, "first fit in a new process, s, from the cache": warm}


if __name__ == "__main__":
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        main(
            "regressors",
            lambda quick: [
                *penalised_cases(quick),
                *sparse_cases(quick),
                *whole_brain_cases(quick),
                similarity_case(quick, Path(temporary)),
            ],
            compile_times,
        )
    print(f"{time.perf_counter() - started:.0f} s in all")

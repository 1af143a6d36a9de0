"""Feature spaces together: stacking beside solvers of quadratic programmes, wide and banded ridge beside himalaya.

Seconds are core seconds of the work itself. The voxels of a stack come in blocks of BLOCK: their predictions are made
before the clock starts, so that no more than a block of them is in memory.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import himalaya.kernel_ridge
import himalaya.ridge
import numpy as np
from scipy.optimize import minimize

from _harness import Case, Contender, Measured, main
from cinevox.fitting.regressors._solvers.stacking import combined, residual_products, simplex_weights
from cinevox.fitting.regressors.banded_ridge import draw_shares
from cinevox.project import plugins
from cinevox.statistics.splits import folds

N_CLIPS, N_NEW, N_SPACES, BLOCK = 1000, 102, 8, 10_000
N_FIT = 900
ALPHAS = np.logspace(0, 7, 8)
FOLDS = folds(N_FIT, 3)
CV = [(fold.fit, fold.held_out) for fold in FOLDS]


def timed(run: Callable[[], Any]) -> Measured:
    start = time.process_time()
    result = run()
    return Measured(time.process_time() - start, None, result)


def predictions() -> list[np.ndarray]:
    """Return each space's prediction of one block of voxels, float32 (n_clips, n_voxels).

    Each is the sum of what all spaces see of the block and what this one sees by itself.
    """
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((N_CLIPS, BLOCK), dtype=np.float32)
    return [shared + rng.standard_normal(shared.shape, dtype=np.float32) for _ in range(N_SPACES)]


def responses(spaces: list[np.ndarray], n_voxels: int) -> Iterator[np.ndarray]:
    """Blocks of responses, each of other mixtures of three of the spaces, and noise."""
    for number, start in enumerate(range(0, n_voxels, BLOCK)):
        rng = np.random.default_rng(number)
        n = min(BLOCK, n_voxels - start)
        Y = 3 * rng.standard_normal((N_CLIPS, n), dtype=np.float32)
        for space in rng.choice(N_SPACES, 3, replace=False):
            Y += spaces[space][:, :n] * rng.uniform(0, 0.5, n).astype(np.float32)
        yield Y


def stacked(spaces: list[np.ndarray], n_voxels: int) -> Measured:
    """Weights of all voxels, and their combined predictions of other clips; returns the first block's weights."""
    seconds, first = 0.0, None
    for Y in responses(spaces, n_voxels):
        found = [space[:, : Y.shape[1]] for space in spaces]
        start = time.process_time()
        weights = simplex_weights(residual_products(Y, found))
        combined((space[:N_NEW] for space in found), weights)
        seconds += time.process_time() - start
        first = weights if first is None else first
    return Measured(seconds, None, first)


def by_quadprog(S: np.ndarray) -> np.ndarray:
    import quadprog

    k = len(S)
    constraints = np.hstack([np.ones((k, 1)), np.eye(k)])
    return quadprog.solve_qp(S, np.zeros(k), constraints, np.eye(1, k + 1)[0], 1)[0]


def by_cvxopt(S: np.ndarray) -> np.ndarray:
    import cvxopt

    cvxopt.solvers.options["show_progress"] = False
    k = len(S)
    parts = S, np.zeros((k, 1)), -np.eye(k), np.zeros((k, 1)), np.ones((1, k)), np.ones((1, 1))
    return np.array(cvxopt.solvers.qp(*map(cvxopt.matrix, parts))["x"])[:, 0]


def by_scipy(S: np.ndarray) -> np.ndarray:
    k = len(S)
    sums = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found = minimize(lambda w: w @ S @ w, np.full(k, 1 / k), jac=lambda w: 2 * S @ w, bounds=[(0, None)] * k,
                     constraints=sums, options={"ftol": 1e-12})  # fmt: skip
    return found.x


def loop(name: str, solve: Callable[[np.ndarray], np.ndarray], spaces: list[np.ndarray], n: int, of: int) -> Contender:
    Y = next(responses(spaces, of))[:, :n].astype(np.float64)

    def one(voxel: int) -> np.ndarray:
        R = np.stack([Y[:, voxel] - space[:, voxel] for space in spaces], axis=1)
        S = R.T @ R / N_CLIPS
        w = solve(S)
        np.stack([space[:N_NEW, voxel] for space in spaces], axis=1) @ w
        return w

    def run() -> Measured:
        return timed(lambda: np.array([one(voxel) for voxel in range(Y.shape[1])]))

    return Contender(f"a loop over voxels, {name}", run, Y.shape[1] / of)


def stacking(quick: bool) -> Case:
    n_voxels, n_sample = (12_000, 50) if quick else (161_326, 500)
    spaces = predictions()
    solvers = {"quadprog": by_quadprog, "cvxopt": by_cvxopt}
    absent = {f"a loop over voxels, {name}": "not installed" for name in solvers if not importlib.util.find_spec(name)}
    known = {name: solve for name, solve in solvers.items() if importlib.util.find_spec(name)}
    rivals = [
        loop(name, solve, spaces, n_sample, n_voxels) for name, solve in {**known, "scipy SLSQP": by_scipy}.items()
    ]
    return Case(
        f"stacking, {n_voxels:,} voxels x {N_SPACES} spaces, {N_CLIPS} clips",
        Contender("cinevox", lambda: stacked(spaces, n_voxels)),
        rivals,
        lambda mine, theirs: f"weights {np.abs(mine[: len(theirs)] - theirs).max():.0e}",
        "30 core s" if not quick else "",
        n_voxels,
        "voxels",
        absent,
    )


def wide(sizes: list[int], n_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """Pooled maps: non-negative features that share latents, and responses to these; float32, 102 clips more in X."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((N_FIT + N_NEW, 60), dtype=np.float32)
    X = np.empty((len(latents), sum(sizes)), dtype=np.float32)
    for start in range(0, X.shape[1], 4096):
        part = X[:, start : start + 4096]
        part[:] = latents @ rng.standard_normal((60, part.shape[1]), dtype=np.float32)
        part += 4 * rng.standard_normal(part.shape, dtype=np.float32)
    np.maximum(X, 0, out=X)
    signal = latents[:N_FIT] @ rng.standard_normal((60, n_voxels), dtype=np.float32)
    Y = signal + 8 * rng.standard_normal(signal.shape, dtype=np.float32)
    return X, Y / np.median(Y.std(axis=0))


def ours(name: str, X: np.ndarray, Y: np.ndarray, bands: list[slice], **options: Any) -> Contender:
    def run() -> Measured:
        regressor = plugins.load("regressors", name).build({"alphas": ALPHAS.tolist(), **options})
        return timed(lambda: regressor.fit(X[:N_FIT], Y, folds=FOLDS, bands=bands).predict(X[N_FIT:]))

    return Contender("cinevox", run)


def same_predictions(mine: np.ndarray, theirs: np.ndarray) -> str:
    return f"predictions {np.abs(mine - theirs).max() / np.abs(mine).max():.0e} of the largest"


def wide_ridge(quick: bool) -> Case:
    n_features, n_voxels = (3000, 200) if quick else (25_088, 4000)
    X, Y = wide([n_features], n_voxels)

    def fitted(model: Any) -> Measured:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timed(lambda: model.fit(X[:N_FIT], Y).predict(X[N_FIT:]))

    options = {"alphas": ALPHAS, "fit_intercept": True, "cv": CV}
    return Case(
        f"ridge, {len(ALPHAS)} alphas, {n_features:,} features, {N_FIT} clips, {n_voxels} voxels, fit and predict",
        ours("ridge", X, Y, [slice(0, n_features)], per="voxel"),
        [
            Contender("himalaya KernelRidgeCV, numpy, float32",
                      lambda: fitted(himalaya.kernel_ridge.KernelRidgeCV(**options)), repeats=2),
            Contender("himalaya RidgeCV, numpy, float32", lambda: fitted(himalaya.ridge.RidgeCV(**options)), repeats=2),
        ],
        same_predictions,
    )  # fmt: skip


def banded_ridge(quick: bool) -> Case:
    sizes, n_voxels = ([1500, 600, 40], 100) if quick else ([25_088, 9216, 40], 1000)
    X, Y = wide(sizes, n_voxels)
    ends = np.cumsum(sizes).tolist()
    bands = [slice(start, end) for start, end in zip([0, *ends], ends)]
    shares = draw_shares(len(bands), 10, seed=0)

    def multiple() -> np.ndarray:
        """Kernels about the mean of all clips, as himalaya centres them by fold and by band itself."""
        mean = X[:N_FIT].mean(axis=0)
        Xc = X - mean
        kernels = [Xc[:, band] @ Xc[:N_FIT, band].T for band in bands]
        deltas, duals, _, offset = himalaya.kernel_ridge.solve_multiple_kernel_ridge_random_search(
            np.stack([kernel[:N_FIT] for kernel in kernels]), Y, n_iter=shares, alphas=ALPHAS, fit_intercept=True,
            cv=CV, return_weights="dual", progress_bar=False,
        )  # fmt: skip
        parts = (np.exp(delta) * (kernel[N_FIT:] @ duals) for delta, kernel in zip(deltas, kernels))
        return np.sum(list(parts), axis=0) + offset

    return Case(
        f"banded ridge, spaces of {', '.join(f'{size:,}' for size in sizes)} features, 10 draws, {n_voxels} voxels",
        ours("banded_ridge", X, Y, bands, n_draws=10, seed=0),
        [
            Contender(
                "himalaya multiple kernel ridge, random search, numpy, float32", lambda: timed(multiple), repeats=2
            )
        ],
        same_predictions,
    )


def cases(quick: bool) -> Iterator[Case]:
    yield stacking(quick)
    yield wide_ridge(quick)
    yield banded_ridge(quick)


if __name__ == "__main__":
    main("joint", cases, note="Here seconds are core seconds: processor time of all threads.")

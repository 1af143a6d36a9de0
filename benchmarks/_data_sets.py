"""Data sets whose truth is known, made again and again, and rates and means over them with binomial intervals."""

from __future__ import annotations

from collections.abc import Callable

import joblib
import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import Lasso
from threadpoolctl import threadpool_limits

ALPHA = 0.05
Row = tuple[str, str, str]


def rate(hits: np.ndarray | list[bool]) -> str:
    hits = np.asarray(hits, dtype=bool)
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return f"{100 * hits.mean():.1f} % ({100 * low:.1f}-{100 * high:.1f}) of {len(hits)}"


def mean(values: np.ndarray | list[float]) -> str:
    values = np.asarray(values, dtype=float)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.4f} ({values.mean() - error:.4f} to {values.mean() + error:.4f}), {len(values)} data sets"


def repeated(one: Callable[..., object], n: int, seed: int, *arguments: object) -> np.ndarray:
    """Results of n data sets, (n, ...); each has a generator of its own."""
    seeds = np.random.SeedSequence(seed).spawn(n)
    tasks = (joblib.delayed(_alone)(one, np.random.default_rng(each), arguments) for each in seeds)
    return np.array(joblib.Parallel(2)(tasks))


def _alone(one: Callable[..., object], rng: np.random.Generator, arguments: tuple) -> object:
    with threadpool_limits(1):
        return one(rng, *arguments)


def smooth(rng: np.random.Generator, n: int, n_voxels: int, heavy: bool = False, reach: int = 4) -> np.ndarray:
    kernel = np.exp(-0.5 * (np.arange(-3 * reach, 3 * reach + 1) / reach) ** 2)
    shape = (n, n_voxels + len(kernel) - 1)
    noise = rng.standard_t(3, shape) if heavy else rng.standard_normal(shape)
    return np.lib.stride_tricks.sliding_window_view(noise, len(kernel), axis=1) @ kernel / np.linalg.norm(kernel)


def cross_predicted(x: np.ndarray, y: np.ndarray, n_folds: int, kind: str = "ridge") -> tuple[list, list]:
    measured, predicted = [], []
    for fold in np.array_split(np.arange(len(x)), n_folds):
        rest = np.setdiff1d(np.arange(len(x)), fold)
        centred, target = x[rest] - x[rest].mean(axis=0), y[rest] - y[rest].mean(axis=0)
        if kind == "lasso":
            weights = Lasso(alpha=0.05).fit(centred, target).coef_.T
        else:
            weights = np.linalg.solve(centred.T @ centred + len(x) * np.eye(x.shape[1]), centred.T @ target)
        measured.append(y[fold])
        predicted.append((x[fold] - x[rest].mean(axis=0)) @ weights)
    return measured, predicted

"""How often inference is wrong: data whose truth is known, made again and again. Rates come with binomial intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.linear_model import Lasso
from threadpoolctl import threadpool_limits

from cinevox import metrics, predictions, scores, selection, significance
from cinevox.aggregation import interval
from cinevox.comparison import compare
from cinevox.responses import Block, Columns
from cinevox.selection.evidence import mean_scores
from cinevox.significance import chance_of_mean, false_discovery_rate, permutation_test, permuted_clips, sign_flip_test

ALPHA = 0.05
Row = tuple[str, str, str]


def table(quick: bool) -> str:
    """Every simulation, as lines of Markdown."""
    rows = [row for simulation in SIMULATIONS for row in simulation(20 if quick else 1)]
    lines = ["## How often it is wrong", "", NOTE, "", "| data | what | found (95 % interval) |", "|---|---|---|"]
    return "\n".join(lines + [f"| {data} | {what} | {found} |" for data, what, found in rows]) + "\n"


NOTE = (
    "Simulated data sets whose truth is known; 5 % is the level asked for, 95 % the confidence. Voxels are smooth "
    "(each shares most with its neighbours), predictions too. Intervals are Clopper and Pearson's over data sets."
)


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


def _verdicts(measured: list, predicted: list, rng: np.random.Generator) -> tuple[bool, bool, bool, bool]:
    """Of data without signal: a voxel passes, any passes family-wise, any by false discovery rate, the region does."""
    n_voxels = measured[0].shape[1]
    orders = permuted_clips([len(part) for part in measured], 999, rng)
    found = permutation_test(measured, predicted, np.full((n_voxels, 1), 1 / n_voxels), orders)
    r = np.mean([metrics.correlation_score(x, y) for x, y in zip(measured, predicted)], axis=0)
    return (
        found.p[n_voxels // 2] <= ALPHA,
        (found.p_familywise <= ALPHA).any(),
        (false_discovery_rate(found.p) <= ALPHA).any(),
        chance_of_mean(r.mean(), found.null_means[:, 0]) <= ALPHA,
    )


VERDICTS = (
    "a voxel passes (p)",
    "any of 60 voxels passes (family-wise)",
    "any of 60 passes (false discovery rate)",
    "the region's mean passes",
)


def _silent(rng: np.random.Generator, n_clips: int, heavy: bool) -> tuple[bool, ...]:
    return _verdicts([smooth(rng, n_clips, 60, heavy)], [smooth(rng, n_clips, 60, heavy)], rng)


def permutations(less: int) -> Iterator[Row]:
    for n_clips, heavy in ((20, False), (102, False), (102, True)):
        found = repeated(_silent, 1000 // less, 1, n_clips, heavy)
        title = f"no signal, {n_clips} clips" + (", heavy tails (t, 3 degrees)" if heavy else "")
        yield from ((title, what, rate(hits)) for what, hits in zip(VERDICTS, found.T))


def _crossed(rng: np.random.Generator, n_folds: int, kind: str) -> tuple[bool, ...]:
    """No signal, each fold predicted by a fit on the others; as it is tested, and as if the folds did not cross."""
    x, y = rng.standard_normal((160, 30)), smooth(rng, 160, 60)
    measured, predicted = cross_predicted(x, y, n_folds, kind)
    found = _verdicts(measured, predicted, rng)
    honest, significance.CROSSED = significance.CROSSED, 1.0
    try:
        return found + _verdicts(measured, predicted, rng)
    finally:
        significance.CROSSED = honest


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


def crossed_folds(less: int) -> Iterator[Row]:
    for kind, n_folds in (("ridge", 5), ("ridge", 3), ("lasso", 5)):
        found = repeated(_crossed, 600 // less, 2, n_folds, kind)
        title = f"no signal, 160 clips, {n_folds} outer folds, {kind} fitted on the others"
        for number, what in enumerate(VERDICTS):
            naive = f"; {100 * found[:, 4 + number].mean():.1f} % if folds counted as independent"
            yield title, what, rate(found[:, number]) + naive


def _group(rng: np.random.Generator, n_subjects: int, skewed: bool) -> tuple[bool, bool]:
    values = smooth(rng, n_subjects, 60)
    if skewed:
        values = np.expm1(0.5 * values) - np.expm1(0.125)  # lognormal, its mean taken off
    found = sign_flip_test(values * rng.uniform(0.3, 2, (n_subjects, 1)), rng)
    return found.p[30] <= ALPHA, (found.p_familywise <= ALPHA).any()


def subjects(less: int) -> Iterator[Row]:
    for n_subjects, skewed in ((6, False), (10, False), (20, False), (10, True)):
        found = repeated(_group, 3000 // less, 3, n_subjects, skewed)
        title = f"mean 0 over {n_subjects} subjects of unequal noise" + (", skewed" if skewed else "")
        for what, hits in zip(("a place passes (p)", "any of 60 places passes (family-wise)"), found.T):
            yield title, what, rate(hits)


def region(n_subjects: int = 2) -> Columns:
    return Columns(tuple(Block(f"sub{number:02d}", "V1", 15) for number in range(n_subjects)))


def _predictors(rng: np.random.Generator, n_clips: int, noise: tuple[float, ...]) -> tuple[np.ndarray, list]:
    """Responses, and predictors that know their signal with so much noise; all share half of it over voxels."""
    width = region().n_voxels

    def together() -> np.ndarray:
        return np.sqrt(0.5) * (rng.standard_normal((n_clips, width)) + rng.standard_normal((n_clips, 1)))

    signal = together()
    return signal + together(), [signal + size * together() for size in noise]


def _scored(rng: np.random.Generator, n_clips: int, noise: tuple[float, ...], n_resamples: int) -> list:
    measured, predicted = _predictors(rng, n_clips, noise)
    resamples = metrics.resampled_clips(n_clips, n_resamples, rng)
    ceiling = np.full(region().n_voxels, 0.8)
    return [scores.score(measured, part, ceiling, region(), resamples) for part in predicted]


def _score(rng: np.random.Generator, n_clips: int, noise: float) -> tuple[float, float, float]:
    [found] = _scored(rng, n_clips, (noise,), 500)
    around = interval(found.replicates.mean(axis=1), 0.95)
    return found.blocks["normalized_correlation"].mean(), around["low"], around["high"]


def intervals(less: int) -> Iterator[Row]:
    for noise in (1.0, 3.0):
        true = 1 / 0.8 / np.sqrt(2 * (1 + noise**2))
        for n_clips in (16, 50, 102):
            score, low, high = repeated(_score, 1000 // less, 4, n_clips, noise).T
            title = f"a row that scores {true:.3f}, {n_clips} clips"
            yield title, "its interval holds the true score", rate((low <= true) & (true <= high))
            yield title, "too low / too high", f"{100 * (high < true).mean():.1f} % / {100 * (low > true).mean():.1f} %"
            yield title, "bias of the score", mean(score - true)
            yield title, "bias of the interval's middle against the score", mean((low + high) / 2 - score)


def _pair(rng: np.random.Generator, n_clips: int, noise: tuple[float, float]) -> tuple[float, ...]:
    found = _scored(rng, n_clips, noise, 500)
    values = [one.blocks["normalized_correlation"].mean() for one in found]
    drawn = [one.replicates.mean(axis=1) for one in found]
    one = compare(*values, *drawn, {}, {}, 0.95, rng)
    apart = interval(drawn[0] - rng.permutation(drawn[1]), 0.95)
    return one.p <= ALPHA, one.low <= 0 <= one.high, (one.high - one.low) / (apart["high"] - apart["low"])


def pairs(less: int) -> Iterator[Row]:
    for n_clips, noise in ((16, (1.0, 1.0)), (50, (1.0, 1.0)), (102, (1.0, 1.0)), (102, (0.7, 1.0))):
        passed, held, width = repeated(_pair, 1000 // less, 5, n_clips, noise).T
        equal = noise[0] == noise[1]
        title = f"two {'equally good rows' if equal else 'rows, one better (0.72 and 0.62)'}, {n_clips} clips"
        yield title, "called different (p)", rate(passed)
        if equal:
            yield title, "the interval of the difference holds 0", rate(held)
        yield title, "width of the paired interval, of the unpaired one's", mean(width)


def _nested(rng: np.random.Generator, strength: float) -> tuple[float, ...]:
    """Score of ridge regression in 5 folds, one voxel in 20 voxels' mean, and its interval."""
    x, columns = rng.standard_normal((160, 30)), Columns((Block("s", "V1", 20),))
    shared = 0.7 * rng.standard_normal((160, 1)) + 0.7 * rng.standard_normal((160, 20))
    y = strength * x @ np.random.default_rng(0).standard_normal((30, 20)) / np.sqrt(30) + shared
    parts = [
        scores.score(a, b, np.ones(20), columns, metrics.resampled_clips(len(a), 500, rng))
        for a, b in zip(*cross_predicted(x, y, 5))
    ]
    found, plain = mean_scores(parts), np.mean([part.replicates[:, 0] for part in parts], axis=0)
    around, naive = interval(found.replicates[:, 0], 0.95), interval(plain, 0.95)
    return found.correlation.mean(), around["low"], around["high"], naive["low"], naive["high"]


def nested_intervals(less: int) -> Iterator[Row]:
    for strength in (0.0, 0.5, 1.5):
        score, low, high, least, most = repeated(_nested, 500 // less, 6, strength).T
        title = f"ridge in 5 outer folds of 160 clips, expected score {score.mean():.3f}"
        held = (least <= score.mean()) & (score.mean() <= most)
        naive = f"; {100 * held.mean():.1f} % if folds counted as independent"
        yield title, "the nested interval holds it", rate((low <= score.mean()) & (score.mean() <= high)) + naive
        yield (
            title,
            "standard error over data sets, of the interval's",
            f"{score.std() / ((high - low).mean() / 3.92):.2f}",
        )


LAYERS = 8
COLUMNS = Columns(tuple(Block(subject, roi, 6) for subject in ("sub01", "sub02") for roi in ("V1", "PPA")))


def _choosing(rng: np.random.Generator, policy: str, best: bool, n_clips: int) -> tuple[float, ...]:
    """One row of eight layers. Returns flat and nested score less the test's, optimism's two numbers, ..."""
    quality = np.full(LAYERS, 0.2 if best else 0.6)
    quality[5] = 0.6
    folds = [f"outer-{k}" for k in range(1, 5)] if policy == "nested" else []
    sizes = {"validation": n_clips, "test": 2000} | dict.fromkeys(folds, n_clips // 4)
    measured, predicted, spaces = {}, {}, tuple(f"c{number}" for number in range(LAYERS))
    own = np.repeat([0, 1, 0, 1], 6)
    for name, n in sizes.items():

        def together(n: int = n) -> np.ndarray:
            return np.sqrt(0.5) * (rng.standard_normal((n, 24)) + rng.standard_normal((n, 2))[:, own])

        signal = together()
        measured[name] = np.sqrt(0.5) * (signal + together())
        for space, part in zip(spaces, quality):
            predicted[name, space] = part * signal + np.sqrt(1 - part**2) * together()
    for k in folds:
        for j in set(folds) - {k}:
            inner = f"inner-{k[6:]}-{j[6:]}"
            measured[inner] = measured[j]
            predicted |= {(inner, space): predicted[j, space] for space in spaces}
    ceilings = dict.fromkeys(("validation", "test"), np.full(24, 0.8))
    settings = SimpleNamespace(n_bootstraps=100, n_permutations=1, confidence=0.95, seed=0)

    def of(names: list[str], block: Columns) -> dict[str, np.ndarray]:
        where = slice(0, 12) if block.blocks[0].subject == "sub01" else slice(12, 24)
        return {name: measured[name][:, where] for name in names}

    candidates = _candidates(spaces, measured, predicted, rng)
    found = selection.select(
        candidates, policy, "roi", {}, of, lambda split, space: predicted[split, space], ceilings, settings
    )
    said, entry = found.description, found.description["optimism"]["nested" if policy == "nested" else "test"]
    truth = said["scores"]["test"]["score"]
    honest = said["scores"]["nested"]["score"] - truth if policy == "nested" else 0.0
    flat = honest + entry["difference"]
    right = np.mean([list(said["chosen"][roi]) == ["c5"] for roi in ("V1", "PPA")])
    steady = np.mean([said["frequencies"][roi].get("c5", 0.0) for roi in ("V1", "PPA")])
    part = said["optimism"]["test"]["choice"]["difference"]
    return flat, honest, entry["difference"], entry["low"] > 0, part, right, steady


def _candidates(spaces: tuple, measured: dict, predicted: dict, rng: np.random.Generator) -> selection.Candidates:
    tables, voxels, replicates = [], {}, {}
    for name, responses in measured.items():
        drawn = metrics.resampled_clips(len(responses), 0 if name.startswith("inner") else 100, rng)
        found = [scores.score(responses, predicted[name, s], np.full(24, 0.8), COLUMNS, drawn) for s in spaces]
        tables += [one.blocks.assign(space=space, split=name) for space, one in zip(spaces, found)]
        voxels[f"{name}.correlation"] = np.stack([one.correlation for one in found])
        replicates[name] = np.stack([one.replicates for one in found])
    clips = {name: np.arange(len(responses)) for name, responses in measured.items()}
    index = predictions.Index(spaces, clips, COLUMNS, {}, {})
    return selection.Candidates(index, pd.concat(tables, ignore_index=True), voxels, replicates)


def choices(less: int) -> Iterator[Row]:
    for best in (False, True):
        for policy, n_clips in (("validation", 16), ("validation", 100), ("nested", 160)):
            found = repeated(_choosing, 60 // less, 7, policy, best, n_clips)
            flat, honest, difference, above, part, right, steady = found.T
            layers = "one of eight layers is best" if best else "eight layers, equally good"
            clips = f"{n_clips} clips in 4 outer folds" if policy == "nested" else f"{n_clips} validation clips"
            title = f"{layers}, {clips}"
            yield title, "optimism, as reported", mean(difference)
            yield title, "the part of it that comes from choosing", mean(part)
            yield title, "its interval lies above 0", rate(above)
            if policy == "nested":
                yield title, "flat score (the clips that chose) less the truth", mean(flat)
                yield title, "nested score less the truth", mean(honest)
            yield title, "c5 chosen" + (" (the best)" if best else " (one in eight)"), f"{100 * right.mean():.1f} %"
            yield title, "c5's mean frequency over resamples", f"{100 * steady.mean():.1f} %"


SIMULATIONS = (permutations, crossed_folds, subjects, intervals, pairs, nested_intervals, choices)

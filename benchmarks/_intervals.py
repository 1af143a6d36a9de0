"""The rate at which intervals hold the true value: of a score, of a difference of two rows, of a nested score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from _data_sets import ALPHA, Row, cross_predicted, mean, rate, repeated
from cinevox.measured.responses import Block, Columns
from cinevox.scoring import scores
from cinevox.scoring.selection.evidence import mean_scores
from cinevox.statistics import metrics
from cinevox.statistics.aggregation import interval
from cinevox.statistics.comparison import compare


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

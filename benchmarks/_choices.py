"""The effect on a score of choosing one of eight layers, and whether optimism and frequency reveal it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from _data_sets import Row, mean, rate, repeated
from cinevox.fitting import prediction_store
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Scores, Selection
from cinevox.scoring import scores, selection
from cinevox.scoring.origin import Origin
from cinevox.statistics import metrics
from cinevox.statistics.splits import generator

LAYERS = 8
SETTINGS = Scores.model_construct(n_bootstraps=100, n_permutations=1, confidence=0.95, seed=0)
ROW = {"track": "mini", "network": "alexnet", "features": "layer", "regressor": "ridge"}
ORIGIN = Origin("none", "Made here", True, "sub01 sub02", 0, 0, {"V1": 12, "PPA": 12}, "random", False)
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
    found = selection.select(
        _candidates(spaces, measured, predicted), Selection(policy=policy, per="roi"), {}, measured, predicted,
        ceilings, SETTINGS,
    )  # fmt: skip
    said = found.outcome
    entry = said.optimism["nested" if policy == "nested" else "test"]
    truth = said.scores["test"].score
    honest = said.scores["nested"].score - truth if policy == "nested" else 0.0
    flat = honest + entry.difference
    right = np.mean([list(said.chosen[roi]) == ["c5"] for roi in ("V1", "PPA")])
    steady = np.mean([said.frequency(roi, "c5") for roi in ("V1", "PPA")])
    part = said.optimism["test"].choice.difference
    return flat, honest, entry.difference, entry.low > 0, part, right, steady


def _candidates(spaces: tuple, measured: dict, predicted: dict) -> selection.Candidates:
    tables, voxels, replicates = [], {}, {}
    for name, responses in measured.items():
        n_drawn = 0 if name.startswith("inner") else SETTINGS.n_bootstraps
        drawn = metrics.resampled_clips(len(responses), n_drawn, generator(SETTINGS.seed, name))
        found = [scores.score(responses, predicted[name, s], np.full(24, 0.8), COLUMNS, drawn) for s in spaces]
        tables += [one.blocks.assign(space=space, split=name) for space, one in zip(spaces, found)]
        voxels |= {
            f"{name}.{kind}": np.stack([getattr(one, kind) for one in found]) for kind in ("correlation", "normalized")
        }
        replicates[name] = np.stack([one.replicates for one in found])
    clips = {name: np.arange(len(responses)) for name, responses in measured.items()}
    index = prediction_store.Index(spaces, clips, COLUMNS, ROW, {})
    return selection.Candidates(index, ORIGIN, pd.concat(tables, ignore_index=True), voxels, replicates)


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

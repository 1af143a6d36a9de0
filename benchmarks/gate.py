"""The rates at which the gate fails a build in which only chance has changed, and catches a real drop."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from _data_sets import rate, repeated, smooth
from cinevox.outlets.gate import compare
from cinevox.outlets.gate.state import GateLimits, Reading, RowState, State
from cinevox.outlets.gate.this_run import N_REPLICATES
from cinevox.project.params import Gate
from cinevox.scoring.origin import Origin
from cinevox.statistics import metrics

ROIS = tuple(f"roi_{number}" for number in range(9))
N_VOXELS, CEILING, SCORE = 30, 0.6, 0.4  # voxels of an ROI; what r is divided by; the expected score of every ROI
LIMITS = {
    "no tolerance": GateLimits(gate=Gate(absolute=0, relative=0, use_interval=True), confidence=0.95),
    "as in params.yaml": GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=True), confidence=0.95),
    "tolerance alone": GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=False), confidence=0.95),
}
ORIGIN = Origin("insilico", "", True, "", 0, 0, dict.fromkeys(ROIS, N_VOXELS), "random", False)
DROPS = {  # what has become worse, by how much, how many of a row's ROIs
    "an ROI by 0.1": (0.1, 1), "an ROI by 0.2": (0.2, 1), "a row by 0.05": (0.05, 9), "a row by 0.1": (0.1, 9),
}  # fmt: skip


def study(rng: np.random.Generator, n_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate the signal that drives the voxels, and the responses that are measured of it."""
    signal = smooth(rng, n_clips, N_VOXELS * len(ROIS))
    return signal, CEILING * signal + np.sqrt(1 - CEILING**2) * smooth(rng, *signal.shape)


def entry(
    signal: np.ndarray,
    measured: np.ndarray,
    error: np.ndarray,
    resamples: np.ndarray,
    drops: np.ndarray,
    responses: int,
) -> RowState:
    """A row whose predictions are the signal and an error.

    drops: (n_rois,), by how much its scores are lower; responses: which measurement it is of
    """
    quality = np.repeat(SCORE - drops, N_VOXELS)
    predicted = quality * signal + np.sqrt(1 - quality**2) * error
    groups = np.repeat(np.eye(len(ROIS)), N_VOXELS, axis=0) / (N_VOXELS * CEILING)
    values = metrics.correlation_score(measured, predicted) @ groups
    drawn = metrics.bootstrap_means(measured, predicted, groups, resamples)
    values, drawn = np.append(values, values.mean()), np.column_stack([drawn, drawn.mean(axis=1)])
    kept = (drawn[:N_REPLICATES] - values).astype(np.float16)
    found = {
        name: Reading(value=float(value), choice=0, replicates=column)
        for name, value, column in zip((*ROIS, "score"), values, kept.T)
    }
    return RowState(origin=ORIGIN, drawn={"n_clips": len(signal), "responses": responses}, metrics=found)


def build(
    rng: np.random.Generator, n_rows: int, n_clips: int, shared: float, again: bool, drop: float, n_rois: int
) -> list[bool]:
    """Whether each of `LIMITS` fails one build.

    shared: share of the error of a row's predictions that the change leaves as it is
    again: the responses are measured anew, on other clips
    drop, n_rois: the first row becomes worse by so much in so many ROIs
    """
    resamples = metrics.resampled_clips(n_clips, N_REPLICATES, rng)
    first = study(rng, n_clips)
    second = study(rng, n_clips) if again else first
    was, now = {}, {}
    for number in range(n_rows):
        kept, *own = (smooth(rng, *first[0].shape) for _ in range(3))
        errors = [np.sqrt(shared) * kept + np.sqrt(1 - shared) * part for part in own]
        worse = np.where(np.arange(len(ROIS)) < n_rois, drop, 0.0) if number == 0 else np.zeros(len(ROIS))
        was[f"{number}"] = entry(*first, errors[0], resamples, np.zeros(len(ROIS)), 0)
        now[f"{number}"] = entry(*second, errors[1], resamples, worse, int(again))
    return [
        compare(*(State(limits=limits, checks={}, rows=rows) for rows in (was, now)), "").failed
        for limits in LIMITS.values()
    ]


def table(n_null: int, n_power: int) -> str:
    lines = ["| rows, clips | change | " + " | ".join(LIMITS) + " |", "|-|-|" + "-:|" * len(LIMITS)]
    for n_rows, n_clips in ((11, 50), (28, 102)):
        nulls = {
            "predictions, half of their error anew": (0.5, False),
            "predictions, 5 % of their error anew": (0.95, False),
            "other clips, other responses": (0.5, True),
        }
        cases = {f"none: {what}": (n_null, *how, 0.0, 0) for what, how in nulls.items()}
        cases |= {f"{what}; predictions, 5 % anew": (n_power, 0.95, False, *drop) for what, drop in DROPS.items()}
        cases |= {f"{what}; other responses": (n_power, 0.95, True, *drop) for what, drop in DROPS.items()}
        for number, (what, (n, *how)) in enumerate(cases.items()):
            failed = repeated(build, n, 100 + number, n_rows, n_clips, *how)
            lines.append(f"| {n_rows}, {n_clips} | {what} | " + " | ".join(rate(f) for f in failed.T) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


ABOUT = f"""# gate

How often a build fails (95 % interval over simulated builds; 5 % is the level asked for). A row has nine ROIs of
{N_VOXELS} smooth voxels and their mean, rows are independent of each other, every score is {SCORE}, the ceiling
{CEILING}; {N_REPLICATES} replicates. The first lines of a size are false failures, the others the power to see a drop.
`make bench NAME=gate`.

"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few builds, nothing written")
    quick = parser.parse_args().quick
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = table(10, 6) if quick else table(200, 60)
    if not quick:
        (Path(__file__).parent / "results" / "gate.md").write_text(ABOUT + found)

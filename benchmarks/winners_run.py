"""The cost of the winners' run: time and disk of every stage at full size, from measured pieces.

Writes docs/winners-run.md. Pieces are measured here, at the run's shapes but for few clips or few voxels, as processor
time of all threads; totals are the formulas in the text. Nothing is typed in.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"

import numpy as np
from threadpoolctl import threadpool_limits

import _harness
from _costs import GPU_TIMES, HOUR, WORKERS, Cost, table
from _pieces import CORES, N_CLIPS, N_TEST, N_TRAIN, ROOT, VOXELS, convert_seconds_per_byte, from_results
from cinevox.fitting import feature_spaces, fits
from cinevox.fitting.feature_spaces import Candidate
from cinevox.measured.responses import Block, Columns
from cinevox.project import params
from cinevox.project.params import EnsembleRow, JointRow, Params, maps
from cinevox.scoring import scores
from cinevox.statistics import metrics
from cinevox.statistics.significance import permutation_test, permuted_clips
from cinevox.statistics.splits import Partition, partitions, split
from cinevox.stimuli import features

PLAN, TEMPLATE = ROOT / "docs/winners-run.md", ROOT / "benchmarks/winners_run.template.md"
N_FEATURES, N_FITTED = 25_088, 900  # of the measured space, and its training clips
SIZES = (500, 4000)  # voxels


def core_seconds(run: Callable[[], object]) -> float:
    """Processor time of the second of two runs, or of the first where it takes over twenty seconds."""
    for _ in range(2):
        start = time.process_time()
        run()
        found = time.process_time() - start
        if found > 20:
            break
    return found


def clip_pieces(settings: Params, n_clips: int) -> Iterator[tuple[str, float, int]]:
    """Yield each network's name, the core seconds that a clip takes, and how many features of a clip are written."""
    rng = np.random.default_rng(0)
    size = settings.frames.size
    for name, network in settings.networks.items():
        policy = "none" if network.weights == "none" else "random"
        own = maps(space for space in settings.feature_spaces.values() if space.network == name)
        extraction = features.prepare(
            name, network.model_copy(update={"weights": policy}), settings.features,
            (network.n_frames, size, size, 3), (), own,
        )  # fmt: skip
        frames = rng.integers(256, size=(n_clips, network.n_frames, size, size, 3), dtype=np.uint8)
        written = sum(int(np.prod(extraction.shape(output, 1))) for output in extraction.outputs)
        yield name, core_seconds(lambda e=extraction, f=frames: features.extract(e, f)) / n_clips, written


def fit_pieces(settings: Params) -> tuple[float, float]:
    """Core seconds of a space of so many features, and of a voxel on it."""
    rng = np.random.default_rng(0)
    X = {"space": rng.standard_normal((N_CLIPS, N_FEATURES)).astype(np.float32)}
    everything = Partition("train", np.arange(N_FITTED), {"test": np.arange(N_TRAIN, N_CLIPS)})
    method, candidate, found = fits.Method.of("ridge", settings), [Candidate("space", ("space",))], []
    for n_voxels in SIZES:
        Y = rng.standard_normal((N_TRAIN, n_voxels)).astype(np.float32)
        columns = Columns((Block("sub01", "WB", n_voxels),))
        found.append(core_seconds(lambda Y=Y, c=columns: list(fits.fit(candidate, X, Y, c, everything, method))))
    slope = max(0.0, (found[1] - found[0]) / (SIZES[1] - SIZES[0]))
    return max(0.0, found[0] - slope * SIZES[0]), slope


def score_pieces(settings: Params, n_voxels: int = 4000) -> tuple[float, float]:
    """Core seconds of a voxel scored, and of one permuted."""
    rng = np.random.default_rng(0)
    measured, predicted = (rng.standard_normal((N_TEST, n_voxels)).astype(np.float32) for _ in range(2))
    columns = Columns(tuple(Block("sub01", f"ROI{k}", n_voxels // 10) for k in range(10)))
    drawn = metrics.resampled_clips(N_TEST, settings.scores.n_bootstraps, rng)
    orders = permuted_clips([N_TEST], settings.scores.n_permutations, rng)
    weights = np.full((n_voxels, 1), 1 / n_voxels)
    scored = core_seconds(lambda: scores.score(measured, predicted, np.full(n_voxels, 0.6), columns, drawn))
    permuted = core_seconds(lambda: permutation_test([measured], [predicted], weights, orders))
    return scored / n_voxels, permuted / n_voxels


def costs(settings: Params, clips: dict[str, tuple[float, int]], pieces: dict[str, float]) -> Iterator[Cost]:
    trials = sum(VOXELS.values()) * N_TRAIN * 3 * 4
    yield Cost("conversion", "train", pieces["byte converted"] * trials, trials * 4 / 3, spreads=True)
    for count in settings.frames.counts:
        decoded = pieces["clip decoded"] * count / 16
        yield Cost("frames", str(count), N_CLIPS * decoded, N_CLIPS * count * settings.frames.size**2 * 3, spreads=True)
    for name, (seconds, written) in clips.items():
        yield Cost("features", name, N_CLIPS * seconds, N_CLIPS * written * 4, on_gpu=True)
    parts = partitions(split(N_TRAIN, N_TEST, settings.splits), settings.splits)
    n_predicted = sum(len(rows) for part in parts for rows in part.predicted.values())
    for row in settings.experiments.rows.values():
        n_voxels, n_spaces, n_clips = VOXELS[row.track], 1, 2 * N_TEST
        if isinstance(row, JointRow):
            spaces, n_clips = settings.spaces_of(row), n_predicted
            found = feature_spaces.joint_candidates(spaces, row.together, row.fixed)
            n_spaces = len(found)
            own = [space for candidate in found for space in candidate.spaces]
            folds = settings.splits.n_folds
            again = 1 + folds * (1 - 1 / folds) ** 2 if row.together == "stack" else 1
            sizes = [n_features_of(settings, spaces[name].network, spaces[name], clips) for name in own]
            once = sum(size / N_FEATURES * pieces["space"] + n_voxels * pieces["voxel"] for size in sizes)
            seconds = once * again * sum((len(part.train) / N_FITTED) ** 2 for part in parts)
            yield Cost("fits", row.name, seconds, n_clips * n_voxels * 4 * n_spaces, spreads=True)
        if isinstance(row, EnsembleRow):
            yield Cost("ensembles", row.name, 0.0, n_clips * n_voxels * 4)
        scored = n_clips / N_TEST * n_voxels * n_spaces * pieces["voxel scored"]
        yield Cost("scores", row.name, scored, n_spaces * n_voxels * 16, spreads=True)
        tested = 2 * n_voxels * (pieces["voxel scored"] + pieces["voxel permuted"])
        yield Cost("selection", row.name, tested, n_voxels * 32, spreads=True)


def n_features_of(settings: Params, network: str, space: params.FeatureSpace, clips: dict) -> float:
    """Features of a space: its share of what is written of its network, by the fields of the maps."""
    own = maps(other for other in settings.feature_spaces.values() if other.network == network)
    if len(own) == 1:
        return float(clips[network][1])
    size = settings.frames.size
    prepared = features.prepare(
        network, settings.networks[network].model_copy(update={"weights": "random"}), settings.features,
        (settings.networks[network].n_frames, size, size, 3), (), [space.map],
    )  # fmt: skip
    return float(sum(np.prod(prepared.shape(output, 1)) for output in prepared.outputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one clip of each network, nothing written")
    quick = parser.parse_args().quick
    machine, settings = _harness._machine(), params.load(ROOT / "params.winners.yaml")
    with threadpool_limits(1):
        clips = {name: (seconds, n) for name, seconds, n in clip_pieces(settings, 1 if quick else 2)}
        space, voxel = fit_pieces(settings)
        scored, permuted = score_pieces(settings)
        pieces = {"space": space, "voxel": voxel, "voxel scored": scored, "voxel permuted": permuted}
        pieces["byte converted"] = convert_seconds_per_byte()
        pieces["clip decoded"] = from_results("decoding", "40 clips, 16 frames of each, one process") / 40
    found = list(costs(settings, clips, pieces))
    stages, totals = table(found)
    parts = partitions(split(N_TRAIN, N_TEST, settings.splits), settings.splits)
    what = {
        "space": f"kernel of {N_FEATURES:,} features, {N_FITTED} clips", "voxel": "ridge, alpha chosen, on that kernel",
        "voxel scored": f"{N_TEST} clips, {settings.scores.n_bootstraps:,} resamples",
        "voxel permuted": f"{N_TEST} clips, {settings.scores.n_permutations:,} orders",
        "byte converted": "single trials", "clip decoded": "16 frames (benchmarks/results/decoding.md)",
    }  # fmt: skip
    lines = [
        f"| clip, {name} | {settings.networks[name].n_frames} frames | {s:.3g} |" for name, (s, _) in clips.items()
    ]
    lines += [f"| {name} | {what[name]} | {seconds:.3g} |" for name, seconds in pieces.items()]

    def of(stage: str) -> list[Cost]:
        return [cost for cost in found if cost.stage == stage]

    text = TEMPLATE.read_text().format(
        date=machine["date"], cpu=machine["cpu"], cores=machine["cores"], memory=machine["memory_gb"],
        n_rows=len(settings.experiments.rows), n_networks=len(settings.networks), workers=WORKERS, gpu=GPU_TIMES,
        hours=totals["core"] / CORES / HOUR, features=sum(c.core_seconds for c in of("features")) / CORES / HOUR,
        fits=sum(c.core_seconds for c in of("fits")) / CORES / HOUR, disk=totals["disk"] / 1e9,
        predictions=sum(c.disk for c in of("fits")) / 1e9, stages=stages, n_partitions=len(parts),
        n_outer=settings.splits.n_outer_folds, n_features=N_FEATURES, n_folds=settings.splits.n_folds,
        share=1 / sum((len(part.train) / N_FITTED) ** 2 for part in parts), pieces="\n".join(lines),
    )  # fmt: skip
    print(text)
    if not quick:
        PLAN.write_text(text)


if __name__ == "__main__":
    main()

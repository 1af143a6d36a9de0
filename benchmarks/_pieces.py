"""The pieces of the paper's run, measured: at its shapes, but for few voxels or few clips, or by other benchmarks."""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cinevox.files import io
from cinevox.fitting import feature_spaces, fits
from cinevox.measured.conversion import BLOCK, write_responses
from cinevox.measured.responses import Block, Columns
from cinevox.project import params, plugins
from cinevox.project.params import Params, Row
from cinevox.scoring import scores
from cinevox.statistics import metrics
from cinevox.statistics.significance import permutation_test, permuted_clips
from cinevox.statistics.splits import partitions, split
from cinevox.stimuli import features

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
N_TRAIN, N_TEST = 1000, 102
N_CLIPS = N_TRAIN + N_TEST
# Voxels of the ten subjects, as the challenge's files have them.
VOXELS = {"mini": 29_623, "full": 161_326}
N_BLOCKS = {"mini": 90, "full": 10}
CORES = 2


def layer_sizes(settings: Params) -> dict[str, list[int]]:
    """Features of every layer of every network, from the networks themselves (their weights do not matter)."""
    shape = (16, settings.frames.size, settings.frames.size, 3)
    found = {}
    for name, network in settings.networks.items():
        untrained = network.model_copy(update={"weights": "random", "file": None})
        extraction = features.prepare(name, untrained, settings.features, shape)
        found[name] = [int(np.prod(extraction.shape(layer, 1)[1:])) for layer in extraction.layers]
    return found


@dataclass(frozen=True)
class Measured:
    """Seconds on one core of a piece of work."""

    seconds: float
    spread: tuple[float, float]


def timed(run: Callable[[], Any], repeats: int = 3) -> Measured:
    """Median of repeats after a warm-up; what takes over ten seconds is run once."""
    start = time.perf_counter()
    run()
    seconds = [time.perf_counter() - start]
    if seconds[0] < 10:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    print(f"{seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return Measured(float(np.median(seconds)), (min(seconds), max(seconds)))


def from_results(name: str, title: str) -> float:
    """Median seconds of this project's side of a case of another benchmark."""
    for case in json.loads((RESULTS / f"{name}.json").read_text())["cases"]:
        if case["title"].startswith(title):
            return float(case["ours"]["median"])
    raise KeyError(f"{name}: no case {title}")


def n_items(name: str, title: str) -> int:
    cases = json.loads((RESULTS / f"{name}.json").read_text())["cases"]
    return int(next(case["n_items"] for case in cases if case["title"].startswith(title)))


def fit_seconds(settings: Params, row: Row, n_features: int, n_layers: int, n_voxels: int) -> Measured:
    """One candidate on so many voxels: the row's regressor with the paper's options, 900 training clips."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((N_CLIPS, 40)).astype(np.float32)
    [candidate, *_] = feature_spaces.candidates(row.features, [f"layer{k}" for k in range(n_layers)])
    layers = {
        name: (latents @ rng.standard_normal((40, n_features)) + rng.standard_normal((N_CLIPS, n_features))).astype(
            np.float32
        )
        for name in candidate.spaces
    }
    signal = latents[:, :8] @ rng.standard_normal((8, n_voxels))
    measured = (signal + 3 * rng.standard_normal((N_CLIPS, n_voxels)) * signal.std()).astype(np.float32)[:N_TRAIN]
    size = round(VOXELS["mini"] / N_BLOCKS["mini"])
    columns = Columns(
        tuple(
            Block("sub01", f"ROI{k}", min(size, n_voxels - start)) for k, start in enumerate(range(0, n_voxels, size))
        )
    )
    [partition] = partitions(split(N_TRAIN, N_TEST, settings.splits), settings.splits)
    method = fits.Method.of(row.regressor, settings)

    def run() -> None:
        list(fits.fit([candidate], layers, measured, columns, partition, method))

    print(f"{row.name}, {n_features} features: ", end="", file=sys.stderr, flush=True)
    return timed(run, repeats=2)


def score_seconds(n_clips: int, n_bootstraps: int, n_voxels: int = 4000) -> Measured:
    rng = np.random.default_rng(0)
    measured, predicted = (rng.standard_normal((n_clips, n_voxels)).astype(np.float32) for _ in range(2))
    columns = Columns(tuple(Block("sub01", f"ROI{k}", n_voxels // 10) for k in range(10)))
    resamples = metrics.resampled_clips(n_clips, n_bootstraps, rng)
    return timed(lambda: scores.score(measured, predicted, np.full(n_voxels, 0.6), columns, resamples))


def permute_seconds(n_clips: int, n_permutations: int, n_voxels: int = 4000) -> Measured:
    rng = np.random.default_rng(0)
    measured, predicted = (rng.standard_normal((n_clips, n_voxels)).astype(np.float32) for _ in range(2))
    orders = permuted_clips([n_clips], n_permutations, rng)
    weights = np.full((n_voxels, 1), 1 / n_voxels)
    return timed(lambda: permutation_test([measured], [predicted], weights, orders))


def convert_seconds_per_byte() -> float:
    """Reading a response pickle and writing its arrays, seconds a byte of single trials."""
    values = {"train": np.random.default_rng(0).standard_normal((N_TRAIN, 3, 4000), dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "WB.pkl"
        path.write_bytes(pickle.dumps(values, protocol=4))

        def run() -> None:
            write_responses(Path(folder), io.read_pickle(path, mapped=True)["train"], BLOCK)

        return timed(run).seconds / values["train"].nbytes


def peak_of_fit(track: str) -> float:
    """Highest memory, in bytes, of a process that holds a track's responses and fits RES on one candidate of it."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import _pieces; _pieces.hold({track!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def hold(track: str) -> None:
    settings = params.load(ROOT / "params.paper.yaml")
    rng = np.random.default_rng(0)
    n_voxels = VOXELS[track]
    measured = np.empty((N_TRAIN, n_voxels), dtype=np.float32)
    for start in range(0, n_voxels, 10_000):
        part = measured[:, start : start + 10_000]
        part[...] = rng.standard_normal(part.shape, dtype=np.float32)
    layers = {"layer": rng.standard_normal((N_CLIPS, 100)).astype(np.float32)}
    columns = Columns((Block("sub01", "WB", n_voxels),))
    [partition] = partitions(split(N_TRAIN, N_TEST, settings.splits), settings.splits)
    method, candidates = fits.Method.of("res", settings), feature_spaces.candidates("layer", ["layer"])
    with threadpool_limits(1):
        list(fits.fit(candidates, layers, measured, columns, partition, method))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def line(what: str, n_voxels: int, found: Measured) -> str:
    low, high = found.spread
    return f"| {what} | {n_voxels:,} voxels | {found.seconds:.2f} ({low:.2f}-{high:.2f}) |"


def fit_pieces(
    settings: Params, row: Row, n_features: int, n_layers: int, quick: bool, log: list[str]
) -> tuple[float, float]:
    """Seconds of a feature space and of a voxel on it, of one row; similarities of all voxels are made once a space."""
    what = f"{row.regressor}, {row.features}, {n_features:,} features" + (" x all layers" if n_layers > 2 else "")
    together = plugins.load("regressors", row.regressor).voxels == "all"
    slow = row.regressor in ("multitask_elastic_net", "sparse_linear")
    sizes = (500, 4000) if together else (32 if n_layers > 2 else 329 if slow or quick else 2000,)
    found = [fit_seconds(settings, row, n_features, n_layers, n_voxels) for n_voxels in sizes]
    log.extend(line(what, n_voxels, one) for n_voxels, one in zip(sizes, found))
    if not together:
        return 0.0, found[0].seconds / sizes[0]
    slope = max(0.0, (found[1].seconds - found[0].seconds) / (sizes[1] - sizes[0]))
    return max(0.0, found[0].seconds - slope * sizes[0]), slope


def measure(settings: Params, sizes: Mapping[str, list[int]], quick: bool) -> tuple[dict[str, float], list[str]]:
    """Core seconds of every piece, and a line about each that was measured here."""
    pieces = {"clip, decoded": from_results("decoding", "40 clips, 16 frames of each, one process") / 40}
    for name in settings.networks:
        pieces[f"clip, {name}"] = CORES * from_results("features", name + ",") / n_items("features", name + ",")
    pieces["PCA, a feature"] = from_results("reduction", "100 components") / 290_400
    for row in settings.experiments.roiwise.values():
        pieces[f"epoch, {row.name}"] = from_results("transfer", row.name)
    log: list[str] = []
    known: dict[tuple, tuple[float, float]] = {}
    for row in settings.experiments.voxelwise.values():
        raw, n_layers = "_raw" in row.features, len(sizes[row.network])
        mean = int(np.mean(sizes[row.network]))
        n_features = min(mean, 20_000) if raw else settings.reduction.n_components
        used = n_layers if row.features.startswith("all") else 2
        key = (row.features, row.regressor, n_features, used)
        if key not in known:
            known[key] = fit_pieces(settings, row, n_features, used, quick, log)
        pieces[f"space, {row.name}"] = known[key][0] * (mean / n_features if raw else 1)
        pieces[f"voxel, {row.name}"] = known[key][1]
    for name, one in (
        ("scored", score_seconds(102, settings.scores.n_bootstraps)),
        ("permuted", permute_seconds(102, settings.scores.n_permutations)),
    ):
        pieces[f"voxel, {name}"] = one.seconds / 4000
        log.append(line(f"{name}: 102 clips, 1,000 draws", 4000, one))
    pieces["byte, converted"] = convert_seconds_per_byte()
    log.append(f"| converting responses | 1 GB | {pieces['byte, converted'] * 1e9:.2f} |")
    return pieces, log

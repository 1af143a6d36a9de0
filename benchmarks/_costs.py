"""The cost of every stage of the paper's run: the measured pieces, each times how often it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from _pieces import CORES, N_BLOCKS, N_CLIPS, N_TRAIN, VOXELS
from cinevox.fitting import feature_spaces
from cinevox.project.params import Params, Row

GPU_TIMES, WORKERS = 30.0, 16  # what is assumed of a GPU, against two cores, and the size of the cluster reckoned with
GIB, HOUR = 2**30, 3600.0


@dataclass(frozen=True)
class Cost:
    """One stage (of one instance): seconds on one core, bytes written; where a GPU or workers help."""

    stage: str
    instance: str
    core_seconds: float
    disk: float
    on_gpu: bool = False
    spreads: bool = False


def costs(settings: Params, sizes: Mapping[str, list[int]], pieces: dict[str, float]) -> list[Cost]:
    size = settings.frames.size
    trials = sum(VOXELS.values()) * N_TRAIN * 3 * 4
    found = [
        Cost("conversion", "train", pieces["byte, converted"] * trials, trials * 4 / 3, spreads=True),
        Cost("frames", "16", N_CLIPS * pieces["clip, decoded"], N_CLIPS * 16 * size**2 * 3, spreads=True),
    ]
    for name in settings.networks:
        total = sum(sizes[name])
        found.append(Cost("features", name, N_CLIPS * pieces[f"clip, {name}"], N_CLIPS * total * 4, on_gpu=True))
        n_layers = len(sizes[name])
        seconds = pieces["PCA, a feature"] * total * N_CLIPS / N_TRAIN
        found.append(Cost("reduction", name, seconds, N_CLIPS * 100 * 4 * n_layers, spreads=True))
    for name, base in settings.bases.items():
        kept = sizes[base.network][-3] if base.network == "alexnet" else 512
        found.append(
            Cost("bases", name, N_CLIPS * pieces[f"clip, {base.network}"], N_CLIPS * 16 * kept * 2, on_gpu=True)
        )
    for row in settings.experiments.rows.values():
        found += list(row_costs(settings, row, sizes, pieces))
    return found


def row_costs(settings: Params, row: Row, sizes: Mapping[str, list[int]], pieces: dict[str, float]) -> list[Cost]:
    n_voxels = VOXELS[row.track]
    n_layers = len(sizes[row.network])
    predictions = 202 * n_voxels * 4
    if row.is_transfer:
        n_spaces = 1
        epochs = settings.transfer.n_epochs * 10 * N_TRAIN / 36
        found = [Cost("transfer", row.name, pieces[f"epoch, {row.name}"] * CORES * epochs, predictions, on_gpu=True)]
    else:
        n_spaces = len(feature_spaces.candidates(row.features, [str(k) for k in range(n_layers)]))
        seconds = n_spaces * (pieces[f"space, {row.name}"] + pieces[f"voxel, {row.name}"] * n_voxels)
        found = [Cost("fits", row.name, seconds, predictions * n_spaces, spreads=True)]
    scored = pieces["voxel, scored"] * n_voxels * n_spaces * 2
    chosen = (pieces["voxel, scored"] + pieces["voxel, permuted"]) * n_voxels * 2
    drawn = settings.scores.n_bootstraps * N_BLOCKS[row.track] * 4 * 2
    found.append(Cost("scores", row.name, scored, n_spaces * (n_voxels * 4 * 4 + drawn), spreads=True))
    found.append(Cost("selection", row.name, chosen, n_voxels * 4 * 8 + drawn, spreads=True))
    return found


def table(found: list[Cost]) -> tuple[str, dict[str, float]]:
    lines, totals = [], {"core": 0.0, "gpu": 0.0, "cluster": 0.0, "disk": 0.0}
    for stage in dict.fromkeys(cost.stage for cost in found):
        own = [cost for cost in found if cost.stage == stage]
        seconds, disk = sum(cost.core_seconds for cost in own), sum(cost.disk for cost in own)
        gpu = seconds / CORES / (GPU_TIMES if own[0].on_gpu else 1)
        cluster = seconds / CORES / (WORKERS if own[0].spreads else 1)
        for name, value in zip(totals, (seconds, gpu, cluster, disk)):
            totals[name] += value
        hours = " | ".join(f"{value / HOUR:.1f}" for value in (seconds, seconds / CORES, gpu, cluster))
        lines.append(f"| {stage} | {len(own)} | {hours} | {disk / 1e9:.1f} |")
    hours = " | ".join(
        f"**{value / HOUR:.0f}**"
        for value in (totals["core"], totals["core"] / CORES, totals["gpu"], totals["cluster"])
    )
    lines.append(f"| **all** | {len(found)} | {hours} | **{totals['disk'] / 1e9:.0f}** |")
    return "\n".join(lines), totals

"""Result files as the stages write them, of a small made-up run: for the tests of what reads results."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cinevox import io, metrics, params, predictions, scores, selection
from cinevox.paths import Paths
from cinevox.responses import Block, Columns

LAYERS = ("layer_1", "layer_2", "layer_3", "layer_4", "layer_5")
SUBJECTS = ("sub01", "sub02", "sub03")
BEST = dict(zip(params.MINI_ROIS, (0, 0, 1, 1, 2, 3, 3, 2, 4)))  # the layer that drives each ROI
ROWS = (
    "mini-alexnet-layer-sparse_linear",
    "mini-efficientnet_lite0-layer-ridge",
    "full-efficientnet_lite0-layer-ridge",
)
TRANSFER = "mini-alexnet-frozen-two_lstm"
N_CLIPS = {"validation": 24, "test": 60}


def document(transfer: bool = False) -> dict[str, Any]:
    """This repository's params.yaml with few rows, subjects as made up here; one row of transfer networks if asked."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    found["experiments"]["voxelwise"] = {name: found["experiments"]["voxelwise"][name] for name in ROWS}
    found["experiments"]["voxelwise"][ROWS[0]]["reported"] = 0.42
    kept = [TRANSFER] if transfer else []
    found["experiments"]["roiwise"] = {name: found["experiments"]["roiwise"][name] for name in kept}
    found["dataset"]["subjects"] = list(SUBJECTS)
    found["report"]["brain_row"] = ROWS[-1]
    found["scores"]["n_bootstraps"] = 50
    return found


def columns_of(track: str) -> Columns:
    if track == "full":
        return Columns(tuple(Block(subject, "WB", 300) for subject in SUBJECTS))
    sizes = {"LOC": 60, "V4": 12}
    return Columns(tuple(Block(s, roi, sizes.get(roi, 25)) for s in SUBJECTS for roi in params.MINI_ROIS))


def make(root: Path, test: bool = True, transfer: bool = False) -> params.Params:
    """Write params.yaml and the files of ceiling, scores, selection and metrics under `root`.

    test: whether there are responses to the test clips; transfer: whether there is a row of transfer networks
    """
    shutil.copytree(_made(test, transfer), root, dirs_exist_ok=True)
    return params.load(Paths(root).params)


@cache
def _made(test: bool, transfer: bool) -> Path:
    """Made once a test process; kept only as long as it."""
    root = Path(tempfile.mkdtemp(prefix="fabricated-"))
    atexit.register(shutil.rmtree, root)
    paths = Paths(root)
    paths.params.write_text(yaml.safe_dump(document(transfer), sort_keys=False))
    settings = params.load(paths.params)
    splits = ("validation", "test") if test else ("validation",)
    for track in dict.fromkeys(row.track for row in settings.experiments.rows.values()):
        columns = columns_of(track)
        io.write_arrays(paths.ceiling(track) / "reliability.npz", **{s: reliability(columns) for s in splits})
        io.write_json(
            paths.ceiling(track) / "index.json",
            {"columns": columns.to_json(), "n_repetitions": {"validation": 3, "test": 10}},
        )
    for number, row in enumerate(settings.experiments.rows.values()):
        _row(paths, settings, row, number, splits)
    return root


def reliability(columns: Columns) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(rng.normal(0.45, 0.2, columns.n_voxels), -0.2, 0.95)


def _row(paths: Paths, settings: params.Params, row: params.Row, number: int, splits: tuple[str, ...]) -> None:
    columns = columns_of(row.track)
    rng = np.random.default_rng(10 + number)
    tables: dict[str, list[pd.DataFrame]] = {"rois": [], "subjects": []}
    arrays: dict[str, np.ndarray] = {}
    replicates: dict[str, np.ndarray] = {}
    known = reliability(columns)
    spaces = ("frozen",) if isinstance(row, params.RoiwiseRow) else LAYERS
    for split in splits:
        n = N_CLIPS[split]
        ceiling, _ = metrics.noise_ceiling(known, settings.ceiling.policy, settings.ceiling.min_reliability)
        resamples = metrics.resampled_clips(n, settings.scores.n_bootstraps, np.random.default_rng(0))
        measured = rng.standard_normal((n, columns.n_voxels)).astype(np.float32)
        measured[:, 3] = 1.0
        found = []
        for position, space in enumerate(spaces):
            predicted = _predicted(rng, measured, columns, position, known, gain=0.8 if number == 0 else 1.0)
            found.append(scores.score(measured, predicted, ceiling, columns, resamples))
            label = {"space": space, "split": split}
            tables["subjects"].append(found[-1].blocks.assign(**label))
            roi_table = scores.roi_table(found[-1], columns.rois, settings.scores.confidence)
            tables["rois"].append(roi_table.assign(**label))
        arrays[f"{split}.correlation"] = np.stack([result.correlation for result in found])
        arrays[f"{split}.normalized"] = np.stack([result.normalized for result in found])
        replicates[split] = np.stack([result.replicates for result in found])
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    folder = paths.scores(row.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in joined.items():
        table.set_index(["space", "split"]).to_csv(folder / f"{name}.csv")
    io.write_arrays(folder / "voxels.npz", **arrays)
    weights = {
        "policy": "random" if row.network == "alexnet" else "package",
        "source": "made up",
        "sha256": f"{number}" * 64,
        "licence": "Apache-2.0",
    }
    diagnostics = {"frozen": training(columns)} if isinstance(row, params.RoiwiseRow) else {}
    index = predictions.Index(
        spaces,
        {s: np.arange(N_CLIPS[s]) for s in splits},
        columns,
        row.model_dump() | {"weights": weights},
        diagnostics,
    )
    predictions.write_index(folder, index)
    chosen = selection.choose(joined["rois"], "validation", {})
    selected = {
        split: selection.selected_scores(
            chosen,
            joined["subjects"][joined["subjects"]["split"] == split],
            joined["rois"][joined["rois"]["split"] == split],
            dict(zip(spaces, replicates[split])),
            settings.scores.confidence,
        )
        | {"chosen_here": split == "validation"}
        for split in splits
    }
    io.write_json(
        paths.selection(row.name) / "selection.json",
        {"row": row.name, "policy": "validation", "chosen": chosen, "scores": selected},
    )
    io.write_json(paths.metrics(row.name), selection.headline(selected))


def training(columns: Columns) -> dict[str, Any]:
    """What transfer networks tell of their training; the best one's weights are not there."""
    curve = {"loss": [0.9, 0.6, 0.5], "train_correlation": [0.1, 0.4, 0.5], "validation_correlation": [0.0, 0.3, 0.2]}
    best = {"best_epoch": {"min": 2, "median": 2.0, "max": 2}, "best_network": "sub01-V1"}
    return best | {"curves": dict.fromkeys(columns.rois, curve)}


def _predicted(
    rng: np.random.Generator, measured: np.ndarray, columns: Columns, position: int, known: np.ndarray, gain: float
) -> np.ndarray:
    best = np.concatenate([np.full(b.n_voxels, BEST.get(b.roi, 2)) for b in columns.blocks])
    quality = gain * np.exp(-0.35 * (best - position) ** 2) * np.sqrt(np.clip(known, 0.0, 1)) * 0.75
    noise = rng.standard_normal(measured.shape)
    return (quality * measured + np.sqrt(1 - quality**2) * noise).astype(np.float32)

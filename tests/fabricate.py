"""Result files as the stages write them, of a small made-up run: for the tests of what reads results."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured import response_store
from cinevox.measured.responses import Block, Columns
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics, row_results, scores, selection
from cinevox.scoring import origin as provenance
from cinevox.statistics import metrics
from cinevox.statistics.splits import ceiling_split, generator

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
N_OUTER = 3
FOLDS = (
    *(f"outer-{k}" for k in range(1, N_OUTER + 1)),
    *(f"inner-{k}-{j}" for k in range(1, N_OUTER + 1) for j in range(1, N_OUTER + 1) if k != j),
)
N_CLIPS |= dict.fromkeys(FOLDS, 20)


def document(transfer: bool = False, nested: bool = False) -> dict[str, Any]:
    """This repository's params.yaml with few rows, subjects as made up here; one row of transfer networks if asked."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    found["experiments"]["voxelwise"] = {name: found["experiments"]["voxelwise"][name] for name in ROWS}
    found["experiments"]["voxelwise"][ROWS[0]]["reported"] = 0.42
    kept = [TRANSFER] if transfer else []
    found["experiments"]["roiwise"] = {name: found["experiments"]["roiwise"][name] for name in kept}
    found["dataset"]["subjects"] = list(SUBJECTS)
    found["report"]["brain_row"] = ROWS[-1]
    found["submission"]["rows"] = {"mini": ROWS[1], "full": ROWS[-1]}
    found["scores"] |= {"n_bootstraps": 50, "n_permutations": 40}
    if nested:
        found["splits"]["n_outer_folds"], found["selection"]["policy"] = N_OUTER, "nested"
    return found


def columns_of(track: str) -> Columns:
    if track == "full":
        return Columns(tuple(Block(subject, "WB", 300) for subject in SUBJECTS))
    sizes = {"LOC": 60, "V4": 12}
    return Columns(tuple(Block(s, roi, sizes.get(roi, 25)) for s in SUBJECTS for roi in params.MINI_ROIS))


def make(
    root: Path, test: bool = True, transfer: bool = False, nested: bool = False, once: tuple[str, ...] = ()
) -> params.Params:
    """Write params.yaml and the files of ceiling, scores, selection and metrics under `root`.

    test: whether there are responses to the test clips; transfer: whether there is a row of transfer networks
    nested: whether layers are chosen in outer folds (of transfer networks there are none)
    once: the splits (validation, test) whose clips were shown once, so that they have no ceiling
    """
    shutil.copytree(_made(test, transfer, nested, once), root, dirs_exist_ok=True)
    return params.load(Paths(root).params)


@cache
def _made(test: bool, transfer: bool, nested: bool, once: tuple[str, ...]) -> Path:
    """Made once a test process; kept only as long as it."""
    root = Path(tempfile.mkdtemp(prefix="fabricated-"))
    atexit.register(shutil.rmtree, root)
    paths = Paths(root)
    paths.params.write_text(yaml.safe_dump(document(transfer, nested), sort_keys=False))
    settings = params.load(paths.params)
    splits = ("validation", "test") if test else ("validation",)
    for track in dict.fromkeys(row.track for row in settings.experiments.rows.values()):
        columns = columns_of(track)
        known = {split: reliability(columns) for split in splits if split not in once}
        io.write_arrays(paths.ceiling(track) / "reliability.npz", **known)
        shown = {split: 1 if split in once else {"validation": 3, "test": 10}[split] for split in splits}
        io.write_json(paths.ceiling(track) / "index.json", {"columns": columns.to_json(), "n_repetitions": shown})
    for number, row in enumerate(settings.experiments.rows.values()):
        _row(paths, settings, row, number, splits, once)
    return root


def reliability(columns: Columns) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(rng.normal(0.45, 0.2, columns.n_voxels), -0.2, 0.95)


def _row(
    paths: Paths, settings: params.Params, row: params.Row, number: int, splits: tuple[str, ...], once: tuple[str, ...]
) -> None:
    columns, known = columns_of(row.track), reliability(columns_of(row.track))
    is_transfer = row.is_transfer
    spaces = ("frozen",) if is_transfer else LAYERS
    ceilings = splits
    if settings.splits.n_outer_folds and not is_transfer:
        splits = (*splits, *FOLDS)
    rng = np.random.default_rng(10 + number)
    measured, predicted = {}, {}
    for split in splits:
        measured[split] = rng.standard_normal((N_CLIPS[split], columns.n_voxels)).astype(np.float32)
        measured[split][:, 3] = 1.0
        for position, space in enumerate(spaces):
            gain = 0.8 if number == 0 else 1.0
            predicted[split, space] = _predicted(rng, measured[split], columns, position, known, gain)
    reached, _ = metrics.noise_ceiling(known, settings.ceiling.policy, settings.ceiling.min_reliability)
    ceiling = {split: None if split in once else reached for split in ceilings}
    weights = {
        "policy": "random" if row.network == "alexnet" else "package",
        "source": "made up",
        "sha256": f"{number}" * 64,
        "licence": "Apache-2.0",
        "official": row.network != "alexnet",
    }
    index = prediction_store.Index(
        spaces,
        {s: np.arange(N_CLIPS[s]) for s in splits},
        columns,
        row.model_dump() | {"weights": weights} | ({"chosen_on": "validation"} if is_transfer else {}),
        {"frozen": training(columns)} if is_transfer else {},
    )
    candidates = _candidates(paths, settings, row.name, index, measured, predicted, ceiling)
    found = selection.select(candidates, settings.selection, {}, measured, predicted, ceiling, settings.scores)
    outcomes.write(paths.selection(row.name), found.outcome)
    io.write_arrays(paths.selection(row.name) / "voxels.npz", **found.arrays())
    row_metrics.write(paths.metrics(row.name), found.outcome)


CHALLENGE = claims.Challenge(subjects=SUBJECTS, n_train_clips=240, n_test_clips=N_CLIPS["test"])  # as small as this


def origin(index: prediction_store.Index) -> provenance.Origin:
    study = response_store.Study("insilico", "In-silico", in_silico=True)
    found = provenance.Origin.of(index, response_store.Converted(Path(), {}, study))
    return replace(found, n_train_clips=240)


def of_origin(found: row_results.Result, **changes: Any) -> row_results.Result:
    """A result with other values in its origin."""
    origin = replace(found.outcome.origin, **changes)
    return replace(found, outcome=found.outcome.model_copy(update={"origin": origin}))


def recorded(paths: Paths, row: str, **changes: Any) -> None:
    """Put other values into the origin of a row's result, in its selection and its metrics."""
    found = _outcome(paths, row)
    _rewrite(paths, found.model_copy(update={"origin": replace(found.origin, **changes)}))


def scored(paths: Paths, row: str, roi: str, change: float) -> None:
    """Add to the score of an ROI on the split that counts, in the row's selection and its metrics."""
    found = _outcome(paths, row)
    values = found.best.rois[roi]
    more = {name: getattr(values, name) + change for name in ("score", "normalized_correlation")}
    found.best.rois[roi] = values.model_copy(update=more)
    _rewrite(paths, found)


def _outcome(paths: Paths, row: str) -> outcomes.Outcome:
    return outcomes.read(paths.selection(row), params.load(paths.params).experiments.rows[row])


def _rewrite(paths: Paths, outcome: outcomes.Outcome) -> None:
    outcomes.write(paths.selection(outcome.row), outcome)
    row_metrics.write(paths.metrics(outcome.row), outcome)


def _candidates(
    paths: Paths,
    settings: params.Params,
    name: str,
    index: prediction_store.Index,
    measured: dict[str, np.ndarray],
    predicted: dict[tuple[str, str], np.ndarray],
    ceiling: dict[str, np.ndarray | None],
) -> selection.Candidates:
    """Scores of every candidate, written as the stage scores does."""
    tables: dict[str, list[pd.DataFrame]] = {"rois": [], "subjects": []}
    arrays, replicates = {}, {}
    for split, responses in measured.items():
        drawn = 0 if split.startswith("inner") else settings.scores.n_bootstraps
        resamples = metrics.resampled_clips(len(responses), drawn, generator(settings.scores.seed, split))
        found = [
            scores.score(responses, predicted[split, space], ceiling[ceiling_split(split)], index.columns, resamples)
            for space in index.spaces
        ]
        for space, result in zip(index.spaces, found):
            label = {"space": space, "split": split}
            tables["subjects"].append(result.blocks.assign(**label))
            table = scores.roi_table(result, index.columns.rois, settings.scores.confidence)
            tables["rois"].append(table.assign(**label))
        arrays[f"{split}.correlation"] = np.stack([result.correlation for result in found])
        if ceiling[ceiling_split(split)] is not None:
            arrays[f"{split}.normalized"] = np.stack([result.normalized for result in found])
        replicates[split] = np.stack([result.replicates for result in found])
    joined = {kind: pd.concat(parts, ignore_index=True) for kind, parts in tables.items()}
    folder = io.folder(paths.scores(name))
    for kind, table in joined.items():
        table.set_index(["space", "split"]).to_csv(folder / f"{kind}.csv")
    io.write_arrays(folder / "voxels.npz", **arrays)
    io.write_arrays(folder / "replicates.npz", **replicates)
    prediction_store.write_index(folder, index)
    return selection.Candidates(index, origin(index), joined["subjects"], arrays, replicates)


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

"""Inspection of the steps' results: tables with one row per ceiling, layer, PCA and file of predictions.

Nothing here judges; the suites in `expectations/` do. Of a large array a part is read, clips evenly spread over it:
shapes, types and the scale are those of the whole, a single bad number in a clip that was not read is not seen
(the steps themselves refuse what is not finite).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured.responses import Columns
from cinevox.project.params import Ceiling, EnsembleRow, Params, Reduction, expanded
from cinevox.project.paths import Paths
from cinevox.statistics import metrics, splits
from cinevox.stimuli.named_spaces import pca_of

Row = dict[str, Any]
READ_VALUES = 16_000_000  # of one array: 64 MB as float32


def tables(paths: Paths, params: Params) -> dict[str, list[Row]]:
    """Suite -> rows, for the tracks, networks, bases and rows of the parameters.

    params: has the sections dataset, splits, reduction, spaces, ceiling, networks, bases, experiments

    Raises
    ------
    FileError
        A sidecar or an index is missing or broken: its stage has not run.
    """
    clips = io.read_json(paths.validation / "clips.json")
    scale = io.read_json(paths.validation / "scale.json")
    layers = [delayed(_layer)(path, (clips["n_clips"], *shape), dtype) for path, shape, dtype in _layers(paths, params)]
    predicted = [
        delayed(_predicted)(folder, index, cohort, space, split, scale)
        for folder, index in (
            (f, prediction_store.read_index(f)) for f in map(paths.predictions, params.experiments.rows)
        )
        for cohort in index.cohorts
        for space in index.spaces
        for split in cohort.clips
    ]
    n_train = clips["n_train_clips"]
    groups = np.array(clips["together"]) if "together" in clips else None
    divided = splits.split(n_train, clips["n_clips"] - n_train, params.splits, groups)
    parts = splits.partitions(divided, params.splits, groups)
    clip_names = {
        network: [clip["name"] for clip in io.read_json(paths.frames(settings.n_frames) / "clips.json")]
        for network, settings in params.networks.items()
    }
    fitted = [
        delayed(_components)(
            paths.components(network, part.folder, named) / f"{name}.npy", part.train, pca, described, names
        )
        for network, names in clip_names.items()
        for named, name, pca, described in _reduced(paths, params, network)
        for part in parts
    ]
    found: list[Row] = Parallel()(layers + fitted + predicted)
    n_layers, n_fitted = len(layers), len(layers) + len(fitted)
    ceilings = [row for track in params.dataset.tracks for row in _ceilings(paths, track, params.ceiling)]
    return {
        "ceilings": ceilings,
        "features": found[:n_layers],
        "components": found[n_layers:n_fitted],
        "predictions": found[n_fitted:],
    }


def _reduced(paths: Paths, params: Params, network: str) -> Iterator[tuple[bool, str, Reduction, Mapping[str, Any]]]:
    """Layers and named spaces with components: whether it is a named space, its name, its PCA, what is recorded."""
    recorded, spaces = io.read_json(paths.reduction(network) / "reduction.json"), expanded(params.spaces)
    for name, described in recorded["layers"].items():
        yield False, name, params.reduction, described
    for name, described in recorded["spaces"].items():
        pca = pca_of(spaces[name], params.reduction) if name in spaces else None
        if pca is None:
            raise FileError(f"{paths.reduction(network)}: components of {name}, which has none; run `dvc repro`")
        yield True, name, pca, described


def _ceilings(paths: Paths, track: str, settings: Ceiling) -> Iterator[Row]:
    folder = paths.ceiling(track)
    columns = Columns.from_json(io.read_json(folder / "index.json")["columns"])
    for split, reliability in io.read_arrays(folder / "reliability.npz").items():
        for block, where in zip(columns.blocks, columns.slices):
            part = reliability[where]
            finite = part[np.isfinite(part)]
            yield {
                "file": f"{folder.as_posix()}/reliability.npz {split} {block.subject} {block.roi}",
                "n_voxels": block.n_voxels,
                "n_values": len(part),
                "n_not_finite": len(part) - len(finite),
                "largest": round(float(finite.max(initial=-1.0)), 6),
                "share_reliable": round(float(np.mean(part >= settings.min_reliability)), 4) if len(part) else 0.0,
            }


def _layers(paths: Paths, params: Params) -> Iterator[tuple[Path, tuple[int, ...], str]]:
    """Arrays of features, their components and the bases: file, shape of a clip, type."""
    for network in params.networks:
        sidecar = io.read_json(paths.features(network) / "features.json")
        whole = {layer["name"]: layer | {"over_frames": sidecar["over_frames"]} for layer in sidecar["layers"]}
        for name, taken in (whole | {found["name"]: found for found in sidecar["maps"]}).items():
            times = (taken["n_times"],) if taken["over_frames"] == "none" else ()
            yield paths.features(network) / f"{name}.npy", (*times, taken["n_features"]), sidecar["dtype"]
        for named, name, _, described in _reduced(paths, params, network):
            yield paths.components(network, "", named) / f"{name}.npy", (described["n_components"],), "float32"
    for base in params.bases:
        sidecar = io.read_json(paths.base(base) / "base.json")["features"]
        for layer in sidecar["layers"]:
            shape = (sidecar["n_frames"], layer["n_features"])
            yield paths.base(base) / f"{layer['name']}.npy", shape, sidecar["dtype"]


def _layer(path: Path, shape: tuple[int, ...], dtype: str) -> Row:
    row: Row = {"file": path.as_posix(), "fault": None, "dtype_expected": dtype}
    try:
        whole = io.read_array(path, shape, "n_clips, features" if len(shape) == 2 else "n_clips, n_frames, features")
    except FileError as error:
        return row | {"fault": str(error).removeprefix(f"{path}: ")}
    part = _spread(whole)
    return row | {"dtype": whole.dtype.name, "n_clips_read": len(part)} | _described(part)


def _components(
    path: Path, train: splits.Indices, settings: Reduction, described: Mapping[str, Any], clips: Sequence[str]
) -> Row:
    """Measure what holds only on the clips that scaler and PCA were fitted on: mean 0, no correlation, variance 1.

    The mean is told in standard deviations of its component, and of all components the largest. Of the SDs it is the
    distance from 1: of each where components are normalized, else of the root of their mean variance. The scaler's own
    SDs are seen in the variance of all features together: z-scored on these clips, it is their number, less what the
    floor takes. (The sidecar has that of the first fit; the others' are the same code.)
    """
    row: Row = {"file": path.as_posix(), "fault": None}
    try:
        whole = np.asarray(io.read_array(path), dtype=np.float64)
        trained = whole[train]
    except (FileError, IndexError) as error:
        return row | {"fault": str(error).removeprefix(f"{path}: ")}
    if len(whole) != len(clips):
        return row | {"fault": f"components of {len(whole)} clips; expected {len(clips)}"}
    mean, sd = trained.mean(axis=0), trained.std(axis=0)
    sd[sd == 0] = 1
    z = (whole - mean) / sd
    between = z[train].T @ z[train] / len(train) - np.diag(z[train].any(axis=0).astype(float))
    row |= {"n_train": len(train), "mean": _largest(mean / sd), "correlation": _largest(between)}
    own = trained.std(axis=0)
    row["sd_off"] = _largest((own if settings.normalize else np.sqrt(np.mean(own**2))) - 1)
    if settings.standardize:
        n_varying = described["n_features"] - described["n_constant"]
        row["variance_off"] = _largest((described["variance"] + described["lost"]) / n_varying - 1)
    return row | _held_out(np.abs(z), train, clips)


def _held_out(z: NDArray[np.float64], train: splits.Indices, clips: Sequence[str]) -> Row:
    """The largest component of a clip that was held out of the fit, beside the largest of the training clips.

    z: (n_clips, n_components), magnitudes in standard deviations of the training clips
    """
    others = np.setdiff1d(np.arange(len(z)), train)
    if not len(others) or not z.size:
        return {}
    training, reached = float(z[train].max()), z[others].max(axis=1)
    held_out = float(reached.max())
    return {
        "times_training": round(held_out / training, 2) if training else None,
        "clip": clips[others[int(reached.argmax())]],
        "held_out": round(held_out, 1),
        "training": round(training, 1),
    }


def _largest(values: ArrayLike) -> float:
    return round(float(np.abs(values).max(initial=0)), 6)


def _predicted(
    folder: Path,
    index: prediction_store.Index,
    cohort: prediction_store.Scored,
    space: str,
    split: str,
    scale: Mapping[str, float],
) -> Row:
    path = folder / split / cohort.name / f"{space}.npy"
    row: Row = {"file": path.as_posix(), "fault": None}
    try:
        whole = prediction_store.read(folder, cohort, space, split)
    except FileError as error:
        return row | {"fault": str(error).removeprefix(f"{path}: ")}
    columns, own = cohort.columns.of_rois(index.rois_of(space))
    part = _spread(whole)
    part = part if own.all() else part[:, own]
    row |= {"dtype": whole.dtype.name, "n_clips_read": len(part)} | _described(part)
    # correlation, the loss of transfer networks, has no scale; an ensemble has that of its members, which are checked
    if index.row.is_transfer or isinstance(index.row, EnsembleRow):
        return row
    track, ratios, finite = index.row.track, [], np.where(np.isfinite(part), part, 0)
    for block, where in zip(columns.blocks, columns.slices):
        measured = scale.get(f"{track}/{block.subject}/{block.roi}")
        if measured:
            ratios.append(float(finite[:, where].std(dtype=np.float64)) / measured)
    return row | {"times_measured": round(max(ratios), 3) if ratios else None}


def _spread(array: NDArray[Any]) -> NDArray[np.float32]:
    """All clips, or as many evenly spread ones as READ_VALUES allow (two at least), as (n_clips, n_columns)."""
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    n_read = min(len(flat), max(2, READ_VALUES // max(1, flat.shape[1])))
    clips = np.unique(np.linspace(0, max(0, len(flat) - 1), n_read).astype(np.intp))
    part = np.empty((len(clips), flat.shape[1]), np.float32)
    for row, clip in enumerate(clips):
        part[row] = flat[clip]
    return part


def _described(part: NDArray[np.float32]) -> Row:
    """Numbers that are not finite, and of the others the spread and the share of columns without any."""
    n_not_finite = int(part.size - np.count_nonzero(np.isfinite(part)))
    row: Row = {"n_columns": part.shape[1], "n_not_finite": n_not_finite}
    if not part.size:
        return row
    if n_not_finite:
        part = np.where(np.isfinite(part), part, 0)
    constant = float(np.mean(metrics.is_constant(part)))
    return row | {"share_constant": round(constant, 4), "sd": float(f"{part.std(dtype=np.float64):.4g}")}

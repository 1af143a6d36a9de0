"""Records: what a row is in the store, made from its files, dvc.lock and the parameters."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cinevox import identity, io, results
from cinevox.params import RoiwiseRow, Section
from cinevox.paths import Paths
from cinevox.results import FILES, Result

SECTIONS = (
    "dataset", "splits", "networks", "features", "reduction", "ceiling", "regressors", "bases", "heads", "transfer",
    "scores", "selection",
)  # fmt: skip
STAGES = ("scores", "selection")  # whose entries in dvc.lock make a row's key
ROW_METRICS = ("score", "low", "high", "standard_error", "pooled_score", "p", "subject_error", "p_subjects")
CHANCE_METRICS = ("p", "subject_error", "p_subjects", "significant_fdr", "significant_fwe")
ROI_METRICS = ("normalized_correlation", "correlation", "standard_error", "low", "high")


@dataclass(frozen=True)
class Record:
    """One run to be: a row (with its feature spaces as `children`), or one feature space.

    key: the same for the same results, so a record is stored once
    dataset: name and content hash of the data
    curves: metrics with a value for every epoch of training
    artifact: a file to keep with the run
    """

    name: str
    key: str
    experiment: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: tuple[str, str]
    children: tuple[Record, ...] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    artifact: Path | None = None


def gather(paths: Paths, params: Any) -> tuple[Record, ...]:
    """One record per row of the parameters.

    Each track has its own experiment in the store, `<tracking.experiment>-<track>`. Every parameter that made
    the results is stored, flattened; of sections that hold several things, only the row's own.

    params: has the sections SECTIONS, `experiments` and `tracking`

    Raises
    ------
    FileError
        A row's files are missing or broken.
    """
    sections = {name: _dump(getattr(params, name)) for name in SECTIONS}
    lock = identity.read_lock(paths)
    tags = {"params_hash": identity.digest(sections)}
    if (commit := identity.commit(paths.root)) is not None:
        tags |= {"mlflow.source.git.commit": commit.sha, "dirty": str(commit.dirty).lower()}
    tags |= _validation_tags(paths)
    data = identity.data_hash(lock, params.dataset.folder)
    name = params.tracking.experiment
    found = results.read(paths, params.experiments.rows)
    return tuple(_row_record(paths, lock, result, sections, name, tags, data) for result in found)


def _validation_tags(paths: Paths) -> dict[str, str]:
    """`validation.errors`, `checks.warnings`, ...: what validation found in the data set and in the results."""
    return {
        f"{step}.{name}": str(count)
        for step in ("validation", "checks")
        if paths.metrics(step).is_file()
        for name, count in io.read_json(paths.metrics(step)).items()
    }


def _row_record(
    paths: Paths,
    lock: Mapping[str, Any],
    result: Result,
    params: Mapping[str, Any],
    experiment: str,
    tags: Mapping[str, str],
    data: str,
) -> Record:
    row, weights = result.row, result.index.provenance.get("weights", {})
    key = _key(paths, lock, result)
    own = {"row": row.name} | row.model_dump(exclude={"reported"})
    shared = {
        "data_hash": data,
        "weights_policy": str(weights.get("policy")),
        "weights_sha256": str(weights.get("sha256")),
        "row": row.name,
        "reported_split": result.split,
    } | dict(tags)
    settings = {
        name: value
        for section, values in params.items()
        for name, value in _flat(section, _own_part(section, values, result))
    }
    dataset = (str(params["dataset"]["name"]), data[:36])
    metrics = dict(_selected_metrics(result))
    if row.reported is not None:
        metrics["paper.score"] = row.reported
    chosen = {f"chosen.{roi}": space for roi, space in result.chosen.items()}
    children = tuple(
        _space_record(result, space, key, experiment, own, shared, dataset) for space in result.index.spaces
    )
    everything = {name: _text(value) for name, value in (own | chosen | settings).items()}
    return Record(
        row.name,
        key,
        f"{experiment}-{row.track}",
        everything,
        metrics,
        shared | {"level": "row"},
        dataset,
        children,
        dict(_curves(result)),
        _best_checkpoint(paths, result),
    )


def _curves(result: Result) -> Iterator[tuple[str, list[float]]]:
    """`epoch.<name>`, mean over ROIs, and `epoch.<ROI>.<name>`; a mean ends where the first ROI's does."""
    by_roi = result.curves
    for name in next(iter(by_roi.values()), {}):
        yield f"epoch.{name}", [sum(values) / len(by_roi) for values in zip(*(c[name] for c in by_roi.values()))]
        yield from ((f"epoch.{roi}.{name}", list(curves[name])) for roi, curves in by_roi.items())


def _best_checkpoint(paths: Paths, result: Result) -> Path | None:
    """Weights of the row's best network, where they were kept."""
    path = paths.transfer(result.name) / "checkpoints" / f"{result.best_network}.pt"
    return path if path.is_file() else None


def _space_record(
    result: Result,
    space: str,
    key: str,
    experiment: str,
    own: Mapping[str, Any],
    shared: Mapping[str, str],
    dataset: tuple[str, str],
) -> Record:
    stands_for = " ".join(roi for roi, chosen in result.chosen.items() if chosen == space)
    return Record(
        name=space,
        key=f"{key}/{space}",
        experiment=f"{experiment}-{result.row.track}",
        params={name: _text(value) for name, value in own.items()} | {"space": space},
        metrics=dict(_space_metrics(result, space)),
        tags=dict(shared) | {"level": "space", "chosen_for": stands_for},
        dataset=dataset,
    )


def _selected_metrics(result: Result) -> Iterator[tuple[str, float]]:
    """The row's scores: plain names for the split that counts, `validation.` before those of the other."""
    for split, scores in result.selection["scores"].items():
        prefix = "" if split == result.split else f"{split}."
        named = {name: scores[name] for name in ROW_METRICS}
        for roi, values in scores["rois"].items():
            named |= {f"{roi}.{name}": values[name] for name in ROI_METRICS}
            named |= {f"{roi}.{name}": values[name] for name in CHANCE_METRICS}
            named |= {f"{roi}.{name}": values[name] for name in ("n_voxels", "n_excluded")}
        for subject, values in scores["subjects"].items():
            named[f"{subject}.score"] = values["score"]
            named |= {f"{subject}.{roi}.normalized_correlation": value for roi, value in values["rois"].items()}
        yield from _known(prefix, named)
    for split, found in result.selection["optimism"].items():
        named = {f"optimism.{name}": found[name] for name in ("difference", "low", "high")}
        named |= {f"optimism.choice.{name}": value for name, value in found.get("choice", {}).items()}
        yield from _known("" if split == result.split else f"{split}.", named)


def _space_metrics(result: Result, space: str) -> Iterator[tuple[str, float]]:
    for split in result.selection["scores"]:
        prefix = "" if split == result.split else f"{split}."
        rois = result.table(split)
        rois = rois[rois["space"] == space]
        named: dict[str, float] = {"score": rois["normalized_correlation"].mean(skipna=False)}
        for line in rois.to_dict("records"):
            named |= {f"{line['roi']}.{name}": line[name] for name in ROI_METRICS}
        if split == result.split:
            named |= _by_subject(result.subjects, space, split)
        yield from _known(prefix, named)


def _by_subject(subjects: pd.DataFrame, space: str, split: str) -> dict[str, float]:
    lines = subjects[(subjects["space"] == space) & (subjects["split"] == split)]
    names = lines["subject"] + "." + lines["roi"] + ".normalized_correlation"
    return dict(zip(names, lines["normalized_correlation"]))


def _known(prefix: str, named: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    """What has a value: a mean over no voxel has none, and the store takes no NaN for missing."""
    return (
        (prefix + name, float(value)) for name, value in named.items() if value is not None and math.isfinite(value)
    )


def _key(paths: Paths, lock: Mapping[str, Any], result: Result) -> str:
    """Hash of what made the row: parameters and dependencies in dvc.lock; of its files where DVC did not run it."""
    entries = [lock.get(f"{stage}@{result.name}") for stage in STAGES]
    made = [[entry.get("params"), entry.get("deps")] for entry in entries if entry is not None]
    if len(made) == len(STAGES):
        return identity.digest([result.name, made])
    files = [result.folder / name for name in FILES] + [paths.selection(result.name) / "selection.json"]
    return identity.digest([result.name, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]])


def _own_part(section: str, values: Any, result: Result) -> Any:
    """What of a section made the row: nothing of another kind of row's sections."""
    row = result.row
    if isinstance(row, RoiwiseRow):
        own = {
            "networks": row.network,
            "bases": row.base,
            "heads": row.regressor,
            "regressors": None,
            "reduction": None,
        }
    else:
        own = {"networks": row.network, "regressors": row.regressor, "bases": None, "heads": None, "transfer": None}
    if section not in own:
        return values
    return {name: value for name, value in values.items() if name == own[section]}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    else:
        yield prefix, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _dump(section: Any) -> Any:
    if isinstance(section, Mapping):
        return {name: _dump(value) for name, value in section.items()}
    return section.model_dump(mode="json") if isinstance(section, Section) else section

"""Records: what a row is in the store, made from its files, dvc.lock and the parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cinevox import identity, io, results
from cinevox.params import RoiwiseRow
from cinevox.paths import Paths
from cinevox.results import FILES, Result
from cinevox.tracking import data, history, measures, words

SECTIONS = (
    "dataset", "splits", "networks", "features", "reduction", "ceiling", "regressors", "bases", "heads", "transfer",
    "scores", "selection",
)  # fmt: skip
CHANGES_NOTHING = {  # of the sections: how a thing is computed or where it lies, not what comes out
    "dataset.folder", "dataset.clips", "dataset.responses", "features.batch_size", "features.device",
    "features.memory_format", "transfer.device", "transfer.rois_at_once", "transfer.keep_weights",
}  # fmt: skip
STAGES = ("scores", "selection")  # whose entries in dvc.lock make a row's key


@dataclass(frozen=True)
class Record:
    """One run to be: a row (with its feature spaces as `children`), or one feature space.

    key: the same for the same results, so a record is stored once
    note: the run's description, in Markdown
    data: the data set; of rows
    curves: metrics with a value for every epoch of training
    texts: file name -> content, and files: folder -> files; kept with the run
    """

    name: str
    key: str
    experiment: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    note: str = ""
    data: data.Data | None = None
    children: tuple[Record, ...] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def n_runs(self) -> int:
        return 1 + len(self.children)


@dataclass(frozen=True)
class _Common:
    """What all rows of a run share. `sections`: of the parameters, as plain values; `tags`: of every row."""

    paths: Paths
    lock: Mapping[str, Any]
    params: Any
    sections: Mapping[str, Any]
    tags: Mapping[str, str]
    md5: str
    in_silico: bool


def gather(paths: Paths, params: Any) -> tuple[Record, ...]:
    """One record per row of the parameters.

    Each track has its own experiment in the store, `<tracking.experiment>-<track>`. A run has a row's own words as
    parameters (`network`, `regressor`, ...), which are what one filters by, and under their dotted names the settings
    that made the result, for comparing runs: of sections that hold several things, only the row's own.

    params: has the sections SECTIONS, `simulation`, `experiments` and `tracking`

    Raises
    ------
    FileError
        A row's files are missing or broken.
    """
    sections = {name: identity.plain(getattr(params, name)) for name in SECTIONS}
    lock = identity.read_lock(paths)
    tags = {"params_hash": identity.digest(sections)} | history.experiment_tag()
    if (commit := identity.commit(paths.root)) is not None:
        tags |= {"mlflow.source.git.commit": commit.sha, "dirty": str(commit.dirty).lower()}
    tags |= _validation_tags(paths)
    md5 = identity.data_hash(lock, params.dataset.folder)
    in_silico = params.dataset.name in params.simulation.datasets
    common = _Common(paths, lock, params, sections, tags, md5, in_silico)
    return tuple(_row_record(common, result) for result in results.read(paths, params.experiments.rows))


def _validation_tags(paths: Paths) -> dict[str, str]:
    """`validation.errors`, `checks.warnings`, ...: what validation found in the data set and in the results."""
    return {
        f"{step}.{name}": str(count)
        for step in ("validation", "checks")
        if paths.metrics(step).is_file()
        for name, count in io.read_json(paths.metrics(step)).items()
    }


def _row_record(common: _Common, result: Result) -> Record:
    row, weights = result.row, result.index.provenance.get("weights", {})
    key, experiment = _key(common, result), f"{common.params.tracking.experiment}-{row.track}"
    tags = {
        "row": row.name,
        "reported_split": result.split,
        "weights_policy": str(weights.get("policy")),
        "in_silico": str(common.in_silico).lower(),
        "data_hash": common.md5,
    }
    own = {"row": row.name} | row.model_dump(exclude={"reported"}) | dict(_settings(common.sections, result))
    params = {name: _text(value) for name, value in own.items()}
    children = tuple(
        Record(
            name=space,
            key=f"{key}/{space}",
            experiment=experiment,
            params=params | {"space": space},
            metrics=measures.of_space(result, space),
            tags=tags | {"level": "space", "chosen_for": _chosen_for(result, space)},
        )
        for space in result.index.spaces
    )
    return Record(
        name=row.name,
        key=key,
        experiment=experiment,
        params=params | {f"chosen.{roi}": space for roi, space in result.chosen.items()},
        metrics=measures.of_row(result),
        tags=tags | {"level": "row", "weights_sha256": str(weights.get("sha256"))} | dict(common.tags),
        note=words.note(result, common.paths, common.in_silico),
        data=data.describe(common.paths, common.params.dataset, row.track, common.md5),
        children=children,
        curves=dict(measures.curves(result)),
        texts=words.tables(result) | {"scores.md": words.roi_table(result)},
        files={name: found for name, found in _files(common.paths, result) if found},
    )


def _chosen_for(result: Result, space: str) -> str:
    return " ".join(roi for roi, chosen in result.chosen.items() if chosen == space)


def _files(paths: Paths, result: Result) -> Iterator[tuple[str, list[Path]]]:
    """The row's figures, where the report has drawn them; weights of its best network, where they were kept."""
    yield "figures", sorted((paths.report / "figures").glob(f"*-{result.name}.svg"))
    best = paths.transfer(result.name) / "checkpoints" / f"{result.best_network}.pt"
    yield "best_network", [best] if best.is_file() else []


def _key(common: _Common, result: Result) -> str:
    """Hash of what made the row: parameters and dependencies in dvc.lock; of its files where DVC did not run it."""
    steps = [f"{stage}-roiwise" if isinstance(result.row, RoiwiseRow) else stage for stage in STAGES]
    entries = [common.lock.get(f"{stage}@{result.name}") for stage in steps]
    made = [[entry.get("params"), entry.get("deps")] for entry in entries if entry is not None]
    if len(made) == len(steps):
        return identity.digest([result.name, made])
    files = [*(result.folder / name for name in FILES), result.selection_folder / "selection.json"]
    return identity.digest([result.name, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]])


def _settings(sections: Mapping[str, Any], result: Result) -> Iterator[tuple[str, Any]]:
    for section, values in sections.items():
        for name, value in _flat(section, _own_part(section, values, result)):
            if value is not None and name not in CHANGES_NOTHING:
                yield name, value


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

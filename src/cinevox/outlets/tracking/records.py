"""Records: what a row is in the store, made from its files, dvc.lock and the parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cinevox.files import io
from cinevox.outlets.tracking import data, history, measures, words
from cinevox.project import dvc_lock, identity, package_versions, stage_instances
from cinevox.project.params import Dataset, Params, Row, text
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_results
from cinevox.scoring.row_results import FILES, Result

SECTIONS = (
    "dataset", "splits", "networks", "features", "reduction", "ceiling", "regressors", "bases", "heads", "transfer",
    "scores", "selection",
)  # fmt: skip
CHANGES_NOTHING = {  # of the sections: how a thing is computed or where it lies, not what comes out
    "dataset.folder", "dataset.clips", "dataset.responses", "features.batch_size", "features.device",
    "features.memory_format", "transfer.device", "transfer.rois_at_once", "transfer.keep_weights",
}  # fmt: skip
MEASURE = "measure"  # tag: whether the scores are normalized or plain correlations
FIGURES = "figures"  # folder of a run's artifacts


@dataclass(frozen=True)
class Record:
    """One run to be: a row (with its feature spaces as `children`), or one feature space.

    key: the same for the same results, so a record is stored once
    note: the run's description, in Markdown
    data: the data set, as MLflow has one; of rows
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
    data: Mapping[str, str] = field(default_factory=dict)
    children: tuple[Record, ...] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def n_runs(self) -> int:
        return 1 + len(self.children)


@dataclass(frozen=True)
class _Common:
    """The part of a record that all rows of a run share.

    stages: of dvc.lock; leaves: of params.yaml as it stands, by dotted name; code: what stages can load now
    tags: of every row; drawn: row -> the selection that the report drew, by its digest; md5: of the data set's folder
    """

    paths: Paths
    params: Params
    stages: dvc_lock.Stages
    leaves: Mapping[str, Any]
    code: Mapping[str, str]
    tags: Mapping[str, str]
    commit: identity.Commit | None
    drawn: Mapping[str, str]
    md5: str


def gather(paths: Paths, params: Params, rows: Iterable[str] | None = None) -> tuple[Record, ...]:
    """One record per row of the parameters, or of those named `rows`.

    Each track has its own experiment in the store, `<tracking.experiment>-<track>`. A run has a row's own words as
    parameters (`network`, `regressor`, ...), which are what one filters by, and under their dotted names the settings
    that made the result, for comparing runs: of sections that hold several things, only the row's own.

    params: has the sections dataset, experiments, tracking

    Raises
    ------
    FileError
        A row's files are missing or broken.
    """
    stages, drawn = identity.read_lock(paths), paths.report / "results.json"
    common = _Common(
        paths=paths,
        params=params,
        stages=stages,
        leaves={name.removeprefix("."): value for name, value in dvc_lock.flat("", text.read_file(paths.params))},
        code=stage_instances.digests(paths) if stages else {},
        tags=history.experiment_tag() | _validation_tags(paths),
        commit=identity.commit(paths.root),
        drawn=io.read_json(drawn) if drawn.is_file() else {},
        md5=identity.data_hash(stages, params.dataset.folder),
    )
    known, keys = params.experiments.rows, dvc_lock.keys(stages)
    wanted = known if rows is None else {name: known[name] for name in rows}
    results = (r.in_order(params.dataset.track_rois(r.row.track)) for r in row_results.read(paths, wanted))
    return tuple(_row_record(common, result, keys.get(result.name) or _own_key(result)) for result in results)


def left_out(paths: Paths, params: Params) -> dict[str, str]:
    """Row -> why it has no result that could be recorded: it was not run, or not as the parameters have it now."""
    rows = params.experiments.rows
    changed = dvc_lock.other_parameters(paths, identity.read_lock(paths), rows)
    found = ((row, _missing(paths, params.dataset, row, changed[row.name])) for row in rows.values())
    why_not = {row.name: why for row, why in found if why}
    again = {name: row_results.remade(paths, row, rows) for name, row in rows.items() if name not in why_not}
    return why_not | {
        name: f"{', '.join(made)} was made again, and the ensemble was not" for name, made in again.items() if made
    }


def _missing(paths: Paths, dataset: Dataset, row: Row, changed: Iterable[str]) -> str | None:
    folder = paths.selection(row.name)
    if not (folder / outcomes.FILE).is_file():
        return "not run yet"
    if why := claims.other_data(outcomes.read(folder, row).origin, dataset, row):
        return why
    for name in changed:  # of other settings a late sync records what they were
        if name == "dataset.name" or name.startswith("experiments."):
            return f"params.yaml has another {name.rpartition(f'{row.name}.')[2]} now"
        if "/" in name:
            return f"{name} was made again, and what follows from it was not"
    return None


def _validation_tags(paths: Paths) -> dict[str, str]:
    """`validation.errors`, `checks.warnings`, ...: what validation found in the data set and in the results."""
    return {
        f"{step}.{name}": str(count)
        for step in ("validation", "checks")
        if paths.metrics(step).is_file()
        for name, count in io.read_json(paths.metrics(step)).items()
    }


def _row_record(common: _Common, result: Result, key: str) -> Record:
    row, origin, weights = result.row, result.outcome.origin, result.index.weights_policy
    made = dvc_lock.made(common.stages, row.name, result.index.networks)
    settings = _settings(common.leaves if made is None else made.params, row, result.index.networks)
    settings |= {f"spaces.{name}": json.dumps(space) for name, space in result.index.named.items()}
    params = {
        "row": row.name,
        "track": row.track,
        "network": " + ".join(result.index.networks),
        "features": row.way,
        "regressor": row.regressor,
        "weights": weights,
        "data": origin.title,
    } | settings
    tags = {
        "row": row.name,
        "reported_split": result.split,
        MEASURE: result.measure,
        "weights_policy": weights,
        "in_silico": str(origin.in_silico).lower(),
        "data_hash": common.md5,
    }
    experiment = f"{common.params.tracking.experiment}-{row.track}"
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
        tags=tags | {"level": "row"} | _made_with(common, result, made, settings) | dict(common.tags),
        note=words.note(result, common.paths),
        data=data.describe(common.paths.root, common.params.dataset, common.md5, origin),
        children=children,
        curves=dict(measures.curves(result)),
        texts=words.tables(result),
        files={name: found for name, found in _files(common, result) if found},
    )


def _made_with(
    common: _Common, result: Result, made: dvc_lock.Made | None, settings: Mapping[str, str]
) -> dict[str, str]:
    """Tags of what made a row; its commit is `dirty` if its files, or the code that made the row, differ from it."""
    used = result.index.weights
    tags = {
        "weights_sha256": " ".join(str(weights.sha256) for weights in used.values()),
        "weights_unverified": " ".join(name for name, weights in used.items() if weights.unverified) or "none",
        "params_hash": identity.digest(settings),
        "versions": package_versions.in_words(package_versions.read(result.selection_folder)) or "not recorded",
    }
    if common.commit is not None:
        dirty = common.commit.dirty or (made is not None and bool(dvc_lock.changed(made.code, common.code)))
        tags |= {"mlflow.source.git.commit": common.commit.sha, "dirty": str(dirty).lower()}
    return tags


def _chosen_for(result: Result, space: str) -> str:
    return " ".join(roi for roi, chosen in result.chosen.items() if chosen == space)


def _files(common: _Common, result: Result) -> Iterator[tuple[str, list[Path]]]:
    """The row's figures, if the report drew them of this result; weights of its best network, where they were kept."""
    if common.drawn.get(result.name) == result.outcome.digest:
        yield FIGURES, sorted((common.paths.report / "figures").glob(f"*-{result.name}.svg"))
    best = common.paths.checkpoints(result.name) / f"{result.best_network}.pt"
    yield "best_network", [best] if best.is_file() else []


def _own_key(result: Result) -> str:
    """Make a key for a result that DVC did not make: a hash of its files."""
    files = [*(result.folder / name for name in FILES), result.selection_folder / outcomes.FILE]
    return identity.digest([result.name, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]])


def _settings(leaves: Mapping[str, Any], row: Row, networks: Collection[str]) -> dict[str, str]:
    """Select from these parameters, by dotted name, those that made the row. networks: those that it stands on

    A section of which rows of its kind take nothing is left out, and of networks, regressors and the like all others.
    """
    sections = set(SECTIONS) - {"reduction" if row.is_transfer else "transfer"}
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in leaves.items()
        if value is not None
        and name.partition(".")[0] in sections
        and name not in CHANGES_NOTHING
        and dvc_lock.concerns(name, row, networks)
    }

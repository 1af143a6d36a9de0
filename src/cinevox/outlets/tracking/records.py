"""Records: what a row is in the store, made from its files, dvc.lock and the parameters."""

from __future__ import annotations

import colorsys
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
COLOUR = "mlflow.runColor"  # tag: of the run's dot and bars; without it MLflow takes one from the run's random id
HUE_STEP, LIGHTNESS = (5**0.5 - 1) / 2, (0.38, 0.62, 0.25, 0.72, 0.5)  # golden section: into the widest gap


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
    """What all rows of a run share.

    stages: of dvc.lock; keys: row -> its key there; document: params.yaml as it stands
    code: what stages can load now; sections: of the parameters, as plain values; tags: of every row
    drawn: as the report's `results.json` has it
    """

    paths: Paths
    stages: dvc_lock.Stages
    keys: Mapping[str, str]
    params: Params
    document: Mapping[str, Any]
    code: Mapping[str, str]
    sections: Mapping[str, Any]
    tags: Mapping[str, str]
    commit: identity.Commit | None
    drawn: Mapping[str, str]
    md5: str


def gather(paths: Paths, params: Params, rows: Iterable[str] | None = None) -> tuple[Record, ...]:
    """One record per row of the parameters, or of those named `rows`.

    Each track has its own experiment in the store, `<tracking.experiment>-<track>`. A run has a row's own words as
    parameters (`network`, `regressor`, ...), which are what one filters by, and under their dotted names the settings
    that made the result, for comparing runs: of sections that hold several things, only the row's own.

    params: has the sections SECTIONS, `experiments` and `tracking`

    Raises
    ------
    FileError
        A row's files are missing or broken.
    """
    stages = identity.read_lock(paths)
    drawn = paths.report / "results.json"
    common = _Common(
        paths=paths,
        stages=stages,
        keys=dvc_lock.keys(stages),
        params=params,
        document=text.read(paths.params.read_text()) if stages else {},
        code=stage_instances.digests(paths) if stages else {},
        sections={name: identity.plain(getattr(params, name)) for name in SECTIONS},
        tags=history.experiment_tag() | _validation_tags(paths),
        commit=identity.commit(paths.root),
        drawn=io.read_json(drawn) if drawn.is_file() else {},
        md5=identity.data_hash(stages, params.dataset.folder),
    )
    known = params.experiments.rows
    wanted = known if rows is None else {name: known[name] for name in rows}
    return tuple(_row_record(common, result) for result in row_results.read(paths, wanted))


def left_out(paths: Paths, params: Params) -> dict[str, str]:
    """Row -> why it has no result that could be recorded: it was not run, or not as the parameters have it now."""
    stages, document = identity.read_lock(paths), text.read(paths.params.read_text())
    rows = params.experiments.rows
    found = {name: _missing(paths, stages, document, params.dataset, row) for name, row in rows.items()}
    return {name: why for name, why in found.items() if why}


def _missing(
    paths: Paths, stages: dvc_lock.Stages, document: Mapping[str, Any], dataset: Dataset, wanted: Row
) -> str | None:
    row = wanted.name
    if not (paths.selection(row) / outcomes.FILE).is_file():
        return "not run yet"
    if why := claims.other_data(outcomes.read(paths.selection(row), wanted).origin, dataset, wanted):
        return why
    if (made := dvc_lock.made(stages, row)) is None:
        return None
    for name in dvc_lock.differing(made, document):
        if name == "dataset.name" or name.startswith("experiments."):
            return f"params.yaml has another {name.rpartition(f'{row}.')[2]} now"
    return f"{made.broken} was made again, and what follows from it was not" if made.broken else None


def _validation_tags(paths: Paths) -> dict[str, str]:
    """`validation.errors`, `checks.warnings`, ...: what validation found in the data set and in the results."""
    return {
        f"{step}.{name}": str(count)
        for step in ("validation", "checks")
        if paths.metrics(step).is_file()
        for name, count in io.read_json(paths.metrics(step)).items()
    }


def _row_record(common: _Common, result: Result) -> Record:
    row, weights, origin = result.row, result.index.weights, result.outcome.origin
    key, experiment = _key(common, result), f"{common.params.tracking.experiment}-{row.track}"
    sections, made_with = _as_made(common, row.name)
    tags = {
        "row": row.name,
        "reported_split": result.split,
        MEASURE: result.measure,
        "weights_policy": weights.policy,
        "in_silico": str(origin.in_silico).lower(),
        "data_hash": common.md5,
    }
    row_tags = {
        "level": "row",
        "weights_sha256": str(weights.sha256),
        "versions": package_versions.in_words(package_versions.read(result.selection_folder)) or "not recorded",
        COLOUR: colour(list(common.params.experiments.rows).index(row.name)),
    }
    own = {"row": row.name} | row.model_dump(exclude={"reported"}) | dict(_settings(sections, result))
    own |= {"weights": weights.policy, "data": origin.title}
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
        tags=tags | row_tags | made_with | dict(common.tags),
        note=words.note(result, common.paths),
        data=data.describe(common.paths, common.params.dataset, row.track, common.md5),
        children=children,
        curves=dict(measures.curves(result)),
        texts=words.tables(result) | {"scores.md": words.roi_table(result)},
        files={name: found for name, found in _files(common, result) if found},
    )


def colour(position: int) -> str:
    """`#rrggbb` of the row at this place among the rows: as many as the paper's can be told apart."""
    rgb = colorsys.hls_to_rgb(0.55 + position * HUE_STEP, LIGHTNESS[position % len(LIGHTNESS)], 0.6)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def _chosen_for(result: Result, space: str) -> str:
    return " ".join(roi for roi, chosen in result.chosen.items() if chosen == space)


def _as_made(common: _Common, row: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The sections with what made the row, where params.yaml has been edited since, and tags that say so.

    A commit is `dirty` if what git tracks differs from it, or the code from what made the row.
    """
    sections, made, commit = common.sections, dvc_lock.made(common.stages, row), common.commit
    if made is not None and (differs := dvc_lock.differing(made, common.document)):
        sections = dvc_lock.overlaid(sections, differs)
    tags = {"params_hash": identity.digest(sections)}
    if commit is not None:
        dirty = commit.dirty or (made is not None and bool(dvc_lock.changed(made.code, common.code)))
        tags |= {"mlflow.source.git.commit": commit.sha, "dirty": str(dirty).lower()}
    return sections, tags


def _files(common: _Common, result: Result) -> Iterator[tuple[str, list[Path]]]:
    """The row's figures, if the report drew them of this result; weights of its best network, where they were kept."""
    if common.drawn.get(result.name) == result.outcome.digest:
        yield FIGURES, sorted((common.paths.report / "figures").glob(f"*-{result.name}.svg"))
    best = common.paths.checkpoints(result.name) / f"{result.best_network}.pt"
    yield "best_network", [best] if best.is_file() else []


def _key(common: _Common, result: Result) -> str:
    """As dvc.lock has it; a hash of the row's files where DVC did not run it."""
    if result.name in common.keys:
        return common.keys[result.name]
    files = [*(result.folder / name for name in FILES), result.selection_folder / outcomes.FILE]
    return identity.digest([result.name, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]])


def _settings(sections: Mapping[str, Any], result: Result) -> Iterator[tuple[str, Any]]:
    for section, values in sections.items():
        for name, value in dvc_lock.flat(section, _own_part(section, values, result)):
            if value is not None and name not in CHANGES_NOTHING:
                yield name, value


def _own_part(section: str, values: Any, result: Result) -> Any:
    """What of a section made the row: nothing of another kind of row's sections."""
    row = result.row
    if row.is_transfer:
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

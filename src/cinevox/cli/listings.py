"""Listings of what there is and of what came out, a table each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cinevox.cli._layers import show_layers
from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.project import dvc_lock, identity, params, plugins
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics
from cinevox.scoring.origin import Origin
from cinevox.scoring.row_metrics import RowMetrics
from cinevox.stimuli.networks import spec_of

MOST_NAMES = 4  # of parameters, in one line


def _networks(chosen: argparse.Namespace) -> None:
    """the networks there are; of one by its name every layer, with the shape of its output

    NETWORK is a key of params.networks, a plug-in, or a model of a library, such as timm/convnext_tiny.in12k.
    """
    settings = params.load(Paths().params)
    if chosen.network is not None:
        show_layers(settings, chosen.network)
        return
    used = settings.networks
    table = new_table("network", "title", "sees", "layers", "first", "last", "this run")
    models = tuple(name for name, settings in used.items() if settings.model)
    for name in plugins.names("networks") + models:
        spec = spec_of(name, used.get(name))
        policy = f"{used[name].weights}, {used[name].n_frames} frames" if name in used else "–"
        sees = "frames" if spec.n_frames is None else f"clips of {spec.n_frames}"
        table.add_row(name, spec.title, sees, str(len(spec.layers)), spec.layers[0], spec.layers[-1], policy)
    show(table)


def _regressors(_: argparse.Namespace) -> None:
    """the regressors there are, with this run's options"""
    used = params.load(Paths().params).regressors
    table = new_table("regressor", "title", "voxels", "options in this run")

    def told(
        key: str, value: object
    ) -> str:  # of the candidates of `best` the names: their options would take 250 columns
        return f"{key} {', '.join(value) if isinstance(value, Mapping) else value}"

    for key in dict.fromkeys((*plugins.names("regressors"), *used)):
        name, given = plugins.regressor_of(key, used.get(key, {}))
        spec = plugins.load("regressors", name)
        options = ", ".join(told(*option) for option in given.items()) if key in used else "–"
        table.add_row(
            key,
            spec.title,
            {"batch": "one by one", "roi": "an ROI together", "all": "all together"}[spec.together(given)],
            options or "none",
        )
    show(table)


def _rows(chosen: argparse.Namespace) -> None:
    """the rows of this run and of the paper (params.paper.yaml)

    Exit code 0; with ROW 2 if this run has no such row.
    """
    paths = Paths()
    run = params.load(paths.params).experiments.rows
    paper = params.load(paths.paper_params).experiments.rows if paths.paper_params.is_file() else {}
    if chosen.row is not None:
        if chosen.row not in run:
            raise InputError(f"{paths.params}: no row {chosen.row!r} in experiments; expected one of {', '.join(run)}")
        run, paper = ({name: row for name, row in rows.items() if name == chosen.row} for rows in (run, paper))
    table = new_table("row", *(["reported", "in this run", "in the paper"] if paper else ["track"]))
    for name in dict.fromkeys((*run, *paper)):
        row = run.get(name) or paper[name]
        there = ["yes" if name in rows else "–" for rows in (run, paper)]
        table.add_row(name, *([number(row.reported), *there] if paper else [row.track]))
    show(table)


def _weights(_: argparse.Namespace) -> None:
    """every network's weights: source, licence, where they are looked for, whether they are there"""
    from cinevox.stimuli.networks._weights import status  # torch is imported only where networks are

    used = params.load(Paths().params).networks
    places = ("looked for", "source")
    table = new_table("network", "policy", "state", "size", *places, "licence", whole=places)
    for entry in status(used):
        place = (entry.file, entry.url or "–")
        table.add_row(entry.network, entry.policy, entry.state, entry.size or "–", *place, entry.licence or "–")
    show(table)


def _scores(_: argparse.Namespace) -> None:
    """the score table, as the metrics files have it, and where to look further

    An asterisk marks results of other data or parameters than those in params.yaml.
    """
    paths = Paths()
    settings = params.load(paths.params)
    rows = settings.experiments.rows
    metrics = {name: row_metrics.read(paths.metrics(name)) for name in rows if paths.metrics(name).is_file()}
    stages = identity.read_lock(paths)
    lines = []
    for name, parameters in dvc_lock.other_parameters(paths, stages, {name: rows[name] for name in metrics}).items():
        origin, recorded = _origin(stages, settings, rows[name], metrics[name].origin)
        elsewhere = claims.other_data(origin, settings.dataset, rows[name])
        changed = elsewhere or _listed(parameters) or _edited(paths, rows[name])
        lines.append(_Line(rows[name], metrics[name], origin, recorded, changed))
    _table_of_scores(settings, lines)
    plain = [line.row.name for line in lines if line.metrics.is_plain]
    stimuli = "stimuli" if any(line.origin.stimuli == "stimuli" for line in lines) else "clips"
    if len(plain) < len(lines) or not lines:
        print(f"Normalized correlation (r / noise ceiling), mean over subjects; interval over {stimuli}.")
    if plain:
        which = "" if len(plain) == len(lines) else f" of {', '.join(plain)}"
        print(f"Plain correlation{which} (r), mean over subjects; interval over {stimuli}.")
        print(f"The {stimuli} were shown once, so there is no noise ceiling to divide by: not to be compared with")
        print("normalized correlations.")
    for warning in _warnings(lines):
        print(warning)
    if missing := [name for name in rows if name not in metrics]:
        print(f"Not run yet: {', '.join(missing)}.")
    if metrics and not any(paths.selection(name).is_dir() for name in metrics):
        print("Committed metrics: what they were made from is not in this folder; `dvc repro` makes it.")
    _places(paths)


@dataclass(frozen=True)
class _Line:
    """A row that has metrics. changed: why they are not of params.yaml as it is now; empty where they are"""

    row: params.Row
    metrics: RowMetrics
    origin: Origin
    recorded: bool
    changed: str

    @property
    def reported(self) -> float | None:
        """The paper's score, where this one can stand beside it."""
        doubts = claims.doubts(self.origin, self.metrics.split, plain=self.metrics.is_plain)
        return None if self.changed or not self.recorded or any(doubts) else self.row.reported


def _origin(
    stages: Mapping[str, Any], settings: params.Params, row: params.Row, recorded: Origin | None
) -> tuple[Origin, bool]:
    """The origin of a row's metrics, and whether it was recorded with them.

    Where an earlier version made them it is put together from what made the row, by dvc.lock, else by the parameters
    of now: enough for its marks, and too little to stand beside the paper's scores.
    """
    if recorded is not None:
        return recorded, True
    made = dvc_lock.made(stages, row.name)
    then: Mapping[str, Any] = {} if made is None else made.params
    name = then.get("dataset.name", settings.dataset.name)
    known = name in plugins.names("datasets")
    spec = plugins.load("datasets", name) if known else None
    simulated = then.get("simulation.datasets", settings.simulation.datasets)
    subjects = then.get("dataset.subjects", settings.dataset.subjects)
    rois = then.get("dataset.rois", settings.dataset.rois) if row.track == "mini" else (params.WHOLE_BRAIN,)
    policies = (
        then.get(f"networks.{network}.weights", settings.networks[network].weights)
        for network in settings.networks_of(row)
    )
    return Origin(
        dataset=name,
        title=spec.title if spec else name,
        in_silico=name in simulated or bool(spec and spec.simulated),
        subjects=" ".join(subjects),
        n_train_clips=0,
        n_test_clips=0,
        n_voxels=dict.fromkeys(rois, 0),
        weights=" + ".join(dict.fromkeys(policies)),
        official=False,
    ), False


def _listed(parameters: Sequence[str]) -> str:
    """Name what differs, in words; empty for nothing."""
    more = ", ..." if len(parameters) > MOST_NAMES else ""
    names = ", ".join(parameters[:MOST_NAMES]) + more
    return f"made with other values or content of {names} than there are now" if parameters else ""


def _edited(paths: Paths, row: params.Row) -> str:
    """That a metrics file is not of the row's selection, in words; empty if it is, or there is none to compare."""
    try:
        own = io.as_read(row_metrics.content(outcomes.read(paths.selection(row.name), row)))
    except FileError:
        return ""
    return (
        ""
        if io.read_json(paths.metrics(row.name)) == own
        else "not of the selection in this folder (`dvc repro` makes both of one run)"
    )


def _table_of_scores(settings: params.Params, lines: Sequence[_Line]) -> None:
    """A line for each row; the paper's scores only if one can stand beside them."""
    rois = tuple(dict.fromkeys((*settings.dataset.rois, params.WHOLE_BRAIN)))
    last = ["reported"] if any(line.reported is not None for line in lines) else []
    table = new_table("row", "split", "score", "interval", *rois, "weights", "data", *last, numbers=rois)
    for line in lines:
        found = line.metrics
        split, values = f"{found.split}, plain r" if found.is_plain else found.split, found.values
        interval = f"{number(values.get('low'))} to {number(values.get('high'))}"
        name = line.row.name + "*" * bool(line.changed)
        cells = [name, split, number(values.get("score")), interval, *(number(values.get(roi)) for roi in rois)]
        cells += [line.origin.weights, line.origin.title]
        table.add_row(*cells, *([number(line.reported)] if last else []))
    show(table)


def _warnings(lines: Sequence[_Line]) -> Iterator[str]:
    """Tell why rows are no results, by the record made with each, and which are not of params.yaml as it is."""
    untrained = (line.row for line in lines if line.origin.untrained)
    if random := [row.stands_on if isinstance(row, params.NetworkRow) else row.name for row in untrained]:
        yield claims.UNTRAINED.of(dict.fromkeys(random))
    if simulated := [line.row.name for line in lines if line.origin.in_silico]:
        yield claims.IN_SILICO.of(simulated if len(simulated) < len(lines) else ())
    if unknown := [line.row.name for line in lines if not line.recorded]:
        yield f"Made by an earlier version, which did not record the data; `dvc repro` does: {', '.join(unknown)}."
    for why in dict.fromkeys(line.changed for line in lines if line.changed):
        yield f"* {why}: {', '.join(line.row.name for line in lines if line.changed == why)}."


def _places(paths: Paths) -> None:
    """Print where to look further."""
    places = [
        (paths.metrics("<row>"), "metrics, compare with `dvc metrics diff`"),
        ("make ui", "every network, layer and regressor in MLflow"),
    ]
    if (page := paths.report / "index.html").is_file():
        places.insert(0, (page, "the report"))
    lines = (f"{place}  {what}" for place, what in places)
    print("\nLook further:  " + "\n               ".join(lines))


COMMANDS: Commands = {
    "networks": (
        _networks,
        {
            "network": {
                "nargs": "?",
                "metavar": "NETWORK",
                "help": "this one's layers, with the shapes of their outputs",
            }
        },
    ),
    "regressors": (_regressors, {}),
    "rows": (_rows, {"row": {"nargs": "?", "metavar": "ROW", "help": "this row alone, which this run must have"}}),
    "weights": (_weights, {}),
    "scores": (_scores, {}),
}

"""What there is, and what came out: one table each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from cinevox import io, params, plugins
from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.errors import InputError
from cinevox.paths import Paths


def _networks(_: argparse.Namespace) -> None:
    """the networks there are, with their layers"""
    used = params.load(Paths().params).networks
    table = new_table("network", "title", "layers", "first", "last", "this run")
    for name in plugins.names("cinevox.networks"):
        spec = plugins.load("cinevox.networks", name)
        policy = f"{used[name].weights}, {used[name].n_frames} frames" if name in used else "–"
        table.add_row(name, spec.title, str(len(spec.layers)), spec.layers[0], spec.layers[-1], policy)
    show(table)


def _regressors(_: argparse.Namespace) -> None:
    """the regressors there are, with this run's options"""
    used = params.load(Paths().params).regressors
    table = new_table("regressor", "title", "voxels", "options in this run")
    for name in plugins.names("cinevox.regressors"):
        spec = plugins.load("cinevox.regressors", name)
        options = ", ".join(f"{key} {value}" for key, value in used[name].items()) if name in used else "–"
        table.add_row(
            name,
            spec.title,
            {"batch": "one by one", "roi": "an ROI together", "all": "all together"}[spec.voxels],
            options or "none",
        )
    show(table)


def _rows(chosen: argparse.Namespace) -> None:
    """the rows of this run and of the paper

    Exit code 0; with ROW 2 if this run has no such row.
    """
    paths = Paths()
    run, paper = (params.load(path).experiments.rows for path in (paths.params, paths.paper_params))
    if chosen.row is not None:
        if chosen.row not in run:
            raise InputError(f"{paths.params}: no row {chosen.row!r} in experiments; expected one of {', '.join(run)}")
        run, paper = ({name: row for name, row in rows.items() if name == chosen.row} for rows in (run, paper))
    table = new_table("row", "reported", "in this run", "in the paper")
    for name in dict.fromkeys((*run, *paper)):
        reported = (run.get(name) or paper[name]).reported
        table.add_row(name, number(reported), "yes" if name in run else "–", "yes" if name in paper else "–")
    show(table)


def _weights(_: argparse.Namespace) -> None:
    """every network's weights: source, licence, where they are looked for, whether they are there"""
    from cinevox.networks._weights import status  # torch is imported only where networks are

    used = params.load(Paths().params).networks
    places = ("looked for", "source")
    table = new_table("network", "policy", "state", "size", *places, "licence", whole=places)
    for entry in status(used):
        place = (entry.file, entry.url or "–")
        table.add_row(entry.network, entry.policy, entry.state, entry.size or "–", *place, entry.licence or "–")
    show(table)


def _scores(_: argparse.Namespace) -> None:
    """the score table, as the metrics files have it, and where to look further"""
    from cinevox.metrics import NORMALIZED, PLAIN
    from cinevox.results import headline_of  # pandas: a second

    paths = Paths()
    settings = params.load(paths.params)
    rois, rows = settings.dataset.rois, settings.experiments.rows
    there = {name: row for name, row in rows.items() if paths.metrics(name).is_file()}
    table = new_table("row", "split", "score", "interval", *rois, "WB", "reported")
    measures: dict[str, list[str]] = {NORMALIZED: [], PLAIN: []}
    for name, row in there.items():
        split, measure, part = headline_of(io.read_json(paths.metrics(name)))
        measures[measure].append(name)
        interval = f"{number(part['low'])} to {number(part['high'])}"
        regions = [number(part.get(roi)) for roi in (*rois, "WB")]
        table.add_row(
            name,
            split if measure == NORMALIZED else f"{split}, plain r",
            number(part["score"]),
            interval,
            *regions,
            number(row.reported),
        )
    show(table)
    if measures[NORMALIZED] or not there:
        print("Normalized correlation (r / noise ceiling), mean over subjects; interval over clips.")
    if plain := measures[PLAIN]:
        which = "" if len(plain) == len(there) else f" of {', '.join(plain)}"
        print(f"Plain correlation{which} (r), mean over subjects; interval over clips. The clips were shown once, so")
        print("there is no noise ceiling to divide by: not to be compared with normalized correlations.")
    for warning in _warnings(paths, settings, there):
        print(warning)
    if missing := [name for name in rows if name not in there]:
        print(f"Not run yet: {', '.join(missing)}.")
    if there and not any(paths.selection(name).is_dir() for name in there):
        print("Committed metrics: what they were made from is not in this folder; `dvc repro` makes it.")
    places = [
        (paths.metrics("<row>"), "metrics, compare with `dvc metrics diff`"),
        ("make ui", "every network, layer and regressor in MLflow"),
    ]
    if (page := paths.report / "index.html").is_file():
        places.insert(0, (page, "the report"))
    lines = (f"{place}  {what}" for place, what in places)
    print("\nLook further:  " + "\n               ".join(lines))


def _warnings(paths: Paths, settings: params.Params, rows: Mapping[str, params.Row]) -> Iterator[str]:
    """Why rows are no results: by what made them, as dvc.lock has it; by params.yaml where DVC did not run them."""
    from cinevox import identity
    from cinevox.tracking import lock  # pandas: a second

    stages = identity.read_lock(paths)
    random, simulated = [], []
    for name, row in rows.items():
        made = lock.made(stages, name)
        then = {} if made is None else made.params
        if then.get(f"networks.{row.network}.weights", settings.networks[row.network].weights) == "random":
            random.append(row.network)
        datasets = then.get("simulation.datasets", settings.simulation.datasets)
        if then.get("dataset.name", settings.dataset.name) in datasets:
            simulated.append(name)
    if random:
        yield f"Random weights, so no result: {', '.join(dict.fromkeys(random))}."
    if simulated:
        which = "" if len(simulated) == len(rows) else f": {', '.join(simulated)}"
        yield f"In-silico responses, so not comparable with reported scores{which}."


COMMANDS: Commands = {
    "networks": (_networks, {}),
    "regressors": (_regressors, {}),
    "rows": (_rows, {"row": {"nargs": "?", "metavar": "ROW", "help": "this row alone, which this run must have"}}),
    "weights": (_weights, {}),
    "scores": (_scores, {}),
}

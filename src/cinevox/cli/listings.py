"""What there is, and what came out: one table each."""

from __future__ import annotations

import argparse

from cinevox import io, params, plugins
from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.paths import Paths
from cinevox.splits import best_split


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


def _rows(_: argparse.Namespace) -> None:
    """the rows of this run and of the paper"""
    paths = Paths()
    run, paper = (params.load(path).experiments.rows for path in (paths.params, paths.paper_params))
    table = new_table("row", "reported", "in this run", "in the paper")
    for name in dict.fromkeys((*run, *paper)):
        reported = (run.get(name) or paper[name]).reported
        table.add_row(name, number(reported), "yes" if name in run else "–", "yes" if name in paper else "–")
    show(table)


def _weights(_: argparse.Namespace) -> None:
    """every network's weights: source, licence, where they are looked for, whether they are there"""
    from cinevox.networks._weights import status  # torch is imported only where networks are

    used = params.load(Paths().params).networks
    table = new_table("network", "policy", "state", "size", "looked for", "source", "licence")
    for entry in status(used):
        place = (entry.file, entry.url or "–")
        table.add_row(entry.network, entry.policy, entry.state, entry.size or "–", *place, entry.licence or "–")
    show(table)


def _scores(_: argparse.Namespace) -> None:
    """the score table of the last run, and where to look further"""
    paths = Paths()
    settings = params.load(paths.params)
    rois = settings.dataset.rois
    table = new_table("row", "split", "score", "interval", *rois, "WB", "reported")
    missing = []
    for name, row in settings.experiments.rows.items():
        if not paths.metrics(name).is_file():
            missing.append(name)
            continue
        metrics = io.read_json(paths.metrics(name))
        split = best_split(metrics)
        part = metrics[split]
        interval = f"{number(part['low'])} to {number(part['high'])}"
        regions = [number(part.get(roi)) for roi in (*rois, "WB")]
        table.add_row(name, split, number(part["score"]), interval, *regions, number(row.reported))
    show(table)
    print("Normalized correlation (r / noise ceiling), mean over subjects; interval over clips.")
    random = [name for name, network in settings.networks.items() if network.weights == "random"]
    if random:
        print(f"Random weights, so no result: {', '.join(random)}.")
    if settings.dataset.name in settings.simulation.datasets:
        print("In-silico responses, so not comparable with reported scores.")
    if missing:
        print(f"Not run yet: {', '.join(missing)}.")
    print(
        f"\nLook further:  {paths.report / 'index.html'}  the report\n"
        f"               {paths.metrics('<row>')}  metrics, compare with `dvc metrics diff`\n"
        "               make ui  every network, layer and regressor in MLflow"
    )


COMMANDS: Commands = {
    "networks": (_networks, {}),
    "regressors": (_regressors, {}),
    "rows": (_rows, {}),
    "weights": (_weights, {}),
    "scores": (_scores, {}),
}

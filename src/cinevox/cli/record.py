"""The MLflow record: brought up to date, opened, looked up."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tqdm import tqdm

from cinevox.cli._screen import Commands, number, port
from cinevox.project import params
from cinevox.project.paths import Paths


def _sync(_: argparse.Namespace) -> None:
    """bring the MLflow record up to date with the score files"""
    from cinevox.outlets import tracking

    paths = Paths()
    settings = params.load(paths.params)
    missing = tracking.left_out(paths, settings)
    records = tracking.gather(paths, settings, [name for name in settings.experiments.rows if name not in missing])
    total = sum(record.n_runs for record in records)
    with tqdm(total=total, desc="runs", leave=False, file=sys.stderr, disable=None) as bar:
        counts = tracking.sync(records, settings.tracking.uri, bar.update)
    print(counts)
    for why in dict.fromkeys(missing.values()):
        print(f"Left out, {why}: {', '.join(name for name in missing if missing[name] == why)}.")


def _ui(chosen: argparse.Namespace) -> None:
    """open the MLflow UI on 127.0.0.1"""
    from cinevox.outlets import tracking

    tracking.ui(params.load(Paths().params).tracking, chosen.port, partial(print, flush=True))


def _find(chosen: argparse.Namespace) -> None:
    """find MLflow runs from an experiment, and the experiment or commit that made a run

    Each run is shown with what brings its result back.
    """
    from cinevox.outlets import tracking

    paths = Paths()
    for run in tracking.find(paths, params.load(paths.params).tracking, chosen.word):
        print(f"{run.row}  {number(run.score)} ({run.split}){', superseded' if run.superseded else ''}")
        print(f"  run          {run.run}, made with {run.commit[:10] or 'no commit'}")
        for revision in run.revisions:
            name = "" if revision.experiment is None else f" (experiment {revision.experiment})"
            print(f"  held by      {revision.sha[:10]}{name}: {revision.cure}")
        if run.here:
            print("  held by      this workspace")
        elif not run.revisions:
            print("  held by      nothing here: its parameters are those of the run in MLflow")


COMMANDS: Commands = {
    "sync": (_sync, {}),
    "ui": (_ui, {"--port": {"type": port, "default": 5000, "help": "on 127.0.0.1 (default 5000)"}}),
    "find": (
        _find,
        {"word": {"metavar": "NAME", "help": "a row, its run's id or how that begins, an experiment, a git revision"}},
    ),
}

"""The MLflow record: brought up to date, opened, looked up, cleaned."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.errors import InputError
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


def _ui(chosen: argparse.Namespace) -> int:
    """open the MLflow UI on 127.0.0.1"""
    from cinevox.outlets import tracking

    return tracking.ui(params.load(Paths().params).tracking, chosen.port, print)


def _runs(chosen: argparse.Namespace) -> None:
    """list the rows' runs in MLflow, or remove those of a row

    `remove ROW` says what would be removed, and removes it with --yes. `cinevox sync` makes the row's run anew.
    """
    from cinevox.outlets import tracking

    settings = params.load(Paths().params).tracking
    if chosen.action == "list":
        _show_runs(tracking.listed(settings, chosen.row))
        return
    if chosen.row is None:
        raise InputError("which row? cinevox runs remove ROW; `cinevox runs list` names them")
    _show_runs(tracking.remove(settings, chosen.row, chosen.yes))
    if chosen.yes:
        print(
            "In MLflow's trash, with the runs of their feature spaces. This frees the space, on the store's machine:\n"
            f"  {tracking.emptying(settings)}"
        )
    else:
        print("These and the runs of their feature spaces would be removed; add --yes to do so.")


def _show_runs(entries: list) -> None:
    table = new_table("row", "run", "score", "split", "state", "commit", "experiments")
    for entry in entries:
        commit = entry.commit[:10] + "+" * entry.dirty
        words = (entry.split, entry.state, commit or "–", " ".join(entry.experiments) or "–")
        table.add_row(entry.row, entry.run, number(entry.score), *words)
    show(table)


def _find(chosen: argparse.Namespace) -> None:
    """find MLflow runs from an experiment, and the experiment or commit that made a run

    Each run is shown with what brings its result back.
    """
    from cinevox.outlets import tracking

    paths = Paths()
    for found in tracking.find(paths, params.load(paths.params).tracking, chosen.word):
        entry = found.entry
        print(
            f"{entry.row}  {number(entry.score)} ({entry.split})"
            + ("" if entry.state == "current" else f", {entry.state}")
        )
        print(f"  run          {entry.run}")
        print(f"  made with    {entry.commit[:10] or 'no commit'}{' and changes' if entry.dirty else ''}")
        print(f"  parameters   {entry.params_hash[:10]}")
        for name in entry.experiments:
            print(f"  experiment   {name}")
        for revision in found.revisions:
            name = "" if revision.experiment is None else f" (experiment {revision.experiment})"
            print(f"  held by      {revision.sha[:10]}{name}: {revision.cure}")
        if found.here:
            print("  held by      this workspace")
        elif not found.revisions:
            print("  held by      nothing here: its parameters are those of the run in MLflow")


COMMANDS: Commands = {
    "sync": (_sync, {}),
    "ui": (_ui, {"--port": {"type": int, "default": 5000, "help": "on 127.0.0.1 (default 5000)"}}),
    "runs": (
        _runs,
        {
            "action": {"choices": ["list", "remove"]},
            "row": {"nargs": "?", "help": "whose runs are listed (all without) or removed"},
            "--yes": {"action": "store_true", "help": "remove, and not only say what"},
        },
    ),
    "find": (
        _find,
        {"word": {"metavar": "NAME", "help": "a row, a run's id or its beginning, an experiment, a git revision"}},
    ),
}

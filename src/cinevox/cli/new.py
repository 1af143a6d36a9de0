"""Study repositories: made around somebody's data, and kept up to date with the installed package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from cinevox.cli._screen import Commands


def _new(chosen: argparse.Namespace) -> None:
    """make a study repository around your data: images or clips and arrays, GLMsingle output, or a trials table

    The data stay as they are. It prints what was understood and what had to be guessed, each guess with its correction;
    where something cannot be told, it prints every fault and makes nothing. docs/own-data.md has examples.
    """
    from cinevox import own_study

    made = own_study.new(chosen.study, chosen.data, chosen.features, _progress)
    print(f"{made.folder}: a study repository\n\nUnderstood:")
    for line in made.understood:
        print(f"  {line}")
    if made.guesses:
        print("\nGuessed:")
        for line in made.guesses:
            print(f"  {line}")
    print(f"\nRows: {', '.join(made.rows)} (params.yaml)")
    print(f"\nNext: `cd {made.folder} && make repro`, then open report/index.html")


def _update(chosen: argparse.Namespace) -> None:
    """bring a study repository's stages, dvc.yaml and Makefile up to date with the installed version of cinevox

    Files that somebody edited are refused, and nothing changes. It also refuses when arrays changed that the study's
    table was made from; with --data it writes the table anew.
    """
    from cinevox import own_study
    from cinevox.own_study import repository

    if chosen.data:
        print("\n".join(own_study.rewrite(Path())))
    own_study.require_current(Path())
    if changed := repository.update(Path()):
        print(f"as the installed version of cinevox has them: {', '.join(changed)}")


def _progress(items: Iterable, total: int, label: str) -> Iterator:
    interval = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(items, total=total, desc=label, mininterval=interval, leave=False, file=sys.stderr)


COMMANDS: Commands = {
    "new": (
        _new,
        {
            "study": {"type": Path, "metavar": "STUDY", "help": "a new folder for the repository"},
            "--data": {"type": Path, "required": True, "metavar": "DATA", "help": "the folder that has the data"},
            "--features": {
                "type": Path,
                "metavar": "FILE",
                "help": "arrays with an id for each stimulus, where stimuli are not on this disk",
            },
        },
    ),
    "update": (
        _update,
        {
            "--data": {
                "action": "store_true",
                "help": "write the table of loose files anew, from the files as they are now",
            }
        },
    ),
}

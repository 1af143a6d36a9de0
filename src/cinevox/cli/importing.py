"""Published studies, as downloaded, made into trials tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from cinevox.cli._screen import Commands, new_table, show
from cinevox.errors import InputError
from cinevox.project import plugins


def _import(chosen: argparse.Namespace) -> None:
    """make a trials table of a published study's files, as downloaded (NSD, THINGS-fMRI, LAION-fMRI, MOSAIC)

    Without STUDY: the studies there are. Without FOLDER: the files that a study needs, its terms and sizes.

    The files may lie anywhere in FOLDER; they are looked at first, and all that is wrong is told at once. Then betas
    pass through in blocks. After a kill the same command goes on with the subjects that are not done.
    """
    study = None if chosen.study is None else chosen.study.replace("-", "_")
    if study is None:
        _list()
    elif study not in plugins.names("importers"):
        raise InputError(f"no importer {chosen.study!r}; expected one of {', '.join(plugins.names('importers'))}")
    elif chosen.folder is None:
        _describe(study)
    else:
        _convert(chosen, study)


def _list() -> None:
    table = new_table("study", "title", "licence", "size of a subject")
    for name in plugins.names("importers"):
        spec = plugins.load("importers", name)
        table.add_row(name, spec.title, spec.licence, spec.size)
    show(table)
    print("\n`cinevox import STUDY` lists the files that a study needs.")


def _describe(study: str) -> None:
    spec = plugins.load("importers", study)
    print(f"{spec.title}: anywhere in one folder\n")
    for line in spec.expects:
        print(f"  {line}")
    print(f"\nTerms: {spec.licence}.\nSize:  {spec.size}.\n\nThen `cinevox import {study} FOLDER`.")


def _convert(chosen: argparse.Namespace, study: str) -> None:
    from cinevox.measured import importers

    target = chosen.to or Path("data") / study
    choices = importers.Choices(
        tuple(dict.fromkeys(chosen.subject or ())), chosen.units, chosen.version, chosen.stimuli
    )
    made = importers.convert(study, chosen.folder, target, choices, _progress)
    print(f"{made.target}: {'was there already' if made.was_there else 'written'}")
    for subject, report in made.reports.items():
        left_out = report["units_left_out"]
        more = f", {left_out:,} units left out (no value in some trial)" if left_out else ""
        excluded = report.get("trials_excluded", 0)
        more += f", {excluded:,} trials excluded (no value in any unit)" if excluded else ""
        print(f"  {subject}: {report['n_trials']:,} trials of {report['n_units']:,} units{more}")
    print(f"  {made.n_stimuli:,} stimuli, {made.n_files:,} of them with a file in {made.target / 'stimuli'}")
    for note in made.notes:
        print(f"  {note}")
    if made.n_files < made.n_stimuli:
        print("  Stimuli without a file can be used with features of your own only; --stimuli names a folder of files.")
    print(f"\nNext: `cinevox new my-study --data {made.target}` makes a study repository around it.")


def _progress(items: Iterable, total: int, label: str) -> Iterator:
    interval = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(items, total=total, desc=label, mininterval=interval, leave=False, file=sys.stderr)


COMMANDS: Commands = {
    "import": (
        _import,
        {
            "study": {"nargs": "?", "metavar": "STUDY", "help": "a name in src/cinevox/measured/importers"},
            "folder": {"type": Path, "nargs": "?", "metavar": "FOLDER", "help": "the study's files, as downloaded"},
            "--to": {"type": Path, "metavar": "TARGET", "help": "the table (default data/<study>)"},
            "--subject": {"action": "append", "help": "as the table names it, sub-01; may be given several times"},
            "--units": {"choices": ("rois", "all"), "default": "rois", "help": "those in ROIs (default), or the brain"},
            "--version": {
                "metavar": "NAME",
                "help": "of several versions of betas, a folder's name on the way to them",
            },
            "--stimuli": {
                "type": Path,
                "metavar": "FOLDER",
                "help": "images or clips by their names, or their pack",
            },
        },
    ),
}

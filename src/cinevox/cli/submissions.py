"""Submissions: looked over and scored, anybody's."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.scoring import claims


def _check_submission(chosen: argparse.Namespace) -> None:
    """look for all that is wrong with a submission's zip, this project's or somebody else's

    Nothing in it is run, nothing is unpacked to the disk. Exit code 0: it can be handed in; 2: it would be refused.
    """
    from cinevox.measured.datasets import open_dataset
    from cinevox.outlets.submission import faults

    settings = params.load(Paths().params).dataset
    content, wanted = faults.read(chosen.file, open_dataset(settings), settings, chosen.track)
    print(f"{chosen.file}: no fault: {wanted.title}, {sum(map(len, content.values()))} arrays")


def _score(chosen: argparse.Namespace) -> None:
    """score a submission's zip offline, as the challenge does, where there are responses to the test clips

    Voxels of little reliability are treated as params.ceiling says, as in every other score of this project. With
    --no-threshold it is the challenge's own number, in which every voxel with a positive reliability counts.
    """
    from cinevox.measured.datasets import open_dataset
    from cinevox.outlets.submission import faults, offline

    settings = params.load(Paths().params)
    dataset = open_dataset(settings.dataset)
    content, wanted = faults.read(chosen.file, dataset, settings.dataset, chosen.track)
    ceiling = None if chosen.no_threshold else settings.ceiling
    may_be_missing = settings.dataset.missing_repetitions == "skip"
    found = offline.score_offline(content, wanted, dataset, ceiling, settings.scores, may_be_missing)
    table = new_table(*offline.HEADERS)
    for cells in found.cells():
        table.add_row(*(cell if isinstance(cell, str) else number(cell) for cell in cells))
    show(table)
    print(found.legend)
    if settings.dataset.name in settings.simulation.datasets:
        print(claims.IN_SILICO.of(()))


FILE: dict[str, dict] = {
    "file": {"type": Path, "help": "mini_track.zip or full_track.zip"},
    "--track": {"choices": ("mini", "full"), "help": "where neither the file's name nor what is in it says so"},
}
NO_THRESHOLD: dict[str, dict] = {
    "--no-threshold": {"action": "store_true", "help": "the challenge's own number, for the leaderboard"}
}
COMMANDS: Commands = {"check-submission": (_check_submission, FILE), "score": (_score, FILE | NO_THRESHOLD)}

"""Copies among the single trials of a trials table: within a subject, as in training and test, and between subjects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from cinevox.measured.trials_table.reading import Subject
from cinevox.measured.trials_table.split import Split
from cinevox.measured.trials_table.tables import told
from cinevox.validation.consistency import Row
from cinevox.validation.repetitions import MIN_COARSE, MIN_VOXELS


def least_units(dtype: np.dtype) -> int:
    """How many units that vary tell trials apart. dtype: of the betas as stored"""
    return MIN_VOXELS if dtype.itemsize > 2 else MIN_COARSE


def told_of(subjects: Sequence[Subject], prints: Sequence[Mapping[int, int]], split: Split) -> list[Row]:
    """Into each subject's row: which of its trials are equal, and how many are another subject's.

    prints: of each subject's trials, by their rows of the betas; comparable between subjects with as many units
    """
    owners: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (own, mine) in enumerate(zip(subjects, prints)):
        for each in set(mine.values()):
            owners[len(own.units), each].append(number)
    shared: list[dict[int, int]] = [defaultdict(int) for _ in subjects]
    for several in owners.values():
        for number in several:
            for other in several:
                shared[number][other] += 1
    rows: list[Row] = []
    for number, (own, mine) in enumerate(zip(subjects, prints)):
        others = [f"{n:,} of {subjects[other].files.subject}" for other, n in shared[number].items() if other != number]
        rows.append({"copied": _copied(own, mine, split), "of_another": ", ".join(others) or None})
    return rows


def _copied(own: Subject, prints: Mapping[int, int], split: Split) -> str | None:
    """Say which trials of a subject are equal, those of training and test first."""
    groups = defaultdict(list)
    for row, each in prints.items():
        groups[each].append(row)
    if all(len(group) == 1 for group in groups.values()):
        return None
    parts = dict.fromkeys(split.train, "training") | dict.fromkeys(split.test, "test")
    used = own.trials.used.drop_duplicates("row").set_index("row")
    found = []
    for first, *others in groups.values():
        for other in others:
            keys = [used.at[row, "stimulus_id"] for row in (first, other)]
            sides = [parts.get(key, "neither training nor test") for key in keys]
            what = " = ".join(f"trial {row} ({key}, {side})" for row, key, side in zip((first, other), keys, sides))
            found.append((len(set(sides)) == 1, int(used.at[other, "line"]), what))
    return told((line, what) for _, line, what in sorted(found))

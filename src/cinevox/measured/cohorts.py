"""Cohorts: the subjects who saw the same stimuli, and are fitted together.

A study whose subjects all saw the same has one. Positions count a study's stimuli with the training stimuli first
(global); a cohort's own list, the training stimuli that it saw and then the test stimuli, counts from 0 again (local),
so that whatever is fitted sees training stimuli first, and no others than were shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.measured.response_store import Converted
from cinevox.project.params import Track
from cinevox.statistics.splits import Indices, Partition, Split

NO_CHALLENGE = (
    "a submission is of data in the challenge's layout, whose subjects all saw the same stimuli equally often"
)


@dataclass(frozen=True)
class Cohort:
    """Subjects who saw the same stimuli.

    name: a folder's name; "" of the only cohort
    blocks: their subjects and ROIs
    rows: their stimuli, sorted positions among all; None: all of them
    n_train: how many of them are training stimuli
    """

    name: str
    blocks: tuple[tuple[str, str], ...]
    rows: NDArray[np.intp] | None
    n_train: int

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(subject for subject, _ in self.blocks))

    def local(self, positions: Indices) -> Indices:
        """Those of some sorted global positions that the cohort saw, as positions in its own list."""
        return positions if self.rows is None else np.flatnonzero(np.isin(self.rows, positions))

    def everywhere(self, positions: Indices) -> Indices:
        """Positions in the cohort's own list as global ones."""
        return positions if self.rows is None else self.rows[positions]

    def partition(self, part: Partition, n_folds: int) -> Partition:
        """The part of a partition that the cohort saw, in local positions.

        n_folds: inside of its training stimuli, of two at least

        Raises
        ------
        InputError
            Too few of its stimuli are left to be fitted or predicted.
        """
        if self.rows is None:
            return part
        predicted = {name: self.local(clips) for name, clips in part.predicted.items()}
        found = replace(part, train=self.local(part.train), predicted=predicted)
        if len(found.train) < 2 * n_folds or min(map(len, predicted.values())) < 2:
            counted = {"training": len(found.train)} | {name: len(clips) for name, clips in predicted.items()}
            told = ", ".join(f"{count} {name}" for name, count in counted.items())
            raise InputError(
                f"{', '.join(self.subjects)} saw too few stimuli of a split: {told}; expected {2 * n_folds} to fit on "
                f"({n_folds} folds of 2) and 2 of each other part; change splits.validation_fraction, n_folds or "
                "n_outer_folds, or leave them out (dataset.subjects)"
            )
        return found

    def split(self, parts: Split) -> Split:
        """The part of a split that the cohort saw, in local positions."""
        return Split(*(self.local(parts[name]) for name in ("train", "validation", "test")))


def of_subject(subject: str, seen: Indices, tested: Indices, n_train: int) -> Cohort:
    """A subject by itself. seen, tested: its stimuli among the training and among the test stimuli"""
    return Cohort(subject, ((subject, ""),), np.concatenate([seen, n_train + tested]), len(seen))


def cohorts(train: Converted, track: Track, n_test: int) -> tuple[Cohort, ...]:
    """The cohorts of a track, in the order of its blocks.

    train: the training responses; n_test: number of test stimuli of the study
    """
    blocks = train.blocks(track)
    if not train.seen:
        return (Cohort("", tuple(blocks), None, train.n_stimuli),)

    def rows(subject: str) -> NDArray[np.intp]:
        tested = train.seen_in_test.get(subject, np.arange(n_test))
        return np.concatenate([train.seen[subject], train.n_stimuli + tested])

    groups: list[Sequence[tuple[str, str]]] = [
        list(group) for _, group in groupby(blocks, key=lambda block: rows(block[0]).tobytes())
    ]
    found = []
    for number, group in enumerate(groups, 1):
        own = rows(group[0][0])
        name = "" if len(groups) == 1 else f"cohort-{number}"
        found.append(Cohort(name, tuple(group), own, int(np.count_nonzero(own < train.n_stimuli))))
    return tuple(found)

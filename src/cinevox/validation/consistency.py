"""Consistency of a study's files with one another: numbers of clips, stimuli and voxels, and no copies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.datasets import DatasetSpec

Row = dict[str, Any]


@dataclass(frozen=True)
class Inspected:
    """A row of a response file; its columns' fingerprints and, of a whole brain, their Fortran ranks.

    keys: a number for each trial, equal for equal trials of files with as many voxels
    """

    row: Row
    mask: Row | None = None
    prints: NDArray[np.uint64] | None = None
    ranks: NDArray[np.intp] | None = None
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


def compare(clips: list[Row], inspected: dict[tuple, Inspected], spec: DatasetSpec) -> list[Row]:
    """Write into the rows of the files what the others say of them; returns the rows of the clips, missing ones too.

    Which clips there should be is known from the responses to them, of training and test clips, or from the study's
    own numbers. If neither says how many test clips there are, those that are there are marked as unconfirmed.
    """
    n_train, n_test = (_commonest(_numbers(inspected, part, "n_stimuli")) for part in ("train", "test"))
    n_clips, n_expected = len(clips), None
    if n_train is not None:
        if n_test is not None:
            n_expected = n_train + n_test
        if n_train == spec.n_train and spec.n_test is not None and (n_clips > n_train or n_test is not None):
            n_expected = n_train + spec.n_test
        n_missing = max(n_train, n_expected or 0) - n_clips
        if n_expected is None:
            for number, row in enumerate(clips[n_train:], 1):
                row["unconfirmed"] = f"test clip {number} of {n_clips - n_train}"
        elif n_test is None:
            for row in clips[n_expected:]:
                row["fault"] = row["fault"] or f"the study has {n_expected:,} clips, and this is one more"
        clips = clips + _missing(clips, n_missing, n_train, n_expected)
        for (part, *_), each in inspected.items():
            beyond = n_clips - n_train if n_missing <= 0 else n_test
            each.row["n_stimuli_expected"] = n_train if part == "train" else beyond
    repetitions = {part: _numbers(inspected, part, "n_repetitions") for part in ("train", "test")}
    for (part, *rest), each in inspected.items():
        each.row["n_clips"] = n_clips
        each.row["n_repetitions_commonest"] = _commonest(repetitions["train"])
        each.row["n_repetitions_least"] = 2 if max(repetitions[part], default=0) > 1 else 1
        if part == "test":
            trained = inspected["train", *rest]
            each.row["n_voxels_expected"] = trained.row.get("n_voxels")
    mark_copies(inspected)
    return clips


def n_training_clips(rows: Iterable[Row]) -> int | None:
    """The number of training clips that the files agree on; None if they do not, or none can be read."""
    counts = {row.get("n_stimuli") for row in rows}
    return counts.pop() if len(counts) == 1 else None


def _numbers(inspected: dict[tuple, Inspected], part: str, name: str) -> list[int]:
    return [each.row[name] for key, each in inspected.items() if key[0] == part and name in each.row]


def _commonest(counts: Sequence[int]) -> int | None:
    return max(sorted(set(counts)), key=counts.count) if counts else None


def _missing(clips: Sequence[Row], n_missing: int, n_train: int, n_expected: int | None) -> list[Row]:
    """A row for each clip that should be there, by its number if the others have numbers."""
    if n_missing <= 0:
        return []
    total = max(n_train, n_expected or 0)
    of = f"{n_train:,} training and {total - n_train:,} test clips" if n_expected else f"{total:,} training clips"
    folder = PurePosixPath(clips[0]["file"]).parent.as_posix() if clips else "."
    suffix = PurePosixPath(clips[0]["file"]).suffix if clips else ""
    numbers = {row["number"] for row in clips}
    if None in numbers or not numbers:
        return [{"file": f"{folder}/*{suffix}", "fault": f"{n_missing:,} clips are missing of {of}"}]
    first = min(numbers)
    first = 1 if 1 < first <= 1 + n_missing else first
    width = len(re.match(r"\d+", clips[0]["name"])[0])  # type: ignore[index]
    return [
        {"file": f"{folder}/{number:0{width}d}*{suffix}", "fault": f"is missing of {of}"}
        for number in range(first, first + total)
        if number not in numbers
    ]


def mark_copies(inspected: Mapping[tuple, Inspected], rois_may_share: bool = False) -> None:
    """Mark test files with trials of their training file, and training files with the voxels of another of their track.

    inspected: (part, track, subject, ROI) -> file; rois_may_share: whether ROIs of a subject may have the same voxels
    """
    same = defaultdict(list)
    for (part, *rest), each in inspected.items():
        trained = inspected["train", *rest]
        if part == "test" and (n_both := len(np.intersect1d(each.keys, trained.keys, assume_unique=True))):
            each.row["same_as"] = f"{n_both:,} trials of {trained.row['file']}"
        if part == "train" and each.prints is not None and len(each.prints) and each.row["n_stimuli"]:
            same[each.row["track"], each.prints.tobytes()].append(each.row)
    for rows in same.values():
        for row in rows:
            others = [other for other in rows if other is not row]
            if rois_may_share:
                others = [other for other in others if other["subject"] != row["subject"]]
            if others:
                row["same_as"] = others[0]["file"]

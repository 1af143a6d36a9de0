"""Differences between the subjects of a row: ROIs that some of them lack, and stimuli that only some of them saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cinevox.scoring.row_results import Result


@dataclass(frozen=True)
class LackingRoi:
    """An ROI that some subjects have and others lack."""

    roi: str
    having: tuple[str, ...]
    lacking: tuple[str, ...]


def lacking(result: Result) -> list[LackingRoi]:
    """The ROIs of a row that some of its subjects lack, in order; their means are over the others."""
    columns, found = result.index.columns, []
    for roi in result.scores.rois:
        having = tuple(block.subject for block in columns.blocks if block.roi == roi)
        if others := tuple(subject for subject in columns.subjects if subject not in having):
            found.append(LackingRoi(roi, having, others))
    return found


@dataclass(frozen=True)
class OwnStimuli:
    """Subjects who saw the same stimuli, others than the other subjects: split -> how many they are scored on."""

    subjects: tuple[str, ...]
    counts: Mapping[str, int]


def own_stimuli(result: Result) -> list[OwnStimuli]:
    """The stimuli of each cohort; none where every subject saw all of them."""
    cohorts = result.index.cohorts if len(result.index.cohorts) > 1 else ()
    splits = ("validation", "test")
    return [
        OwnStimuli(each.columns.subjects, {name: len(each.clips[name]) for name in splits if name in each.clips})
        for each in cohorts
    ]

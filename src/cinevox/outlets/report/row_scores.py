"""One row by itself: its score in every ROI, for where the row is shown alone."""

from __future__ import annotations

from cinevox.outlets.report import tables
from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.svg import Panel, figure, shown, text, ticks
from cinevox.scoring.row_results import Result

WIDTH, STEP, LEFT, RIGHT, TOP = 720.0, 28.0, 70.0, 250.0, 26.0
LONGEST = 26  # characters of a feature space's name that fit


def row_scores(sources: Sources, result: Result) -> str:
    """Score of each ROI with its interval; beside it the plain r, its ceiling (if there is one), the feature space."""
    found = result.scores.rois
    ceilings = tables.ceilings(sources, result.row.track, result.split)
    every = (number for values in found.values() for number in (values.score, values.low, values.high))
    numbers = [number for number in every if number is not None]
    limits = (min(0.0, *numbers, 0.0) - 0.02, max(0.1, *numbers, 0.1) + 0.04)
    tall = STEP * len(found)
    panel = Panel((LEFT, TOP, WIDTH - LEFT - RIGHT, tall), limits, (len(found), 0))
    marks = ticks(*limits, 6)
    panel.grid(marks)
    panel.x_ticks(marks)
    beside = WIDTH - RIGHT + 16
    plain = result.is_plain
    panel.marks.append(text(LEFT, TOP - 10, "plain r, no ceiling" if plain else "score (r / ceiling)", "tick"))
    panel.marks.append(text(beside, TOP - 10, "feature space" if plain else "r of ceiling, feature space", "tick"))
    for number, (roi, values) in enumerate(found.items()):
        middle, score = number + 0.5, values.score
        base = panel.y(middle) + 4
        panel.marks.append(text(LEFT - 12, base, roi, "name", "end"))
        if values.low is not None and values.high is not None:
            panel.line((values.low, values.high), (middle, middle), "interval")
        if score is not None:
            panel.dot(score, middle, 5, "dot", f"{roi} {shown(score)}")
        reached = "" if plain else f"{shown(values.correlation)} of {shown(ceilings.get(roi))}, "
        words = reached + _short(result.chosen[roi])
        panel.marks.append(text(beside, base, words, "tick"))
    return figure(WIDTH, TOP + tall + 26, panel.marks, f"Score in every ROI, {result.name}")


def _short(space: str) -> str:
    """Several layers in one space have a long name."""
    return space if len(space) <= LONGEST else f"{space[: LONGEST - 1]}…"

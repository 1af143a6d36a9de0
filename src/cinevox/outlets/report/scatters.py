"""Scatter plots: candidates on two kinds of clips, estimated against true reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.svg import Panel, figure, text, ticks
from cinevox.project.params import Track
from cinevox.scoring.row_results import Result

Floats = NDArray[np.floating]

MOST_DOTS = 4000  # in a scatter; more are thinned, evenly


def validation_against_test(results: Sequence[Result]) -> str:
    """Every candidate of every row and ROI: its score on the validation clips and on the test clips."""
    pairs, chosen = candidate_pairs(results)
    every = pairs.ravel() if len(pairs) else np.zeros(2)
    limits = (float(min(0, every.min())) - 0.02, float(every.max()) + 0.03)
    size = 380.0
    panel = Panel((50, 12, size, size), limits, limits)
    for tick in ticks(*limits, 7):
        panel.level(tick, "grid")
        panel.upright(tick, "grid")
    panel.x_ticks(ticks(*limits, 7))
    panel.y_ticks(ticks(*limits, 7))
    panel.line(limits, limits, "reference")
    thinned = pairs[~chosen][:: max(1, (~chosen).sum() // MOST_DOTS + 1)]
    panel.dots(thinned[:, 0], thinned[:, 1], 4, "cloud")
    panel.dots(pairs[chosen][:, 0], pairs[chosen][:, 1], 6, "picked")
    stimuli = results[0].stimuli
    panel.marks.append(text(50 + size / 2, size + 48, f"validation {stimuli}", "axis", "middle"))
    upwards = text(0, 0, f"test {stimuli}", "axis", "middle")
    panel.marks.append(f'<g transform="translate(12 {12 + size / 2}) rotate(-90)">{upwards}</g>')
    return figure(size + 66, size + 56, panel.marks, f"Scores of the candidates on validation and test {stimuli}")


def candidate_pairs(results: Sequence[Result]) -> tuple[Floats, NDArray[np.bool_]]:
    """(n, 2) scores on validation and test clips, plain r where only one has a ceiling, and which were chosen."""
    pairs, chosen = [], []
    for result in results:
        tables = [result.table(split).set_index(["space", "roi"])[compared(result)] for split in ("validation", "test")]
        for key, value in tables[0].items():
            pairs.append((value, tables[1][key]))
            chosen.append(result.chosen[key[1]] == key[0])
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    known = np.isfinite(found).all(axis=1)
    return found[known], np.array(chosen, dtype=bool)[known]


def compared(result: Result) -> str:
    """The column in which a row's validation and test scores can stand side by side."""
    measures = {found.measure for split, found in result.outcome.scores.items() if split != "nested"}
    return "score" if len(measures) == 1 else "correlation"


def reliability(sources: Sources, track: Track) -> str:
    """Each voxel's reliability as estimated from its repetitions, against the true one, for both kinds of clips."""
    ceiling, truth = sources.ceilings[track], sources.truth[track]
    size = 300.0
    marks: list[str] = []
    for number, split in enumerate(ceiling.reliability):
        estimated, true = ceiling.reliability[split], truth.reliability[split]
        limits = (min(-0.2, float(np.quantile(estimated, 0.002))), 1.0)
        panel = Panel((50 + number * (size + 70), 30, size, size), (0, 1), limits, marks)
        repetitions = ceiling.n_repetitions[split]
        kind = "training" if split == "validation" else "test"
        marks.append(text(panel.box[0], 14, f"{repetitions} repetitions of the {kind} clips", "panel-name"))
        for tick in ticks(*limits, 6):
            panel.level(tick, "zero" if tick == 0 else "grid")
        panel.grid(ticks(0, 1, 6))
        panel.x_ticks(ticks(0, 1, 6))
        panel.y_ticks(ticks(*limits, 6))
        every = slice(None, None, len(true) // MOST_DOTS + 1)
        panel.dots(true[every], np.clip(estimated[every], *limits), 2.6, "cloud")
        panel.line((0, 1), (0, 1), "reference")
        panel.level(sources.params.ceiling.min_reliability, "threshold")
        marks.append(text(panel.box[0] + size / 2, size + 64, "true reliability", "axis", "middle"))
        if number == 0:
            turned = f'<g transform="translate(12 {30 + size / 2}) rotate(-90)">'
            marks.append(turned + text(0, 0, "estimated reliability", "axis", "middle") + "</g>")
    width = 50 + len(ceiling.reliability) * (size + 70) - 50
    return figure(width, size + 72, marks, "Estimated against true reliability of every voxel")

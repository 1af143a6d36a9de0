"""Figures as the paper has them: rows and ROIs on the clips that count, on one subject's validation clips, for one
network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cinevox.outlets.report.figures import CHARACTER
from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.svg import Panel, figure, shown, text, ticks
from cinevox.outlets.report.tables import label
from cinevox.scoring import claims
from cinevox.scoring.row_results import Result
from cinevox.statistics.aggregation import interval
from cinevox.statistics.splits import ScoredSplit

COLUMNS = ["row", "roi", "score", "low", "high"]
COMPARED_NETWORK = "alexnet"  # whose approaches figure 3 compares


@dataclass(frozen=True)
class Figure:
    """One figure: name of its file, what it shows, its numbers (COLUMNS) and its drawing."""

    name: str
    title: str
    table: pd.DataFrame
    drawing: str


def figures(sources: Sources) -> list[Figure]:
    """Figures 1, 2 and 3, as the paper has them, of this run's mini-track rows; those without rows are left out.

    The third compares approaches on the paper's network, and is left out where the paper has no place.
    """
    rows = sources.of_track("mini")
    if not rows:
        return []
    subject = sources.params.report.subject
    confidence = sources.params.scores.confidence
    compared = [result for result in rows if claims.beside_the_paper(result.outcome.origin)]
    alexnet = [result for result in compared if result.index.networks == (COMPARED_NETWORK,)]
    split, validated = rows[0].split, rows[0].outcome.scores["validation"].measure
    stimuli = rows[0].stimuli
    wanted = [
        ("figure-1", f"Rows and regions, {split} {stimuli}, {rows[0].measure}", rows, score_table(rows)),
        (
            "figure-2",
            f"Rows and regions, validation {stimuli}, {subject}{_lacked(rows[0], subject)}, {validated}",
            rows,
            _of_subject(rows, "validation", subject, confidence),
        ),
        ("figure-3", f"Approaches on AlexNet, {split} {stimuli}, {rows[0].measure}", alexnet, score_table(alexnet)),
    ]
    labels = {result.name: label(result).replace("-", " · ") for result in rows}
    return [
        Figure(name, title, table, draw(table, title, labels))
        for name, title, shown_rows, table in wanted
        if shown_rows
    ]


def _lacked(result: Result, subject: str) -> str:
    """The regions that a subject lacks, in words; empty where it has all."""
    own = {block.roi for block in result.index.columns.blocks if block.subject == subject}
    without = [roi for roi in result.scores.rois if roi not in own]
    return f" (who has no {', '.join(without)})" if without else ""


def score_table(rows: Sequence[Result]) -> pd.DataFrame:
    """A line for each row and ROI, on the clips that count (COLUMNS)."""
    lines = [
        {"row": r.name, "roi": roi, "score": found.score, "low": found.low, "high": found.high}
        for r in rows
        for roi, found in r.scores.rois.items()
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def _of_subject(rows: Sequence[Result], split: ScoredSplit, subject: str, confidence: float) -> pd.DataFrame:
    lines = []
    for result in rows:
        values = result.outcome.scores[split].subjects[subject].rois
        drawn = result.voxels[f"{split}.replicates"]
        places = {block.roi: n for n, block in enumerate(result.index.columns.blocks) if block.subject == subject}
        for roi in values:
            bounds = interval(drawn[:, places[roi]], confidence)
            line = {"row": result.name, "roi": roi, "score": values[roi]}
            lines.append(line | {name: bounds[name] for name in ("low", "high")})
    return pd.DataFrame(lines, columns=COLUMNS)


def draw(table: pd.DataFrame, title: str, labels: Mapping[str, str]) -> str:
    """A panel for each ROI, three side by side; in it a line for each row: score and interval, the best in colour.

    labels: row -> what it is called beside its line
    """
    names = list(dict.fromkeys(table["row"]))
    rois = list(dict.fromkeys(table["roi"]))
    left = max(300.0, *(CHARACTER * len(labels[name]) + 20 for name in names))
    columns, wide, gap, step = 3, 204.0, 20.0, 17.0
    tall = step * len(names)
    known = table[["score", "low", "high"]].to_numpy(dtype=np.float64)
    known = known[np.isfinite(known)]
    limits = (min(0.0, float(known.min(initial=0))) - 0.02, max(0.1, float(known.max(initial=0))) + 0.02)
    marks: list[str] = []
    for number, roi in enumerate(rois):
        at = (left + (number % columns) * (wide + gap), 24 + (number // columns) * (tall + 56))
        panel = Panel((*at, wide, tall), limits, (len(names), 0), marks)
        panel.grid(ticks(*limits, 5))
        panel.x_ticks(ticks(*limits, 5))
        marks.append(text(at[0], at[1] - 9, roi, "panel-name"))
        _lines(panel, table[table["roi"] == roi].set_index("row"), names, labels if number % columns == 0 else {})
    height = 24 + -(-len(rois) // columns) * (tall + 56) - 20
    width = left + min(columns, len(rois)) * (wide + gap) - gap + 12
    return figure(width, height, marks, title)


def _lines(panel: Panel, inside: pd.DataFrame, names: Sequence[str], labels: Mapping[str, str]) -> None:
    best = inside["score"].astype(float).idxmax() if inside["score"].notna().any() else None
    for number, name in enumerate(names):
        middle = number + 0.5
        if name in labels:
            panel.marks.append(text(panel.box[0] - 12, panel.y(middle) + 4, labels[name], "name", "end"))
        line: Mapping[str, float] = inside.loc[name].to_dict()
        if line["low"] is not None and np.isfinite(line["low"]):
            panel.line(
                (line["low"], line["high"]), (middle, middle), "interval picked-line" if name == best else "interval"
            )
        if line["score"] is not None and np.isfinite(line["score"]):
            kind = "dot best-dot" if name == best else "dot"
            panel.dot(line["score"], middle, 3.6, kind, f"{name} {shown(line['score'])}")

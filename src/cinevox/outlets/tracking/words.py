"""What a run and an experiment say of themselves, in Markdown, and the tables a run keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from cinevox.project.paths import Paths
from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import PLAIN

SPLITS = {"test": "the test clips", "nested": "outer folds of the training clips", "validation": "the validation clips"}


def warnings(result: Result) -> Iterator[str]:
    """Why the row's score is no result of the network it names, or no finding."""
    if result.untrained:
        yield "**Random weights**: an untrained baseline, not a result of the named network."
    if result.origin is not None and result.origin.in_silico:
        yield "**In-silico data**: simulated responses, no finding about the brain."
    if result.measure == PLAIN:
        yield "**Plain correlations**: the clips were shown once, so there is no noise ceiling to divide by."
    if result.split != "test":
        yield f"Scored on {SPLITS[result.split]}, not on test clips."
    if result.scores.get("chosen_here"):
        yield "The same clips chose the feature spaces, which flatters the score."


def note(result: Result, paths: Paths) -> str:
    """The description of a row's run: what it is, its score, the choice per ROI, warnings, where its files are."""
    scores = result.scores
    between = "" if scores["low"] is None else f", interval {_shown(scores['low'])} to {_shown(scores['high'])}"
    what = "Score" if result.measure != PLAIN else "Plain correlation"
    lines = [f"{kind_of(result)}.", "", f"{what} {_shown(scores['score'])}{between}, on {SPLITS[result.split]}."]
    if result.row.reported is not None and not result.doubts:
        lines[-1] += f" The paper reports {_shown(result.row.reported)}."
    lines += ["", *(f"- {warning}" for warning in warnings(result)), "", roi_table(result), "Files:"]
    folders = (result.folder, result.selection_folder, paths.predictions(result.name), paths.metrics(result.name))
    return "\n".join([*lines, *(f"- `{folder.as_posix()}`" for folder in folders)]) + "\n"


def kind_of(result: Result) -> str:
    """A row in a sentence without its full stop."""
    row, rois = result.row, result.index.columns.rois
    where = "the whole brain" if row.track == "full" else f"{len(rois)} region{'s' * (len(rois) != 1)}"
    of = "" if result.origin is None else f", {result.origin.title} data"
    return f"{row.regressor} on {row.features} of {row.network}, {row.track} track ({where}){of}"


def roi_table(result: Result) -> str:
    """Score, interval and chosen feature space of each ROI, as a Markdown table."""
    lines = ["| ROI | score | interval | r | feature space |", "|-|-|-|-|-|"]
    for roi, values in result.scores["rois"].items():
        between = "" if values["low"] is None else f"{_shown(values['low'])} to {_shown(values['high'])}"
        cells = (roi, _shown(values["score"]), between, _shown(values["correlation"]))
        lines.append(f"| {' | '.join(cells)} | {result.chosen[roi]} |")
    return "\n".join(lines) + "\n"


def tables(result: Result) -> dict[str, str]:
    """File name -> CSV: the scores of the chosen spaces per ROI and split, and those of every candidate."""
    chosen = [
        {"split": split, "roi": roi, "space": result.chosen[roi], "measure": scores["measure"]} | _scalars(values)
        for split, scores in result.selection["scores"].items()
        for roi, values in scores["rois"].items()
    ]
    return {"scores.csv": _csv(chosen), "candidates.csv": result.rois.to_csv(index=False)}


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, Mapping | list)}


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    return str(pd.DataFrame(lines).to_csv(index=False))


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

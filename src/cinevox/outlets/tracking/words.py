"""Descriptions of a run and of an experiment in Markdown, and the tables a run keeps."""

from __future__ import annotations

import pandas as pd

from cinevox.project.params import EnsembleRow
from cinevox.project.paths import Paths
from cinevox.scoring import claims
from cinevox.scoring.row_results import Result

SPLITS = {"test": "the test", "nested": "outer folds of the training", "validation": "the validation"}


def note(result: Result, paths: Paths) -> str:
    """The description of a row's run: what it is, its score, the choice per ROI, warnings, where its files are."""
    scores = result.scores
    between = "" if scores.low is None else f", interval {_shown(scores.low)} to {_shown(scores.high)}"
    what = "Plain correlation" if result.is_plain else "Score"
    cautions = [caution.sentence.partition(":") for caution in result.cautions]
    lines = [
        f"{kind_of(result)}.",
        "",
        f"{what} {_shown(scores.score)}{between}, on {SPLITS[result.split]} {result.stimuli}.",
    ]
    if result.row.reported is not None and not result.doubts:
        lines[-1] += f" The paper reports {_shown(result.row.reported)}."
    lines += ["", *(f"- **{name}**:{meaning}" for name, _, meaning in cautions), "", roi_table(result), "Files:"]
    folders = (result.folder, result.selection_folder, paths.predictions(result.name), paths.metrics(result.name))
    return "\n".join([*lines, *(f"- `{folder.as_posix()}`" for folder in folders)]) + "\n"


def kind_of(result: Result) -> str:
    """A row in a sentence without its full stop."""
    row, rois, origin = result.row, result.index.columns.rois, result.outcome.origin
    where = "the whole brain" if row.track == "full" else f"{len(rois)} region{'s' * (len(rois) != 1)}"
    if claims.beside_the_paper(origin):
        where = f"{row.track} track ({where})"
    networks = " + ".join(result.index.networks)
    if isinstance(row, EnsembleRow):
        return f"{row.way} of {', '.join(row.rows)}, {where}, {origin.title} data"
    return f"{row.regressor} on {row.way} of {networks}, {where}, {origin.title} data"


def roi_table(result: Result) -> str:
    """Score, interval and chosen feature space of each ROI, as a Markdown table; subjects, where some lack an ROI."""
    lines = ["| ROI | score | interval | r | feature space |", "|-|-|-|-|-|"]
    everybody = len(result.index.columns.subjects)
    for roi, found in result.scores.rois.items():
        between = "" if found.low is None else f"{_shown(found.low)} to {_shown(found.high)}"
        n_subjects = result.n_subjects[roi]
        name = roi if n_subjects == everybody else f"{roi} ({n_subjects} of {everybody} subjects)"
        cells = (name, _shown(found.score), between, _shown(found.correlation))
        lines.append(f"| {' | '.join(cells)} | {result.chosen[roi]} |")
    return "\n".join(lines) + "\n"


def tables(result: Result) -> dict[str, str]:
    """File name -> CSV: the scores of the chosen spaces per ROI and split, those of every candidate.

    Of a stack also the mean mixing weight of every space in every ROI.
    """
    chosen = [
        {"split": split, "roi": roi, "space": result.chosen[roi], "measure": scores.measure} | dict(found)
        for split, scores in result.outcome.scores.items()
        for roi, found in scores.rois.items()
    ]
    found = {"scores.csv": pd.DataFrame(chosen), "candidates.csv": result.rois}
    mixed = result.index.mixing_weights
    lines = [(roi, space, weight) for roi, weights in mixed.items() for space, weight in weights.items()]
    if lines:
        found["mixing_weights.csv"] = pd.DataFrame(lines, columns=["roi", "space", "mean_weight"])
    return {name: table.to_csv(index=False) for name, table in found.items()}


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

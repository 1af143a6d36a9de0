"""Copies of what the stages made of the small study, and edits of them: for the tests of what reads results."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

import conftest
from cinevox.files import io
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics, row_results
from small_run import DRIVEN_BY, LAYERS, N_TEST, N_TRAIN, SUBJECTS, SmallRun, columns_of

__all__ = ["BEST", "CHALLENGE", "LAYERS", "ROWS", "SUBJECTS", "TRANSFER", "columns_of", "make", "recorded", "scored"]

BEST = DRIVEN_BY
ROWS = (
    "mini-alexnet-layer-sparse_linear",
    "mini-efficientnet_lite0-layer-ridge",
    "full-efficientnet_lite0-layer-ridge",
)
TRANSFER = "mini-alexnet-frozen-two_lstm"
N_CLIPS = {"validation": N_TRAIN // 10, "test": N_TEST}
N_OUTER = 3
CHALLENGE = claims.Challenge(subjects=SUBJECTS, n_train_clips=N_TRAIN, n_test_clips=N_TEST)  # as small as this


def make(
    root: Path, test: bool = True, transfer: bool = False, nested: bool = False, once: tuple[str, ...] = ()
) -> params.Params:
    """Put params.yaml and what the stages from conversion to selection made of it under `root`.

    test: whether there are responses to the test clips; transfer: whether there is a row of transfer networks
    nested: whether layers are chosen in outer folds (of transfer networks there are none)
    once: the splits (validation, test) whose clips were shown once, so that they have no ceiling
    """
    shutil.copytree(_made(test, transfer, nested, once), root, dirs_exist_ok=True, copy_function=_linked)
    return params.load(Paths(root).params)


def _linked(source: str, target: str) -> None:
    """Large arrays, which no test edits in place, are the same file."""
    if Path(source).suffix in (".npy", ".pkl", ".mp4"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _made(test: bool, transfer: bool, nested: bool, once: tuple[str, ...]) -> Path:
    """Made once a test session, by the worker that asks first."""
    words = {"unseen": not test, "transfer": transfer, "nested": nested} | {f"{name}-once": True for name in once}
    made = conftest.shared / "-".join(["study", *(word for word, asked in words.items() if asked)])
    with FileLock(f"{made}.lock"):
        if not made.exists():
            unfinished = made.with_suffix(".unfinished")
            _run(unfinished, test, transfer, nested, once)
            unfinished.rename(made)
    return made


def _run(root: Path, test: bool, transfer: bool, nested: bool, once: tuple[str, ...]) -> None:
    rows = (*ROWS, TRANSFER) if transfer else ROWS
    shown = (1 if "validation" in once else 3, 1 if "test" in once else 10)
    study = SmallRun(root, rows=rows, subjects=SUBJECTS, rois=params.MINI_ROIS, test=test, n_repetitions=shown)
    found = study.document
    found["experiments"]["voxelwise"][ROWS[0]]["reported"] = 0.42
    if transfer:
        found["experiments"]["roiwise"][TRANSFER]["reported"] = 0.43
    found["report"] |= {"brain_row": ROWS[-1], "subject": SUBJECTS[1]}
    found["submission"]["rows"] = {"mini": ROWS[1], "full": ROWS[-1]}
    found["scores"] |= {"n_bootstraps": 50, "n_permutations": 40}
    found["transfer"] |= {"n_epochs": 3, "keep_weights": "none"}
    if nested:
        found["splits"]["n_outer_folds"], found["selection"]["policy"] = N_OUTER, "nested"
    study.run()
    for step in ("validation", "checks"):
        study.paths.metrics(step).unlink()


def curves(paths: Paths, name: str) -> dict[str, list[float]]:
    """ROI -> a value for every epoch, of the row of transfer networks: the mean over subjects."""
    known = io.read_json(paths.predictions(TRANSFER) / "index.json")["diagnostics"]["frozen"]["curves"]
    return {roi: values[name] for roi, values in known.items()}


def of_origin(found: row_results.Result, **changes: Any) -> row_results.Result:
    """A result with other values in its origin."""
    origin = replace(found.outcome.origin, **changes)
    return replace(found, outcome=found.outcome.model_copy(update={"origin": origin}))


def recorded(paths: Paths, row: str, **changes: Any) -> None:
    """Put other values into the origin of a row's result, in its selection and its metrics."""
    found = _outcome(paths, row)
    _rewrite(paths, found.model_copy(update={"origin": replace(found.origin, **changes)}))


def scored(paths: Paths, row: str, roi: str, change: float) -> None:
    """Add to the score of an ROI on the split that counts, in the row's selection and its metrics."""
    found = _outcome(paths, row)
    values = found.best.rois[roi]
    more = {name: getattr(values, name) + change for name in ("score", "normalized_correlation")}
    found.best.rois[roi] = values.model_copy(update=more)
    _rewrite(paths, found)


def _outcome(paths: Paths, row: str) -> outcomes.Outcome:
    return outcomes.read(paths.selection(row), params.load(paths.params).experiments.rows[row])


def _rewrite(paths: Paths, outcome: outcomes.Outcome) -> None:
    outcomes.write(paths.selection(outcome.row), outcome)
    row_metrics.write(paths.metrics(outcome.row), outcome)

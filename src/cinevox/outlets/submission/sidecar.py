"""The file beside a submission's zip: how its predictions came about, and why they may be no result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cinevox.fitting.prediction_store import Index
from cinevox.project.params import Row
from cinevox.scoring import claims
from cinevox.scoring.outcomes import Outcome


def describe(index: Index, outcome: Outcome, n_train_clips: int, members: Sequence[Row] = ()) -> dict[str, Any]:
    """The row, what it was fitted on, its feature spaces and weights.

    A regressor is fitted again on all training clips. Transfer networks are not: their best epoch is chosen on the
    validation clips, so they need them.

    n_train_clips: of the training set, validation clips included
    members: the rows of an ensemble, each fitted by itself
    """
    n_kept_out = len(index.clips["validation"])
    fitted_on = {row.name: _fitted_on(row, n_train_clips, n_kept_out) for row in members or (index.row,)}
    return {
        "row": outcome.row,
        "track": index.row.track,
        "not_for_the_challenge": claims.not_for_the_challenge(outcome.origin),
        "fitted_on": {"members": fitted_on} if members else fitted_on[index.row.name],
        "spaces": {"policy": outcome.policy, "per": outcome.per, "chosen": outcome.chosen, "named": dict(index.named)},
        "weights": {network: asdict(weights) for network, weights in index.weights.items()},
        "n_test_clips": len(index.clips["test"]),
        "n_voxels": {
            subject: sum(block.n_voxels for block in index.columns.blocks if block.subject == subject)
            for subject in index.columns.subjects
        },
    }


def _fitted_on(row: Row, n_train_clips: int, n_validation_clips: int) -> dict[str, Any]:
    refitted = not row.is_transfer
    return {
        "splits": ["train", "validation"] if refitted else ["train"],
        "n_clips": n_train_clips - (0 if refitted else n_validation_clips),
        "why": "the spaces are chosen, so the validation clips are fitted on too"
        if refitted
        else "the best epoch is chosen on the validation clips, so the row's own test predictions are handed in",
    }

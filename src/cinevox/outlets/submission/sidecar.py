"""The file beside a submission's zip: how its predictions came about, and why they may be no result."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cinevox.fitting.prediction_store import Index
from cinevox.scoring import claims
from cinevox.scoring.outcomes import Outcome


def describe(index: Index, outcome: Outcome, n_train_clips: int) -> dict[str, Any]:
    """The row, what it was fitted on, its feature spaces and weights.

    A regressor is fitted again on all training clips. Transfer networks are not: their best epoch is chosen on the
    validation clips, so they need them.

    n_train_clips: of the training set, validation clips included
    """
    refitted = not index.row.is_transfer
    n_kept_out = 0 if refitted else len(index.clips["validation"])
    return {
        "row": outcome.row,
        "track": index.row.track,
        "not_for_the_challenge": claims.not_for_the_challenge(outcome.origin),
        "fitted_on": {
            "splits": ["train", "validation"] if refitted else ["train"],
            "n_clips": n_train_clips - n_kept_out,
            "why": "the spaces are chosen, so the validation clips are fitted on too"
            if refitted
            else "the best epoch is chosen on the validation clips, so the row's own test predictions are handed in",
        },
        "spaces": {"policy": outcome.policy, "per": outcome.per, "chosen": outcome.chosen, "named": dict(index.named)},
        "weights": {network: asdict(weights) for network, weights in index.weights.items()},
        "n_test_clips": len(index.clips["test"]),
        "n_voxels": {
            subject: sum(block.n_voxels for block in index.columns.blocks if block.subject == subject)
            for subject in index.columns.subjects
        },
    }

"""What stands beside a submission's zip: how its predictions came about, and why they may be no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinevox.fitting.prediction_store import Index
from cinevox.project.params import FEATURES_GRAMMAR
from cinevox.scoring import claims
from cinevox.scoring.origin import origin_of


def is_refitted(index: Index) -> bool:
    """Whether the row's regressor is fitted again on all training clips.

    Transfer networks are not: their best epoch is chosen on the validation clips, so they need them.
    """
    return FEATURES_GRAMMAR.fullmatch(index.provenance["features"]) is not None


def describe(row: str, index: Index, selected: Mapping[str, Any], n_train_clips: int) -> dict[str, Any]:
    """The row, what it was fitted on, its feature spaces and weights.

    selected: selection.json of the row; n_train_clips: of the training set, validation clips included
    """
    made, refitted = index.provenance, is_refitted(index)
    n_kept_out = 0 if refitted else len(index.clips["validation"])
    untrained = ["random weights: an untrained network"] if made["weights"]["policy"] == "random" else []
    return {
        "row": row,
        "track": made["track"],
        "not_for_the_challenge": [*claims.foreign(origin_of(selected)), *untrained],
        "fitted_on": {
            "splits": ["train", "validation"] if refitted else ["train"],
            "n_clips": n_train_clips - n_kept_out,
            "why": "the spaces are chosen, so the validation clips are fitted on too"
            if refitted
            else "the best epoch is chosen on the validation clips, so the row's own test predictions are handed in",
        },
        "spaces": {"policy": selected["policy"], "per": selected["per"], "chosen": selected["chosen"]},
        "weights": made["weights"],
        "n_test_clips": len(index.clips["test"]),
        "n_voxels": {
            subject: sum(block.n_voxels for block in index.columns.blocks if block.subject == subject)
            for subject in index.columns.subjects
        },
    }

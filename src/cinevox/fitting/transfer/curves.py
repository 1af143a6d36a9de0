"""Curves and diagnostics of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cinevox.fitting.transfer.problem import Trained


def curves(trained: Sequence[Trained]) -> pd.DataFrame:
    """One line per subject, ROI and epoch; `best` marks the epoch whose weights predict."""
    return pd.DataFrame(
        [
            {"subject": t.block.subject, "roi": t.block.roi, "epoch": epoch, **entry, "best": epoch == t.best_epoch}
            for t in trained
            for epoch, entry in enumerate(t.curve, 1)
        ]
    )


def diagnostics(trained: Sequence[Trained]) -> dict[str, Any]:
    """Describe a row's training.

    best_epoch: its range over networks; best_network: `<subject>-<roi>` of the highest validation correlation;
    curves: ROI -> name -> value per epoch, mean over the subjects whose network was still training
    """
    table = curves(trained)
    means = table.groupby(["roi", "epoch"], sort=False)[list(trained[0].curve[0])].mean()
    epochs = np.array([t.best_epoch for t in trained])
    return {
        "best_epoch": {"min": epochs.min(), "median": np.median(epochs), "max": epochs.max()},
        "best_network": max(trained, key=lambda t: t.score).name,
        "curves": {roi: means.loc[roi].to_dict("list") for roi in dict.fromkeys(table["roi"])},
    }

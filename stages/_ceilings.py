"""Noise ceilings, for stages that score or describe scores; not in `_inputs`, so that no fit depends on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from _inputs import Run
from cinevox.files import io
from cinevox.statistics import metrics


def noise_ceilings(run: Run, track: str) -> dict[str, NDArray[np.float64] | None]:
    """Noise ceiling of every voxel of a track, by split with responses (validation, test), by params.ceiling."""
    folder = run.paths.ceiling(track)
    splits = io.read_json(folder / "index.json")["n_repetitions"]
    reliability = io.read_arrays(folder / "reliability.npz")
    settings = run.params.ceiling
    return metrics.noise_ceilings(reliability, splits, settings.policy, settings.min_reliability)

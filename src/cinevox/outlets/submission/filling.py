"""Voxels whose prediction is the same for every clip, which no scorer of correlations can take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.statistics.metrics import is_constant


def fill_constant(predicted: NDArray[np.float32], columns: Columns) -> dict[str, int]:
    """Give voxels with the same prediction for every clip the mean of their ROI's others, in place.

    A constant (a sparse regressor's empty model) has no correlation, and a scorer that divides by its spread makes
    the whole ROI's mean NaN. The others are the subject's own, or, where all of those are constant, other subjects';
    an ROI in which no prediction of any subject varies stays as it is.

    predicted: (n_clips, n_voxels); returns how many were filled from which
    """
    constant, count = is_constant(predicted), {"own_roi": 0, "other_subjects": 0}
    for roi in columns.rois:
        slices = [where for block, where in zip(columns.blocks, columns.slices) if block.roi == roi]
        means = [predicted[:, where][:, ~constant[where]].mean(axis=1) for where in slices if not constant[where].all()]
        for where in slices:
            if not constant[where].any() or not means:
                continue
            block, own = predicted[:, where], not constant[where].all()
            mean = block[:, ~constant[where]].mean(axis=1) if own else np.mean(means, axis=0)
            block[:, constant[where]] = mean[:, None]
            count["own_roi" if own else "other_subjects"] += int(constant[where].sum())
    return count

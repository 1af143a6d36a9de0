"""A volume of betas, as GLMsingle writes them, with masks of ROIs and of the brain on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cinevox.errors import FileError, InputError
from cinevox.measured.trials_table.betas import NotBetas, read_mask
from cinevox.own_study.arrays import Betas
from cinevox.own_study.names import in_order, roi_of
from cinevox.own_study.orders import Order
from cinevox.own_study.subject_trials import Responses
from cinevox.project.params import WHOLE_BRAIN


def of_volume(
    name: str, betas: Betas, masks: Sequence[Path], ids: Sequence[str], order: Order, data: Path
) -> Responses:
    """The trials of a volume: voxels of the brain's mask, or else of any ROI's, or else all.

    Raises
    ------
    InputError
        A mask is broken or lies on another grid.
    """
    grid = betas.shape[:-1]
    faults, rois, brain, affine = [], {}, None, None
    for path in masks:
        told, roi = path.relative_to(data), roi_of(path) or WHOLE_BRAIN
        try:
            mask = read_mask(path)
        except (NotBetas, FileError) as error:
            faults.append(f"{told}: {error}")
            continue
        if mask.values.shape != grid:
            faults.append(
                f"{told}: a mask of shape {mask.values.shape}, and the betas' volume has {grid}; expected one grid"
            )
        elif affine is not None and not np.allclose(affine, mask.affine, atol=1e-3):
            faults.append(f"{told}: another affine than the masks before it; expected one grid")
        else:
            affine = mask.affine
            if roi == WHOLE_BRAIN:
                brain = mask.values.astype(bool)
            else:
                rois[roi] = mask.values.astype(bool)
    if faults:
        raise InputError("\n  ".join(faults))
    inside = np.ones(grid, dtype=bool)
    if brain is not None:
        inside = brain
    elif rois:
        inside = np.logical_or.reduce(list(rois.values()))
    columns: dict[str, object] = {"kind": "voxel"}
    if len(grid) == 3 and grid[1:] != (1, 1):
        columns |= dict(zip("ijk", np.nonzero(inside)))
    units = pd.DataFrame(columns, index=range(np.count_nonzero(inside)))
    sizes = {}
    for roi in in_order(rois):
        mask_of = rois[roi]
        within = mask_of[inside].astype(int)
        if within.any():
            units[f"roi:{roi}"], sizes[roi] = within, int(within.sum())
    sessions = order.sessions or ("1",) * len(ids)
    return Responses(
        tuple(ids), sessions, order.runs, units, sizes, (betas,), np.arange(len(ids)), inside, affine,
        (betas.path, *masks, order.path),
    )  # fmt: skip

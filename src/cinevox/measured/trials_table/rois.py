"""Regions of interest: columns of units.tsv, or masks on the grid of the betas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.files import links
from cinevox.measured.trials_table.betas import NotBetas, read_mask, require_grid
from cinevox.measured.trials_table.layout import ROI
from cinevox.measured.trials_table.units import Units
from cinevox.project.params import WHOLE_BRAIN
from cinevox.project.params.names import NAME

Grid = tuple[tuple[int, ...] | None, NDArray[np.float64] | None]
"""Shape and affine of the betas' volume, each None where nothing says it."""


def units_in(
    path: Path, roi: str, units: Units, voxels: NDArray[np.intp] | None, grid: Grid, folder: Path
) -> NDArray[np.intp]:
    """The units that lie in a mask, in their order; empty where there are none.

    voxels: of every unit, (n_units, 3); grid: of the betas

    Raises
    ------
    NotBetas
        The mask is broken or lies on another grid, the units have no voxels, or have a column for this ROI too.
    FileError
        The file is a link out of the study's folder.
    """
    links.inside(path, folder)
    shape, affine = grid
    if not NAME.fullmatch(roi) or roi == WHOLE_BRAIN:
        told = f"the ROI is called {roi}; expected letters, digits, _ and -, and another name than {WHOLE_BRAIN}"
        raise NotBetas(path, f"{told}; rename the file")
    if roi in units.table.named(ROI):
        raise NotBetas(path, f"{units.table.path.name} has a column {ROI}{roi} too; keep one of the two")
    if voxels is None:
        raise NotBetas(path, f"{units.table.path.name} has no voxels with i, j, k, which a mask needs; add them")
    if affine is None:
        raise NotBetas(
            path, "the sidecar of the betas has no Affine, so nothing says that the mask is on their grid; add it"
        )
    mask = read_mask(path)
    require_grid(path, mask.values.shape, mask.affine, (shape, affine), "the betas'")
    if (voxels >= mask.values.shape).any():
        told = f"shape {' x '.join(map(str, mask.values.shape))}; {units.table.path.name} has a voxel"
        raise NotBetas(path, f"{told} at {tuple(voxels.max(axis=0).tolist())}; expected the grid of the betas")
    return np.flatnonzero(mask.values[tuple(voxels.T)])


def rois_of(
    units: Units, voxels: NDArray[np.intp] | None, masks: Mapping[str, Path], grid: Grid, folder: Path
) -> dict[str, NDArray[np.intp]]:
    """Every ROI that a subject has, by columns and by masks -> its units. Raises as `units_in`."""
    found = {roi: units_in(path, roi, units, voxels, grid, folder) for roi, path in masks.items()}
    return dict(units.rois) | {roi: where for roi, where in found.items() if len(where)}

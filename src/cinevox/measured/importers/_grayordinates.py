"""The 91,282 grayordinates of fsLR 32k, the cortex without its medial wall and voxels below it; and their parcels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.measured.importers._files import Files, image, roi_name
from cinevox.measured.importers._masks import Mask

N_UNITS, N_CORTEX, N_LEFT = 91_282, 59_412, 29_696


@dataclass(frozen=True)
class Parcels:
    """A parcellation. places: vertex, i, j, k of each grayordinate it knows of, the first ones of 91,282"""

    places: pd.DataFrame
    rois: Sequence[Mask]


def parcels_in(files: Files) -> Parcels | None:
    """The parcellation in the folder.

    Raises
    ------
    FileError
        Several, or not one of 91,282 or 59,412 grayordinates.
    """
    paths = [path for path, _ in files.matching(r".+\.dlabel\.nii")]
    if not paths:
        return None
    if len(paths) > 1:
        raise FileError(f"{', '.join(path.name for path in paths)}: several parcellations; leave one in {files.folder}")
    opened = image(paths[0])
    if not isinstance(opened, nibabel.cifti2.Cifti2Image) or opened.shape[1] not in (N_UNITS, N_CORTEX):
        raise FileError(
            f"{paths[0]}: shape {opened.shape}, expected (1, {N_UNITS}) or (1, {N_CORTEX}), labels of the "
            "grayordinates of fsLR 32k without the medial wall; take the parcellation of that space"
        )
    values = np.zeros(N_UNITS, dtype=np.intp)
    values[: opened.shape[1]] = np.asarray(opened.dataobj)[0]
    names = opened.header.get_axis(0).label[0]
    masks: dict[str, NDArray[np.bool_]] = {}
    for number, (name, _) in sorted(names.items()):
        if number and (values == number).any():
            short = roi_name(re.sub(r"^[LR]_|_ROI$", "", name))
            masks[short] = masks.get(short, np.zeros(N_UNITS, dtype=bool)) | (values == number)
    return Parcels(_places(opened.header.get_axis(1)), [Mask(name, inside) for name, inside in masks.items()])


def _places(axis: Any) -> pd.DataFrame:
    voxels = np.where(axis.surface_mask[:, None], np.nan, axis.voxel)
    places = pd.DataFrame({"vertex": np.where(axis.surface_mask, axis.vertex, np.nan)})
    return places.assign(**dict(zip("ijk", voxels.T)))


def units_of(parcels: Parcels | None) -> pd.DataFrame:
    """The 91,282 units in the standard order: the left cortex, the right one, then voxels below it."""
    order = np.arange(N_UNITS)
    units = pd.DataFrame(
        {
            "kind": np.where(order < N_CORTEX, "vertex", "voxel"),
            "label": [f"grayordinate-{each}" for each in order],
        }
    )
    if parcels is not None:  # without one nothing says which vertex each of them is
        units["hemi"] = ["L"] * N_LEFT + ["R"] * (N_CORTEX - N_LEFT) + [None] * (N_UNITS - N_CORTEX)
        for column in ("vertex", "i", "j", "k"):
            units[column] = parcels.places[column].reindex(order).astype("Int64")
        for roi in parcels.rois:
            units[f"roi:{roi.name}"] = roi.inside.astype(int)
    return units

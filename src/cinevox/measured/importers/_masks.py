"""Masks of ROIs as columns of the units table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.measured.importers._files import roi_name


@dataclass(frozen=True)
class Mask:
    """An ROI. inside: (i, j, k), or one value for each unit"""

    name: str
    inside: NDArray[np.bool_]


def labels_in(values: NDArray[Any], names: Mapping[int, str]) -> list[Mask]:
    """The ROIs of a volume of numbers, of those that have a name and any voxel."""
    return [
        Mask(roi_name(name), values == number) for number, name in sorted(names.items()) if (values == number).any()
    ]


def halves_joined(rois: Iterable[Mask]) -> list[Mask]:
    """These ROIs, those of one name as one, and V1 of V1v with V1d, if nothing else has that name."""
    joined: dict[str, NDArray[np.bool_]] = {}
    for roi in rois:
        joined[roi.name] = joined[roi.name] | roi.inside if roi.name in joined else roi.inside
    for name in [name.removesuffix("v") for name in joined if name.endswith("v") and f"{name[:-1]}d" in joined]:
        joined.setdefault(name, joined[f"{name}v"] | joined[f"{name}d"])
    return [Mask(name, inside) for name, inside in joined.items()]


def columns_of(inside: NDArray[np.bool_], rois: Iterable[Mask]) -> pd.DataFrame:
    """The units table of a mask's voxels, in C order: kind, i, j, k and a column `roi:<name>` for each ROI with any."""
    i, j, k = np.nonzero(inside)
    columns: dict[str, Any] = {"kind": "voxel", "i": i, "j": j, "k": k}
    for roi in halves_joined(rois):
        if (within := roi.inside[inside]).any():
            columns[f"roi:{roi.name}"] = within.astype(int)
    return pd.DataFrame(columns)

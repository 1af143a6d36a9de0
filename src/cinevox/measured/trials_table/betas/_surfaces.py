"""Betas on surfaces: GIFTI (.func.gii, a file for each hemisphere) and CIFTI (.dscalar.nii, .dtseries.nii)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.trials_table.betas._parts import NotBetas, Opened, Read, several
from cinevox.measured.trials_table.layout import HEMISPHERES

CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": 0, "CIFTI_STRUCTURE_CORTEX_RIGHT": 1}
FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class GiftiFiles:
    """paths: of each hemisphere; places: (n_units, 2), hemisphere (0 L, 1 R) and vertex, in the order of the units"""

    paths: dict[int, tuple[Path, ...]]
    places: NDArray[np.intp]

    @contextmanager
    def reading(self) -> Iterator[Read]:
        yield lambda trials, units: self._unpacked[trials, units]

    @cached_property
    def _unpacked(self) -> NDArray[np.float32]:
        """All units of all trials, (n_trials, n_units): GIFTI is text, which can't be read in parts."""
        sides = {side: np.concatenate([_gifti(path) for path in paths]) for side, paths in self.paths.items()}
        found = np.empty((len(next(iter(sides.values()))), len(self.places)), dtype=np.float32)
        for side, values in sides.items():
            mine = self.places[:, 0] == side
            found[:, mine] = values[:, self.places[mine, 1]]
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without the unpacked values: a worker unpacks what it needs itself."""
        return {"paths": self.paths, "places": self.places}


def open_gifti(paths: Sequence[Path], places: NDArray[np.intp] | None) -> Opened:
    """Read GIFTI files: an array for each trial, or one (n_vertices, n_trials).

    places: (n_units, 2) hemisphere and vertex of the units table

    Raises
    ------
    NotBetas
        A file is broken or says not of which hemisphere it is, hemispheres have different trials, or a vertex is not
        there.
    """
    if places is None:
        raise NotBetas(paths[0], "units.tsv has no hemi and vertex; add them: they say which vertex a unit is")
    sides: dict[int, list[Path]] = {}
    shapes: dict[int, list[tuple[int, ...]]] = {}
    for path in paths:
        values = _gifti(path)
        side = _side(path)
        sides.setdefault(side, []).append(path)
        shapes.setdefault(side, []).append(values.shape)
    lengths = {side: [shape[0] for shape in found] for side, found in shapes.items()}
    if any(found != lengths[next(iter(lengths))] for found in lengths.values()):
        told = ", ".join(
            f"{HEMISPHERES[side]} {' + '.join(map(str, found))}" for side, found in sorted(lengths.items())
        )
        raise NotBetas(paths[0], f"hemispheres have different numbers of trials: {told}; save both again")
    for side in np.unique(places[:, 0]).tolist():
        _require_vertices(paths[0], side, places[places[:, 0] == side, 1], shapes.get(side))
    source = GiftiFiles({side: tuple(found) for side, found in sides.items()}, places)
    return Opened(source, (sum(next(iter(lengths.values()))), len(places)), FLOAT32, "C", places)


def _require_vertices(
    path: Path, side: int, vertices: NDArray[np.intp], shapes: Sequence[tuple[int, ...]] | None
) -> None:
    """Refuse units that are in no file. shapes: of the hemisphere's files, None where there are none"""
    if side < 0:
        raise NotBetas(path, "units.tsv has units that are no vertices; expected a hemi and a vertex for each unit")
    hemi = HEMISPHERES[side]
    if shapes is None:
        raise NotBetas(path, f"units.tsv has units of hemi {hemi}, and no file is of it; add the file of hemi-{hemi}")
    size = min(shape[1] for shape in shapes)
    if len(far := vertices[(vertices < 0) | (vertices >= size)]):
        told = f"units.tsv has vertex {far[0]} of hemi {hemi}, and the file {size} vertices, counted from 0"
        raise NotBetas(path, f"{told}; correct units.tsv, or take the file of the other density")


def _side(path: Path) -> int:
    """The hemisphere by the name, else by what the file says of its structure."""
    import nibabel

    if match := re.search(r"hemi-([LR])", path.name):
        return HEMISPHERES.index(match[1])
    meta = str(nibabel.GiftiImage.from_filename(path).meta.get("AnatomicalStructurePrimary", ""))
    for side, word in enumerate(("CortexLeft", "CortexRight")):
        if word == meta:
            return side
    raise NotBetas(path, "says not of which hemisphere it is; put hemi-L or hemi-R into its name")


def _gifti(path: Path) -> NDArray[np.float32]:
    """The arrays of a GIFTI file, (n_trials, n_vertices)."""
    import nibabel

    try:
        arrays = [np.asarray(each.data) for each in nibabel.GiftiImage.from_filename(path).darrays]
        values = arrays[0].T if len(arrays) == 1 and arrays[0].ndim == 2 else np.stack(arrays)
    except Exception as error:  # nibabel and expat raise many kinds
        raise NotBetas(path, f"not a GIFTI file of arrays of one length ({error}); save it again") from None
    if values.ndim != 2:
        raise NotBetas(path, f"shape {values.shape}, expected (n_trials, n_vertices); save it as that")
    return values.astype(np.float32, copy=False)


@dataclass(frozen=True)
class CiftiFiles:
    paths: tuple[Path, ...]
    lengths: tuple[int, ...]

    @contextmanager
    def reading(self) -> Iterator[Read]:
        images = [_cifti(path) for path in self.paths]
        yield lambda trials, units: several(
            self.lengths, lambda n, rows: np.asarray(images[n].dataobj[rows, units]), trials
        )


def open_cifti(paths: Sequence[Path]) -> Opened:
    """Look at the headers of CIFTI files; their columns are the units, in order.

    Raises
    ------
    NotBetas
        A file is broken, or its columns are other grayordinates than the first one's.
    """
    images = [_cifti(path) for path in paths]
    axes = [_grayordinates(path, image) for path, image in zip(paths, images)]
    for path, axis in zip(paths, axes):
        if axis != axes[0]:
            raise NotBetas(
                path, f"has other columns than {paths[0].name}; expected the same grayordinates; save it again"
            )
    lengths = tuple(image.shape[0] for image in images)
    places = np.full((len(axes[0]), 2), -1, dtype=np.intp)
    for name, side in CORTEX.items():
        mine = axes[0].name == name
        places[mine] = np.stack([np.full(np.count_nonzero(mine), side), axes[0].vertex[mine]], axis=1)
    return Opened(CiftiFiles(tuple(paths), lengths), (sum(lengths), len(axes[0])), FLOAT32, "C", places)


def _grayordinates(path: Path, image: Any) -> Any:
    from nibabel.cifti2 import BrainModelAxis

    axis = image.header.get_axis(1)
    if len(image.shape) != 2 or not isinstance(axis, BrainModelAxis):
        told = f"has columns of {type(axis).__name__}"
        raise NotBetas(path, f"{told}; expected grayordinates; save parcels as .npy with kind parcel in units.tsv")
    return axis


def _cifti(path: Path) -> Any:
    import nibabel

    try:
        return nibabel.Cifti2Image.from_filename(path)
    except Exception as error:  # nibabel raises many kinds
        raise NotBetas(path, f"not a CIFTI file ({error}); save it again") from None

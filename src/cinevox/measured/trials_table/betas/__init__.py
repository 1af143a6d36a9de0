"""Betas: responses of single trials, (n_trials, n_units), in one of the kinds of files of `layout.BETAS`.

Opening reads headers only, but of GIFTI, which can't be read in parts; values are read for some units and trials at a
time. The packages for HDF5, zarr and images are loaded when a file of that kind is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import links
from cinevox.measured.trials_table.betas._arrays import open_hdf5, open_npy, open_zarr
from cinevox.measured.trials_table.betas._parts import NotBetas as NotBetas
from cinevox.measured.trials_table.betas._parts import Opened, gather
from cinevox.measured.trials_table.betas._surfaces import open_cifti, open_gifti
from cinevox.measured.trials_table.betas._volumes import AFFINE_TOLERANCE as AFFINE_TOLERANCE
from cinevox.measured.trials_table.betas._volumes import open_nifti
from cinevox.measured.trials_table.betas._volumes import read_mask as read_mask
from cinevox.measured.trials_table.betas._volumes import require_grid as require_grid
from cinevox.measured.trials_table.layout import BETAS, SubjectFiles


@dataclass(frozen=True)
class Betas:
    """Betas of one subject. path: for messages; scale: what stored numbers are divided by"""

    path: Path
    opened: Opened
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.opened.shape

    @cached_property
    def _all(self) -> NDArray[np.intp]:
        return np.arange(self.shape[0])

    def columns(self, units: NDArray[np.intp], trials: slice | NDArray[np.intp] = slice(None)) -> NDArray[np.float32]:
        """Betas of these units in these trials, (n_trials, n_units), as float32.

        Raises
        ------
        FileError
            The file is broken where the values are.
        """
        try:
            values = gather(self.opened.source, self._all[trials], np.asarray(units))
        except Exception as error:  # zlib, h5py, zarr and nibabel raise many kinds
            told = f"cannot be read ({type(error).__name__}: {error})"
            raise FileError(f"{self.path}: {told}; fetch it again, or write it again") from error
        return values if self.scale == 1 else values / np.float32(self.scale)


def open_betas(
    files: SubjectFiles, voxels: NDArray[np.intp] | None = None, vertices: NDArray[np.intp] | None = None
) -> Opened:
    """Look at the headers of a subject's betas.

    voxels: (n_units, 3) places of the units table; vertices: (n_units, 2) hemisphere (0 L, 1 R) and vertex; None where
    the table has none

    Raises
    ------
    NotBetas
        There are none, or of two kinds, or a file is not what its name says.
    FileError
        A file is a link out of the study's folder.
    """
    found = files.betas
    if len(found) != 1:
        named = " and ".join(path.name for paths in found.values() for path in paths[:2]) or "none"
        endings = ", ".join(f"*{each.suffixes[0]}" for each in BETAS.values())
        raise NotBetas(
            files.array, f"found {named}; expected betas in one kind of file: {endings}; leave one kind there"
        )
    [(kind, paths)] = found.items()
    if len(paths) > 1 and not BETAS[kind].several:
        raise NotBetas(
            paths[0], f"found {', '.join(path.name for path in paths)}; expected one file; put them into one"
        )
    for path in (*paths, *files.masks):
        links.inside(path, files.folder)
    if kind == "nifti":
        return open_nifti(paths, files.masks, voxels)
    if kind == "gifti":
        return open_gifti(paths, vertices)
    if kind == "cifti":
        return open_cifti(paths)
    return {"npy": open_npy, "hdf5": open_hdf5, "zarr": open_zarr}[kind](paths[0])

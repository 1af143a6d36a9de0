"""Arrays of voxels in files that others wrote: .npy, .npz, HDF5, MATLAB, and the output of GLMsingle.

No file is a program: the dictionary that GLMsingle saves by pickling is read as data (`files.pickles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from cinevox.errors import FileError
from cinevox.files import io, pickles

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat")
GLMSINGLE = "betasmd"  # the key of the betas in all of GLMsingle's files


@dataclass(frozen=True)
class Betas:
    """Responses in a file: rows of stimuli, (n_stimuli, n_voxels) or (n_stimuli, n_repetitions, n_voxels), or a volume.

    values: an array, or something that is indexed as one and reads what is asked for
    key: its name in the file, "" where the file has one array alone
    volume: trials are along the last axis, (x, y, z, n_trials), or (n_units, n_trials)
    reversed: the axes stand in the opposite order, as MATLAB's files have them
    """

    path: Path
    values: Any
    key: str = ""
    volume: bool = False
    reversed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = tuple(self.values.shape)
        return shape[::-1] if self.reversed else shape

    @property
    def n_rows(self) -> int:
        return self.shape[-1] if self.volume else self.shape[0]

    def trials(self, start: int, stop: int) -> NDArray[Any]:
        """Some trials of a volume, (n_trials, ...) with the axes of the volume behind."""
        if self.reversed:
            block = np.asarray(self.values[start:stop])
            return block.transpose(0, *range(block.ndim - 1, 0, -1))
        return np.moveaxis(np.asarray(self.values[..., start:stop]), -1, 0)


def is_glmsingle(path: Path) -> bool:
    """Whether a file is called as GLMsingle calls its models (TYPEA to TYPED)."""
    return path.name.startswith("TYPE") and path.suffix.lower() in SUFFIXES


def read(path: Path) -> tuple[list[Betas], dict[str, list[str]]]:
    """The arrays of responses in a file, and its lists of text (ids), by key.

    Raises
    ------
    FileError
        The file is damaged, or is not what its name says.
    """
    if is_glmsingle(path):
        return [_glmsingle(path)], {}
    found = contents(path)
    texts = {key: _words(value) for key, value in found.items() if _is_list(value)}
    numeric = {key: value for key, value in found.items() if getattr(value, "ndim", 0) >= 2}
    return [Betas(path, value, key if len(found) > 1 or key else "") for key, value in numeric.items()], texts


def contents(path: Path) -> Mapping[str, Any]:
    """Every array of a file by its key; of a .npy file the key is "". HDF5 is read where it is indexed."""
    try:
        match path.suffix.lower():
            case ".npy":
                return {"": io.read_array(path)}
            case ".npz":
                return io.read_arrays(path)
            case ".mat" if not h5py.is_hdf5(path):
                return {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
            case _:
                file = h5py.File(path)
                return {key: value for key, value in file.items() if isinstance(value, h5py.Dataset)}
    except FileError:
        raise
    except Exception as error:  # numpy, h5py and scipy raise many kinds
        raise FileError(f"{path}: cannot be read ({error}); save it again") from None


def _glmsingle(path: Path) -> Betas:
    of_matlab = path.suffix.lower() == ".mat" and h5py.is_hdf5(path)
    if path.suffix.lower() == ".npy":
        found: Mapping[str, Any] = pickles.read_saved(path)
    elif path.suffix.lower() == ".mat" and not of_matlab:
        names = [name for name, *_ in whosmat(path)]
        found = loadmat(path, variable_names=[GLMSINGLE]) if GLMSINGLE in names else dict.fromkeys(names)
    else:
        found = contents(path)
    if GLMSINGLE not in found:
        raise FileError(f"{path}: no {GLMSINGLE} in it, as GLMsingle has; found {', '.join(found) or 'nothing'}")
    return Betas(path, found[GLMSINGLE], "", volume=True, reversed=of_matlab)


def design(path: Path) -> tuple[NDArray[np.intp], NDArray[np.intp] | None, NDArray[np.intp] | None]:
    """The condition of each trial from 0 on, its run and its session if these are said, from GLMsingle's DESIGNINFO.

    Raises
    ------
    FileError
        There is no `stimorder` in it.
    """
    found = pickles.read_saved(path) if path.suffix.lower() == ".npy" else contents(path)
    if "stimorder" not in found:
        raise FileError(f"{path}: no stimorder in it, as GLMsingle has; found {', '.join(found) or 'nothing'}")
    order = np.ravel(np.asarray(found["stimorder"])).astype(np.intp)
    from_one = path.suffix.lower() == ".mat"
    runs = found.get("numtrialrun")
    lengths = None if runs is None else np.ravel(np.asarray(runs)).astype(int)
    if lengths is None or lengths.sum() != len(order):
        return order - int(from_one), None, None
    options = found.get("opt")
    given = options.get("sessionindicator") if isinstance(options, dict) else None
    session = None if given is None else np.ravel(np.asarray(given)).astype(int)
    by_session = np.repeat(session, lengths) if session is not None and len(session) == len(lengths) else None
    return order - int(from_one), np.repeat(np.arange(len(lengths)) + 1, lengths), by_session


def _is_list(value: Any) -> bool:
    return getattr(value, "ndim", 0) == 1 and getattr(value, "dtype", np.dtype(float)).kind in "USO"


def _words(value: Any) -> list[str]:
    return [each.decode() if isinstance(each, bytes) else str(each) for each in np.asarray(value).tolist()]

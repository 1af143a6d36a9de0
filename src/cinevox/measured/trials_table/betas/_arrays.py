"""Betas in arrays: .npy, HDF5 and zarr. Nothing in a file can run: no pickles, no codecs but known ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.measured.trials_table.betas._parts import NotBetas, Opened, Read, require_matrix
from cinevox.measured.trials_table.layout import HDF5_DATASET

CODECS = {  # of zarr; "pickle" is one too
    "blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma", "sharding_indexed", "shuffle", "transpose",
    "zlib", "zstd",
}  # fmt: skip


@dataclass(frozen=True)
class NpyFile:
    path: Path

    @contextmanager
    def reading(self) -> Iterator[Read]:
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)

        def read(trials: slice, units: slice) -> NDArray[Any]:
            values = np.array(array[trials, units])
            io.forget(array)
            return values

        yield read


def open_npy(path: Path) -> Opened:
    """Look at the header of a .npy file.

    Raises
    ------
    NotBetas
        It is broken, or holds something else than numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise NotBetas(path, f"not a .npy file of numbers ({error}); save it again with numpy.save") from None
    require_matrix(path, array.shape, array.dtype)
    order = "C" if array.flags.c_contiguous else "F"
    return Opened(NpyFile(path), array.shape, array.dtype, order)


@dataclass(frozen=True)
class Hdf5File:
    path: Path

    @contextmanager
    def reading(self) -> Iterator[Read]:
        import h5py

        with h5py.File(self.path, "r") as file:
            data = file[HDF5_DATASET]
            yield lambda trials, units: data[trials, units]


def open_hdf5(path: Path) -> Opened:
    """Look at the header of `/betas` in an HDF5 file; one that lies in another file is refused.

    Raises
    ------
    NotBetas
        It is broken, has no such data set, or that holds something else than numbers.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            there = ", ".join(sorted(file)) or "nothing"
            link = file.get(HDF5_DATASET, getlink=True)
            data = file[HDF5_DATASET] if isinstance(link, h5py.HardLink) else None
            if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
                told = f"has {there}; expected a data set {HDF5_DATASET} in the file itself, (n_trials, n_units)"
                raise NotBetas(path, f"{told}; write it with file.create_dataset({HDF5_DATASET!r}, data=betas)")
            shape, dtype = data.shape, data.dtype
    except OSError as error:
        raise NotBetas(path, f"not an HDF5 file ({error}); write it again with h5py") from None
    require_matrix(path, shape, dtype)
    return Opened(Hdf5File(path), shape, dtype)


@dataclass(frozen=True)
class ZarrFolder:
    path: Path

    @contextmanager
    def reading(self) -> Iterator[Read]:
        array = _zarr(self.path)
        yield lambda trials, units: np.asarray(array[trials, units])


def open_zarr(path: Path) -> Opened:
    """Look at the metadata of a zarr array, or of the array `betas` in a zarr group.

    Raises
    ------
    NotBetas
        It is broken, holds something else than numbers, or asks for a codec that is not one of `CODECS`.
    """
    try:
        if unknown := _codecs(path) - CODECS:
            told = f"uses the codec {', '.join(sorted(unknown))}, which is not opened"
            raise NotBetas(path, f"{told}; expected {', '.join(sorted(CODECS))}; write it with zarr's defaults")
        array = _zarr(path)
        shape, dtype = array.shape, array.dtype
        if n_missing := array.nchunks - array.nchunks_initialized:
            told = f"{n_missing} of {array.nchunks} chunks are not there, and would be read as 0; copy the folder again"
            raise NotBetas(path, f"{told}, or write it with config={{'write_empty_chunks': True}}")
    except NotBetas:
        raise
    except Exception as error:  # zarr raises many kinds
        told = f"not a zarr array, nor a group with an array {HDF5_DATASET} ({type(error).__name__}: {error})"
        raise NotBetas(path, f"{told}; write it with zarr.save_array") from None
    require_matrix(path, shape, dtype)
    return Opened(ZarrFolder(path), shape, dtype)


def _zarr(path: Path) -> Any:
    import zarr

    found = zarr.open(store=str(path), mode="r")
    return found if isinstance(found, zarr.Array) else found[HDF5_DATASET]


def _codecs(path: Path) -> set[str]:
    """The names of all codecs in the metadata below a folder, whatever version they are of."""
    found: set[str] = set()
    for name in (".zarray", "zarr.json", ".zmetadata"):
        for file in (path / name, path / HDF5_DATASET / name):
            found |= _named(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else set()
    return found


def _named(content: Any) -> set[str]:
    """The names of codecs in metadata: `id` in version 2, `name` of the entries of `codecs` in version 3."""
    if isinstance(content, list):
        return {name for each in content for name in _named(each)}
    if not isinstance(content, dict):
        return set()
    inner = [value for key, value in content.items() if key != "attributes"]
    own = {content["id"]} if isinstance(content.get("id"), str) else set()
    chain = content.get("codecs", [])
    own |= {str(each["name"]) for each in chain if isinstance(each, dict) and "name" in each}
    return own | {name for each in inner for name in _named(each)}

"""Files of numpy: .npz with the labels in it, .npy with the labels beside it."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files.labelled_arrays._parts import NAME, SIGNS, Opened, listed, refuse_absurd, stem_fault

IDS = "ids"  # the array of an .npz file that holds the labels
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_npz(path: Path) -> Opened:
    """Open an archive of arrays, of which `ids` are the labels. Errors as its libraries raise them."""
    shapes: dict[str, tuple[int, ...]] = {}
    ids: tuple[str, ...] = ()
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        repeated = [name for name, n in Counter(archive.namelist()).items() if n > 1]
        refuse_absurd(sum(member.file_size for member in archive.infolist()), path)
        faults = [f"two arrays are called {name.removesuffix('.npy')}" for name in repeated]
        for file_name, member in members.items():
            name = file_name.removesuffix(".npy")
            if name == file_name or not NAME.fullmatch(name):
                faults.append(f"an array is called {file_name!r}; expected {SIGNS}")
                continue
            with archive.open(member) as stream:
                shape, dtype = _header(stream, member.file_size)
            if name != IDS:
                faults += _type_faults(name, dtype)
                shapes |= {} if _type_faults(name, dtype) else {name: shape}
            elif len(shape) == 1 and dtype.kind in "US":
                ids = tuple(map(_text, _member(path, IDS).tolist()))
            else:
                faults.append(f"{IDS} is {dtype} {shape}; expected text (n,): numpy.array([...], dtype=str)")
    if f"{IDS}.npy" not in members:
        faults.append(f"there is no array {IDS}, only {listed(list(shapes)) or 'nothing'}; save it with the others")
    return Opened(ids, shapes, lambda name: _member(path, name), faults)


def open_npy(path: Path) -> Opened:
    """Open one array, memory-mapped, with its labels beside it. Errors as its libraries raise them.

    Raises
    ------
    FileError
        There is no file of labels, or there are two, or it holds something else.
    """
    beside = labels_beside(path)
    if len(beside) != 1:
        wanted = " or ".join(other.name for other in _label_files(path))
        raise FileError(f"{path}: {len(beside) or 'no'} files of ids beside it; expected one, {wanted}")
    with path.open("rb") as stream:
        shape, dtype = _header(stream, path.stat().st_size)
    faults = [*_type_faults(path.stem, dtype), *filter(None, [stem_fault(path)])]
    shapes = {} if faults else {path.stem: shape}
    return Opened(_labels(beside[0]), shapes, lambda _: np.load(path, mmap_mode="r", allow_pickle=False), faults)


def labels_beside(path: Path) -> tuple[Path, ...]:
    """The files of labels that lie beside a .npy file."""
    return tuple(other for other in _label_files(path) if other.is_file())


def _label_files(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".ids.txt"), path.with_suffix(".ids.json")


def _labels(path: Path) -> tuple[str, ...]:
    """The labels of a text file, one a line, or of a JSON file, a list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = text.strip().splitlines() if path.suffix == ".txt" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: cannot be read ({error}); expected ids in UTF-8") from None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise FileError(f'{path}: expected a list of text, such as ["clip_1", "clip_2"]')
    return tuple(name.strip() for name in found)


def _header(stream: IO[bytes], n_bytes: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a .npy stream of so many bytes. A `ValueError` where they aren't enough for those."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"format {version[0]}.{version[1]} of numpy, which plain numbers don't need")
    shape, _, dtype = HEADERS[version](stream)
    announced, there = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
    if min(shape, default=0) < 0 or (announced > there and not dtype.hasobject):
        raise ValueError(f"a header announces {dtype} {shape}, {announced:,} bytes; {there:,} bytes follow")
    return shape, dtype


def _type_faults(name: str, dtype: np.dtype) -> list[str]:
    if dtype.hasobject:
        return [f"{name} holds Python objects; save numpy.asarray({name}, dtype=numpy.float32) in its place"]
    return [] if dtype.kind in "biuf" else [f"{name} holds {dtype}; expected numbers"]


def _member(path: Path, name: str) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        found: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _text(item: str | bytes) -> str:
    return item.decode() if isinstance(item, bytes) else item

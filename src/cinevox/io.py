"""Files in and out, with checked shapes: pickles through an allow-list, arrays, JSON, CSV.

A pickle is a program. `read_pickle` runs none of it: it builds numpy arrays, plain containers and plain
scalars, and refuses every other name before it is imported. Nothing here uses numpy's `allow_pickle`.
"""

from __future__ import annotations

import json
import math
import os
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinevox.errors import InputError


class FileError(InputError):
    """A file is missing, broken, hostile or of the wrong shape; the message names it and the cure."""


def _reconstruct(subtype: type, shape: tuple[int, ...], _typecode: object) -> NDArray[Any]:
    if subtype is not np.ndarray or math.prod(shape) != 0:
        raise pickle.UnpicklingError("an array subclass, or an array allocated before its data")
    return np.empty(0, dtype=np.int8)


def _scalar(dtype: np.dtype, data: bytes | str = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(raw) != dtype.itemsize:
        raise pickle.UnpicklingError("a numpy scalar whose bytes do not fit its type")
    return np.frombuffer(raw, dtype=dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _dtype(spec: str, *_flags: object) -> np.dtype:
    made = np.dtype(spec) if isinstance(spec, str) else None
    if made is None or made.hasobject:
        raise pickle.UnpicklingError(f"the array type {spec!r}")
    return made


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str, *_axis: object) -> NDArray[Any]:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError("an array of objects")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
} | {
    (module.format(core), name): replacement
    for core in ("core", "_core")
    for module, name, replacement in (
        ("numpy.{}.multiarray", "_reconstruct", _reconstruct),
        ("numpy.{}.multiarray", "scalar", _scalar),
        ("numpy.{}.numeric", "_frombuffer", _frombuffer),
    )
}


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: Path) -> Any:
    """Open a pickle of arrays, dicts, lists and plain scalars (Python 2's too) without running anything.

    Raises
    ------
    FileError
        The file is missing, cut off, no pickle, or asks for anything that is not on the allow-list.
    """
    try:
        with path.open("rb") as stream:
            content = _AllowListUnpickler(stream, encoding="latin1").load()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except Exception as error:  # a broken pickle raises almost anything
        raise FileError(
            f"{path}: refused: {error or type(error).__name__}. A response pickle holds numpy arrays, dicts and "
            "plain numbers only, and nothing in it was run. Fetch the file again from where it was published; "
            "if it is yours, save a dict of float arrays."
        ) from None
    _refuse_objects(content, path)
    return content


def _refuse_objects(content: Any, path: Path) -> None:
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, np.ndarray) and item.dtype.hasobject:
            raise FileError(f"{path}: holds an array of Python objects; expected arrays of numbers")
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set):
            stack.extend(item)


def folder(path: Path) -> Path:
    """The folder, made if it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_pickle(path: Path, content: dict[str, NDArray[Any]]) -> None:
    """Write a dict of arrays as Python 2 could read it (protocol 2)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        pickle.dump(content, stream, protocol=2)


def write_array(path: Path, array: ArrayLike) -> None:
    """Write one .npy file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as stream:
        np.save(stream, np.asarray(array), allow_pickle=False)
    partial.replace(path)


def read_array(path: Path, shape: Sequence[int | None] | None = None, axes: str = "") -> NDArray[Any]:
    """Memory-map one .npy file and check its shape; None stands for any size.

    Raises
    ------
    FileError
        Missing, no .npy file, or a shape other than expected, both printed with the names of the `axes`.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; `dvc repro` makes it") from None
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: not a .npy file ({error}); delete it and run `dvc repro`") from None
    if shape is not None and (
        array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape))
    ):
        wanted = tuple("any" if size is None else size for size in shape)
        raise FileError(f"{path}: shape {array.shape}, expected {wanted} ({axes or 'axes'}); run `dvc repro`")
    return array


def write_arrays(path: Path, **arrays: ArrayLike) -> None:
    """Write named arrays into one .npz file, the same bytes for the same arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file.

    Raises
    ------
    FileError
        Missing or broken.
    """
    try:
        with np.load(path, allow_pickle=False) as bundle:
            return {name: bundle[name] for name in bundle.files}
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; `dvc repro` makes it") from None
    except Exception as error:  # zipfile and numpy raise many kinds
        raise FileError(f"{path}: not an .npz file ({error}); delete it and run `dvc repro`") from None


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (NaN becomes null), sorted as given, ending in a newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + os.linesep)
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    FileError
        Missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; `dvc repro` makes it") from None
    except ValueError as error:
        raise FileError(f"{path}: not JSON: {error}") from None


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return content.as_posix()
    return content

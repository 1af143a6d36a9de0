"""Files in and out, with checked shapes: pickles read as data only, arrays, JSON. Each appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinevox.errors import FileError
from cinevox.files import disk
from cinevox.files.pickles import read_pickle as read_pickle


def folder(path: Path) -> Path:
    """The folder, made if it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files in a folder whose names end so, in upper or lower case, by name; none where there is no folder.

    What macOS writes beside a file on other people's disks (`._name`) is left out.
    """
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in there if path.suffix.lower() in suffixes and not path.name.startswith("._"))


def write_pickle(path: Path, content: dict[str, Any], protocol: int = 2) -> None:
    """Write arrays of numbers in (nested) dicts.

    protocol 2: as Python 2 wrote the challenge's data (others read it with `encoding="latin1"`);
    protocol 3: for any Python 3, as for submissions. Both name what numpy 1 and numpy 2 know.

    Raises
    ------
    ValueError
        The protocol is another one, an array does not hold numbers, or has 2 GiB and more.
    """
    if protocol not in (2, 3):
        raise ValueError(f"protocol is {protocol}; expected 2 or 3")
    with whole(path) as stream:
        stream.write(b"\x80" + bytes([protocol]))
        _write(stream, content, protocol)
        stream.write(b".")


def _write(stream: BinaryIO, item: Any, protocol: int) -> None:
    if isinstance(item, dict):
        stream.write(b"}(")
        for key, value in item.items():
            stream.write(_text(key, protocol))
            _write(stream, value, protocol)
        stream.write(b"u")
        return
    array = np.asarray(item)
    if array.dtype.kind not in "biuf" or array.nbytes >= 2**31:
        raise ValueError(f"an array of {array.dtype} and {array.nbytes} bytes; expected numbers, less than 2 GiB")
    order = {"=": "<" if np.little_endian else ">"}.get(array.dtype.byteorder, array.dtype.byteorder)
    shape = b"".join(struct.pack("<ci", b"J", size) for size in array.shape)
    dtype = b"cnumpy\ndtype\n(" + _text(array.dtype.str[1:], protocol) + b"K\x00K\x01tR(K\x03" + _text(order, protocol)
    stream.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _text("b", protocol) + b"tR")
    stream.write(b"(K\x01(" + shape + b"t" + dtype + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
    stream.write((b"T" if protocol == 2 else b"B") + struct.pack("<I", array.nbytes))
    stream.write(np.ascontiguousarray(array).tobytes())
    stream.write(b"tb")


def _text(text: str, protocol: int) -> bytes:
    raw = text.encode()
    return b"U" + struct.pack("<B", len(raw)) + raw if protocol == 2 else b"X" + struct.pack("<I", len(raw)) + raw


def write_array(path: Path, array: ArrayLike) -> None:
    """Write one .npy file."""
    values = np.asarray(array)
    with whole(path, values.nbytes) as stream:
        np.save(stream, values, allow_pickle=False)


@contextmanager
def streamed(path: Path, shape: Sequence[int], dtype: np.dtype) -> Iterator[BinaryIO]:
    """A .npy file in Fortran order (the last axis slowest) whose values the caller writes, in that order.

    Raises
    ------
    ValueError
        More or fewer were written.
    """
    with whole(path, math.prod(shape) * dtype.itemsize) as stream:
        header = {"descr": dtype.str, "fortran_order": True, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        needed = stream.tell() + math.prod(shape) * dtype.itemsize
        yield stream
        if stream.tell() != needed:
            raise ValueError(f"{path}: {stream.tell()} bytes written, expected {needed}")


def write_rows(path: Path, start: int, rows: NDArray[Any]) -> None:
    """Overwrite rows of a .npy file from `start` on, and wait until they are on the disk.

    Unlike `flush` of a memory map it lets other threads run meanwhile. The rows have the file's own type and shape.
    """
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.dtype != rows.dtype or mapped.shape[1:] != rows.shape[1:] or start + len(rows) > len(mapped):
        raise ValueError(
            f"{path}: {rows.dtype} {rows.shape} from row {start} on, expected {mapped.dtype} {mapped.shape}"
        )
    with path.open("r+b") as stream:
        stream.seek(mapped.offset + start * mapped.strides[0])
        stream.write(np.ascontiguousarray(rows).data)
        stream.flush()
        os.fsync(stream.fileno())


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


def forget(array: NDArray[Any]) -> None:
    """Give back the memory that the pages of a read-only memory map take; they are read again when needed."""
    below: Any = array
    while below is not None and not isinstance(below, mmap.mmap):
        below = below.obj if isinstance(below, memoryview) else getattr(below, "base", None)
    if below is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        below.madvise(mmap.MADV_DONTNEED)


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_arrays(path: Path, **arrays: ArrayLike) -> None:
    """Write named arrays into one .npz file, the same bytes for the same arrays."""
    values = {name: np.asarray(array) for name, array in arrays.items()}
    with whole(path, sum(each.nbytes for each in values.values())) as stream:
        np.savez(stream, allow_pickle=False, **values)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file.

    Raises
    ------
    FileError
        Missing or broken.
    """
    try:
        refuse_bomb(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as bundle:  # numpy leaves broken ones open
            return {name: bundle[name] for name in bundle.files}
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; `dvc repro` makes it") from None
    except Exception as error:  # zipfile and numpy raise many kinds
        raise FileError(f"{path}: not an .npz file ({error}); delete it and run `dvc repro`") from None


def refuse_bomb(path: Path) -> None:
    """Refuse a zip (also .npz and torch's files) that unpacks to more than it is; what numpy and torch write does not.

    Raises
    ------
    ValueError
        Its parts together are larger than the file.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        announced, size = sum(part.file_size for part in archive.infolist()), path.stat().st_size
    if announced > size:
        raise ValueError(f"it unpacks to {announced} bytes and has {size}; a file of arrays is not compressed")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that something else has made."""
    with whole(path, len(content)) as stream:
        stream.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (NaN and infinity become null), in the order given, ending in a newline."""
    write_bytes(path, (json.dumps(_plain(content), indent=2, allow_nan=False) + "\n").encode())


def as_read(content: Any) -> Any:
    """Return what `read_json` finds after `write_json` of this content."""
    return json.loads(json.dumps(_plain(content), allow_nan=False))


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    FileError
        Missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; `dvc repro` makes it") from None
    except (ValueError, OSError, RecursionError) as error:
        raise FileError(f"{path}: not JSON ({error}); delete it and run `dvc repro`") from None


@contextmanager
def whole(path: Path, n_bytes: int | None = None) -> Iterator[BinaryIO]:
    """A file that takes its name once it is written to its end; n_bytes: how long it will be, for the message.

    Raises
    ------
    DiskFullError
        There is no room for it.
    """
    partial = folder(path.parent) / (path.name + ".part")
    try:
        with partial.open("wb") as stream:
            yield stream
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if disk.cause(error) is not None:
            raise disk.full(path.parent, n_bytes) from None
        raise
    partial.replace(path)


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

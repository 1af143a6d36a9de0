"""The disk: space that is taken before work begins, and one message where there is none left."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from cinevox.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
CURE = "free some space (`dvc gc -w` removes old versions), or move the repository to a larger disk"


class DiskFullError(InputError):
    """There is no room for what has to be written; the message names the folder, what is needed and what is free."""


def full(folder: Path, needed: int | None = None) -> DiskFullError:
    """The error for a folder into which no more can be written; needed: bytes, where they are known."""
    wanted = "more is needed" if needed is None else f"{size(needed)} are needed"
    return DiskFullError(f"{folder}: the disk is full: {wanted}, {size(free(folder))} are free; {CURE}")


def cause(error: BaseException) -> OSError | None:
    """The error of a full disk that an exception is, or that led to it, in whatever library."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, OSError) and each.errno in FULL:
            return each
        seen.add(id(each))
        pending += [each.__cause__, each.__context__]
    return None


def free(folder: Path) -> int:
    """Bytes that can be written into a folder, or where it would be made."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    return shutil.disk_usage(there).free


def size(n_bytes: int) -> str:
    """A number of bytes for readers, in powers of a thousand."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes} bytes"


def allocate(arrays: Mapping[Path, tuple[Sequence[int], DTypeLike]]) -> None:
    """Make .npy files of zeros, in C order, with all of their space on the disk: writing into them can't fail later.

    A file that was only given a length has no space, and a process that writes into a memory map of one is killed by a
    signal when the disk is full.

    arrays: file -> shape, type; made all or none

    Raises
    ------
    DiskFullError
        There is no room for them.
    """
    needed = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays.values())
    folders = sorted({path.parent for path in arrays})
    if folders and needed > free(folders[0]):
        raise full(folders[0], needed)
    try:
        for path, (shape, dtype) in arrays.items():
            np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(shape))
            _take_space(path)
    except OSError as error:
        for path in arrays:
            path.unlink(missing_ok=True)
        if error.errno in FULL:
            raise full(folders[0], needed) from None
        raise


def _take_space(path: Path) -> None:
    n_bytes = path.stat().st_size
    with path.open("r+b") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, n_bytes)
            return
        for block in _zeros(n_bytes - stream.seek(128)):  # macOS has no such call; a header takes 128 bytes
            stream.write(block)


def _zeros(n_bytes: int, step: int = 2**22) -> Iterator[bytes]:
    return (bytes(min(step, n_bytes - start)) for start in range(0, n_bytes, step))

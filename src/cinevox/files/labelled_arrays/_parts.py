"""Parts that the readers of all kinds of files share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cinevox.files import disk

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of an array: it becomes the name of a file
SIGNS = "letters, digits, _, . and -, none of the last two first"
SMALL, MAX_RATIO = 10**9, 100  # bytes that any file may unpack to, and how many times its own size beyond that


class Opened(NamedTuple):
    """The labels of a file, the shapes of its arrays, a function that reads one by its name, and what is wrong."""

    ids: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]
    faults: Sequence[str]


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names with commas between them, those beyond `most` counted."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def stem_fault(path: Path) -> str | None:
    """Why a file's name can't be its array's; None if it can."""
    return None if NAME.fullmatch(path.stem) else f"the file's name {path.stem!r} is its array's; expected {SIGNS}"


def refuse_absurd(n_bytes: int, path: Path) -> None:
    """Refuse a file that unpacks to far more than it is: a `ValueError`."""
    size = path.stat().st_size
    if n_bytes > max(SMALL, MAX_RATIO * size):
        raise ValueError(f"it has {disk.size(size)} and unpacks to {disk.size(n_bytes)}; save it uncompressed")

"""Arrays with a label for each row, in files that others wrote: npz, npy and parquet.

Headers are believed only where the file is long enough for what they announce, and no file is a program: arrays of
Python objects are refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files.digests import Digests
from cinevox.files.file_kinds import kind_of
from cinevox.files.labelled_arrays._numpy import labels_beside, open_npy, open_npz
from cinevox.files.labelled_arrays._parquet import open_parquet
from cinevox.files.labelled_arrays._parts import Opened, listed

__all__ = ["LabelledArrays", "digest_of", "listed", "open_arrays"]

READERS: Mapping[str, Callable[[Path], Opened]] = {".npz": open_npz, ".npy": open_npy, ".parquet": open_parquet}


@dataclass(frozen=True)
class LabelledArrays:
    """An opened file. Nothing but its headers and labels was read, and of lists in parquet their lengths.

    ids: the label of each row
    shapes: name -> shape, (n_rows, ...), of the arrays that can be read
    read: gives an array by its name, memory-mapped where the file allows it
    faults: what is wrong with labels and headers, a sentence each without a full stop
    """

    path: Path
    ids: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]
    faults: tuple[str, ...]


def open_arrays(path: Path) -> LabelledArrays:
    """Open a file of arrays by its suffix, in upper or lower case.

    .npz: an array `ids`, and one or more others; .npy: one array, named as the file is, and beside it the labels
    in NAME.ids.txt (one a line) or NAME.ids.json (a list); .parquet: a column `id`, or a first column of text, and
    columns of numbers, which together are one array named as the file is, or of lists, an array each.

    Raises
    ------
    FileError
        There is no such file, or it is of another kind, or damaged.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise FileError(f"{path}: no such file; expected one of arrays, {' or '.join(READERS)}")
    if suffix not in READERS:
        raise FileError(f"{path}: expected a name that ends in {' or '.join(READERS)}{_kind(path)}")
    try:
        opened = READERS[suffix](path)
    except FileError:
        raise
    except Exception as error:  # zipfile, numpy and pyarrow raise many kinds
        raise FileError(f"{path}: cannot be read ({error}){_kind(path) or '; save it again'}") from None
    faults, n = [*opened.faults, *_id_faults(opened.ids)], len(opened.ids)
    rows = {name: shape for name, shape in opened.shapes.items() if shape[:1] == (n,) and 0 not in shape}
    if n:
        wanted = f"expected ({n}, ...), a row for each of the {n} ids, and no empty axis"
        faults += [f"{name} has shape {shape}; {wanted}" for name, shape in opened.shapes.items() if name not in rows]
    if not faults and not (n and rows):
        faults.append("there are no ids" if n == 0 else "there are no arrays beside the ids")
    return LabelledArrays(path, opened.ids, rows, partial(_read, path, opened.read), tuple(faults))


def digest_of(path: Path, digests: Digests) -> str:
    """SHA-256 of a file of arrays, and of the labels beside a .npy file; "" where there is no such file."""
    beside = labels_beside(path) if path.suffix.lower() == ".npy" else ()
    found = [digests.of(file) for file in (path, *beside)] if path.is_file() else []
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest() if found else ""


def _read(path: Path, read: Callable[[str], NDArray[Any]], name: str) -> NDArray[Any]:
    try:
        return read(name)
    except Exception as error:
        raise FileError(f"{path}: {name} cannot be read ({error}); save the file again") from None


def _kind(path: Path) -> str:
    """The kind of file that it is in truth, where that is known and another than its name says."""
    kind, suffix = kind_of(path), path.suffix.lower()
    as_named = suffix in kind or (suffix == ".npz" and kind.startswith("it is a zip"))
    return "" if as_named or not kind else f"; {kind}"


def _id_faults(ids: tuple[str, ...]) -> list[str]:
    repeated = [name for name, n in Counter(ids).items() if n > 1 and name]
    empty = ["ids that are empty or missing"] if "" in ids else []
    return empty + ([f"ids that stand there more than once: {listed(repeated)}"] if repeated else [])

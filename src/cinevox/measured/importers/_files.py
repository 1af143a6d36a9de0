"""A study's folder: its files found by name, wherever they lie in it, and opened with errors a user can cure."""

from __future__ import annotations

import filecmp
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError

AGAIN = "fetch it again from where the study is published"


class Files:
    """All files under a folder, links followed. Those that macOS writes beside others (`._name`) are left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        found, seen = [], set()
        for where, folders, names in os.walk(self.folder, followlinks=True):
            if (place := os.path.realpath(where)) in seen:  # a link to a folder above it would go on for ever
                folders.clear()
                continue
            seen.add(place)
            found += [Path(where) / name for name in names if not name.startswith("._")]
        return tuple(sorted(found))

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self.paths:
            found.setdefault(path.name, []).append(path)
        return found

    def matching(self, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
        """Files whose whole name matches a regular expression."""
        for path in self.paths:
            if match := re.fullmatch(pattern, path.name):
                yield path, match

    def only(self, name: str) -> Path | None:
        """The file of a name; None where there is none.

        Raises
        ------
        InputError
            There are several with different content.
        """
        named = self._by_name.get(name, [])
        for other in named[1:]:
            if not filecmp.cmp(named[0], other, shallow=False):
                raise InputError(
                    f"{named[0]} and {other} have one name and different content; leave one of them in {self.folder}"
                )
        return named[0] if named else None

    def need(self, name: str, where: str, faults: list[str]) -> Path | None:
        """The file of a name, or a fault that says where the study has it."""
        try:
            found = self.only(name)
        except InputError as error:
            faults.append(str(error))
            return None
        if found is None:
            faults.append(f"{name}: not there; expected it anywhere in this folder; the study has it as {where}")
        return found


@contextmanager
def hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, read-only.

    Raises
    ------
    FileError
        It can't be opened as one, or not be read while it is open.
    """
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        why = "cut off" if "truncated" in str(error) else "not an HDF5 file, or a broken one"
        raise FileError(f"{path}: {why} ({_short(error)}); {AGAIN}") from None
    with opened:
        try:
            yield opened
        except OSError as error:
            raise FileError(f"{path}: broken ({_short(error)}); {AGAIN}") from None


def image(path: Path) -> Any:
    """A NIfTI image; its data are read when asked for, and a compressed file is read on from where reading stopped.

    Raises
    ------
    FileError
        It can't be opened as one.
    """
    try:
        return nibabel.load(path, keep_file_open=True)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise FileError(f"{path}: not a NIfTI image, or a broken one ({_short(error)}); {AGAIN}") from None


def volume(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A volume (i, j, k) and its affine (4, 4).

    Raises
    ------
    FileError
        No NIfTI image, cut off, or not three-dimensional.
    """
    opened = image(path)
    try:
        values = np.asarray(opened.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FileError(f"{path}: cut off ({_short(error)}); {AGAIN}") from None
    values = values.reshape(values.shape[:3]) if values.ndim > 3 and set(values.shape[3:]) == {1} else values
    if values.ndim != 3:
        raise FileError(f"{path}: {values.ndim} axes {values.shape}, expected a volume (i, j, k); {AGAIN}")
    return values, np.asarray(opened.affine, dtype=np.float64)


def table(path: Path, separator: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table of texts.

    Raises
    ------
    FileError
        Not a table, or without one of the columns.
    """
    try:
        found = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise FileError(f"{path}: not a table ({_short(error)}); {AGAIN}") from None
    if missing := [name for name in columns if name not in found.columns]:
        raise FileError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, found.columns[:12]))}; expected "
            f"{', '.join(columns)}; {AGAIN}"
        )
    return found


def roi_name(text: str) -> str:
    """A study's name of an ROI, as params.yaml and file names take it: letters, digits, - and _."""
    return re.sub(r"[^\w-]", "", text)


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0][:120]

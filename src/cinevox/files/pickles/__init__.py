"""Pickles of arrays, read as data: a reader of the pickle language that can build arrays and nothing else.

A pickle is a program, and Python's own unpickler runs it. This reader knows the opcodes of protocols 0 to 5
that make up plain data, and a few names (numpy's arrays, dtypes and scalars, nibabel's images) as mere symbols:
nothing is imported, called, subclassed or changed because a file asks for it, no size is believed before the file is
seen to be that long, and the work is bounded by `reader.MAX_OPCODES`. Array data go from the file into the array once,
or stay in the file (`mapped`).

Reference: the opcodes' definitions in the standard library's `pickletools`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cinevox.errors import FileError
from cinevox.files.file_kinds import kind_of
from cinevox.files.pickles.reader import Reader, SavedReader
from cinevox.files.pickles.values import Refused


def read_pickle(path: Path, mapped: bool = False) -> Any:
    """Open a pickle of arrays, dicts, lists, text and numbers, Python 2's too, without running anything in it.

    An image of nibabel becomes an `images.Image`, the array and the affine.

    Strings of Python 2 are latin1: text up to 255 bytes, longer ones stay a buffer of bytes.

    mapped: larger arrays are read-only and take no memory of their own: they lie over the file, which must not be
        cut while they are in use. Where the file holds their bytes as text (protocols 0 to 2 of Python 3) they lie
        over a nameless temporary file as large as them (in TMPDIR), except for protocol 0's, which are in memory.

    Raises
    ------
    FileError
        The file is missing, cut off, no pickle, or asks for anything that is not plain data.
    """
    try:
        if not path.is_file():
            raise FileError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            return Reader(stream, path.stat().st_size, mapped).load()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except Refused as refusal:
        raise FileError(
            f"{path}: refused: {kind_of(path) or refusal}. A response pickle holds numpy arrays of numbers, dicts "
            "and plain numbers only, and nothing in it was run. Fetch the file again from where it was published; "
            "if it is yours, save a dict of float arrays."
        ) from None


def read_saved(path: Path) -> dict[str, Any]:
    """The dictionary that `numpy.save` pickled into a .npy file, as GLMsingle writes it; nothing in it is run.

    Raises
    ------
    FileError
        The file is missing, cut off, or holds anything but a dictionary of plain data.
    """
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(stream)
            if shape == () and dtype == np.dtype("O"):
                found = SavedReader(stream, path.stat().st_size, True).load()
                if isinstance(found, dict):
                    return found
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}); save it again") from None
    except Refused as refusal:
        raise FileError(f"{path}: refused: {refusal}; nothing in it was run; save a dictionary of arrays") from None
    raise FileError(f"{path}: expected a dictionary that numpy.save wrote, as GLMsingle does; it holds an array")

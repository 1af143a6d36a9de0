"""NIfTI images in a pickle: of nibabel's object the array and the affine are kept, and nothing else of it is built.

nibabel is not imported for this: its names are symbols like numpy's, and what hangs on them (header, file names)
is read past. The data set that needs it keeps a mask so: OpenNeuro ds005165, version B.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files.pickles.values import Refused, Unfinished, _Symbol

IMAGES = ("nibabel.Nifti1Image", "nibabel.Nifti1Pair")


@dataclass(frozen=True)
class Image:
    """A volume of numbers, None where the pickle only named the file it was in, and its (4, 4) affine."""

    data: NDArray[Any] | None
    affine: NDArray[np.floating]


@dataclass(frozen=True)
class Opaque:
    """A value that was read past; it must not be left over outside of an image."""

    what: str


class UnfinishedImage(Unfinished):
    """An object of nibabel, or a dtype with fields inside of one, before its BUILD."""

    def __init__(self, what: str) -> None:
        super().__init__(None)
        self.what = what

    def finished(self, state: Any) -> Image | Opaque:
        if self.what not in IMAGES:
            return Opaque(self.what)
        if not isinstance(state, dict) or not _is_array(state.get("_affine"), (2,)):
            raise Refused("it holds an image without an affine")
        if state["_affine"].shape != (4, 4) or state["_affine"].dtype.kind != "f":
            raise Refused(f"it holds an image with an affine of shape {state['_affine'].shape}; expected (4, 4)")
        return Image(_data(state), state["_affine"])


def record_of(function: Any, arguments: Any) -> UnfinishedImage | None:
    """The object that a NEWOBJ makes, if it is one of nibabel's and nothing is asked of it; else None."""
    if isinstance(function, _Symbol) and function.name.startswith("nibabel.") and arguments == ():
        return UnfinishedImage(function.name)
    return None


def inside_record(stack: Iterable[Any]) -> bool:
    """Whether an object of nibabel is being put together."""
    return any(isinstance(item, UnfinishedImage) for item in stack)


def _data(state: Mapping[str, Any]) -> NDArray[Any] | None:
    found = (state.get(key) for key in ("_dataobj", "_data_cache", "_fdata_cache"))
    return next((array for array in found if _is_array(array, (3, 4))), None)


def _is_array(value: Any, n_axes: tuple[int, ...]) -> bool:
    return isinstance(value, np.ndarray) and value.ndim in n_axes and value.dtype.kind in "biuf"

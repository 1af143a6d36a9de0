"""Betas in 4-D NIfTI files: a volume for each trial, several files counting on; units are voxels of a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.trials_table.betas._parts import NotBetas, Opened, Read, several

AFFINE_TOLERANCE = 1e-3  # millimetres
MAX_VOXELS = 20_000_000  # of a volume


@dataclass(frozen=True)
class Volume:
    """A 3-D image: which voxels, (x, y, z), and where they lie, (4, 4)."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class NiftiFiles:
    """places: (n_units, 3) indices of the voxels, in the order of the units"""

    paths: tuple[Path, ...]
    lengths: tuple[int, ...]
    places: NDArray[np.intp]

    @contextmanager
    def reading(self) -> Iterator[Read]:
        if any(path.name.endswith(".gz") for path in self.paths):
            yield lambda trials, units: self._unpacked[trials, units]
            return
        images = [_load(path) for path in self.paths]

        def read(trials: slice, units: slice) -> NDArray[Any]:
            where = tuple(self.places[units].T)
            return several(self.lengths, lambda n, rows: _volumes(images[n], rows)[where].T, trials)

        yield read

    @cached_property
    def _unpacked(self) -> NDArray[np.float32]:
        """All units of all trials, (n_trials, n_units): a compressed file can only be read from its beginning."""
        found = np.empty((sum(self.lengths), len(self.places)), dtype=np.float32)
        where, row = tuple(self.places.T), 0
        for path, length in zip(self.paths, self.lengths):
            image = _load(path)  # stays open, so that each volume goes on where the last one ended
            for number in range(length):
                found[row] = _volumes(image, slice(number, number + 1))[where].T[0]
                row += 1
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without the unpacked values: a worker unpacks what it needs itself."""
        return {name: getattr(self, name) for name in ("paths", "lengths", "places")}


def open_nifti(paths: Sequence[Path], masks: Sequence[Path], places: NDArray[np.intp] | None) -> Opened:
    """Look at the headers of 4-D images and at their mask.

    places: (n_units, 3) voxels of the units table, None where it has none: then the mask's, in C order

    Raises
    ------
    NotBetas
        A file is broken or of another grid than the first, or there is no mask and no place.
    """
    images = [_opened(path, 4) for path in paths]
    shape, affine = images[0].shape[:3], np.asarray(images[0].affine, dtype=np.float64)
    for path, image in zip(paths, images):
        require_grid(path, image.shape[:3], np.asarray(image.affine), (shape, affine), paths[0].name)
    inside = None
    for path in masks:
        mask = read_mask(path)
        require_grid(path, mask.values.shape, mask.affine, (shape, affine), paths[0].name)
        inside = mask.values if inside is None else inside & mask.values
    places = _places(paths[0], shape, places, inside)
    types = {_dtype(image).name for image in images}
    if len(types) > 1:
        raise NotBetas(
            paths[0], f"its runs hold {' and '.join(sorted(types))}; expected one type of number; save as float32"
        )
    lengths = tuple(image.shape[3] for image in images)
    source = NiftiFiles(tuple(paths), lengths, places)
    dtype = _dtype(images[0])
    return Opened(source, (sum(lengths), len(places)), dtype, "C", places, (shape, affine))


def _places(
    path: Path, shape: Sequence[int], places: NDArray[np.intp] | None, inside: NDArray[np.bool_] | None
) -> NDArray[np.intp]:
    if places is None:
        if inside is None:
            told = "no mask beside it, and units.tsv has no i, j, k"
            raise NotBetas(path, f"{told}; add {path.parent.name}_mask.nii.gz, or the columns i, j, k to units.tsv")
        return np.argwhere(inside)
    if (places < 0).any() or (places >= shape).any():
        unit = int(np.flatnonzero(((places < 0) | (places >= shape)).any(axis=1))[0])
        told = f"unit {unit} lies at {_place(places[unit])}, outside of the volume {tuple(map(int, shape))}"
        raise NotBetas(path, f"{told}; i, j, k count from 0")
    if inside is not None and not (there := inside[tuple(places.T)]).all():
        unit = int(np.flatnonzero(~there)[0])
        told = f"{np.count_nonzero(~there)} of {len(places)} units lie outside of the mask, "
        told += f"unit {unit} at {_place(places[unit])}"
        raise NotBetas(path, f"{told}; correct the mask or i, j, k in units.tsv")
    if inside is not None and np.count_nonzero(inside) != len(places):
        told = f"the mask has {np.count_nonzero(inside)} voxels and units.tsv {len(places)} units"
        raise NotBetas(path, f"{told}; expected as many; correct one of the two")
    return places


def _place(place: NDArray[np.intp]) -> str:
    return f"({', '.join(map(str, place.tolist()))})"


def require_grid(
    path: Path,
    shape: Sequence[int],
    affine: NDArray[np.floating],
    wanted: tuple[Sequence[int] | None, NDArray[np.floating]],
    of: str,
) -> None:
    """Refuse a volume that lies on another grid; `wanted` has shape (None where it is not known) and affine.

    Raises
    ------
    NotBetas
        The shape or the affine differs; the message has both.
    """
    same = wanted[0] is None or tuple(shape) == tuple(wanted[0])
    if same and np.allclose(affine, wanted[1], atol=AFFINE_TOLERANCE):
        return
    told = [
        f"shape {'not known' if size is None else ' x '.join(map(str, size))}, "
        f"affine {np.round(matrix[:3], 3).tolist()}"
        for size, matrix in ((shape, affine), wanted)
    ]
    cure = "expected the grid of the betas; resample it to that (nilearn.image.resample_to_img)"
    raise NotBetas(path, f"{told[0]}; {of} has {told[1]}; {cure}")


def read_mask(path: Path) -> Volume:
    """Read a mask of 0 and 1.

    Raises
    ------
    NotBetas
        It is broken, has other axes or other values.
    """
    image = _opened(path, 3)
    try:
        values = np.asarray(image.dataobj)
    except Exception as error:  # nibabel raises many kinds
        raise NotBetas(path, f"cannot be read ({error}); save it again") from None
    others = np.unique(values[(values != 0) & (values != 1)])
    if len(others):
        told = f"holds {', '.join(f'{value:g}' for value in others[:3])}{', ...' if len(others) > 3 else ''}"
        raise NotBetas(path, f"{told}; expected 0 and 1 alone; save a mask for each ROI")
    return Volume(values == 1, np.asarray(image.affine, dtype=np.float64))


def _opened(path: Path, n_axes: int) -> Any:
    try:
        image = _load(path)
        shape = image.shape
    except Exception as error:  # nibabel raises many kinds
        raise NotBetas(path, f"not a NIfTI file ({error}); save it again") from None
    if len(shape) != n_axes or np.prod(shape[:3], dtype=np.int64) > MAX_VOXELS:
        wanted = "(x, y, z)" if n_axes == 3 else "(x, y, z, n_trials)"
        raise NotBetas(path, f"shape {shape}, expected {wanted}, with at most {MAX_VOXELS:,} voxels; save it as that")
    return image


def _load(path: Path) -> Any:
    import nibabel

    return nibabel.Nifti1Image.from_filename(path, keep_file_open=True)


def _volumes(image: Any, rows: slice) -> NDArray[Any]:
    return np.asarray(image.dataobj[..., rows])


def _dtype(image: Any) -> np.dtype:
    """The type of the numbers; float32 where the header scales them, and for floats of any length."""
    slope, inter = image.dataobj.slope, image.dataobj.inter
    stored = image.get_data_dtype()
    return stored if stored.kind in "iu" and (slope, inter) == (1, 0) else np.dtype(np.float32)

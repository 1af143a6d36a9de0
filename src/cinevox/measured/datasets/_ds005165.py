"""File names, ROI names and pickles of OpenNeuro ds005165, the BOLD Moments Dataset.

What is confirmed, and where: file and folder names by the listing of the record's repository
(OpenNeuroDatasets/ds005165) and its README files; the dict keys and hemispheres of version B by the authors'
notebooks (blahner/BOLDMomentsDataset, ROI_topkstim_versionB_MNI152); the tuple (betas, stimulus names, mask as a
nibabel image), its shapes and that its columns go through the mask in C order by public notes on the file of sub-01.
Assumed: the same dict keys in version A; `<part>_data_reliable` or `<part>_data` in its reliable files; a list
`<part>_stim_order` beside the responses is their order, else they are in the order of the clips.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.files.pickles.images import Image
from cinevox.measured.datasets import Part

AREAS = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d"), "V4": ("hV4",)}
SIDES = ("l", "r")
MAX_VOXELS = 10_000_000  # of a mask
VERSION_A = re.compile(r"(?P<roi>.+)_TRavg[-0-9]+_(allvoxel|reliable)\.pkl")
VERSION_B = re.compile(r"sub-\d+_roi-(?P<roi>.+)_betas_normalized\.pkl")


def rois_of(folder: Path, names: re.Pattern[str]) -> dict[str, Path]:
    """ROI -> its pickle, of the files in a folder that are called so."""
    files = sorted(folder.glob("*.pkl"))
    return {match["roi"]: path for path in files if (match := names.fullmatch(path.name))}


def parts_of(roi: str, there: Collection[str]) -> tuple[str, ...]:
    """The ROIs of the record that make up the one asked for; () if there are not all of them.

    A name of the record stands for itself. The challenge's V1 to V4 are the ventral and the dorsal part (hV4 is V4),
    and where there is a file for each hemisphere, both.
    """
    return next((parts for parts in readings_of(roi) if all(part in there for part in parts)), ())


def readings_of(roi: str) -> tuple[tuple[str, ...], ...]:
    """Everything `parts_of` looks for, the first that is there is it."""
    areas = AREAS.get(roi, (roi,))
    sides = tuple(side + area for area in areas for side in SIDES)
    return tuple(dict.fromkeys(((roi,), areas, sides)))


def askable(there: Collection[str]) -> tuple[str, ...]:
    """The largest ROIs that can be asked for: each whole one for its hemispheres and parts, and what is in none."""
    bare = {name[1:] for name in there if name[:1] in SIDES}
    parts = {name: set(parts_of(name, there)) for name in {*there, *AREAS, *bare}}

    def is_in(name: str, other: str) -> bool:
        same = parts[name] == parts[other] and name not in AREAS and other in AREAS  # hV4 is V4
        return parts[name] < parts[other] or same

    return tuple(sorted(name for name in parts if parts[name] and not any(is_in(name, other) for other in parts)))


@dataclass(frozen=True)
class Content:
    """One pickle's responses to one part of the clips.

    values: any type of number, (n_stimuli, n_repetitions, n_voxels); stimuli in the order of the clips
    """

    values: NDArray[Any]
    mask: NDArray[Any] | None
    image: Image | None


def read(path: Path, part: Part, clips: Sequence[int], cure: str) -> Content:
    """Read either layout, the dict {`train_data_allvoxel`: ...} or the tuple (betas, stimulus names, mask).

    clips: the number of every clip

    Raises
    ------
    FileError
        The file is missing or broken, or is neither.
    """
    content = io.read_pickle(path)
    if isinstance(content, tuple | list):
        values, names, image = [*content, None, None, None][:3]
        mask = image.data if isinstance(image, Image) else image
        key = "the first of the tuple"
    elif isinstance(content, dict):
        key, values = _values(path, content, part, cure)
        names, image, mask = content.get(f"{part}_stim_order"), None, content.get("voxel_mask")
    else:
        raise FileError(f"{path}: holds a {type(content).__name__}; expected a dict or a tuple of responses; {cure}")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or values.ndim != 3:
        array = isinstance(values, np.ndarray)
        found = f"{values.dtype} of shape {values.shape}" if array else f"a {type(values).__name__}"
        axes = "(n_stimuli, n_repetitions, n_voxels)"
        raise FileError(f"{path}: {key} is {found}; expected numbers of shape {axes}; {cure}")
    if not isinstance(mask, np.ndarray) or mask.ndim != 3:
        mask = None
    return Content(_ordered(path, part, values, names, clips, cure), mask, image if isinstance(image, Image) else None)


def _values(path: Path, content: Mapping[Any, Any], part: Part, cure: str) -> tuple[str, Any]:
    wanted = [f"{part}_data_allvoxel", f"{part}_data_reliable", f"{part}_data"]
    for key in wanted:
        if key in content:
            return repr(key), content[key]
    keys = ", ".join(repr(key)[:40] for key in list(content)[:10]) or "nothing"
    raise FileError(f"{path}: holds {keys}; expected the key {wanted[0]!r}; {cure}")


def _ordered(path: Path, part: Part, values: NDArray[Any], names: Any, clips: Sequence[int], cure: str) -> NDArray[Any]:
    """The rows in the order of the clips: the training clips are the first ones, the test clips the last."""
    if names is None:
        return values
    found = [re.search(r"(\d+)(\.\w+)?$", str(name)) for name in names] if isinstance(names, list | tuple) else [None]
    numbers = [int(match[1]) for match in found if match]
    n_stimuli = len(values)
    expected = list(clips[:n_stimuli] if part == "train" else clips[max(0, len(clips) - n_stimuli) :])
    if len(numbers) != len(found) or sorted(numbers) != expected:
        told = f"{len(numbers)} numbered stimuli" + (f", {min(numbers)} to {max(numbers)}" if numbers else "")
        there = f"{len(expected)} clips {expected[0]} to {expected[-1]}" if expected else "no clips"
        raise FileError(
            f"{path}: {n_stimuli} {part} responses to {told}; expected responses to the {there}, each once; "
            f"complete the folder of clips (dataset.clips), or {cure}"
        )
    return values if numbers == expected else values[np.argsort(numbers)]


def read_mask(path: Path) -> tuple[NDArray[Any], NDArray[np.floating]]:
    """The voxels of a NIfTI mask and its affine.

    Raises
    ------
    FileError
        Missing, broken, or no volume.
    """
    import nibabel

    try:
        image: Any = nibabel.Nifti1Image.from_filename(path)
        if len(image.shape) != 3 or np.prod(image.shape, dtype=np.int64) > MAX_VOXELS:
            raise ValueError(f"shape {image.shape}, expected three axes and {MAX_VOXELS:,} voxels at most")
        mask, affine = np.asarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # nibabel raises many kinds
        raise FileError(f"{path}: not a NIfTI mask ({error}); fetch it again from the record") from None
    return mask, affine

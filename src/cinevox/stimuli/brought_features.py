"""Features that the user brings: arrays with an id for each stimulus, in the place of a network's features.

The arrays of a file are the layers, and are written as `features.write` writes a network's, so that nothing behind
them can tell the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.files.labelled_arrays import LabelledArrays, listed
from cinevox.project.params import FeatureMap, Network
from cinevox.stimuli.networks._libraries import array
from cinevox.stimuli.videos import SUFFIXES

MODEL = "array"  # the value of networks.<name>.model
BLOCK_VALUES = 8_000_000  # numbers that are checked or written at once: 32 MB as float32


class BroughtFeaturesError(InputError):
    """Brought features cannot be used; the message names file and parameter, and lists every fault."""


@dataclass(frozen=True)
class _Aligned:
    """Arrays and the row of each clip in them."""

    arrays: LabelledArrays
    rows: NDArray[np.intp]

    def blocks(self, layer: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield features of consecutive clips, (n, n_features), and which clip the first one is."""
        found = self.arrays.read(layer)
        step = max(1, BLOCK_VALUES // prod(found.shape[1:]))
        for start in range(0, len(self.rows), step):
            rows = self.rows[start : start + step]
            with np.errstate(over="ignore"):  # what is infinite then is told
                values = found[rows].astype(np.float32).reshape(len(rows), -1)
            yield start, values


def layers(network: str, settings: Network) -> dict[str, int]:
    """Arrays of the file, in its order -> number of features. Looks at headers and ids, and at no feature.

    Raises
    ------
    BroughtFeaturesError
        There is no such file, it is another than `sha256` names, or its headers or ids are wrong.
    """
    return _sizes(_opened(network, settings))


def require(network: str, settings: Network, clips: Sequence[str], maps: Sequence[FeatureMap] = ()) -> None:
    """Require that every clip has an id and every map is of an array. Looks at headers and ids, and at no feature.

    clips: as of `read`

    Raises
    ------
    BroughtFeaturesError
        As `layers`; or clips have no id, or a map is of no array. All faults at once.
    """
    with _named(network):
        arrays, faults = array.opened(settings)
        array.refuse(arrays, faults + _map_faults(arrays, maps) + _matched(arrays, clips).faults)


def read(network: str, settings: Network, clips: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Features of these clips: array -> (n_clips, n_features), float32, further axes flattened.

    clips: their file names; an id is such a name, or one without its suffix. Ids of no clip are left out.

    Raises
    ------
    BroughtFeaturesError
        As `layers`; or clips have no id, or features that are not finite in float32. All faults at once.
    """
    aligned = _checked(network, settings, clips)
    return {layer: np.concatenate([values for _, values in aligned.blocks(layer)]) for layer in aligned.arrays.shapes}


def write(network: str, settings: Network, clips: Sequence[str], folder: Path, maps: Sequence[FeatureMap] = ()) -> None:
    """Features of these clips into `folder`, `<array>.npy` each, and `features.json`, the sidecar.

    Memory holds a block of features, and of .npz and parquet the array that is written.

    clips, errors: as `read`; nothing is written where there is one
    maps: those that named spaces are made from, which are arrays as they are
    """
    described = sidecar(network, settings, maps)
    aligned = _checked(network, settings, clips)
    for layer, size in _sizes(aligned.arrays).items():
        with io.whole(folder / f"{layer}.npy", 4 * len(clips) * size) as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(clips), size)}
            np.lib.format.write_array_header_1_0(stream, header)
            for _, values in aligned.blocks(layer):
                stream.write(values.astype("<f4", copy=False).tobytes())
    io.write_json(folder / "features.json", described)


def sidecar(network: str, settings: Network, maps: Sequence[FeatureMap] = ()) -> dict[str, Any]:
    """The record beside the features, with the keys of `Extraction.to_json` that make sense.

    Raises
    ------
    BroughtFeaturesError
        As `layers`; or a map is of no array.
    """
    arrays = _opened(network, settings)
    sizes = _sizes(arrays)
    with _named(network):
        array.refuse(arrays, _map_faults(arrays, maps))
    weights = {
        "policy": settings.weights, "source": arrays.path.as_posix(), "sha256": io.sha256(arrays.path),
        "official": False, "licence": "not known: the user's own file", "non_commercial": None, "seed": None,
        "unwrapped": "",
    }  # fmt: skip
    if settings.sha256 is None:
        weights["unverified"] = True
    return {
        "network": network,
        "title": arrays.path.name,
        "weights": weights,
        "layers": [{"name": layer, "n_features": size} for layer, size in sizes.items()],
        "maps": [
            {"name": found.layer, "n_features": sizes[found.layer], "n_times": 1} | found.to_json() for found in maps
        ],
        "n_frames": settings.n_frames,
        "frame_size": None,
        "over_frames": "mean",  # no axis of frames
        "normalisation": None,
        "dtype": "float32",
    }


def _sizes(arrays: LabelledArrays) -> dict[str, int]:
    return {layer: prod(shape[1:]) for layer, shape in arrays.shapes.items()}


def _map_faults(arrays: LabelledArrays, maps: Sequence[FeatureMap]) -> list[str]:
    unknown = dict.fromkeys(found.layer for found in maps if found.layer not in arrays.shapes)
    return [f"params.spaces has the layer {listed([*unknown])}; it has {listed([*arrays.shapes])}"] if unknown else []


def _opened(network: str, settings: Network) -> LabelledArrays:
    with _named(network):
        arrays, faults = array.opened(settings)
        array.refuse(arrays, faults)
    return arrays


@contextmanager
def _named(network: str) -> Iterator[None]:
    """Errors inside are of this entry of the parameters."""
    try:
        yield
    except InputError as error:
        raise BroughtFeaturesError(f"networks.{network}: {error}") from None


def _checked(network: str, settings: Network, clips: Sequence[str]) -> _Aligned:
    with _named(network):
        arrays, faults = array.opened(settings)
        matched = _matched(arrays, clips)
        faults += matched.faults
        aligned = _Aligned(arrays, np.array(matched.rows, dtype=np.intp))
        for layer in arrays.shapes:
            faults += _value_faults(aligned, layer, matched.clips)
        array.refuse(arrays, faults)
    return aligned


class _Matched(NamedTuple):
    """Clips that have an id and their rows in the arrays; and what is wrong with clips and ids."""

    clips: list[str]
    rows: list[int]
    faults: list[str]


def _matched(arrays: LabelledArrays, clips: Sequence[str]) -> _Matched:
    row_of = {_key(name): row for row, name in enumerate(arrays.ids)}
    faults = _alike("clips", clips) + _alike("ids", arrays.ids)
    there, missing = ([name for name in clips if (_key(name) in row_of) == found] for found in (True, False))
    if arrays.ids and missing:
        example = "" if there else f"; its ids are {listed(arrays.ids, 3)}"
        faults.append(f"{len(missing)} of {len(clips)} clips have no id in it: {listed(missing)}{example}")
    return _Matched(there, [row_of[_key(name)] for name in there], faults)


def _alike(what: str, names: Sequence[str]) -> list[str]:
    """The fault of names that differ in their suffixes only."""
    alike = [name for name, n in Counter(map(_key, dict.fromkeys(names))).items() if n > 1]
    return [f"{what} that differ in their suffixes only: {listed(alike)}"] if alike else []


def _value_faults(aligned: _Aligned, layer: str, clips: Sequence[str]) -> list[str]:
    try:
        starts = ((start, np.isfinite(values).all(axis=1)) for start, values in aligned.blocks(layer))
        bad = [clips[start + int(index)] for start, finite in starts for index in np.flatnonzero(~finite)]
    except InputError as error:
        return [str(error)]
    return [f"{layer} is missing, NaN, infinite or beyond float32 in {len(bad)} clips: {listed(bad)}"] if bad else []


def _key(name: str) -> str:
    """A clip's name, or an id, without the suffix of a video or an image."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name

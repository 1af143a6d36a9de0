"""Maps as arrays: what a fitted regressor is can be written down, and made again from that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Map
from cinevox.fitting.regressors._solvers.dual import DualMap
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.similarity import SimilarityMap
from cinevox.fitting.regressors._solvers.stacking import StackedMap

KINDS: Mapping[str, type[Map]] = {"linear": LinearMap, "similarity": SimilarityMap, "dual": DualMap}
STACKED = "stacked"
MEMBER = re.compile(r"(0|[1-9][0-9]{0,3})\.([a-z]+)\.([A-Za-z_]+)")  # 2.linear.coef, of a stack's third map


def to_arrays(found: Map) -> tuple[str, dict[str, NDArray[Any]]]:
    """The kind of a map, and its fields by name; those of a stack's maps by number, kind and name (`0.linear.coef`).

    Raises
    ------
    InputError
        It is of another kind, or a stack of such maps.
    """
    if isinstance(found, StackedMap):
        found = found.flat()
        arrays: dict[str, NDArray[Any]] = {"ends": found.ends, "weights": found.weights}
        for number, member in enumerate(found.maps):
            kind, own = _plain_arrays(member)
            arrays |= {f"{number}.{kind}.{name}": array for name, array in own.items()}
        return STACKED, arrays
    return _plain_arrays(found)


def _plain_arrays(found: Map) -> tuple[str, dict[str, NDArray[Any]]]:
    for kind, known in KINDS.items():
        if type(found) is known:
            return kind, dict(vars(found))
    raise InputError(
        f"a {type(found).__name__} cannot be kept; a regressor's map is one of {', '.join(KINDS)}, or a stack of such "
        "maps, and another one gets its line in KINDS of regressors/_solvers/maps.py"
    )


def from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> Map:
    """The map of that kind with these fields.

    Raises
    ------
    InputError
        No such kind, other fields than it has, or a stack whose parts don't belong together.
    """
    if kind == STACKED:
        return _stacked(arrays)
    if kind not in KINDS:
        raise InputError(f"there is no map of kind {kind!r}; expected one of {', '.join([*KINDS, STACKED])}")
    return _plain(kind, arrays)


def _plain(kind: str, arrays: Mapping[str, NDArray[Any]]) -> Map:
    expected = [field.name for field in fields(KINDS[kind])]  # type: ignore[arg-type]
    if sorted(arrays) != sorted(expected):
        raise InputError(f"a {kind} map of {', '.join(sorted(arrays))}; expected {', '.join(expected)}")
    return KINDS[kind](**arrays)


def _stacked(arrays: Mapping[str, NDArray[Any]]) -> StackedMap:
    members: dict[tuple[int, str], dict[str, NDArray[Any]]] = {}
    for key in arrays.keys() - {"ends", "weights"}:
        match = MEMBER.fullmatch(key)
        if match is None or match[2] not in KINDS:
            raise InputError(
                f"a stacked map of {key!r}; expected ends, weights and, for each map from 0 on, number.kind.field "
                f"with a kind of {', '.join(KINDS)}"
            )
        members.setdefault((int(match[1]), match[2]), {})[match[3]] = arrays[key]
    if missing := {"ends", "weights"} - arrays.keys():
        raise InputError(f"a stacked map without {', '.join(sorted(missing))}")
    kinds = sorted(members)
    if not kinds or [number for number, _ in kinds] != list(range(len(kinds))):
        raise InputError(f"a stacked map of maps {[f'{number}.{kind}' for number, kind in kinds]}; expected 0, 1, ...")
    maps = tuple(_plain(kind, members[number, kind]) for number, kind in kinds)
    ends, weights = np.asarray(arrays["ends"]), arrays["weights"]
    if ends.dtype.kind != "i" or ends.shape != (len(maps),) or (np.diff(ends, prepend=0) <= 0).any():
        raise InputError(f"a stacked map of {len(maps)} maps whose ends are {ends}; expected as many rising columns")
    if weights.dtype.kind != "f" or weights.ndim != 2 or weights.shape[1] != len(maps):
        raise InputError(
            f"a stacked map of {len(maps)} maps whose weights are {weights.dtype} {weights.shape}; expected real "
            "numbers (n_voxels, n_spaces)"
        )
    for number, kind in kinds:
        if (shape := members[number, kind]["y_mean"].shape) != weights.shape[:1]:
            raise InputError(f"a stacked map of {len(weights)} voxels whose map {number} has a y_mean of shape {shape}")
    return StackedMap(maps, ends, weights)

"""Maps as arrays: what a fitted regressor is can be written down, and made again from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Map
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.similarity import SimilarityMap

KINDS: Mapping[str, type[Map]] = {"linear": LinearMap, "similarity": SimilarityMap}


def to_arrays(found: Map) -> tuple[str, dict[str, NDArray[Any]]]:
    """The kind of a map, and its fields by name.

    Raises
    ------
    InputError
        It is of another kind.
    """
    for kind, known in KINDS.items():
        if type(found) is known:
            return kind, dict(vars(found))
    raise InputError(
        f"a {type(found).__name__} cannot be kept; a regressor's map is one of {', '.join(KINDS)}, and another one "
        "gets its line in KINDS of regressors/_solvers/maps.py"
    )


def from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> Map:
    """The map of that kind with these fields.

    Raises
    ------
    InputError
        No such kind, or other fields than it has.
    """
    if kind not in KINDS:
        raise InputError(f"there is no map of kind {kind!r}; expected one of {', '.join(KINDS)}")
    expected = [field.name for field in fields(KINDS[kind])]  # type: ignore[arg-type]
    if sorted(arrays) != sorted(expected):
        raise InputError(f"a {kind} map of {', '.join(sorted(arrays))}; expected {', '.join(expected)}")
    return KINDS[kind](**arrays)

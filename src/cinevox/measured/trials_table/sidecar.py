"""The JSON files of the trials table: what the study is, and what the numbers of the betas are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.trials_table.layout import NORMALIZED, VERSION, Normalized


@dataclass(frozen=True)
class Sidecar:
    """What the numbers of a subject's betas are.

    normalized: within what they were z-scored already
    scale: what stored whole numbers are divided by; None where nothing says so
    affine: from voxel indices to millimetres, (4, 4); shape: of the volume
    density: of a surface, as BIDS names it (10k, 32k, ...)
    """

    normalized: Normalized
    scale: float | None = None
    space: str | None = None
    affine: NDArray[np.float64] | None = None
    shape: tuple[int, int, int] | None = None
    density: str | None = None


def read_sidecar(path: Path) -> tuple[Sidecar, str | None]:
    """Read a sidecar; the second is what is wrong with it, and then the first says nothing."""
    content, fault = _read(path)
    faults = [] if fault is None else [fault]
    if fault is None:
        if content.get("Normalized") not in NORMALIZED:
            found = repr(content["Normalized"]) if "Normalized" in content else "not there"
            faults.append(f"Normalized is {found}; expected {', '.join(NORMALIZED)}")
        scale = content.get("Scale")
        if scale is not None and not (_is_number(scale) and scale > 0):
            faults.append(f"Scale is {scale!r}; expected a number above 0, which the stored numbers are divided by")
        if "Affine" in content and _affine(content["Affine"]) is None:
            faults.append("Affine is not a matrix of 4 x 4 numbers that can be inverted")
        if "Shape" in content and _shape(content["Shape"]) is None:
            faults.append(f"Shape is {content['Shape']!r}; expected three whole numbers above 0")
    if faults:
        return Sidecar("session"), "; ".join(faults)
    space, affine, shape, density = (content.get(name) for name in ("Space", "Affine", "Shape", "Density"))
    return Sidecar(content["Normalized"], scale, space, _affine(affine), _shape(shape), density), None


def read_description(path: Path) -> tuple[dict[str, Any], str | None]:
    """Read dataset_description.json; the second is what is wrong with it."""
    content, fault = _read(path)
    if fault is not None:
        return content, fault
    own, faults = content.get("cinevox"), []
    if not isinstance(content.get("Name"), str) or not content["Name"].strip():
        faults.append("Name is not there; expected the name of the study")
    if not isinstance(own, dict) or own.get("version") != VERSION:
        found = own.get("version", "not there") if isinstance(own, dict) else "not there"
        faults.append(f'cinevox.version is {found}; expected {VERSION}: "cinevox": {{"version": {VERSION}}}')
    restricted = own.get("restricted", True) if isinstance(own, dict) else True
    if not isinstance(restricted, bool):
        faults.append(f"cinevox.restricted is {restricted!r}; expected true or false")
    return content, "; ".join(faults) or None


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}, "is not there"
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"is not JSON ({error})"
    return (content, None) if isinstance(content, dict) else ({}, f"holds {type(content).__name__}; expected an object")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _affine(value: Any) -> NDArray[np.float64] | None:
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    good = matrix.shape == (4, 4) and np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 0
    return matrix if good else None


def _shape(value: Any) -> tuple[int, int, int] | None:
    if not isinstance(value, list) or len(value) != 3 or any(type(size) is not int or size < 1 for size in value):
        return None
    x, y, z = value
    return x, y, z

"""Features that the user brings, in a network's place: its layers are the arrays of the file that `file` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.files.labelled_arrays import LabelledArrays, open_arrays
from cinevox.stimuli.networks import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

    from cinevox.project.params import Network


def spec(_: str, settings: Network) -> NetworkSpec:
    """The spec of brought features. Looks at headers and ids of the file, and at no feature.

    Raises
    ------
    InputError
        There is no such file, it is another than `sha256` names, or its headers or ids are wrong: all faults.
    """
    arrays, faults = opened(settings)
    refuse(arrays, faults)
    return NetworkSpec(
        title=arrays.path.name,
        build=_build,
        layers=tuple(arrays.shapes),
        layer_per_roi={},
        published_layers=False,
        source=None,
        is_fixed=True,
    )


SPEC = spec


def opened(settings: Network) -> tuple[LabelledArrays, list[str]]:
    """The file of the parameters, and what is wrong with it."""
    if settings.file is None:
        raise InputError("file is null; expected the path of a file of arrays")
    arrays = open_arrays(settings.file)
    faults = list(arrays.faults)
    if settings.sha256 and not (found := io.sha256(arrays.path)).startswith(settings.sha256):
        faults.append(f"its sha256 is {found}; expected {settings.sha256}, so it is another file")
    return arrays, faults


def refuse(arrays: LabelledArrays, faults: list[str]) -> None:
    """One error of all faults, if there are any."""
    if faults:
        raise InputError("".join([f"{arrays.path} cannot be used as features:", *(f"\n  {each}" for each in faults)]))


def _build() -> nn.Module:
    raise InputError("features that were brought: nothing computes them for another clip")

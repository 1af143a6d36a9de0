"""Networks: one file each, the file name is the key. See docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightsSource:
    """Where the official weights come from.

    url: the file; sha256_prefix: hex digits its checksum begins with ("" where none is published: then the
    checksum is recorded at the first download and checked afterwards); licence: as its publisher states it.
    """

    url: str
    sha256_prefix: str
    licence: str


@dataclass(frozen=True)
class NetworkSpec:
    """A network as a feature extractor.

    title: for tables
    build: makes the module without weights (imports torch itself, so that a list of networks does not)
    layers: module names whose outputs are the feature spaces, in the order of depth
    layer_per_roi: ROI (and WB) -> the layer the paper chose, or a proposal (see `published_layers`)
    published_layers: whether `layer_per_roi` is the paper's own
    source: the official weights; package_file: path of weights that a pip package ships, if one does
    """

    title: str
    build: Callable[[], nn.Module]
    layers: tuple[str, ...]
    layer_per_roi: Mapping[str, str]
    published_layers: bool
    source: WeightsSource | None
    package_file: Callable[[], Path] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_size: int = 224

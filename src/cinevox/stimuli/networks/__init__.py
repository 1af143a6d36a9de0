"""Networks: one file each, the file name is the key, or a model of a library by its name. See docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinevox.errors import InputError
from cinevox.project import plugins

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cinevox.project.params import Network

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightsSource:
    """The source of a network's official weights.

    url: the file; sha256_prefix: hex digits its checksum begins with ("" where none is published: then the
    checksum is recorded at the first download and checked afterwards); licence: as its publisher states it;
    megabytes: about how large the file is; non_commercial: whether the licence forbids commercial use.
    """

    url: str
    sha256_prefix: str
    licence: str
    megabytes: float | None = None
    non_commercial: bool = False

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class NetworkSpec:
    """A network as a feature extractor.

    title: for tables
    build: makes the module without weights (imports torch itself, so that a list of networks does not)
    layers: module names whose outputs are the feature spaces, in the order of depth
    layer_per_roi: ROI (and WB) -> the layer the paper chose, or a proposal (see `published_layers`)
    published_layers: whether `layer_per_roi` is the paper's own
    source: the official weights
    package_file, package_sha256: path and checksum of weights that a pip package ships, if one does
    mean, std: of the RGB channels on the scale 0 to 1, as the weights were trained with
    input_size: height and width in pixels that the weights were trained with
    n_frames: None of a network of images, which sees every frame by itself. Of a video network the number of frames in
        a clip that the weights were trained with: its module takes clips (n_clips, 3, n_frames, height, width) of any
        number of frames, and gives one row a clip: a map (n_clips, channels, time, height, width), or (n_clips, n)
    weights_page: address of the weights, where they can't be downloaded with a published checksum
    adapt: turns what a checkpoint holds into the module's state dict, where the two differ
    base: blocks of modules that, one after another, make up the network without its classifier: what transfer
        networks stand on; empty where it is no such chain
    randomize: draws what random weights need beyond what `build` draws (a fixed filter bank)
    beside: files in the folder of its weights, where there are some, that say how it is built
    configuration: what these files say that its numbers depend on, as JSON
    is_fixed: a computation without weights, such as motion energy; its policy is `weights: none`
    """

    title: str
    build: Callable[[], nn.Module]
    layers: tuple[str, ...]
    layer_per_roi: Mapping[str, str]
    published_layers: bool
    source: WeightsSource | None
    package_file: Callable[[], Path] | None = None
    package_sha256: str = ""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_size: int = 224
    n_frames: int | None = None
    weights_page: str = ""
    adapt: Callable[[Any, nn.Module], Mapping[str, torch.Tensor]] | None = None
    base: tuple[tuple[str, ...], ...] = ()
    randomize: Callable[[nn.Module, torch.Generator], None] | None = None
    beside: tuple[str, ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    is_fixed: bool = False

    def divided(self, n_tuned: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Modules of `base` in the order of the forward pass: the frozen ones, and the last `n_tuned` blocks'.

        Raises
        ------
        InputError
            The network has no base, or no frozen block would be left.
        """
        if not self.base:
            raise InputError(f"{self.title} is no chain of blocks, so it cannot be a base (NetworkSpec.base)")
        if n_tuned >= len(self.base):
            raise InputError(
                f"{self.title} has {len(self.base)} blocks, and {n_tuned} are to be tuned; "
                f"expected at most tuned{len(self.base) - 1}"
            )
        blocks = self.base[: len(self.base) - n_tuned], self.base[len(self.base) - n_tuned :]
        frozen, tuned = (tuple(name for block in part for name in block) for part in blocks)
        return frozen, tuned


def spec_of(name: str, settings: Network | None = None) -> NetworkSpec:
    """The spec of an entry of `networks` in the parameters: of its plug-in, or of the model of a library that it names.

    settings: the entry; None for a plug-in that the parameters need not have

    Raises
    ------
    InputError
        There is no such plug-in, library or model; the message has close names.
    """
    spec: NetworkSpec = plugins.network_of(name, settings)
    return spec


def layer_per_roi(name: str) -> Mapping[str, str]:
    """ROI -> layer of the paper or of a proposal, of a network's plug-in; empty for a model of a library."""
    is_plugin = name in plugins.names("networks")
    return plugins.load("networks", name).layer_per_roi if is_plugin else {}


def per_roi(wb: str, v1: str, v2_v3: str, v4: str, loc_eba_ffa: str, ppa: str, sts: str) -> dict[str, str]:
    """The layer for each ROI, from one line of the paper's table."""
    return {
        "WB": wb,
        "V1": v1,
        "V2": v2_v3,
        "V3": v2_v3,
        "V4": v4,
        "LOC": loc_eba_ffa,
        "EBA": loc_eba_ffa,
        "FFA": loc_eba_ffa,
        "PPA": ppa,
        "STS": sts,
    }

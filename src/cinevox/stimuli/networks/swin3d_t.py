"""Video Swin Transformer, tiny (Liu et al. 2021, arXiv:2106.13230), as in torchvision.

A video network: it sees clips. Six layers: the patches and the four stages, and the class scores (n, 400). The
network's own modules (`patch_embed`, `features.0`, ...) have their channels last, so the layers are modules beside them
that put them second: `maps.patch_embed`, then `maps.features.0` and so on, maps (n, channels, time, height, width).
The blocks of a stage have such modules too (`maps.features.4.3`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec
from cinevox.stimuli.networks._video import BSD, by_depth, weights

if TYPE_CHECKING:
    from torch import nn

STAGES = ("features.0", "features.2", "features.4", "features.6")  # with patches merged between them


def build() -> nn.Module:
    from torchvision.models.video import swin3d_t

    from cinevox.stimuli.networks import _maps

    network: nn.Module = swin3d_t(weights=None)
    blocks = [f"{stage}.{block}" for stage in STAGES for block, _ in network.get_submodule(stage).named_children()]
    for name in ("patch_embed", *STAGES, *blocks):
        _maps.add(network, f"maps.{name}", name, _maps.from_channels_last)
    return network


SPEC = NetworkSpec(
    title="Video Swin-T",
    build=build,
    layers=("maps.patch_embed", *(f"maps.{stage}" for stage in STAGES), "head"),
    layer_per_roi=by_depth(*(f"maps.{stage}" for stage in STAGES)),
    published_layers=False,
    source=weights("swin3d_t-7615ae03.pth", 121.5, BSD + "; ported from its authors' (Apache-2.0)"),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    n_frames=32,
)

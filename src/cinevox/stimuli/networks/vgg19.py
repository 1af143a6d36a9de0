"""VGG-19 (Simonyan and Zisserman 2014, arXiv:1409.1556), as in torchvision.

Eight layers: the five stages after their max pool, two fully connected layers after ReLU, the class scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._vgg import choice, layers

if TYPE_CHECKING:
    from torch import nn

POOLS = (4, 9, 18, 27, 36)


def build() -> nn.Module:
    from torchvision.models import vgg19

    return vgg19(weights=None)


SPEC = NetworkSpec(
    title="VGG-19",
    build=build,
    layers=layers(POOLS),
    layer_per_roi=choice(POOLS),
    published_layers=False,
    source=WeightsSource(
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256_prefix="dcbb9e9d",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=548.1,
    ),
)

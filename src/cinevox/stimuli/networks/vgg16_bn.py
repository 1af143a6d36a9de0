"""VGG-16 with batch norm (Simonyan and Zisserman 2014, arXiv:1409.1556), as in torchvision.

Eight layers: the five stages after their max pool, two fully connected layers after ReLU, the class scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._vgg import choice, layers

if TYPE_CHECKING:
    from torch import nn

POOLS = (6, 13, 23, 33, 43)


def build() -> nn.Module:
    from torchvision.models import vgg16_bn

    return vgg16_bn(weights=None)


SPEC = NetworkSpec(
    title="VGG-16 with batch norm",
    build=build,
    layers=layers(POOLS),
    layer_per_roi=choice(POOLS),
    published_layers=False,
    source=WeightsSource(
        url="https://download.pytorch.org/models/vgg16_bn-6c64b313.pth",
        sha256_prefix="6c64b313",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=527.9,
    ),
)

"""ResNet-152 (He et al. 2015, arXiv:1512.03385) trained on ImageNet's classes, as in torchvision.

Layers: forty-nine of its fifty bottlenecks (3, 8, 36 and 3 in four stages; not the first), each after its ReLU, and the
class scores. The weights are the first that torchvision published (IMAGENET1K_V1). The stages `layer1` to `layer4`
can be named too; each is the last of its bottlenecks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi
from cinevox.stimuli.networks._resnet import BASE, bottlenecks

if TYPE_CHECKING:
    from torch import nn

COUNTS = (3, 8, 36, 3)


def build() -> nn.Module:
    from torchvision.models import resnet152

    return resnet152(weights=None)


SPEC = NetworkSpec(
    title="ResNet-152",
    build=build,
    layers=(*bottlenecks(COUNTS)[1:], "fc"),
    base=BASE,
    layer_per_roi=per_roi(  # the relative depths of the paper's choice for ResNet-50
        wb="layer4.2",
        v1="layer3.21",
        v2_v3="layer3.21",
        v4="layer4.2",
        loc_eba_ffa="layer4.2",
        ppa="layer4.2",
        sts="layer4.1",
    ),
    published_layers=False,
    source=WeightsSource(
        url="https://download.pytorch.org/models/resnet152-394f9c45.pth",
        sha256_prefix="394f9c45",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=230.4,
    ),
)

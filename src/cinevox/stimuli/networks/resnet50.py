"""ResNet-50 (He et al. 2015, arXiv:1512.03385) trained on ImageNet's classes, as in torchvision.

Sixteen layers, as in `resnet50_ssl`: the last fifteen of sixteen bottlenecks, each after its ReLU, and the class
scores. The weights are the first that torchvision published (IMAGENET1K_V1). The stages `layer1` to `layer4` can be
named too; each is the last of its bottlenecks.
"""

from __future__ import annotations

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._resnet import BASE, build_50, layers_50, per_roi_50

SPEC = NetworkSpec(
    title="ResNet-50",
    build=build_50,
    layers=layers_50(),
    base=BASE,
    layer_per_roi=per_roi_50(),
    published_layers=False,
    source=WeightsSource(
        url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
        sha256_prefix="0676ba61",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=97.8,
    ),
)

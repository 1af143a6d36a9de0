"""ResNet-18 (He et al. 2015, arXiv:1512.03385), as in torchvision.

Six layers: the stem after its max pool, the four stages after their last ReLU, the class scores.
"""

from __future__ import annotations

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._resnet import BASE, LAYERS_18, PER_ROI_18, build_18

SPEC = NetworkSpec(
    title="ResNet-18",
    build=build_18,
    layers=LAYERS_18,
    base=BASE,
    layer_per_roi=PER_ROI_18,
    published_layers=True,
    source=WeightsSource(
        url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
        sha256_prefix="f37072fd",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=44.7,
    ),
)

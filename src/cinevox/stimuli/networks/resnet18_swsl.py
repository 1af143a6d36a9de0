"""ResNet-18 trained semi-weakly supervised on 940 million tagged images, then ImageNet.

Yalniz et al. 2019, arXiv:1905.00546. Layers as in `resnet18`.
"""

from __future__ import annotations

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._resnet import BASE, LAYERS_18, PER_ROI_18, build_18

SPEC = NetworkSpec(
    title="ResNet-18 SWSL",
    build=build_18,
    layers=LAYERS_18,
    base=BASE,
    layer_per_roi=PER_ROI_18,
    published_layers=True,
    source=WeightsSource(
        url="https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/semi_weakly_supervised_resnet18-118f1556.pth",
        sha256_prefix="118f1556",
        licence="CC-BY-NC-4.0",
        megabytes=44.6,
        non_commercial=True,
    ),
)

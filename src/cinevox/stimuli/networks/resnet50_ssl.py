"""ResNet-50 trained semi-supervised on 90 million images, then ImageNet.

Yalniz et al. 2019, arXiv:1905.00546.

Sixteen layers: the last fifteen of sixteen bottlenecks, each after its ReLU, and the class scores.
"""

from __future__ import annotations

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._resnet import BASE, build_50, layers_50, per_roi_50

SPEC = NetworkSpec(
    title="ResNet-50 SSL",
    build=build_50,
    layers=layers_50(),
    base=BASE,
    layer_per_roi=per_roi_50(),
    published_layers=True,
    source=WeightsSource(
        url="https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/semi_supervised_resnet50-08389792.pth",
        sha256_prefix="08389792",
        licence="CC-BY-NC-4.0",
        megabytes=97.7,
        non_commercial=True,
    ),
)

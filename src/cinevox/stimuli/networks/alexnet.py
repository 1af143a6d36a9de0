"""AlexNet (Krizhevsky 2014, arXiv:1404.5997), as in torchvision.

The eight layers of the challenge's devkit: five convolutions after ReLU (the first, second and fifth after
their max pool), two fully connected layers after ReLU, and the class scores before softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

if TYPE_CHECKING:
    from torch import nn

LAYERS = (
    "features.2",
    "features.5",
    "features.7",
    "features.9",
    "features.12",
    "classifier.2",
    "classifier.5",
    "classifier.6",
)
BASE = (
    ("features.0", "features.1", "features.2"),
    ("features.3", "features.4", "features.5"),
    ("features.6", "features.7"),
    ("features.8", "features.9"),
    ("features.10", "features.11", "features.12", "avgpool"),
)


def build() -> nn.Module:
    from torchvision.models import alexnet

    return alexnet(weights=None)


SPEC = NetworkSpec(
    title="AlexNet",
    build=build,
    layers=LAYERS,
    base=BASE,
    layer_per_roi=per_roi(
        wb=LAYERS[4],
        v1=LAYERS[1],
        v2_v3=LAYERS[4],
        v4=LAYERS[4],
        loc_eba_ffa=LAYERS[7],
        ppa=LAYERS[7],
        sts=LAYERS[5],
    ),
    published_layers=True,
    source=WeightsSource(
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256_prefix="7be5be79",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=233.1,
    ),
)

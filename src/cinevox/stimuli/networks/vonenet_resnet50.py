"""VOneResNet-50: a model of V1 in front of a network (Dapello, Marques et al. 2020, NeurIPS).

Sixteen layers, as in `resnet50_ssl`: the last fifteen bottlenecks after their ReLU, and the class scores.
The neuronal noise is off: features are the mean response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._resnet import layers_50, per_roi_50

if TYPE_CHECKING:
    import torch
    from torch import nn


def build() -> nn.Module:
    from cinevox.stimuli.networks._vonenet import vone_resnet50

    return vone_resnet50()


def randomize(module: nn.Module, generator: torch.Generator) -> None:
    from cinevox.stimuli.networks._vonenet import draw_bank

    draw_bank(module, generator)


SPEC = NetworkSpec(
    title="VOneResNet-50",
    build=build,
    layers=layers_50("model."),
    layer_per_roi=per_roi_50("model."),
    published_layers=True,
    source=WeightsSource(
        url="https://vonenet-models.s3.us-east-2.amazonaws.com/voneresnet50_e70.pth.tar",
        sha256_prefix="",
        licence="none stated for the weights; reference code GPL-3.0",
    ),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    randomize=randomize,
)

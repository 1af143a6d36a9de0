"""VOneAlexNet: a model of V1 in front of a network (Dapello, Marques et al. 2020, NeurIPS).

Eight layers: the bottleneck behind the V1 block (linear), the convolutions after ReLU (the first and last one
after their max pool), two fully connected layers after ReLU, and the class scores.
The neuronal noise is off: features are the mean response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

if TYPE_CHECKING:
    import torch
    from torch import nn

LAYERS = (
    "bottleneck",
    "model.features.2",
    "model.features.4",
    "model.features.6",
    "model.features.9",
    "model.classifier.2",
    "model.classifier.5",
    "model.classifier.6",
)


def build() -> nn.Module:
    from cinevox.stimuli.networks._vonenet import vone_alexnet

    return vone_alexnet()


def randomize(module: nn.Module, generator: torch.Generator) -> None:
    from cinevox.stimuli.networks._vonenet import draw_bank

    draw_bank(module, generator)


SPEC = NetworkSpec(
    title="VOneAlexNet",
    build=build,
    layers=LAYERS,
    layer_per_roi=per_roi(
        wb=LAYERS[4],
        v1=LAYERS[1],
        v2_v3=LAYERS[4],
        v4=LAYERS[4],
        loc_eba_ffa=LAYERS[7],
        ppa=LAYERS[7],
        sts=LAYERS[5],
    ),
    published_layers=False,
    source=WeightsSource(
        url="https://vonenet-models.s3.us-east-2.amazonaws.com/vonealexnet_e70.pth.tar",
        sha256_prefix="",
        licence="none stated for the weights; reference code GPL-3.0",
    ),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    randomize=randomize,
)

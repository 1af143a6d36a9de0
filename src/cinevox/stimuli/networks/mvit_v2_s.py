"""MViTv2, small (Li et al. 2021, arXiv:2112.01526), as in torchvision: attention at four scales.

A video network: it sees clips. Nineteen layers: the patches (`conv_proj`), the sixteen blocks (`maps.blocks.0`, ...) as
maps (n, channels, time, height, width) of their tokens without the class token, the class token after the last norm
(`class_token`, n x 768), and the class scores (n, 400). Clips of other than 16 frames of 224 x 224 pixels pass with
relative positions interpolated, as torchvision's attention does where sizes differ; its own forward pass takes that
one size alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cinevox.stimuli.networks import NetworkSpec
from cinevox.stimuli.networks._video import BSD, by_depth, weights

if TYPE_CHECKING:
    import torch
    from torch import nn

N_BLOCKS = 16
BLOCKS = tuple(f"maps.blocks.{index}" for index in range(N_BLOCKS))


def build() -> nn.Module:
    from torch import nn
    from torchvision.models.video import mvit_v2_s

    from cinevox.stimuli.networks import _maps

    class ClipsOfAnySize(nn.Module):
        """torchvision's modules under their names, and the grid of tokens from the clip instead of from the spec."""

        def __init__(self) -> None:
            super().__init__()
            own = mvit_v2_s(weights=None)
            self.conv_proj, self.pos_encoding, self.blocks = own.conv_proj, own.pos_encoding, own.blocks
            self.norm, self.head = own.norm, own.head

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            patches = self.conv_proj(clips)
            grid, tokens = tuple(patches.shape[2:]), self.pos_encoding(patches.flatten(2).transpose(1, 2))
            for block in self.blocks:
                tokens, grid = block(tokens, grid)
            scores: torch.Tensor = self.head(self.norm(tokens)[:, 0])
            return scores

    network = ClipsOfAnySize()
    for index, layer in enumerate(BLOCKS):
        _maps.add(network, layer, f"blocks.{index}", _map)
    _maps.add(network, "class_token", "norm", _maps.first_token)
    return network


def _map(output: Any) -> torch.Tensor:
    """A block's tokens (n, 1 + n_positions, channels) and their grid, to (n, channels, time, height, width)."""
    tokens, grid = output
    without_class: torch.Tensor = tokens[:, 1:]
    return without_class.transpose(1, 2).unflatten(2, grid)


SPEC = NetworkSpec(
    title="MViTv2-S",
    build=build,
    layers=("conv_proj", *BLOCKS, "class_token", "head"),
    layer_per_roi=by_depth(BLOCKS[1], BLOCKS[3], BLOCKS[9], BLOCKS[15]),
    published_layers=False,
    source=weights("mvit_v2_s-ae3be167.pth", 131.9, BSD + "; ported from its authors' (Apache-2.0)"),
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    n_frames=16,
)

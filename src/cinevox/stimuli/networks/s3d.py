"""S3D (Xie et al. 2018, arXiv:1712.04851), as in torchvision: inception blocks, apart in space and in time.

A video network: it sees clips, of at least five frames. Eleven layers: the first two convolutions, each after its max
pool, and the nine inception blocks, maps (n, channels, time, height, width). The class scores, `classifier`, can be
named too; they take clips of at least 13 frames of 224 x 224 pixels, as torchvision's own code does, and smaller clips
go without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec
from cinevox.stimuli.networks._video import KINETICS, by_depth, weights

if TYPE_CHECKING:
    from torch import nn

BLOCKS = (5, 6, 8, 9, 10, 11, 12, 14, 15)


def build() -> nn.Module:
    import torch
    from torchvision.models.video import S3D

    class ClipsOfAnySize(S3D):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps: torch.Tensor = self.features(x)
            if any(size < kernel for size, kernel in zip(maps.shape[2:], self.avgpool.kernel_size)):
                return maps
            return self.classifier(self.avgpool(maps)).mean((2, 3, 4))

    return ClipsOfAnySize()


SPEC = NetworkSpec(
    title="S3D",
    build=build,
    layers=("features.1", "features.4", *(f"features.{index}" for index in BLOCKS)),
    layer_per_roi=by_depth("features.4", "features.6", "features.10", "features.15"),
    published_layers=False,
    source=weights("s3d-d76dad2f.pth", 32.0),
    n_frames=64,
    **KINETICS,
)

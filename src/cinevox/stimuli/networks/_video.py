"""Parts that torchvision's video networks share. All were trained on Kinetics-400, and see clips of many frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

BSD = "none stated for the weights; code BSD-3-Clause"


def weights(file: str, megabytes: float, licence: str = BSD) -> WeightsSource:
    """torchvision's weights. file: its name, which ends in the first digits of the checksum"""
    prefix = file.removesuffix(".pth").rpartition("-")[2]
    return WeightsSource(f"https://download.pytorch.org/models/{file}", prefix, licence, megabytes)


# Channel statistics and size of the three residual networks, the first of them also of S3D.
KINETICS: Mapping[str, Any] = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}


def by_depth(early: str, middle: str, late: str, last: str) -> dict[str, str]:
    """A proposal of layers: early for V1, middle for V2 and V3, late for V4, last for all that is further on."""
    return per_roi(wb=last, v1=early, v2_v3=middle, v4=late, loc_eba_ffa=last, ppa=last, sts=last)


def residual(title: str, builder: str, source: WeightsSource) -> NetworkSpec:
    """The spec of one of the residual networks of 18 layers. builder: its function in torchvision.models.video

    Six layers: the stem, the four stages after their last ReLU, maps (n, channels, time, height, width), and the class
    scores (n, 400).
    """

    def build() -> Any:
        from torchvision.models import video

        return getattr(video, builder)(weights=None)

    return NetworkSpec(
        title=title,
        build=build,
        layers=("stem", "layer1", "layer2", "layer3", "layer4", "fc"),
        layer_per_roi=by_depth("layer1", "layer2", "layer3", "layer4"),
        published_layers=False,
        source=source,
        input_size=112,
        n_frames=16,
        **KINETICS,
    )

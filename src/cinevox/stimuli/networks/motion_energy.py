"""Motion energy: 6,555 spatiotemporal Gabor filters of pymoten on the lightness of small frames.

No network, and no weights: a fixed computation that takes a network's place. See `_motion_energy.MotionEnergy`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, per_roi

if TYPE_CHECKING:
    from torch import nn

LAYER = "motion_energy"
# Cycles per image. Five levels and a sixth of 32: 6,555 filters on square frames, as in Nishimoto et al. 2011.
SPATIAL_FREQUENCIES = (0, 2, 4, 8, 16, 32)


def build() -> nn.Module:
    from torch import nn

    from cinevox.stimuli.networks._motion_energy import MotionEnergy

    return nn.Sequential(OrderedDict({LAYER: MotionEnergy(SPATIAL_FREQUENCIES)}))


SPEC = NetworkSpec(
    title="Motion energy",
    build=build,
    layers=(LAYER,),
    layer_per_roi=per_roi(wb=LAYER, v1=LAYER, v2_v3=LAYER, v4=LAYER, loc_eba_ffa=LAYER, ppa=LAYER, sts=LAYER),
    published_layers=False,
    source=None,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    input_size=96,
    n_frames=45,  # 15 per second of a three-second clip
    is_fixed=True,
)

"""Displacement: how far what is seen moves between frames; 40 numbers a clip (bionn, Algonauts 2021).

No network, and no weights: a fixed computation that takes a network's place. See `_displacement.Displacement`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, per_roi

if TYPE_CHECKING:
    from torch import nn

LAYER = "displacement"


def build() -> nn.Module:
    from torch import nn

    from cinevox.stimuli.networks._displacement import Displacement

    return nn.Sequential(OrderedDict({LAYER: Displacement()}))


SPEC = NetworkSpec(
    title="Displacement",
    build=build,
    layers=(LAYER,),
    layer_per_roi=per_roi(wb=LAYER, v1=LAYER, v2_v3=LAYER, v4=LAYER, loc_eba_ffa=LAYER, ppa=LAYER, sts=LAYER),
    published_layers=False,
    source=None,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    input_size=224,
    n_frames=16,
    is_fixed=True,
)

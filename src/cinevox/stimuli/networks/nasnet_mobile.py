"""NASNet-A mobile (Zoph et al. 2017, arXiv:1707.07012).

Eighteen layers: the first convolution after batch norm, the output of each cell (concatenated sums; the ReLU
stands at the beginning of the next cell), the class scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinevox.stimuli.networks import NetworkSpec, WeightsSource, per_roi

if TYPE_CHECKING:
    from torch import nn

LAYERS = (
    "conv0",
    "cell_stem_0",
    "cell_stem_1",
    *(f"cell_{index}" for index in range(4)),
    "reduction_cell_0",
    *(f"cell_{index}" for index in range(6, 10)),
    "reduction_cell_1",
    *(f"cell_{index}" for index in range(12, 16)),
    "last_linear",
)


def build() -> nn.Module:
    from cinevox.stimuli.networks._nasnet import NASNetAMobile

    return NASNetAMobile()


SPEC = NetworkSpec(
    title="NASNet-A mobile",
    build=build,
    layers=LAYERS,
    layer_per_roi=per_roi(  # the paper leaves EBA open; it stands with LOC and FFA here
        wb=LAYERS[3],
        v1=LAYERS[1],
        v2_v3=LAYERS[3],
        v4=LAYERS[3],
        loc_eba_ffa=LAYERS[3],
        ppa=LAYERS[7],
        sts=LAYERS[3],
    ),
    published_layers=True,
    source=WeightsSource(
        url="http://data.lip6.fr/cadene/pretrainedmodels/nasnetamobile-7e03cead.pth",
        sha256_prefix="7e03cead",
        licence="none stated for the weights; code BSD-3-Clause",
        megabytes=20.4,
    ),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

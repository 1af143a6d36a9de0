"""Spreads: how much features vary over the training clips, and the least that counts where they are divided by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENT = 1e-4  # of a root mean square spread: float32 leaves about 1e-6 of its activations in a silent unit
MIN_SHARE = 0.05  # where params.reduction has no say: polynomial terms and the activations that a head standardises


def least_spread(spread: NDArray[np.floating], share: float) -> float:
    """The spread that a feature counts as having at least, a share of its layer's median.

    floor = share * median of s over the features with s > SILENT * sqrt(mean of s^2)

    A unit that is active in one training clip, with float noise alone, has a spread s of nearly 0. Divided by it, the
    unit's ordinary activation in another clip is hundreds of thousands, and outweighs all other features together.
    Divided by the floor it stays as small as it is. Units that are silent but for noise have no say in the median, so
    that a layer of which most are silent has a floor as well.

    spread: (n_features,), standard deviations over the training clips; share: 0 for no floor
    """
    if not len(spread):
        return 0.0
    varying = spread[spread > SILENT * np.sqrt(np.mean(np.square(spread, dtype=np.float64)))]
    return share * float(np.median(varying)) if len(varying) else 0.0

"""Receptive fields: voxels that listen to a few channels of a network's map, in one field of a grid each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.statistics.spreads import MIN_SHARE, least_spread

NO_CHANNEL = -1


def field_components(
    part: str, pooled: NDArray[np.floating], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The channels that voxels listen to in each field: so many of those that vary there, drawn at random.

    They keep their own units, of which one number is taken for the whole map: a channel that varies more weighs more.
    A channel varies that has at least the spread of `spreads.least_spread`, over all clips.

    part: the generator's, for the message
    pooled: (n_clips, n_channels, n_fields)
    returns components (n_clips, n_fields, n), of mean 0, together of variance 1 in the mean; 0 where a field has fewer
        channels that vary; and the channels, (n_fields, n), NO_CHANNEL there

    Raises
    ------
    InputError
        No channel varies in any field.
    """
    centred = pooled - pooled.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    varying = spread > least_spread(spread.ravel(), MIN_SHARE)
    if not varying.any():
        raise InputError(
            f"simulation.generators: no channel of {part} varies over the clips; name another layer or network"
        )
    n_channels, n_fields = spread.shape
    channels = np.full((n_fields, min(n, n_channels)), NO_CHANNEL, dtype=np.int32)
    for field, own in enumerate(channels):
        drawn = rng.permutation(np.flatnonzero(varying[:, field]))[: len(own)]
        own[: len(drawn)] = drawn
    found = centred[:, channels, np.arange(n_fields)[:, None]]
    found[:, channels == NO_CHANNEL] = 0
    found /= np.sqrt(np.mean(found[:, channels != NO_CHANNEL] ** 2))
    return found.astype(np.float32), channels


def fields_in_use(components: NDArray[np.floating]) -> NDArray[np.intp]:
    """The fields that a voxel can listen to: some channel varies there."""
    return np.flatnonzero(components.any(axis=(0, 2)))

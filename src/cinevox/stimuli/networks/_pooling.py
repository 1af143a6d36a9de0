"""Pooling of a layer's maps over receptive fields, before anything else is done with them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch.nn import functional

from cinevox.errors import InputError
from cinevox.project.params import Fields, Pool

GRIDS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "max": functional.adaptive_max_pool2d,
    "avg": functional.adaptive_avg_pool2d,
}


def n_fields(pool: Pool) -> int:
    """The number of receptive fields."""
    if isinstance(pool, Fields):
        return sum(len(group) ** 2 for group in pool.fields)
    return int(pool[3:]) ** 2


def pooled_size(pool: Pool, shape: tuple[int, ...]) -> int:
    """Features of a pooled map. shape: of the layer's output for one frame, (channels, height, width)

    Raises
    ------
    InputError
        It is no map, or too small.
    """
    if len(shape) != 3:
        raise InputError(
            f"its output is {shape}, no map (channels, height, width) that could be pooled; set pool: none"
        )
    channels, height, width = shape
    smallest = min(height, width)
    if isinstance(pool, Fields):
        last = max(end for group in pool.fields for _, end in group)
        if last >= smallest:
            raise InputError(
                f"its map is {height} x {width}, and a field ends at {last}; expected at most {smallest - 1}"
            )
    elif int(pool[3:]) > smallest:
        raise InputError(f"its map is {height} x {width}; expected a grid of at most {smallest}, found {pool}")
    return channels * n_fields(pool)


def pooled(output: torch.Tensor, pool: Pool) -> torch.Tensor:
    """Maps (n, channels, height, width) pooled, (n, channels * n_fields), the fields of a channel side by side.

    A grid's fields are those of torch's adaptive pooling: the k-th of K over n positions goes from floor(k n / K) to
    ceil((k + 1) n / K) - 1, so that neighbours may share positions.
    """
    if not isinstance(pool, Fields):
        return GRIDS[pool[:3]](output, int(pool[3:])).flatten(1)
    parts = []
    for group in pool.fields:
        for (top, bottom), (left, right) in product(group, group):
            field = output[:, :, top : bottom + 1, left : right + 1]
            parts.append(field.amax(dim=(2, 3)) if pool.kind == "max" else field.mean(dim=(2, 3)))
    return torch.stack(parts, dim=2).flatten(1)

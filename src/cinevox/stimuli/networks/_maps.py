"""Maps of layers whose output is tokens or has its channels last: modules of their own beside a network's.

Such a module has no parameters, so a checkpoint fits as before. It is fed by a hook on the layer, so a forward pass
that is stopped early feeds no more of them than it reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Reshape = Callable[[Any], torch.Tensor]


class Tap(nn.Module):
    """A module that gives another view of a layer's output."""

    def __init__(self, reshape: Reshape) -> None:
        super().__init__()
        self.reshape = reshape

    def forward(self, output: Any) -> torch.Tensor:
        return self.reshape(output)


class _Feed:
    """A hook that leaves the layer's output as it is. No closure: a copy of the network feeds its own taps."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap

    def __call__(self, _module: nn.Module, _inputs: object, output: Any) -> None:
        self.tap(output)


def add(network: nn.Module, name: str, source: str, reshape: Reshape) -> None:
    """Give a network a module `name`, whose output is what `reshape` makes of the output of its module `source`.

    name: with dots, such as maps.blocks.0; reshape: a function of a module, or a partial of one, to be copied
    """
    *parents, last = name.split(".")
    place = network
    for parent in parents:
        if not hasattr(place, parent):
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    tap = Tap(reshape)
    place.add_module(last, tap)
    network.get_submodule(source).register_forward_hook(_Feed(tap))


def from_channels_last(output: torch.Tensor) -> torch.Tensor:
    """(n, ..., channels) to (n, channels, ...)."""
    return output.movedim(-1, 1)


def from_tokens(output: torch.Tensor, n_other: int) -> torch.Tensor:
    """Tokens (n, n_other + side^2, channels) of a square picture, row by row, to a map (n, channels, side, side).

    n_other: tokens that stand first (class, registers)
    """
    n_positions = output.shape[1] - n_other
    if not is_square(n_positions):
        raise ValueError(f"{n_positions} tokens of a picture; expected those of a square one")
    return output[:, n_other:].transpose(1, 2).unflatten(2, (math.isqrt(n_positions), -1))


def is_square(number: int) -> bool:
    """Whether a number is n^2 of an n from 1."""
    return number > 0 and math.isqrt(number) ** 2 == number


def first_token(output: torch.Tensor) -> torch.Tensor:
    """(n, n_tokens, channels) to (n, channels) of the first one."""
    return output[:, 0]

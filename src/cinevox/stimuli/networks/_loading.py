"""Building a network and filling it: with a checkpoint that was checked entry by entry, or with random weights."""

from __future__ import annotations

import contextlib
import random
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cinevox.stimuli.networks import NetworkSpec, _checkpoints
from cinevox.stimuli.networks._activations import one_thread
from cinevox.stimuli.networks._weights import Provenance

NOISE_SIDE = 96  # pixels: what the statistics of random networks are taken from, where they take images of that size
NOISE_FRAMES = 6  # of a clip of noise, where they take clips of that length


def load(name: str, spec: NetworkSpec, provenance: Provenance) -> nn.Module:
    """Build a network with its weights: float32, on the CPU, in evaluation mode, without in-place operations.

    In-place ReLUs would overwrite the output of the layer before them. Random weights are those that the
    network's own constructor draws, from a seed of the network's name and the parameters' seed; the statistics of
    batch norms are then taken from noise images (see `_set_statistics`). Global generators are left as they were.

    Raises
    ------
    WeightsError
        The file cannot be read, or does not hold this network's weights (every entry that differs is listed).
    """
    if provenance.file is not None:
        module = built(spec)
        module.load_state_dict(_checkpoints.read(name, spec, module, provenance.file).state, strict=True)
        return module
    with one_thread(), _seeded(zlib.crc32(f"{name} {provenance.seed or 0}".encode())):
        module = _still(spec.build())
        if spec.randomize is not None:
            spec.randomize(module, torch.random.default_generator)
        _set_statistics(module, spec)
    return module


def checked(name: str, spec: NetworkSpec, module: nn.Module, provenance: Provenance) -> Provenance:
    """The provenance of weights that fit the network, with a note of what was taken off around them in their file.

    module: of the network, with or without numbers

    Raises
    ------
    WeightsError
        As `load`.
    """
    if provenance.file is None:
        return provenance
    return replace(provenance, unwrapped=_checkpoints.read(name, spec, module, provenance.file).unwrapped)


def skeleton(spec: NetworkSpec) -> nn.Module:
    """The module without numbers (on the meta device), in evaluation mode, nothing in place.

    With random numbers on the CPU if its constructor looks at them.
    """
    try:
        with torch.device("meta"), _Unfilled():
            return _still(spec.build())
    except (RuntimeError, NotImplementedError):
        return drawn(spec)


def drawn(spec: NetworkSpec) -> nn.Module:
    """The module on the CPU as its constructor makes it, with the same random numbers each time."""
    with _seeded(0):
        return _still(spec.build())


def built(spec: NetworkSpec) -> nn.Module:
    """The module on the CPU with its buffers, also those outside of the state dict; its parameters are to be filled."""
    with _seeded(0), _Unfilled():
        return _still(spec.build())


def _still(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if hasattr(part, "inplace"):
            setattr(part, "inplace", False)  # noqa: B010  (typed as a tensor or a module)
    return module.eval().requires_grad_(False)


class _Unfilled(TorchFunctionMode):
    """Leaves out the initialisers of parameters, which take seconds; a checkpoint fills every one. Buffers are made."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        filled = args[0] if args else given.get("tensor")
        is_filler = (
            func in (torch.Tensor.uniform_, torch.Tensor.normal_) or getattr(func, "__module__", "") == "torch.nn.init"
        )
        return filled if is_filler and isinstance(filled, nn.Parameter) else func(*args, **given)


_global_generators = threading.RLock()  # one set for all threads


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """On the CPU, with the global generators of torch, numpy and Python from this seed on; then as they were before."""
    with _global_generators, torch.device("cpu"), torch.random.fork_rng(devices=[]):
        legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002  (constructors may draw from it)
        torch.random.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(python)


def _set_statistics(module: nn.Module, spec: NetworkSpec) -> None:
    """Mean and variance of every batch norm from one batch of noise images.

    A constructor sets 0 and 1, which are those of no data: activations would grow or fade with depth.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean over all images
    try:
        _pass_noise(module, NOISE_SIDE, spec.n_frames and NOISE_FRAMES)
    except Exception:  # made for one size of images alone; networks say so in many ways
        for norm in norms:
            norm.reset_running_stats()
        _pass_noise(module, spec.input_size, spec.n_frames)
    module.eval()


def _pass_noise(module: nn.Module, side: int, n_frames: int | None) -> None:
    """Pass eight pictures, or four clips whose frames have the coarse part of their noise in common."""
    n, frames = (8, ()) if n_frames is None else (4, (n_frames,))
    coarse = nn.functional.interpolate(torch.randn(n, 3, 12, 12), size=side, mode="bilinear")
    if n_frames is not None:
        coarse = coarse.unsqueeze(2)
    with torch.no_grad():
        module(coarse + torch.randn(n, 3, *frames, side, side))

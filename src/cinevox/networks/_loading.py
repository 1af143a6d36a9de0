"""Building a network and filling it: with a checkpoint that was checked key by key, or with random weights."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cinevox import io
from cinevox.networks import NetworkSpec
from cinevox.networks._activations import one_thread
from cinevox.networks._weights import Provenance, WeightsError


def load(name: str, spec: NetworkSpec, provenance: Provenance) -> nn.Module:
    """Build a network with its weights: float32, on the CPU, in evaluation mode, without in-place operations.

    In-place ReLUs would overwrite the output of the layer before them. Random weights are drawn from a
    generator of their own; the global one is not touched.

    Raises
    ------
    WeightsError
        The file cannot be read, or holds the weights of another architecture (every key that differs is listed).
    """
    module = skeleton(spec)
    if provenance.file is None:
        with one_thread():
            _draw(module.to_empty(device="cpu"), name, spec, provenance.seed or 0)
    else:
        state = read_state(name, spec, module, provenance.file)
        module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False)


def skeleton(spec: NetworkSpec) -> nn.Module:
    """The module without numbers (on the meta device), in evaluation mode, nothing in place."""
    with torch.device("meta"):
        module = spec.build()
    for part in module.modules():
        if hasattr(part, "inplace"):
            setattr(part, "inplace", False)  # noqa: B010  (typed as a tensor or a module)
    return module.eval()


_allow_list = threading.Lock()  # torch keeps one list for all threads


def read_state(name: str, spec: NetworkSpec, module: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint, checked key by key against the module's.

    Raises
    ------
    WeightsError
        Not a checkpoint, it asks for anything but tensors and plain values, or its keys or shapes differ.
    """
    try:
        io.refuse_bomb(path)
        with _allow_list, torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken checkpoint raises almost anything
        raise WeightsError(
            f"{name}: {path} cannot be read as a checkpoint of tensors ({why_unreadable(error)}); "
            "nothing in it was run. Delete it and fetch it again, or point to another file"
        ) from None
    found = spec.adapt(content, module) if spec.adapt and isinstance(content, Mapping) else content
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{name}: {path} holds no state dict (name -> tensor); save module.state_dict()")
    _check_keys(name, path, found, module.state_dict())
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def why_unreadable(error: Exception) -> str:
    """What torch has to say in a line, without its advice to load the file with trust."""
    text = str(error).strip()
    if "weights_only" in text:
        asked = re.search(r"GLOBAL ([\w.]+)", text)
        return f"it asks for {asked[1]}" if asked else "it asks for more than tensors and plain values"
    return text.partition("\n")[0] or type(error).__name__


def _check_keys(name: str, path: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    faults = {
        "missing": sorted(expected.keys() - found.keys() - optional),
        "unexpected": sorted(found.keys() - expected.keys()),
        "wrong shape": [
            f"{key} {tuple(found[key].shape)}, expected {tuple(value.shape)}"
            for key, value in expected.items()
            if key in found and found[key].shape != value.shape
        ],
    }
    if any(faults.values()):
        lines = [
            f"  {kind} ({len(keys)}): {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
            for kind, keys in faults.items()
            if keys
        ]
        raise WeightsError(
            f"{name}: {path} holds weights of another architecture\n" + "\n".join(lines) + "\n"
            f"  expected {len(expected)} entries, found {len(found)}; "
            f"point networks.{name}.file to the right checkpoint"
        )


def _harmless() -> list[Any]:
    """What older checkpoints hold beside tensors: numpy numbers, under numpy's old and new module names."""
    import argparse

    import numpy as np

    core = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    return [
        (core.scalar, "numpy.core.multiarray.scalar"),
        (core.scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        argparse.Namespace,
        *kinds,
    ]


def _draw(module: nn.Module, name: str, spec: NetworkSpec, seed: int) -> None:
    """He initialisation, zero biases, batch-norm statistics from one batch of noise images.

    With those statistics no activation grows or fades with depth, however many branches are summed.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {seed}".encode()))
    has_statistics = False
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
            part.momentum, has_statistics = None, True
    if spec.randomize is not None:
        spec.randomize(module, generator)
    if has_statistics:
        _set_statistics(module, generator)


def _set_statistics(module: nn.Module, generator: torch.Generator) -> None:
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    coarse = torch.randn(8, 3, 12, 12, generator=generator)
    noise = nn.functional.interpolate(coarse, size=96, mode="bilinear") + torch.randn(8, 3, 96, 96, generator=generator)
    for norm in norms:
        norm.train()
    with torch.no_grad():
        module(noise)
    module.eval()

"""State dicts in files from elsewhere: found where they lie, checked entry by entry; nothing in a file is run."""

from __future__ import annotations

import logging
import pathlib
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cinevox.files import io
from cinevox.stimuli.networks import NetworkSpec
from cinevox.stimuli.networks._fit import State, StateDictFit, misfit
from cinevox.stimuli.networks._kinds import what_else
from cinevox.stimuli.networks._weights import WeightsError

LOG = logging.getLogger(__name__)

DEPTH = 3  # entries within entries that are looked through


@dataclass(frozen=True)
class Checkpoint:
    """A state dict that fits a network.

    unwrapped: what was taken off to get at it, in words; "" if the file is the state dict itself
    """

    state: State
    unwrapped: str


def read(name: str, spec: NetworkSpec, module: nn.Module, path: Path) -> Checkpoint:
    """The state dict in a checkpoint, checked against the module's; floating-point numbers as float32.

    It may be an entry of the file, and all its names may share a prefix, as wrappers and trainers leave it.

    Raises
    ------
    WeightsError
        Not a checkpoint, it asks for anything but tensors and plain values, or its entries do not fit.
    """
    content = _content(name, path)
    if spec.adapt and isinstance(content, Mapping):
        content = spec.adapt(content, module)
    found = [StateDictFit.of(place, state, module) for place, state in _states(content)]
    if not found:
        raise WeightsError(
            f"{name}: {path} holds no state dict (name -> tensor); "
            "save one where the network was made: torch.save(network.state_dict(), path)"
        )
    fitting = [each for each in found if not each.faults]
    if len(fitting) > 1:
        places = " and ".join(each.place for each in fitting)
        raise WeightsError(
            f"{name}: {path} holds weights of this network under {places}. Save the ones that you mean alone, "
            f"such as torch.save(torch.load(path){fitting[-1].place}, other_path)"
        )
    if not fitting:
        raise WeightsError(f"{name}: {path} " + misfit(name, max(found, key=lambda each: each.n_known)))
    chosen = fitting[0]
    if chosen.unwrapped:
        LOG.info("%s: %s: the weights are its %s", name, path, chosen.unwrapped)
    state = {key: value.float() if value.is_floating_point() else value for key, value in chosen.state.items()}
    return Checkpoint(dict(module.state_dict()) | state, chosen.unwrapped)


def _states(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Every state dict in the content of a file, with the entries that lead to it, such as ['state_dict']."""
    if not isinstance(content, Mapping) or not content or depth > DEPTH:
        return
    if all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()):
        yield place, content
        return
    for key, value in content.items():
        yield from _states(value, f"{place}[{key!r}]", depth + 1)


_allow_list = threading.Lock()  # torch keeps one list for all threads


def _content(name: str, path: Path) -> Any:
    """Tensors and plain values of a file of torch or safetensors."""
    if other := what_else(path):
        raise WeightsError(
            f"{name}: {path} is {other.what}: not read as a checkpoint, nothing in it was run. {other.cure}"
        )
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _refuse_damage(path)
        with _allow_list, torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch itself seldom writes
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a broken checkpoint raises almost anything
        raise WeightsError(
            f"{name}: {path} cannot be read as a checkpoint of tensors ({why_unreadable(error)}); "
            "nothing in it was run. Delete it and fetch it again; if it is your own, save the state dict alone: "
            "torch.save(network.state_dict(), path)"
        ) from None


def _refuse_damage(path: Path) -> None:
    io.refuse_bomb(path)
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} in it does not have the checksum (CRC-32) that it was written with")


def why_unreadable(error: Exception) -> str:
    """The line that torch has to say, without its advice to load the file with trust."""
    text = str(error).strip()
    if "weights_only" in text:
        asked = re.search(r"GLOBAL ([\w.]+)", text)
        return f"it asks for {asked[1]}" if asked else "it asks for more than tensors and plain values"
    return text.partition("\n")[0] or type(error).__name__


def _harmless() -> list[Any]:
    """Values that checkpoints hold beside tensors: paths, options, and numpy numbers under old and new names."""
    import argparse

    import numpy as np

    core = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    paths = [
        (pure, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")  # the latter in files that Python 3.13 wrote
        for pure, names in (
            (pathlib.PurePosixPath, ("PurePosixPath", "PosixPath")),
            (pathlib.PureWindowsPath, ("PureWindowsPath", "WindowsPath")),
        )
        for name in names
    ]
    return [
        (core.scalar, "numpy.core.multiarray.scalar"),
        (core.scalar, "numpy._core.multiarray.scalar"),
        *paths,
        np.dtype,
        argparse.Namespace,
        *kinds,
    ]

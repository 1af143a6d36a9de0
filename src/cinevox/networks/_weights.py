"""Where a network's weights come from, and that they are the right ones.

`locate` finds the file (downloading it once where asked) and checks it; `load` builds the network with it.
"""

from __future__ import annotations

import logging
import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cinevox import plugins
from cinevox.errors import InputError
from cinevox.networks import NetworkSpec, WeightsSource
from cinevox.networks._activations import one_thread
from cinevox.networks._download import download, sha256_of
from cinevox.params import Network, Weights

LOG = logging.getLogger(__name__)
FOLDER_VARIABLE = "CINEVOX_WEIGHTS"


class WeightsError(InputError):
    """Weights are missing, damaged or of another architecture; the message names the file and the cure."""


@dataclass(frozen=True)
class Provenance:
    """Which weights a network has. It goes into the sidecar of everything computed with them.

    source: address, package file name, path, or how random weights were drawn
    official: whether the file is the one its authors published (by checksum)
    non_commercial: None where the licence is not known
    """

    policy: Weights
    source: str
    file: Path | None
    sha256: str
    official: bool
    licence: str
    non_commercial: bool | None
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For people and sidecars: everything but the path on this machine."""
        return {key: value for key, value in asdict(self).items() if key != "file"}


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where downloaded weights are kept: CINEVOX_WEIGHTS, or this platform's folder for caches."""
    if given := environment.get(FOLDER_VARIABLE):
        return Path(given)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "cinevox" / "weights"


def locate(name: str, spec: NetworkSpec, settings: Network, cache: Path | None = None) -> Provenance:
    """Find the weights that `settings` ask for; `pretrained` downloads them into `cache` unless they are there.

    Raises
    ------
    WeightsError
        No such policy for this network, no file, a failed download, or a checksum other than published.
    """
    match settings.weights:
        case "random":
            how = f"drawn with seed {settings.seed}"
            return Provenance("random", how, None, "", False, "none", False, settings.seed)
        case "package":
            return _packaged(name, spec)
        case "file":
            return _given(name, spec, settings.file)
        case "pretrained":
            return _published(name, spec, cache or cache_folder())


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


def read_state(name: str, spec: NetworkSpec, module: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint, checked key by key against the module's.

    Raises
    ------
    WeightsError
        Not a checkpoint, it asks for anything but tensors and plain values, or its keys or shapes differ.
    """
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken checkpoint raises almost anything
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{name}: {path} cannot be read as a checkpoint of tensors ({first_line}); nothing in it was run. "
            "Delete it and fetch it again, or point to another file"
        ) from None
    found = spec.adapt(content, module) if spec.adapt and isinstance(content, Mapping) else content
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{name}: {path} holds no state dict (name -> tensor); save module.state_dict()")
    _check_keys(name, path, found, module.state_dict())
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


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


def _packaged(name: str, spec: NetworkSpec) -> Provenance:
    if spec.package_file is None:
        raise WeightsError(
            f"networks.{name}.weights is package, and no package ships weights of {name}; "
            "expected pretrained, file or random"
        )
    path = spec.package_file()
    licence = spec.source.licence if spec.source else "as the package states"
    return Provenance("package", path.name, path, sha256_of(path), True, licence, False)


def _given(name: str, spec: NetworkSpec, given: Path | None) -> Provenance:
    wanted = spec.source.file_name if spec.source else ""
    path = given / wanted if given is not None and given.is_dir() and wanted else given
    if path is None or not path.is_file():
        raise WeightsError(
            f"{name}: no weights at {path}; expected a checkpoint, or a folder that holds {wanted or 'one'}. "
            f"Correct networks.{name}.file, or fetch the file" + (f" from {spec.source.url}" if spec.source else "")
        )
    if spec.source and path.name == wanted:
        return _checked(name, spec.source, path, "file")
    sha256 = sha256_of(path)
    official = bool(spec.source and spec.source.sha256_prefix and sha256.startswith(spec.source.sha256_prefix))
    if spec.source and official:
        return Provenance("file", str(path), path, sha256, True, spec.source.licence, spec.source.non_commercial)
    return Provenance("file", str(path), path, sha256, False, "not known: the user's own file", None)


def _published(name: str, spec: NetworkSpec, cache: Path) -> Provenance:
    if spec.source is None:
        raise WeightsError(f"networks.{name}.weights is pretrained, and {name} has no published weights; use file")
    path = cache / spec.source.file_name
    if not path.exists():
        LOG.info("%s: downloading %s (licence: %s) to %s", name, spec.source.url, spec.source.licence, path)
        if spec.source.non_commercial:
            LOG.warning("%s: these weights may not be used commercially (%s)", name, spec.source.licence)
        download(spec.source, path)
    return replace(_checked(name, spec.source, path, "pretrained"), source=spec.source.url)


def _checked(name: str, source: WeightsSource, path: Path, policy: Weights) -> Provenance:
    sha256, expected = sha256_of(path), expected_sha256(source, path)
    if not sha256.startswith(expected):
        raise WeightsError(
            f"{name}: {path} has sha256 {sha256[:16]}..., expected {expected[:16]}...; it is damaged or another file. "
            f"Delete it and run again, or fetch it from {source.url}"
        )
    return Provenance(policy, str(path), path, sha256, bool(expected), source.licence, source.non_commercial)


def expected_sha256(source: WeightsSource, path: Path) -> str:
    """The published prefix, else what was recorded beside the file at its first download, else ""."""
    record = path.with_name(path.name + ".sha256")
    if source.sha256_prefix:
        return source.sha256_prefix
    return record.read_text().strip() if record.exists() else ""


@dataclass(frozen=True)
class Status:
    """Where one network's weights are looked for, and what is there. Text, for a table.

    state: random, valid, checksum mismatch, not verified (there, and no checksum is published), not there
    """

    network: str
    policy: Weights
    state: str
    file: str
    url: str
    size: str
    licence: str


def status(used: Mapping[str, Network], cache: Path | None = None) -> tuple[Status, ...]:
    """Every network there is: its weights under the policy in use, or `pretrained` where it is not in use.

    Nothing is downloaded.
    """
    return tuple(_status(name, used.get(name), cache or cache_folder()) for name in plugins.names("cinevox.networks"))


def _status(name: str, settings: Network | None, cache: Path) -> Status:
    spec: NetworkSpec = plugins.load("cinevox.networks", name)
    policy: Weights = settings.weights if settings else "pretrained"
    path = _looked_for(spec, policy, settings.file if settings else None, cache)
    size, url, licence = "", "", ""
    if source := spec.source:
        size = f"{source.megabytes:.1f} MB" if source.megabytes else ""
        url, licence = source.url, source.licence + (" (non-commercial)" if source.non_commercial else "")
    return Status(name, policy, _state(spec, policy, path), str(path or "–"), url, size, licence)


def _looked_for(spec: NetworkSpec, policy: Weights, given: Path | None, cache: Path) -> Path | None:
    official = spec.source.file_name if spec.source else ""
    match policy:
        case "package":
            return spec.package_file() if spec.package_file else None
        case "file":
            return given / official if given is not None and given.is_dir() else given
        case "pretrained":
            return cache / official
    return None


def _state(spec: NetworkSpec, policy: Weights, path: Path | None) -> str:
    if policy == "random":
        return "random"
    if path is None or not path.is_file():
        return "not there"
    if policy == "package":
        return "valid"
    is_official = spec.source is not None and path.name == spec.source.file_name
    expected = expected_sha256(spec.source, path) if spec.source and is_official else ""
    if not expected:
        return "not verified"
    return "valid" if sha256_of(path).startswith(expected) else "checksum mismatch"

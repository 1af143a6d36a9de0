"""Weights of networks: where they come from, and that they are the right ones.

`locate` finds the file (downloading it once where asked) and checks it; `_loading.load` builds the network.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.project.params import Network, Weights
from cinevox.stimuli.networks import NetworkSpec, WeightsSource, spec_of
from cinevox.stimuli.networks._download import download, sha256_of
from cinevox.stimuli.networks._kinds import what_else

LOG = logging.getLogger(__name__)
FOLDER_VARIABLE = "CINEVOX_WEIGHTS"
NO_WEIGHTS = "has no published weights; use file"


class WeightsError(InputError):
    """Weights are missing, damaged or of another architecture; the message names the file and the cure."""


@dataclass(frozen=True)
class Provenance:
    """The weights that a network has. It goes into the sidecar of everything computed with them.

    source: address, package file name, path, or how random weights were drawn
    official: whether the file is the one its authors published (by checksum)
    non_commercial: None where the licence is not known
    unwrapped: what was taken off around the state dict in the file, in words; "" if nothing was
    unverified: whether neither its publisher nor the parameters have a checksum of the file
    """

    policy: Weights
    source: str
    file: Path | None
    sha256: str
    official: bool
    licence: str
    non_commercial: bool | None
    seed: int | None = None
    unwrapped: str = ""
    unverified: bool = False

    def to_json(self) -> dict[str, Any]:
        """For people and sidecars: everything but the path on this machine; `unverified` only where it is so."""
        told = asdict(self) if self.unverified else {k: v for k, v in asdict(self).items() if k != "unverified"}
        return {key: value for key, value in told.items() if key != "file"}


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of downloaded weights: CINEVOX_WEIGHTS, or this platform's folder for caches."""
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
        No such policy for this network, no file, a failed download, or a checksum other than published or given.
    """
    return _pinned(name, _found(name, spec, settings, cache), settings.sha256)


def _found(name: str, spec: NetworkSpec, settings: Network, cache: Path | None) -> Provenance:
    """The weights of a policy, before they are compared with the parameters' checksum."""
    if spec.is_fixed != (settings.weights == "none"):
        expected = "none: it is a fixed computation" if spec.is_fixed else "package, pretrained, file or random"
        raise WeightsError(f"networks.{name}.weights is {settings.weights}; expected {expected}")
    match settings.weights:
        case "none":
            return Provenance("none", "a fixed computation", None, "", True, "none", False)
        case "random":
            how = f"drawn with seed {settings.seed}"
            return Provenance("random", how, None, "", False, "none", False, settings.seed)
        case "package":
            return _packaged(name, spec)
        case "file":
            return _given(name, spec, settings.file)
        case "pretrained":
            return _published(name, spec, cache or cache_folder())


def _packaged(name: str, spec: NetworkSpec) -> Provenance:
    if spec.package_file is None:
        raise WeightsError(
            f"networks.{name}.weights is package, and no package ships weights of {name}; "
            "expected pretrained, file or random"
        )
    path = spec.package_file()
    sha256 = sha256_of(path)
    if sha256 != spec.package_sha256:
        raise WeightsError(
            f"{name}: {path} has sha256 {sha256[:16]}..., expected {spec.package_sha256[:16]}...; "
            "install the package again as requirements.lock pins it: make install"
        )
    licence = spec.source.licence if spec.source else "as the package states"
    return Provenance(
        "package", path.name, path, sha256, True, licence, bool(spec.source and spec.source.non_commercial)
    )


def _pinned(name: str, found: Provenance, sha256: str | None) -> Provenance:
    """The file is the one that the parameters name, if they do: a path or an address does not say what lies there."""
    if found.file is None:
        return found
    if sha256 is not None and not found.sha256.startswith(sha256):
        raise WeightsError(
            f"{name}: {found.file} has sha256 {found.sha256}, expected {sha256}; it is another file. "
            f"Correct networks.{name}.file or networks.{name}.sha256"
        )
    if sha256 is None and found.unverified and found.policy == "file":
        LOG.warning(
            "%s: networks.%s.sha256 is null, so any file at that path is taken; the checksum of this one is %s",
            name, name, found.sha256,
        )  # fmt: skip
    elif sha256 is None and found.unverified:
        LOG.warning(
            "%s: no checksum of %s is published, so the first file from there was taken; its own is %s, which "
            "networks.%s.sha256 can hold",
            name, found.source, found.sha256, name,
        )  # fmt: skip
    return replace(found, unverified=found.unverified and sha256 is None)


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
    return Provenance("file", str(path), path, sha256, False, "not known: the user's own file", None, unverified=True)


def _published(name: str, spec: NetworkSpec, cache: Path) -> Provenance:
    if spec.source is None:
        where = f"has none with a published address and checksum. Fetch the file from {spec.weights_page}, and"
        raise WeightsError(
            f"networks.{name}.weights is pretrained, and {name} "
            + (f"{where} name it: `weights: file`, `file: PATH`" if spec.weights_page else NO_WEIGHTS)
        )
    path = cache / spec.source.file_name
    if not path.exists():
        LOG.info("%s: downloading %s (licence: %s) to %s", name, spec.source.url, spec.source.licence, path)
        if spec.source.non_commercial:
            LOG.warning("%s: these weights may not be used commercially (%s)", name, spec.source.licence)
        download(spec.source, path)
    return replace(_checked(name, spec.source, path, "pretrained"), source=spec.source.url)


def to_download(spec: NetworkSpec, policy: Weights, cache: Path | None = None) -> str:
    """Say what `locate` would download, from where and to where; "" where it would download nothing."""
    if policy != "pretrained" or spec.source is None:
        return ""
    path = (cache or cache_folder()) / spec.source.file_name
    if path.exists():
        return ""
    size = _size(spec.source) or "of a size that is not stated"
    place = f"{spec.source.url} to {path}"
    return f"its weights will be downloaded, {size}, from {place} (licence: {_licence(spec.source)})"


def _size(source: WeightsSource) -> str:
    return f"{source.megabytes:.1f} MB" if source.megabytes else ""


def _licence(source: WeightsSource) -> str:
    return source.licence + " (non-commercial)" * source.non_commercial


def _checked(name: str, source: WeightsSource, path: Path, policy: Weights) -> Provenance:
    sha256, expected = sha256_of(path), expected_sha256(source, path)
    if not sha256.startswith(expected):
        raise WeightsError(
            f"{name}: {path} has sha256 {sha256[:16]}..., expected {expected[:16]}...; it is damaged or another file. "
            f"Delete it and run again, or fetch it from {source.url}"
        )
    own, unverified = source.licence, not source.sha256_prefix
    return Provenance(
        policy, str(path), path, sha256, bool(expected), own, source.non_commercial, unverified=unverified
    )


def expected_sha256(source: WeightsSource, path: Path) -> str:
    """The published prefix, else what was recorded beside the file at its first download, else ""."""
    record = path.with_name(path.name + ".sha256")
    if source.sha256_prefix:
        return source.sha256_prefix
    return record.read_text().strip() if record.exists() else ""


@dataclass(frozen=True)
class Status:
    """The places where one network's weights are looked for, and what is there. Text, for a table.

    state: random, none needed (a fixed computation), valid, checksum mismatch, not verified (there, and no checksum is
        published or in the parameters), no checkpoint (there, and surely something else), not there
    """

    network: str
    policy: Weights
    state: str
    file: str
    url: str
    size: str
    licence: str


def status(used: Mapping[str, Network], cache: Path | None = None) -> tuple[Status, ...]:
    """Every plug-in, and every model of a library in use: its weights under the policy in use, else `pretrained`.

    Nothing is downloaded.
    """
    models = tuple(name for name, settings in used.items() if settings.model)
    return tuple(_status(name, used.get(name), cache or cache_folder()) for name in plugins.names("networks") + models)


def _status(name: str, settings: Network | None, cache: Path) -> Status:
    spec = spec_of(name, settings)
    policy: Weights = settings.weights if settings else "none" if spec.is_fixed else "pretrained"
    path = _looked_for(spec, policy, settings.file if settings else None, cache)
    size, url, licence = "", spec.weights_page, ""
    if source := spec.source:
        size, url, licence = _size(source), source.url, _licence(source)
    state = _state(spec, policy, path, settings.sha256 if settings else None)
    return Status(name, policy, state, str(path or "–"), url, size, licence)


def _looked_for(spec: NetworkSpec, policy: Weights, given: Path | None, cache: Path) -> Path | None:
    official = spec.source.file_name if spec.source else ""
    match policy:
        case "package":
            return spec.package_file() if spec.package_file else None
        case "none":
            return given  # of brought features
        case "file":
            return given / official if given is not None and given.is_dir() else given
        case "pretrained":
            return cache / official
    return None


def _state(spec: NetworkSpec, policy: Weights, path: Path | None, pinned: str | None) -> str:
    if policy == "random":
        return "random"
    if policy == "none" and path is None:
        return "none needed"
    if path is None or not path.is_file():
        return "not there"
    if policy != "none" and what_else(path):
        return "no checkpoint"
    is_official = spec.source is not None and path.name == spec.source.file_name
    published, recorded = spec.package_sha256 if policy == "package" else "", ""
    if spec.source and is_official and policy != "package":
        published, recorded = spec.source.sha256_prefix, expected_sha256(spec.source, path)
    expected = [checksum for checksum in (published, recorded, pinned) if checksum]
    if expected and not all(map(sha256_of(path).startswith, expected)):
        return "checksum mismatch"
    return "valid" if published or pinned else "not verified"

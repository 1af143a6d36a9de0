"""Extractions: a network whose weights, layers and device were found to be there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cinevox.errors import InputError
from cinevox.project.package_versions import installed
from cinevox.project.params import FeatureMap, Features, Network
from cinevox.stimuli.networks import NetworkSpec, _activations, _checkpoints, _loading, _weights, spec_of
from cinevox.stimuli.networks._pooling import pooled_size

Frames = NDArray[np.uint8]
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "pymoten")  # that networks are built of
N_TRIED = 3  # frames in the pass that finds shapes: more than one, so that an axis of frames shows


class FeaturesError(InputError):
    """Features can't be extracted: a missing device, frames too small, activations that are not finite."""


@dataclass(frozen=True)
class Extraction:
    """A network whose weights were found, and how its activations are taken. Made by `prepare`.

    network: its key in the parameters
    layers: those that are written whole; maps: what is written of layers besides, pooled or reduced in another way
    device: a torch device that is there; frame_shape: (n_frames, height, width, 3) of one clip
    """

    network: str
    spec: NetworkSpec
    weights: _weights.Provenance
    layers: tuple[str, ...]
    settings: Features
    device: str
    frame_shape: tuple[int, ...]
    maps: tuple[FeatureMap, ...] = ()

    @property
    def outputs(self) -> dict[str, FeatureMap]:
        """Name -> what is written under it: the layers, then the maps that are none of them.

        A whole layer whose mean over frames is a map has its own name already where layers are reduced otherwise.
        """
        whole = {layer: FeatureMap(layer, "none", self.settings.over_frames) for layer in self.layers}
        others = [found for found in self.maps if found not in whole.values()]
        named = {f"{found.name}.{found.over_frames}" if found.name in whole else found.name: found for found in others}
        return whole | named

    @property
    def frame_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each layer's output for one frame: (channels, height, width), (tokens, n) or (n,), say.

        Found without computing the output. Of a video network's maps it is that of one of the times that they have.
        """
        if self.spec.n_frames is None:
            return self._output_shapes
        of_clips = self._output_shapes.items()
        return {layer: (shape[0], *shape[2:]) if len(shape) == 4 else shape for layer, shape in of_clips}

    def n_times(self, layer: str) -> int:
        """Values that a layer has over a clip: one for each frame, or as many as a video network's map has."""
        if self.spec.n_frames is None:
            return self.frame_shape[0]
        shape = self._output_shapes[layer]
        return shape[1] if len(shape) == 4 else 1

    @cached_property
    def _output_shapes(self) -> dict[str, tuple[int, ...]]:
        try:
            try:
                return self._shapes(_loading.skeleton(self.spec), "meta")
            except _activations.LayerError:
                raise
            except Exception:  # it does not take these frames, or looks at numbers on its way
                return self._shapes(_loading.drawn(self.spec), "cpu")
        except _activations.LayerError as error:
            raise FeaturesError(f"{self.network}: {error}") from None
        except Exception as error:  # networks say in many ways what they do not take
            n_frames, height, width, _ = self.frame_shape
            what, expected = f"frames of {height} x {width} pixels", f"frames.size {self.spec.input_size}"
            if self.spec.n_frames is not None:
                what, expected = f"clips of {n_frames} frames", f"networks.{self.network}.n_frames {self.spec.n_frames}"
            why = _checkpoints.why_unreadable(error)
            raise FeaturesError(f"{self.network}: {what} do not fit it ({why}); expected {expected}") from None

    def _shapes(self, module: nn.Module, device: str) -> dict[str, tuple[int, ...]]:
        n_frames, height, width, _ = self.frame_shape
        size: tuple[int, ...] = (3, height, width)
        if self.spec.n_frames is not None:
            size = (3, n_frames, self.spec.input_size, self.spec.input_size)
        images = torch.zeros(N_TRIED, *size, device=device)
        modules = tuple(dict.fromkeys(found.layer for found in self.outputs.values()))
        with _activations.one_thread():
            return _activations.shapes(module, modules, images)

    @cached_property
    def n_features(self) -> dict[str, int]:
        """Values of one frame in each output."""
        shapes, found = self.frame_shapes, {}
        for name, taken in self.outputs.items():
            try:
                shape = shapes[taken.layer]
                found[name] = prod(shape) if taken.pool == "none" else pooled_size(taken.pool, shape)
            except InputError as error:
                raise FeaturesError(f"{self.network}, layer {taken.layer}: {error}") from None
        return found

    def shape(self, name: str, n_clips: int) -> tuple[int, ...]:
        """Return the shape of an output's array.

        It is (n_clips, n_features), with n_frames in the middle where every frame is kept.
        """
        taken = self.outputs[name]
        kept = (self.n_times(taken.layer),) if taken.over_frames == "none" else ()
        return (n_clips, *kept, self.n_features[name])

    @property
    def clips_per_batch(self) -> int:
        """Whole clips that share a forward pass; a clip longer than a batch goes through in several."""
        return max(1, self.settings.batch_size // self.frame_shape[0])

    def digest(self, frames: Frames) -> str:
        """Names everything that the numbers depend on, for taking up unfinished work."""
        inputs = {
            "weights": self.weights.to_json(),
            "network": self.network,
            "title": self.spec.title,
            "images": (self.spec.mean, self.spec.std, self.spec.input_size),
            "configuration": self.spec.configuration,
            "versions": {name: version for name, version in installed().items() if name in LIBRARIES},
            "layers": self.layers,
            "maps": [found.to_json() for found in self.maps],
            "settings": self.settings.model_dump(),
            "device": self.device,
            "shape": frames.shape,
        }
        checksum = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode())
        for start in range(0, len(frames), 64):
            checksum.update(np.ascontiguousarray(frames[start : start + 64]).data)
        return checksum.hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The sidecar: what was computed, with what."""
        return {
            "network": self.network,
            "title": self.spec.title,
            "images": (self.spec.mean, self.spec.std, self.spec.input_size),
            "weights": self.weights.to_json(),
            "layers": [
                {"name": layer, "n_features": self.n_features[layer], "n_times": self.n_times(layer)}
                for layer in self.layers
            ],
            "maps": [self._described(found) for found in self.maps],
            "n_frames": self.frame_shape[0],
            "frame_size": self.frame_shape[1:3],
            "over_frames": self.settings.over_frames,
            "normalisation": {"scale": 1 / 255, "mean": self.spec.mean, "std": self.spec.std},
            "dtype": self.settings.storage,
            "compute": self.settings.compute,
            "memory_format": self.settings.memory_format,
            "batch_size": self.settings.batch_size,
            "device": self.device,
            "torch": torch.__version__,
        } | ({"configuration": self.spec.configuration} if self.spec.configuration else {})

    def _described(self, found: FeatureMap) -> dict[str, Any]:
        [name] = (name for name, taken in self.outputs.items() if taken == found)
        return {"name": name, "n_features": self.n_features[name], "n_times": self.n_times(found.layer)} | (
            found.to_json()
        )


def prepare(
    network: str,
    weights: Network,
    settings: Features,
    frame_shape: Sequence[int],
    layers: Sequence[str] | None = None,
    maps: Sequence[FeatureMap] = (),
) -> Extraction:
    """Find a network's weights (downloading them where asked) and check that its layers can be taken.

    frame_shape: (n_frames, height, width, 3) of one clip
    layers: module names, which are written whole; by default those of the network's spec
    maps: what is written besides

    Raises
    ------
    InputError
        No such network, weights, layer or device, or frames too small for it.
    """
    spec = spec_of(network, weights)
    wanted = tuple(spec.layers if layers is None else layers)
    module = _loading.skeleton(spec)
    known = [name for name, _ in module.named_modules() if name]
    named = dict.fromkeys((*wanted, *(found.layer for found in maps)))
    if unknown := [layer for layer in named if layer not in known]:
        raise FeaturesError(
            f"{network}: no layer {', '.join(unknown)}; its own are {', '.join(spec.layers)}, "
            f"and any module of it can be named ({len(known)} in all)"
        )
    as_maps = [found.layer for found in maps if found.pool != "none" or spec.n_frames is not None]
    if turned := [layer for layer in as_maps if f"maps.{layer}" in known]:
        raise FeaturesError(
            f"{network}: what {turned[0]} gives is no map (n, channels, height, width): its channels come last, or it "
            f"gives tokens; name maps.{turned[0]} for the maps that it stands for"
        )
    device = find_device(settings.device)
    found = _loading.checked(network, spec, module, _weights.locate(network, spec, weights))
    extraction = Extraction(network, spec, found, wanted, settings, device, tuple(frame_shape), tuple(maps))
    _ = extraction.n_features
    return extraction


def find_device(asked: str) -> str:
    """The torch device of a `device` parameter.

    Raises
    ------
    FeaturesError
        It is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there[asked]:
        found = ", ".join(device for device, is_there in there.items() if is_there)
        raise FeaturesError(f"device is {asked}, and this machine has {found}; choose one of these, or auto")
    return asked

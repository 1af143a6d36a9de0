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
from cinevox.project.params import Features, Network
from cinevox.stimuli.networks import NetworkSpec, _activations, _checkpoints, _loading, _weights, spec_of

Frames = NDArray[np.uint8]
N_TRIED = 3  # frames in the pass that finds shapes: more than one, so that an axis of frames shows


class FeaturesError(InputError):
    """Features can't be extracted: a missing device, frames too small, activations that are not finite."""


@dataclass(frozen=True)
class Extraction:
    """A network whose weights were found, and how its activations are taken. Made by `prepare`.

    network: its key in the parameters; device: a torch device that is there
    frame_shape: (n_frames, height, width, 3) of one clip
    """

    network: str
    spec: NetworkSpec
    weights: _weights.Provenance
    layers: tuple[str, ...]
    settings: Features
    device: str
    frame_shape: tuple[int, ...]

    @cached_property
    def frame_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each layer's output for one frame: (channels, height, width), (tokens, n) or (n,), say.

        Found without computing the output.
        """
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
            _, height, width, _ = self.frame_shape
            raise FeaturesError(
                f"{self.network}: frames of {height} x {width} pixels do not fit it "
                f"({_checkpoints.why_unreadable(error)}); expected frames.size {self.spec.input_size}"
            ) from None

    def _shapes(self, module: nn.Module, device: str) -> dict[str, tuple[int, ...]]:
        _, height, width, _ = self.frame_shape
        frames = torch.zeros(N_TRIED, 3, height, width, device=device)
        with _activations.one_thread():
            return _activations.shapes(module, self.layers, frames)

    @property
    def n_features(self) -> dict[str, int]:
        """Activations of one frame in each layer."""
        return {layer: prod(shape) for layer, shape in self.frame_shapes.items()}

    def shape(self, layer: str, n_clips: int) -> tuple[int, ...]:
        """Of a layer's array: (n_clips, n_features), with n_frames in the middle where every frame is kept."""
        kept = (self.frame_shape[0],) if self.settings.over_frames == "none" else ()
        return (n_clips, *kept, self.n_features[layer])

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
            "layers": self.layers,
            "settings": self.settings.model_dump(),
            "device": self.device,
            "torch": torch.__version__,
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
            "weights": self.weights.to_json(),
            "layers": [{"name": layer, "n_features": self.n_features[layer]} for layer in self.layers],
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
        }


def prepare(
    network: str,
    weights: Network,
    settings: Features,
    frame_shape: Sequence[int],
    layers: Sequence[str] | None = None,
) -> Extraction:
    """Find a network's weights (downloading them where asked) and check that its layers can be taken.

    frame_shape: (n_frames, height, width, 3) of one clip
    layers: module names; by default those of the network's spec

    Raises
    ------
    InputError
        No such network, weights, layer or device, or frames too small for it.
    """
    spec = spec_of(network, weights)
    wanted = tuple(spec.layers if layers is None else layers)
    module = _loading.skeleton(spec)
    known = [name for name, _ in module.named_modules() if name]
    if unknown := [layer for layer in wanted if layer not in known]:
        raise FeaturesError(
            f"{network}: no layer {', '.join(unknown)}; its own are {', '.join(spec.layers)}, "
            f"and any module of it can be named ({len(known)} in all)"
        )
    device = find_device(settings.device)
    found = _loading.checked(network, spec, module, _weights.locate(network, spec, weights))
    extraction = Extraction(network, spec, found, wanted, settings, device, tuple(frame_shape))
    _ = extraction.frame_shapes
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

"""Taking the outputs of a network's layers, and stopping after the last one that is needed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cinevox.project.params import FeatureMap, Features
from cinevox.stimuli.networks import NetworkSpec
from cinevox.stimuli.networks._pooling import pooled


class _Enough(Exception):
    """Every layer asked for has been seen; the rest of the forward pass is not needed."""


def take(
    module: nn.Module,
    layers: Sequence[str],
    images: torch.Tensor,
    kept: Callable[[str, torch.Tensor], Any] = lambda _, output: output,
) -> dict[str, Any]:
    """Outputs of the named modules for one batch; computes nothing behind the last of them.

    kept: what is kept of a module's output. Applied at once, so that the memory of the whole one can be used again.

    Raises
    ------
    ValueError
        A module was not reached by the forward pass.
    """
    outputs: dict[str, Any] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            outputs[name] = kept(name, output)
            if len(outputs) == len(set(layers)):
                raise _Enough

        return module.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in dict.fromkeys(layers)]
    try:
        with torch.inference_mode(), contextlib.suppress(_Enough):
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    if unreached := [name for name in layers if name not in outputs]:
        raise ValueError(f"the forward pass does not go through {', '.join(unreached)}")
    return outputs


class LayerError(ValueError):
    """A layer that cannot be a feature space."""


def shapes(module: nn.Module, layers: Sequence[str], images: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's output for one image, from a whole forward pass of several.

    Raises
    ------
    LayerError
        A layer is not reached or passed more than once, or its output is no tensor with one row for each image.
    """
    passed: dict[str, list[object]] = {name: [] for name in layers}
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: passed[name].append(output)
        )
        for name in passed
    ]
    try:
        with torch.inference_mode():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    if unreached := [name for name in layers if not passed[name]]:
        raise LayerError(f"the forward pass does not go through {', '.join(unreached)}")
    if repeated := [name for name in layers if len(passed[name]) > 1]:
        raise LayerError(
            f"the forward pass goes more than once through {', '.join(repeated)}; name the module around it, "
            "or one that is passed once"
        )
    found = {}
    for name, (output,) in passed.items():
        if not isinstance(output, torch.Tensor):
            raise LayerError(f"{name} gives a {type(output).__name__}, no tensor; name a module inside it or around it")
        if output.shape[:1] != images.shape[:1]:
            raise LayerError(
                f"{name} gives {tuple(output.shape)} for {len(images)} images, no row for each; "
                "name the module around it"
            )
        found[name] = tuple(output.shape[1:])
    return found


class ActivationReader:
    """Turns clips into activations, pooled and reduced over frames as they come.

    outputs: name -> what is taken under it
    """

    def __init__(
        self, module: nn.Module, outputs: Mapping[str, FeatureMap], spec: NetworkSpec, settings: Features, device: str
    ) -> None:
        self._is_video, self._size = spec.n_frames is not None, spec.input_size
        self._format = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        if self._is_video:
            self._format = torch.contiguous_format  # which maps with a time have no other of
        self._module = module.to(device=device, memory_format=self._format)  # type: ignore[call-overload]
        self._outputs, self._settings, self._device = dict(outputs), settings, device
        self._layers = tuple(dict.fromkeys(taken.layer for taken in self._outputs.values()))
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (spec.mean, spec.std)
        )

    def twin(self) -> ActivationReader:
        """A reader for another thread: layers are taken from a copy of the module that shares its weights."""
        tensors = [*self._module.parameters(), *self._module.buffers()]
        return copy.deepcopy(self, {id(tensor): tensor for tensor in tensors})

    def __call__(self, frames: NDArray[np.uint8]) -> dict[str, tuple[NDArray[np.floating], NDArray[np.bool_]]]:
        """Frames (n_clips, n_frames, height, width, 3) to output -> (n_clips, [n_frames,] n_features), and which clips
        are finite in the storage type.

        At most `batch_size` frames pass an image network at once; more than one clip only where they all fit. Clips
        pass a video network whole.
        """
        n_clips, n_frames = frames.shape[:2]
        step = n_frames if n_clips > 1 or self._is_video else self._settings.batch_size
        with one_thread(), self._precision():
            parts = [self._forward(frames[:, start : start + step]) for start in range(0, n_frames, step)]
            reduced = {name: self._over_frames(name, [part[name] for part in parts]) for name in self._outputs}
        return {name: self._stored(values) for name, values in reduced.items()}

    def _stored(self, values: torch.Tensor) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        storage = getattr(torch, self._settings.storage)
        finite = values.abs().flatten(1).amax(dim=1) <= torch.finfo(storage).max  # NaN is not
        return values.to(storage).cpu().numpy(), finite.cpu().numpy()

    def _forward(self, frames: NDArray[np.uint8]) -> dict[str, tuple[torch.Tensor, int]]:
        """One pass; output -> (n_clips, 1 or n_frames, n_features), sum, maximum or every frame, and how many frames
        that is of."""
        size = frames.shape[:2]
        images = self._images(frames)
        if self._is_video:
            images = images.unflatten(0, size).transpose(1, 2).contiguous()
        found = take(self._module, self._layers, images, lambda layer, out: self._taken(layer, out.float(), size))
        return {name: values for part in found.values() for name, values in part.items()}

    def _taken(self, layer: str, output: torch.Tensor, size: tuple[int, ...]) -> dict[str, tuple[torch.Tensor, int]]:
        """Return what is taken of a layer.

        output: (n_clips * n_frames, ...), or of a video network (n_clips, ...)
        """
        if self._is_video:
            n_times = output.shape[2] if output.ndim == 5 else 1
            output = output.transpose(1, 2).flatten(0, 1) if output.ndim == 5 else output
            size = (size[0], n_times)
        asked = {name: taken for name, taken in self._outputs.items() if taken.layer == layer}
        return {name: (self._reduced(output, taken, size), size[1]) for name, taken in asked.items()}

    def _reduced(self, output: torch.Tensor, taken: FeatureMap, clips_and_frames: tuple[int, ...]) -> torch.Tensor:
        """Reduced as the numbers lie in memory, then put in the order channel, row, column: up to 20 times faster."""
        if taken.pool != "none":
            return _reduce(pooled(output, taken.pool).unflatten(0, clips_and_frames), taken)
        channels_last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
        lying = output.permute(0, 2, 3, 1) if channels_last else output
        reduced = _reduce(lying.flatten(1).unflatten(0, clips_and_frames), taken)
        return reduced.unflatten(2, (-1, output.shape[1])).transpose(2, 3).flatten(2) if channels_last else reduced

    def _images(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"])).flatten(0, 1)
        if self._device == "cuda":
            pixels = pixels.pin_memory()
        images = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div(255)
        if self._is_video and tuple(images.shape[2:]) != (self._size, self._size):
            images = nn.functional.interpolate(images, (self._size, self._size), mode="bilinear", antialias=True)
        return images.sub(self._mean).div(self._std).contiguous(memory_format=self._format)

    def _precision(self) -> contextlib.AbstractContextManager:
        if self._settings.compute == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device, dtype=getattr(torch, self._settings.compute))

    def _over_frames(self, name: str, parts: Sequence[tuple[torch.Tensor, int]]) -> torch.Tensor:
        values = [part for part, _ in parts]
        together = values[0] if len(values) == 1 else torch.cat(values, dim=1)
        match self._outputs[name].over_frames:
            case "mean":
                return together.sum(dim=1).div(sum(n_frames for _, n_frames in parts))
            case "max":
                return together.amax(dim=1)
        return together


def _reduce(values: torch.Tensor, taken: FeatureMap) -> torch.Tensor:
    """Over the frames of one pass. values: (n_clips, n_frames, n_features)"""
    match taken.over_frames:
        case "mean":
            return values.sum(dim=1, keepdim=True)
        case "max":
            return values.amax(dim=1, keepdim=True)
    return values.clone()  # the network may go on in place


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside a pass on the CPU: the workers are the parallelism, two threads each collide, and
    sums over a batch would depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

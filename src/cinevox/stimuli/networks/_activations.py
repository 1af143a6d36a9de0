"""Taking the outputs of a network's layers, and stopping after the last one that is needed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cinevox.project.params import Features
from cinevox.stimuli.networks import NetworkSpec


class _Enough(Exception):
    """Every layer asked for has been seen; the rest of the forward pass is not needed."""


def take(
    module: nn.Module,
    layers: Sequence[str],
    images: torch.Tensor,
    kept: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
) -> dict[str, torch.Tensor]:
    """Outputs of the named modules for one batch; computes nothing behind the last of them.

    kept: what is kept of an output. Applied at once, so that the memory of the whole one can be used again.

    Raises
    ------
    ValueError
        A module was not reached by the forward pass.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            outputs[name] = kept(output)
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
    """Turns clips into activations, reduced over frames as they come."""

    def __init__(
        self, module: nn.Module, layers: Sequence[str], spec: NetworkSpec, settings: Features, device: str
    ) -> None:
        self._format = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        self._module = module.to(device=device, memory_format=self._format)  # type: ignore[call-overload]
        self._layers, self._settings, self._device = tuple(layers), settings, device
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (spec.mean, spec.std)
        )

    def twin(self) -> ActivationReader:
        """A reader for another thread: layers are taken from a copy of the module that shares its weights."""
        tensors = [*self._module.parameters(), *self._module.buffers()]
        return copy.deepcopy(self, {id(tensor): tensor for tensor in tensors})

    def __call__(self, frames: NDArray[np.uint8]) -> dict[str, tuple[NDArray[np.floating], NDArray[np.bool_]]]:
        """Frames (n_clips, n_frames, height, width, 3) to layer -> (n_clips, [n_frames,] n_features), and which clips
        are finite in the storage type.

        At most `batch_size` frames pass the network at once; more than one clip only where they all fit.
        """
        n_clips, n_frames = frames.shape[:2]
        step = n_frames if n_clips > 1 else self._settings.batch_size
        with one_thread(), self._precision():
            parts = [self._forward(frames[:, start : start + step]) for start in range(0, n_frames, step)]
            reduced = {layer: self._over_frames([part[layer] for part in parts], n_frames) for layer in self._layers}
        return {layer: self._stored(values) for layer, values in reduced.items()}

    def _stored(self, values: torch.Tensor) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        storage = getattr(torch, self._settings.storage)
        finite = values.abs().flatten(1).amax(dim=1) <= torch.finfo(storage).max  # NaN is not
        return values.to(storage).cpu().numpy(), finite.cpu().numpy()

    def _forward(self, frames: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """One pass; layer -> (n_clips, 1 or n_frames, n_features): sum, maximum or every frame."""
        size = frames.shape[:2]
        return take(self._module, self._layers, self._images(frames), lambda out: self._reduced(out.float(), size))

    def _reduced(self, output: torch.Tensor, clips_and_frames: tuple[int, ...]) -> torch.Tensor:
        """Reduced as the numbers lie in memory, then put in the order channel, row, column: up to 20 times faster."""
        channels_last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
        lying = output.permute(0, 2, 3, 1) if channels_last else output
        reduced = self._reduce(lying.flatten(1).unflatten(0, clips_and_frames))
        return reduced.unflatten(2, (-1, output.shape[1])).transpose(2, 3).flatten(2) if channels_last else reduced

    def _images(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"])).flatten(0, 1)
        if self._device == "cuda":
            pixels = pixels.pin_memory()
        images = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div(255)
        return images.sub(self._mean).div(self._std).contiguous(memory_format=self._format)

    def _precision(self) -> contextlib.AbstractContextManager:
        if self._settings.compute == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device, dtype=getattr(torch, self._settings.compute))

    def _reduce(self, values: torch.Tensor) -> torch.Tensor:
        match self._settings.over_frames:
            case "mean":
                return values.sum(dim=1, keepdim=True)
            case "max":
                return values.amax(dim=1, keepdim=True)
        return values.clone()  # the network may go on in place

    def _over_frames(self, parts: Sequence[torch.Tensor], n_frames: int) -> torch.Tensor:
        together = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
        match self._settings.over_frames:
            case "mean":
                return together.sum(dim=1).div(n_frames)
            case "max":
                return together.amax(dim=1)
        return together


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

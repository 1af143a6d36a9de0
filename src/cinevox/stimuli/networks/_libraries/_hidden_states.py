"""Classes of transformers, and their hidden states as layers: modules that give the maps that the tokens stand for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cinevox.errors import InputError
from cinevox.stimuli.networks import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import torch
    from torch import nn

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Family:
    """The parts of a class of models that its hidden states come from.

    embedded: module whose output the first block is given; blocks: the list of blocks; class_token: module whose output
        is the class token, or begins with it; options: of the forward pass
    size, n_frames: names in the configuration; n_other: tokens that stand before those of the picture
    """

    embedded: str
    blocks: str
    class_token: str = ""
    options: Mapping[str, Any] | None = None
    size: str = "image_size"
    n_frames: str = ""
    n_other: Callable[[Any], int] = lambda configuration: 0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


FAMILIES = {
    "CLIPVisionModel": Family(
        "pre_layrnorm", "encoder.layers", "post_layernorm", {"interpolate_pos_encoding": True},
        n_other=lambda configuration: 1, mean=CLIP_MEAN, std=CLIP_STD,
    ),
    "Dinov2Model": Family("embeddings", "encoder.layer", "layernorm", n_other=lambda configuration: 1),
    "Dinov2WithRegistersModel": Family(
        "embeddings", "encoder.layer", "layernorm",
        n_other=lambda configuration: 1 + configuration.num_register_tokens,
    ),
    "VideoMAEModel": Family("embeddings", "encoder.layer", n_frames="num_frames"),
    "VJEPA2Model": Family(
        "encoder.embeddings", "encoder.layer", options={"skip_predictor": True},
        size="crop_size", n_frames="frames_per_clip",
    ),
}  # fmt: skip


def library() -> Any:
    """The package transformers, imported when first asked for. Errors: InputError, where it is not installed."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise InputError(
            "transformers is not installed; in this repository `make install` installs it, elsewhere "
            "pip install 'cinevox[transformers]'"
        ) from None
    return transformers


class _Given:
    """A hook before the forward pass: from what networks here are given to what the class takes."""

    def __init__(self, options: Mapping[str, Any], clip_side: int | None, tubelet: int) -> None:
        self.options, self.clip_side, self.tubelet = options, clip_side, tubelet

    def __call__(self, _model: nn.Module, args: tuple[torch.Tensor], kwargs: Any) -> tuple[Any, Any]:
        (pictures,) = args
        if self.clip_side is not None:
            n_frames, height, width = pictures.shape[2:]
            # V-JEPA 2 would give their places other positions, and leave out frames at the end
            if (height, width) != (self.clip_side, self.clip_side) or n_frames % self.tubelet:
                raise ValueError(
                    f"clips of {n_frames} frames of {height} x {width} pixels; it takes {self.clip_side} x "
                    f"{self.clip_side}, and a multiple of {self.tubelet} frames"
                )
            pictures = pictures.transpose(1, 2)  # (n, time, 3, height, width)
        return (pictures,), {**kwargs, **self.options}


def build(kind: str, configuration: Any) -> nn.Module:
    """A model of one of FAMILIES without weights, with a module for each of its hidden states beside its own."""
    from cinevox.stimuli.networks import _maps

    family = FAMILIES[kind]
    network: nn.Module = getattr(library(), kind)(configuration)
    side, patch = getattr(configuration, family.size), configuration.patch_size
    given = _Given(family.options or {}, side if family.n_frames else None, getattr(configuration, "tubelet_size", 1))
    network.register_forward_pre_hook(given, with_kwargs=True)
    if family.n_frames:
        reshape = functools.partial(_clip_maps, side=side // patch)
    else:
        reshape = functools.partial(_picture_maps, n_other=family.n_other(configuration))
    blocks = [f"{family.blocks}.{index}" for index in range(configuration.num_hidden_layers)]
    for index, source in enumerate((family.embedded, *blocks)):
        _maps.add(network, f"hidden.{index}", source, reshape)
    if family.class_token:
        _maps.add(network, "class_token", family.class_token, _class_token)
    return network


def _tokens(output: Any) -> torch.Tensor:
    """A block's output, alone or the first of several."""
    tokens: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return tokens


def _picture_maps(output: Any, n_other: int) -> torch.Tensor:
    from cinevox.stimuli.networks import _maps

    return _maps.from_tokens(_tokens(output), n_other)


def _clip_maps(output: Any, side: int) -> torch.Tensor:
    """Tokens (n, time side^2, channels), time after time and row by row, to maps (n, channels, time, side, side)."""
    return _tokens(output).transpose(1, 2).unflatten(2, (-1, side, side))


def _class_token(output: torch.Tensor) -> torch.Tensor:
    return output if output.ndim == 2 else output[:, 0]

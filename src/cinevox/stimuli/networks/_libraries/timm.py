"""Models of timm (Wightman, github.com/huggingface/pytorch-image-models) by their names, such as convnext_tiny.in12k.

Layers are the modules that timm's `feature_info` names, in the order of depth. Where one gives a map with its channels
last, or tokens of a picture row by row, the layer is a module beside it that gives the map, (n, channels, height,
width): `maps.blocks.0` of `blocks.0`, as timm's `forward_intermediates` has it. A class token is the layer
`class_token`, after the last norm. Other modules, such as the class scores, can be named too.

Mean, standard deviation and size of the pictures are those of the pretrained configuration. Models that can take other
sizes by interpolating their positions do.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cinevox.errors import InputError
from cinevox.stimuli.networks import NetworkSpec, WeightsSource

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cinevox.project.params import Network

# timm's files of models whose tokens lie row by row. Those of others (Hiera: by windows) stay tokens.
ROW_BY_ROW = (
    "beit", "cait", "convit", "deepseek_vit", "deit", "efficientformer", "eva", "levit", "mlp_mixer", "naflexvit",
    "qwen3_vit", "vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos", "xcit",
)  # fmt: skip
PLAIN = (".pth", ".pt", ".bin", ".safetensors")
DIGITS = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # of a checksum, as torch.hub has them at the end of a file's name
Taps = Mapping[str, tuple[str, Any]]  # layer -> module that it is fed by, and how its output is reshaped


def spec(model: str, _settings: Network) -> NetworkSpec:
    """The spec of a model. model: its name in timm; without a tag (behind a dot) the default pretrained one

    Raises
    ------
    InputError
        timm has no such model, or names no layers of it; the message has close names.
    """
    return _spec(model)


SPEC = spec


@functools.cache
def _spec(model: str) -> NetworkSpec:
    configuration = _configuration(model)
    options: dict[str, Any] = {}
    plain = NetworkSpec(
        title=f"{model} (timm)",
        build=functools.partial(_build, model, options, {}),
        layers=(),
        layer_per_roi={},
        published_layers=False,
        source=_source(configuration),
        mean=configuration.mean,
        std=configuration.std,
        input_size=configuration.input_size[-1],
        weights_page=f"https://huggingface.co/{configuration.hf_hub_id}" if configuration.hf_hub_id else "",
        adapt=_adapt,
    )
    from cinevox.stimuli.networks import _loading

    network = _loading.skeleton(plain)
    if "dynamic_img_size" in inspect.signature(type(network).__init__).parameters:
        options["dynamic_img_size"] = True
    layers, taps = _layers(network, plain.input_size)
    if not layers:
        raise InputError(
            f"timm/{model}: timm names no layers of it (feature_info); expected another model, or a file of its own in "
            "src/cinevox/stimuli/networks (docs/adding.md)"
        )
    return replace(plain, build=functools.partial(_build, model, options, taps), layers=layers)


def _build(model: str, options: Mapping[str, Any], taps: Taps) -> nn.Module:
    import timm

    from cinevox.stimuli.networks import _maps

    network: nn.Module = timm.create_model(model, pretrained=False, **options)
    for layer, (source, reshape) in taps.items():
        _maps.add(network, layer, source, reshape)
    return network


def _configuration(model: str) -> Any:
    """timm's pretrained configuration of a model."""
    import timm

    try:
        found = timm.get_pretrained_cfg(model)
    except RuntimeError:  # a tag that the model has not
        found = None
    if found is None:
        close = difflib.get_close_matches(model, (*timm.list_pretrained(), *timm.list_models()), n=5, cutoff=0.5)
        raise InputError(
            f"timm/{model}: timm {timm.__version__} has no such model; close to it are {', '.join(close) or 'none'}"
        )
    return found


def _source(configuration: Any) -> WeightsSource | None:
    """The file of the weights where it has a plain address; None where they lie in a hub or in another format."""
    url = configuration.url if isinstance(configuration.url, str) else ""
    if not url.startswith("https://") or not url.endswith(PLAIN) or configuration.custom_load:
        return None
    digits, licence = DIGITS.search(url), configuration.license
    return WeightsSource(
        url,
        digits[1] if digits else "",
        f"{licence}, as timm states" if licence else "none stated",
        non_commercial="-nc" in (licence or ""),
    )


def _adapt(checkpoint: Mapping[str, Any], module: nn.Module) -> Mapping[str, Any]:
    """Names as the model's authors have them, to timm's: by timm's own function where the model has one."""
    own = module.state_dict()
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None or checkpoint.keys() == own.keys():
        return checkpoint
    try:
        converted: Mapping[str, torch.Tensor] = convert(dict(checkpoint), module)
    except Exception:  # made for files of one kind; of any other is said entry by entry how it differs
        return checkpoint
    return converted if converted.keys() == own.keys() else checkpoint


def _layers(network: nn.Module, side: int) -> tuple[tuple[str, ...], Taps]:
    """Layers in the order of depth, and the modules to be added for them. side: of the pictures, in pixels"""
    from cinevox.stimuli.networks import _maps

    told: Any = network.feature_info
    channels = {entry["module"]: entry["num_chs"] for entry in getattr(told, "info", told)}
    found = _outputs(network, [*channels, "norm"], side)
    layers: list[str] = []
    taps: dict[str, tuple[str, Any]] = {}
    for name in channels:
        if name not in found:
            continue
        reshape = _reshaped(network, found[name], channels[name])
        layers.append(f"maps.{name}" if reshape else name)
        if reshape:
            taps[layers[-1]] = (name, reshape)
    if getattr(network, "cls_token", None) is not None and len(found.get("norm", ())) == 3:
        layers.append("class_token")
        taps["class_token"] = ("norm", _maps.first_token)
    return tuple(layers), taps


def _reshaped(network: nn.Module, shape: tuple[int, ...], n_channels: int) -> Any:
    """Return the function that makes a layer's output a map; None if it is one, or can't be made one.

    shape: of one picture's output
    """
    from cinevox.stimuli.networks import _maps

    is_last = shape[-1] == n_channels
    if len(shape) == 4 and is_last and (shape[1] != n_channels or getattr(network, "output_fmt", "") == "NHWC"):
        return _maps.from_channels_last
    if len(shape) == 3 and is_last and type(network).__module__.rpartition(".")[2] in ROW_BY_ROW:
        for n_other in (getattr(network, "num_prefix_tokens", 0) or 0, 0):
            if _maps.is_square(shape[1] - n_other):
                return functools.partial(_maps.from_tokens, n_other=n_other)
    return None


def _outputs(network: nn.Module, names: list[str], side: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what modules give for a picture, in the order of the forward pass; without those that it leaves out."""
    import torch

    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: Any) -> None:
        found[name] = tuple(output.shape) if isinstance(output, torch.Tensor) else ()

    known = dict(network.named_modules())
    handles = [
        known[name].register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name in names
        if name in known
    ]
    device = next(network.parameters()).device
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network(torch.zeros(1, 3, side, side, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return {name: shape for name, shape in found.items() if shape}

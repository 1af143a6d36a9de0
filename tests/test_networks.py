"""Every network: sizes, order of layers, checkpoints, and activations against a forward pass written here."""

import copy
import hashlib
import itertools
import math
import re
import subprocess
import sys

import pytest
import torch
import torchvision
import yaml
from torch.nn import functional as F

from cinevox.project import plugins
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Network
from cinevox.stimuli import networks
from cinevox.stimuli.networks import _activations, _loading, _vonenet, _weights
from conftest import ROOT

NAMES = tuple(name for name in plugins.names("networks") if not plugins.load("networks", name).is_fixed)
VIDEO = tuple(name for name in NAMES if hasattr(torchvision.models.video, name))
RESNET_50 = [802816] * 2 + [401408] * 4 + [200704] * 6 + [100352] * 3 + [1000]
VGG = [802816, 401408, 200704, 100352, 25088, 4096, 4096, 1000]

# Published numbers of parameters, and activations of one 224 x 224 frame in each layer.
PUBLISHED = {
    "alexnet": (61_100_840, [46656, 32448, 64896, 43264, 9216, 4096, 4096, 1000]),
    "efficientnet_lite0": (4_652_008, [200704, 75264, 31360, 15680, 21952, 9408, 15680, 1000]),
    "efficientnet_lite1": (5_416_680, [230400, 86400, 36000, 18000, 25200, 12288, 20480, 1000]),  # of 240 x 240
    "nasnet_mobile": (
        5_289_978,
        [394272, 137984, 68992, *[206976] * 4, 68992, *[103488] * 4, 34496, *[51744] * 4, 1000],
    ),
    "resnet18": (11_689_512, [200704, 200704, 100352, 50176, 25088, 1000]),
    "resnet18_ssl": (11_689_512, [200704, 200704, 100352, 50176, 25088, 1000]),
    "resnet18_swsl": (11_689_512, [200704, 200704, 100352, 50176, 25088, 1000]),
    "resnet50_ssl": (25_557_032, RESNET_50),
    "squeezenet": (1_248_424, [279936, *[373248] * 2, *[186624] * 2, *[279936] * 2, 373248, 86528, 86528, 1000]),
    "vgg16": (138_357_544, VGG),
    "vgg16_bn": (138_365_992, VGG),
    "vgg19": (143_667_240, VGG),
    "resnet50": (25_557_032, RESNET_50),
    "resnet152": (
        60_192_808,
        [802816] * 2 + [401408] * 8 + [200704] * 36 + [100352] * 3 + [1000],
    ),
    # of clips of as many frames as in training; published by torchvision, and C x T x H x W of each layer
    "r3d_18": (33_371_472, [3211264, 3211264, 802816, 200704, 50176, 400]),
    "mc3_18": (11_695_440, [3211264, 3211264, 1605632, 802816, 401408, 400]),
    "r2plus1d_18": (31_505_325, [3211264, 3211264, 802816, 200704, 50176, 400]),
    "s3d": (
        8_320_048,
        [6422528, 4816896, 6422528, 12042240, *[1605632] * 3, 1655808, 2609152, 326144, 401408],
    ),
    "swin3d_t": (28_158_070, [4816896, 4816896, 2408448, 1204224, 602112, 400]),
    "mvit_v2_s": (34_537_744, [*[2408448] * 2, *[1204224] * 2, *[602112] * 11, *[301056] * 2, 768, 400]),
    # ResNet-50 without its stem (9,536), AlexNet without its first convolution; 1x1 bottleneck; two fixed banks
    "vonenet_resnet50": (25_557_032 - 9_536 + 512 * 64 + 2 * 512 * 3 * 25**2, RESNET_50),
    "vonenet_alexnet": (
        61_100_840 - 23_296 + 4096 * (12544 - 9216) + 512 * 64 + 2 * 512 * 3 * 25**2,
        [200704, 37632, 75264, 50176, 12544, 4096, 4096, 1000],
    ),
}


def spec_of(name):
    return plugins.load("networks", name)


def random_network(name):
    settings = Network(weights="random", file=None, sha256=None, n_frames=1, seed=3)
    return _loading.load(name, spec_of(name), _weights.locate(name, spec_of(name), settings))


def test_numbers_and_oracles_here_are_of_networks_that_are_there():
    assert set(ORACLES) <= set(PUBLISHED) <= set(NAMES)


def noise(spec, n, side, n_frames=6):
    """Pictures (n, 3, side, side), or clips (n, 3, n_frames, side, side) of a video network; the same each time."""
    shape = (n, 3, side, side) if spec.n_frames is None else (n, 3, n_frames, side, side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4 - 2


@pytest.mark.parametrize("name", NAMES)
def test_sizes_order_and_choice_of_layers(name):
    """A network without a line in PUBLISHED is held to all but its sizes."""
    spec, module = spec_of(name), _loading.skeleton(spec_of(name))
    order = []
    for layer in spec.layers:
        module.get_submodule(layer).register_forward_hook(lambda *_, layer=layer: order.append(layer))
    frames = () if spec.n_frames is None else (spec.n_frames,)
    images = torch.empty(3, 3, *frames, spec.input_size, spec.input_size, device="meta")
    shapes = _activations.shapes(module, spec.layers, images)
    if name in PUBLISHED:
        n_parameters, n_features = PUBLISHED[name]
        assert sum(parameter.numel() for parameter in module.parameters()) == n_parameters
        assert [math.prod(shapes[layer]) for layer in spec.layers] == n_features
    assert order == list(spec.layers), "layers are not in the order of depth, or one is passed twice"
    assert list(spec.layer_per_roi) and set(spec.layer_per_roi) == {*MINI_ROIS, WHOLE_BRAIN}
    assert set(spec.layer_per_roi.values()) <= set(spec.layers)
    assert not any(getattr(part, "inplace", False) for part in module.modules())


def test_published_choices_of_the_paper():
    def chosen(name):
        spec = spec_of(name)
        assert spec.published_layers
        return {roi: spec.layers.index(layer) + 1 for roi, layer in spec.layer_per_roi.items()}

    one_to_eight = {"WB": 5, "V1": 2, "V2": 5, "V3": 5, "V4": 5, "LOC": 8, "EBA": 8, "FFA": 8, "PPA": 8, "STS": 6}
    assert chosen("alexnet") == one_to_eight
    for name in ("resnet18", "resnet18_ssl", "resnet18_swsl"):
        assert spec_of(name).layer_per_roi["V4"] == "layer4" and chosen(name)["V1"] == 4 and chosen(name)["WB"] == 6
    for name, prefix in (("resnet50_ssl", ""), ("vonenet_resnet50", "model.")):
        per_roi = spec_of(name).layer_per_roi
        assert [per_roi[roi] for roi in ("V1", "STS", "WB")] == [
            prefix + layer for layer in ("layer3.3", "layer4.1", "layer4.2")
        ]
    assert {roi: n for roi, n in chosen("nasnet_mobile").items() if n != 4} == {"V1": 2, "PPA": 8}


def conv(s, name, x, stride=1, padding=0, groups=1):
    return F.conv2d(x, s[name + ".weight"], s.get(name + ".bias"), stride, padding, groups=groups)


def linear(s, name, x):
    return F.linear(x, s[name + ".weight"], s[name + ".bias"])


def norm(s, name, x, eps):
    mean, variance, gain, shift = (
        s[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + eps) * gain + shift


def alexnet(s, x):
    out = {}
    out["features.2"] = x = F.max_pool2d(conv(s, "features.0", x, 4, 2).clamp(min=0), 3, 2)
    out["features.5"] = x = F.max_pool2d(conv(s, "features.3", x, 1, 2).clamp(min=0), 3, 2)
    out["features.7"] = x = conv(s, "features.6", x, 1, 1).clamp(min=0)
    out["features.9"] = x = conv(s, "features.8", x, 1, 1).clamp(min=0)
    out["features.12"] = x = F.max_pool2d(conv(s, "features.10", x, 1, 1).clamp(min=0), 3, 2)
    x = F.adaptive_avg_pool2d(x, 6).flatten(1)
    out["classifier.2"] = x = linear(s, "classifier.1", x).clamp(min=0)
    out["classifier.5"] = x = linear(s, "classifier.4", x).clamp(min=0)
    return out | {"classifier.6": linear(s, "classifier.6", x)}


def vgg(s, x, plan, has_norm):
    out, index = {}, 0
    for n_convolutions in plan:
        for _ in range(n_convolutions):
            x = conv(s, f"features.{index}", x, 1, 1)
            if has_norm:
                x = norm(s, f"features.{index + 1}", x, 1e-5)
            x, index = x.clamp(min=0), index + 2 + has_norm
        out[f"features.{index}"] = x = F.max_pool2d(x, 2)
        index += 1
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    out["classifier.1"] = x = linear(s, "classifier.0", x).clamp(min=0)
    out["classifier.4"] = x = linear(s, "classifier.3", x).clamp(min=0)
    return out | {"classifier.6": linear(s, "classifier.6", x)}


def resnet(s, x, counts, depth, prefix="", stem=True):
    """depth: convolutions in a block, 2 (basic) or 3 (bottleneck)."""
    out = {}
    if stem:
        x = norm(s, "bn1", conv(s, "conv1", x, 2, 3), 1e-5).clamp(min=0)
        out["maxpool"] = x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(counts, 1):
        for block in range(count):
            name = f"{prefix}layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = x
            for index in range(1, depth + 1):
                is_wide = depth == 2 or index == 2
                strides_here = index == (1 if depth == 2 else 2)
                y = conv(s, f"{name}.conv{index}", y, stride if strides_here else 1, int(is_wide))
                y = norm(s, f"{name}.bn{index}", y, 1e-5)
                y = y if index == depth else y.clamp(min=0)
            if f"{name}.downsample.0.weight" in s:
                x = norm(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, stride), 1e-5)
            out[name] = x = (x + y).clamp(min=0)
        out[f"{prefix}layer{stage}"] = x
    return out | {f"{prefix}fc": linear(s, f"{prefix}fc", x.mean((2, 3)))}


def squeezenet(s, x):
    out = {}
    x = F.max_pool2d(conv(s, "features.0", x, 2).clamp(min=0), 3, 2, ceil_mode=True)
    out["features.2"] = x
    for index in range(3, 13):
        if index in (6, 11):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            small = conv(s, f"features.{index}.squeeze", x).clamp(min=0)
            sides = [conv(s, f"features.{index}.expand{k}x{k}", small, 1, k // 2).clamp(min=0) for k in (1, 3)]
            x = torch.cat(sides, 1)
        out[f"features.{index}"] = x
    return out | {"classifier.3": conv(s, "classifier.1", x).clamp(min=0).mean((2, 3), keepdim=True)}


def vone(s, x):
    q0, q1 = (conv(s, f"vone_block.simple_conv_q{i}", x, 4, 12) for i in (0, 1))
    energy = torch.sqrt(q0**2 + q1**2) / math.sqrt(2)
    cells = 25 * torch.cat([q0[:, :256].clamp(min=0), energy[:, 256:]], 1)
    return conv(s, "bottleneck", cells)


def vone_alexnet(s, x):
    out = {"bottleneck": (x := vone(s, x))}
    out["model.features.2"] = x = F.max_pool2d(conv(s, "model.features.0", x, 2, 2).clamp(min=0), 3, 2, 1)
    out["model.features.4"] = x = conv(s, "model.features.3", x, 1, 1).clamp(min=0)
    out["model.features.6"] = x = conv(s, "model.features.5", x, 1, 1).clamp(min=0)
    out["model.features.9"] = x = F.max_pool2d(conv(s, "model.features.7", x, 1, 1).clamp(min=0), 3, 2, 1)
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    out["model.classifier.2"] = x = linear(s, "model.classifier.1", x).clamp(min=0)
    out["model.classifier.5"] = x = linear(s, "model.classifier.4", x).clamp(min=0)
    return out | {"model.classifier.6": linear(s, "model.classifier.6", x)}


def efficientnet(s, x, counts):
    def same(name, x, stride, groups=1):
        kernel, size = s[name + ".weight"].shape[-1], x.shape[-1]
        total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        left, right = total // 2, total - total // 2
        return conv(s, name, F.pad(x, (left, right, left, right)), stride, 0, groups)

    out = {}
    x = norm(s, "bn1", same("conv_stem", x, 2), 1e-3).clamp(0, 6)
    for stage, (count, first_stride) in enumerate(zip(counts, (1, 2, 2, 2, 1, 2, 1))):
        for block in range(count):
            name, y = f"blocks.{stage}.{block}", x
            steps = ("conv_pw", "conv_dw", "conv_pwl") if stage else ("conv_dw", "conv_pw")
            for index, step in enumerate(steps, 1):
                stride = first_stride if step == "conv_dw" and block == 0 else 1
                y = same(f"{name}.{step}", y, stride, y.shape[1] if step == "conv_dw" else 1)
                y = norm(s, f"{name}.bn{index}", y, 1e-3)
                y = y if index == len(steps) else y.clamp(0, 6)
            out[name] = x = x + y if block else y
    x = norm(s, "bn2", conv(s, "conv_head", x), 1e-3).clamp(0, 6).mean((2, 3))
    return out | {"classifier": linear(s, "classifier", x)}


def nasnet(s, x):
    """With one row and column of zeros put before, and the first output dropped, wherever a cell strides."""

    def branch(name, x, stride=1, is_stem=False):
        shifts = stride == 2 and not is_stem
        for index in (1, 2):
            step = stride if index == 1 else 1
            x = x.clamp(min=0)
            x = F.pad(x, (1, 0, 1, 0)) if shifts and index == 1 else x
            weight = s[f"{name}.separable_{index}.depthwise_conv2d.weight"]
            x = F.conv2d(x, weight, None, step, weight.shape[-1] // 2, groups=len(weight))
            x = x[:, :, 1:, 1:] if shifts and index == 1 else x
            x = conv(s, f"{name}.separable_{index}.pointwise_conv2d", x)
            x = norm(s, f"{name}.bn_sep_{index}", x, 1e-3)
        return x

    def squeeze(name, x):
        return norm(s, f"{name}.bn", conv(s, f"{name}.conv", x.clamp(min=0)), 1e-3)

    def average(x, stride=1):
        ones = torch.ones_like(x[:, :1])
        return F.avg_pool2d(x, 3, stride, 1) / F.avg_pool2d(ones, 3, stride, 1)

    def inputs(name, last, before):
        if f"{name}.conv_prev_1x1.conv.weight" in s:
            before = squeeze(f"{name}.conv_prev_1x1", before)
        elif f"{name}.path_1.conv.weight" in s:
            x = before.clamp(min=0)
            moved = torch.zeros_like(x)
            moved[:, :, :-1, :-1] = x[:, :, 1:, 1:]
            halves = [conv(s, f"{name}.path_{i}.conv", each[:, :, ::2, ::2]) for i, each in ((1, x), (2, moved))]
            before = norm(s, f"{name}.final_path_bn", torch.cat(halves, 1), 1e-3)
        return squeeze(f"{name}.conv_1x1", last), before

    def reduction(name, last, before, is_stem=False):
        last, before = inputs(name, last, before)

        def part(key, x):
            return branch(f"{name}.comb_iter_{key}", x, 2, is_stem)

        if is_stem:
            top, mean = F.max_pool2d(last, 3, 2, 1), average(last, 2)
        else:  # rows 2j .. 2j + 2 of an even number, those outside left out
            tall = F.pad(last, (0, 1, 0, 1), value=-math.inf)
            top = F.max_pool2d(tall, 3, 2)
            ones = F.pad(torch.ones_like(last), (0, 1, 0, 1))
            mean = F.avg_pool2d(F.pad(last, (0, 1, 0, 1)), 3, 2) / F.avg_pool2d(ones, 3, 2)
        first = part("0_left", last) + part("0_right", before)
        second = top + part("1_right", before)
        fifth = branch(f"{name}.comb_iter_4_left", first) + top
        return torch.cat([second, mean + part("2_right", before), average(first) + second, fifth], 1)

    def normal(name, last, before):
        last, before = inputs(name, last, before)

        def part(key, x):
            return branch(f"{name}.comb_iter_{key}", x)

        return torch.cat(
            [
                before,
                part("0_left", last) + part("0_right", before),
                part("1_left", before) + part("1_right", before),
                average(last) + before,
                average(before) + average(before),
                part("4_left", last) + last,
            ],
            1,
        )

    out = {"conv0": (stem := norm(s, "conv0.bn", conv(s, "conv0.conv", x, 2), 1e-3))}
    out["cell_stem_0"] = before = reduction("cell_stem_0", stem, stem, is_stem=True)
    out["cell_stem_1"] = last = reduction("cell_stem_1", before, stem)
    for name in spec_of("nasnet_mobile").layers[3:-1]:
        kind = reduction if name.startswith("reduction") else normal
        out[name] = kind(name, last, before)
        last, before = out[name], last
    return out | {"last_linear": linear(s, "last_linear", last.clamp(min=0).mean((2, 3)))}


ORACLES = {
    "alexnet": alexnet,
    "efficientnet_lite0": lambda s, x: efficientnet(s, x, (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet_lite1": lambda s, x: efficientnet(s, x, (1, 3, 3, 4, 4, 5, 1)),
    "nasnet_mobile": nasnet,
    "resnet18": lambda s, x: resnet(s, x, (2, 2, 2, 2), 2),
    "resnet18_ssl": lambda s, x: resnet(s, x, (2, 2, 2, 2), 2),
    "resnet18_swsl": lambda s, x: resnet(s, x, (2, 2, 2, 2), 2),
    "resnet50": lambda s, x: resnet(s, x, (3, 4, 6, 3), 3),
    "resnet50_ssl": lambda s, x: resnet(s, x, (3, 4, 6, 3), 3),
    "resnet152": lambda s, x: resnet(s, x, (3, 8, 36, 3), 3),
    "squeezenet": squeezenet,
    "vgg16": lambda s, x: vgg(s, x, (2, 2, 3, 3, 3), False),
    "vgg16_bn": lambda s, x: vgg(s, x, (2, 2, 3, 3, 3), True),
    "vgg19": lambda s, x: vgg(s, x, (2, 2, 4, 4, 4), False),
    "vonenet_alexnet": vone_alexnet,
    "vonenet_resnet50": lambda s, x: resnet(s, vone(s, x), (3, 4, 6, 3), 3, "model.", stem=False),
}


def compare_with_its_own_code(name):
    """As its constructor makes it, in-place operations and all."""
    spec = spec_of(name)
    module = random_network(name)
    with torch.random.fork_rng(devices=[]):
        plain = spec.build().eval()
    plain.load_state_dict(module.state_dict())
    expected = {}
    for layer in spec.layers:
        plain.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: expected.update({layer: output.clone()})
        )
    images = noise(spec, 2, spec.input_size if spec.n_frames is None else 96)
    with torch.inference_mode():
        plain(images)
    for layer, found in _activations.take(module, spec.layers, images).items():
        size = float(expected[layer].abs().max())
        torch.testing.assert_close(found, expected[layer], rtol=0, atol=2e-5 * size, msg=f"{name} {layer}")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in VIDEO])
def test_activations_equal_an_independent_forward_pass(name):
    """A network without a function in ORACLES is compared with its own code."""
    if name not in ORACLES:
        compare_with_its_own_code(name)
        return
    is_large = name.startswith("vgg")  # in float64 they would take seconds
    dtype, tolerance = (torch.float32, 2e-5) if is_large else (torch.float64, 1e-11)
    module, layers = random_network(name).to(dtype), spec_of(name).layers
    side = (
        64 if is_large or name == "resnet152" else 95 if name == "nasnet_mobile" else 96
    )  # 95 has an odd first map, as 224 has
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(dtype) * 4 - 2
    with torch.inference_mode():
        expected = ORACLES[name](module.state_dict(), images)
    found = _activations.take(module, layers, images)
    for layer in layers:
        size = expected[layer].abs().max()
        torch.testing.assert_close(
            found[layer] / size, expected[layer] / size, rtol=0, atol=tolerance, msg=f"{name} {layer}"
        )
        images_differ = (found[layer][0] - found[layer][1]).abs().mean() / found[layer].abs().mean()
        assert 1e-3 < size < 1e4 and images_differ > 5e-3, f"{name} {layer}: degenerate random weights"


@pytest.mark.parametrize("name", VIDEO)
def test_maps_of_video_networks_are_those_of_torchvisions_own_forward_pass(name):
    """Its modules' outputs, their axes put in the order channels, time, height, width here."""
    module, layers, clips = random_network(name), spec_of(name).layers, noise(spec_of(name), 2, 64, n_frames=8)
    own = getattr(torchvision.models.video, name)(weights=None).eval()
    own.load_state_dict(module.state_dict())
    if name == "mvit_v2_s":  # the size that it is made for, which its forward pass goes by
        own.pos_encoding.temporal_size, own.pos_encoding.spatial_size = 4, (16, 16)
    given = {}
    for part, found in own.named_modules():
        found.register_forward_hook(lambda _module, _inputs, output, part=part: given.update({part: output}))
    with torch.inference_mode():
        own.features(clips) if name == "s3d" else own(clips)  # S3D's last pool does not take so few frames
    for layer, found in _activations.take(module, layers, clips).items():
        expected = given["norm" if layer == "class_token" else layer.removeprefix("maps.")]
        if isinstance(expected, tuple):
            expected = rearranged(expected)
        elif layer == "class_token":
            expected = expected[:, 0]
        elif layer.startswith("maps."):
            expected = expected.permute(0, 4, 1, 2, 3)
        assert found.ndim in (2, 5) and len(found) == 2
        size = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * size, msg=f"{name} {layer}")
        assert 1e-4 < size < 1e4 and float((found[0] - found[1]).abs().mean()) > 1e-3 * float(found.abs().mean())


def rearranged(output):
    """Tokens one by one to their places in the grid. output: tokens, the class token first, and the grid"""
    tokens, grid = output
    found = torch.empty(len(tokens), tokens.shape[2], *grid)
    for index, place in enumerate(itertools.product(*map(range, grid)), 1):
        found[:, :, *place] = tokens[:, index]
    return found


def test_class_scores_of_s3d_are_torchvisions_where_a_clip_is_large_enough():
    module = random_network("s3d")
    own = torchvision.models.video.s3d(weights=None).eval()
    own.load_state_dict(module.state_dict())
    clips = noise(spec_of("s3d"), 1, 224, n_frames=13)
    with torch.inference_mode():
        torch.testing.assert_close(module(clips), own(clips))
        assert module(clips[:, :, :12]).shape[1] == 1024, "the last map"


def test_a_copy_of_a_network_feeds_the_maps_of_its_own():
    module = _loading.drawn(spec_of("swin3d_t"))
    copied, clips = copy.deepcopy(module), noise(spec_of("swin3d_t"), 1, 32, n_frames=2)
    with torch.no_grad():
        copied.patch_embed.norm.bias += 1
    first, other = (
        _activations.take(each, ["maps.patch_embed"], clips)["maps.patch_embed"] for each in (module, copied)
    )
    torch.testing.assert_close(other, first + 1)


def test_the_example_of_the_docs_passes_as_it_stands(tmp_path, monkeypatch):
    """The page names no entry in these tests, so that none is needed."""
    section = (ROOT / "docs/adding.md").read_text().partition("\n## A network\n")[2].partition("\n## ")[0]
    code, keys = (re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("python", "yaml"))
    ((name, settings),) = yaml.safe_load(keys)["networks"].items()
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])
    try:
        assert Network.model_validate(settings).weights == "pretrained"
        test_sizes_order_and_choice_of_layers(name)
        test_activations_equal_an_independent_forward_pass(name)
        for check in (["check"], ["format", "--check"]):
            command = [
                sys.executable,
                "-m",
                "ruff",
                *check,
                "--stdin-filename",
                "src/cinevox/stimuli/networks/mynet.py",
                "-",
            ]
            done = subprocess.run(command, input=code, text=True, capture_output=True, cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        sys.modules.pop(f"cinevox.stimuli.networks.{name}", None)


def test_nasnet_has_the_key_names_and_shapes_of_the_published_checkpoint():
    """Names and shapes of the 0.7.4 release of the package that published it, as one checksum."""
    state = _loading.skeleton(spec_of("nasnet_mobile")).state_dict()
    listing = sorted(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert len(listing) == 1318
    checksum = hashlib.sha256("\n".join(listing).encode()).hexdigest()
    assert checksum == "873a971a4eb51b2728978d15e57bf8d3ef1a1e0b817490d37a6b445ba4d58a62"


@pytest.mark.parametrize("name", ["vonenet_alexnet", "vonenet_resnet50"])
def test_vonenet_has_the_key_names_of_the_published_checkpoint(name):
    keys = set(_loading.skeleton(spec_of(name)).state_dict())
    own = {"vone_block.simple_conv_q0.weight", "vone_block.simple_conv_q1.weight", "bottleneck.weight"}
    if name.endswith("resnet50"):
        from torchvision.models import resnet50

        back = {key for key in resnet50().state_dict() if not key.startswith(("conv1.", "bn1."))}
    else:
        indices = [f"features.{i}" for i in (0, 3, 5, 7)] + [f"classifier.{i}" for i in (1, 4, 6)]
        back = {f"{index}.{kind}" for index in indices for kind in ("weight", "bias")}
    assert keys == own | {f"model.{key}" for key in back}


@pytest.fixture(scope="module")
def bank():
    block = torch.nn.Sequential()
    block.add_module("vone_block", _vonenet.VOneBlock())
    _vonenet.draw_bank(block, torch.Generator().manual_seed(5))
    return block.vone_block.requires_grad_(False)


def test_gabor_bank_sees_one_colour_and_leads_by_a_quarter_cycle(bank):
    q0, q1 = bank.simple_conv_q0.weight, bank.simple_conv_q1.weight
    assert ((q0.abs().amax((2, 3)) > 0).sum(1) == 1).all()
    planes = q0.abs().amax((2, 3)).argmax(1)
    assert set(planes.tolist()) == {0, 1, 2}
    assert torch.equal(planes, q1.abs().amax((2, 3)).argmax(1))
    at = torch.arange(len(q0))
    even, odd = q0[at, planes], q1[at, planes]
    envelope = torch.sqrt(even**2 + odd**2)  # cos^2 + sin^2: the carrier drops out
    assert torch.allclose(envelope, envelope.flip(1, 2), rtol=1e-3, atol=1e-7), "no Gaussian about the middle"


def test_gabor_bank_follows_its_distributions():
    ranks = (torch.arange(100_000) + 0.5) / 100_000
    drawn = _vonenet._from_histogram(ranks.double(), (-22.5, 22.5, 67.5, 112.5, 157.5), (66, 49, 77, 54))
    counts = torch.histc(drawn.float(), 4, -22.5, 157.5)
    assert torch.allclose(counts / 100_000, torch.tensor([66, 49, 77, 54]) / 246, atol=1e-3)


def test_v1_block_by_single_colours_equals_the_dense_one(bank):
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(1)) - 0.5
    for weight in (bank.simple_conv_q0.weight, bank.simple_conv_q1.weight):
        dense = F.conv2d(images, weight, stride=4, padding=12)
        torch.testing.assert_close(_vonenet._convolved(images, weight), dense, rtol=0, atol=2e-6)
    mixed = bank.simple_conv_q0.weight + 0.01
    torch.testing.assert_close(_vonenet._convolved(images, mixed), F.conv2d(images, mixed, stride=4, padding=12))


def test_v1_noise_has_the_neuronal_mean_and_variance(bank):
    noisy = _vonenet.VOneBlock(torch.Generator().manual_seed(2))
    noisy.requires_grad_(False).load_state_dict(bank.state_dict())
    strong = 20 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    images = strong.expand(200, 3, 16, 16)
    mean, drawn = bank(images[:1])[0], noisy(images)
    rate = 0.35 * mean + 0.07
    far = mean * 0.35 > 3 * torch.sqrt(rate)  # where the last ReLU cuts nothing off
    assert far.any()
    standard = (drawn - mean)[:, far] * 0.35 / torch.sqrt(rate + 1e-4)[far]
    assert abs(float(standard.mean())) < 0.02 and abs(float(standard.std()) - 1) < 0.02

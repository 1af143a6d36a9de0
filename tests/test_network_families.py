"""Families of timm and torchvision, each in small: random and loaded, equal to what their own code makes and does."""

import random
import zlib
from functools import partial

import numpy as np
import pytest
import timm
import torch
from timm.models import regnet
from torch import nn
from torchvision import models

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.project.params import Features, Network
from cinevox.stimuli import features, networks
from cinevox.stimuli.networks import NetworkSpec, _activations, _loading, _weights

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
WINDOWS = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 5}
FAMILIES = {  # constructor, height and width of its images, layers
    "vit": (partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, **SMALL), 32, ("blocks.0", "norm", "head")),
    "vit_rope": (
        partial(timm.create_model, "vit_small_patch16_rope_224", img_size=32, **SMALL), 32, ("blocks.0", "blocks.1"),
    ),
    "eva": (
        partial(timm.create_model, "eva02_tiny_patch14_224", img_size=28, **SMALL), 28, ("blocks.0.attn", "blocks.1"),
    ),
    "dinov3": (
        partial(timm.create_model, "vit_small_patch16_dinov3", img_size=32, **SMALL), 32, ("blocks.0", "blocks.1"),
    ),
    "beit": (
        partial(timm.create_model, "beit_base_patch16_224", img_size=32, **SMALL), 32, ("blocks.0", "blocks.1", "head"),
    ),
    "swin": (
        partial(timm.create_model, "swin_tiny_patch4_window7_224", img_size=56, **WINDOWS),
        56, ("patch_embed", "layers.0", "layers.1.blocks.1", "head"),
    ),
    "swin_v2": (
        partial(timm.create_model, "swinv2_tiny_window8_256", img_size=64, **WINDOWS), 64, ("layers.0", "layers.1"),
    ),
    "convnext": (
        partial(timm.create_model, "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), num_classes=5),
        64, ("stem", "stages.0", "stages.3", "head"),
    ),
    "maxvit": (
        partial(
            timm.create_model, "maxvit_tiny_tf_224",
            img_size=64, embed_dim=(32, 64), depths=(1, 1), stem_width=8, num_classes=5,
        ),
        64, ("stem", "stages.0", "stages.1"),
    ),
    "efficientnet": (partial(timm.create_model, "test_efficientnet", num_classes=5), 64, ("blocks.0", "blocks.3")),
    "regnet": (
        partial(regnet.RegNet, regnet.RegNetCfg(depth=6, w0=8, wa=8.0, wm=2.0, group_size=8, se_ratio=0.25), 3, 5),
        64,
        ("stem", "s1", "s4", "head"),
    ),
    "vit_torchvision": (
        partial(
            models.VisionTransformer,
            image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=5,
        ),
        32, ("conv_proj", "encoder.layers.encoder_layer_0", "encoder"),
    ),
    "swin_torchvision": (
        partial(models.SwinTransformer, [4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=5),
        32, ("features.1", "features.3.1.attn", "permute"),
    ),
    "maxvit_torchvision": (
        partial(models.MaxVit, (64, 64), 8, 4, [8, 16], [1, 1], 8, 0.0, num_classes=5), 64, ("stem", "blocks.1"),
    ),
    "convnext_torchvision": (
        partial(
            models.ConvNeXt,
            [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)], num_classes=5,
        ),
        32, ("features.1", "features.3"),
    ),
}  # fmt: skip
SETTINGS = Features(
    over_frames="mean", batch_size=4, device="cpu", compute="float32", storage="float32", memory_format="channels_last"
)
OUTSIDE = {"vit_rope", "eva", "dinov3", "beit", "swin", "swin_v2", "maxvit"}  # buffers that no state dict has


def spec_of(family):
    build, side, layers = FAMILIES[family]
    return NetworkSpec(
        title=family, build=build, layers=layers, layer_per_roi={}, published_layers=False, source=None, input_size=side
    )


def asked(file=None, seed=3):
    return Network(weights="file" if file else "random", file=file, sha256=None, n_frames=2, seed=seed)


def loaded(family, settings):
    spec = spec_of(family)
    return _loading.load(family, spec, _weights.locate(family, spec, settings))


def reference(family, seed):
    torch.manual_seed(seed)
    return FAMILIES[family][0]().eval()


def outputs(module, layers, images):
    """By hooks, through the whole network."""
    found = {}
    for layer in layers:
        module.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: found.update({layer: output.clone()})
        )
    with torch.inference_mode():
        module(images)
    return found


@pytest.fixture
def own_random_state():
    """Reference networks are drawn from the global generator; other tests go on as if they had not been."""
    with torch.random.fork_rng(devices=[]):
        yield


def same(found, wanted):
    assert found.keys() == wanted.keys()
    return all(torch.equal(value, wanted[key]) for key, value in found.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_are_those_of_the_networks_own_initialisers(family, own_random_state):
    seed = zlib.crc32(f"{family} 3".encode())
    wanted = reference(family, seed)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    module = loaded(family, asked())
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert same(dict(module.named_parameters()), dict(wanted.named_parameters()))
    buffers = dict(wanted.named_buffers())
    assert bool(buffers.keys() - wanted.state_dict().keys()) == (family in OUTSIDE)
    statistics = {key for key in buffers if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    found = dict(module.named_buffers())
    assert same({key: value for key, value in found.items() if key not in statistics},
                {key: value for key, value in buffers.items() if key not in statistics})  # fmt: skip
    assert all(bool(found[key].isfinite().all()) for key in statistics)
    moved = [key for key in statistics if key.endswith("running_mean") and bool((found[key] != 0).all())]
    assert len(moved) == len(statistics) / 3
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in (*module.parameters(), *module.buffers()))
    assert not any(part.training for part in module.modules())
    other = loaded(family, asked(seed=4)).state_dict()
    assert any(not torch.equal(value, other[key]) for key, value in module.state_dict().items())


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(plugins, "load", lambda _package, name: spec_of(name))


@pytest.mark.parametrize("family", FAMILIES)
def test_features_equal_a_plain_forward_pass(family, own_random_state, known, tmp_path):
    """Random weights, and the reference's own from a file: every layer, as tokens, maps or channels last."""
    side, layers = FAMILIES[family][1:]
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, side, side, 3), dtype=np.uint8)
    spec, wanted = spec_of(family), reference(family, 5)
    torch.save({"state_dict": wanted.state_dict()}, tmp_path / "own.pth")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    images = (torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2) / 255 - mean) / std
    plain = reference(family, 6)
    plain.load_state_dict(loaded(family, asked()).state_dict())
    module = loaded(family, asked(tmp_path / "own.pth"))
    assert same(module.state_dict(), wanted.state_dict())
    assert same(dict(module.named_buffers()), dict(wanted.named_buffers()))
    for network, settings, update in (
        (plain, asked(), {}),
        (wanted, asked(tmp_path / "own.pth"), {"memory_format": "contiguous", "over_frames": "none"}),
    ):
        extraction = features.prepare(family, settings, SETTINGS.model_copy(update=update), frames.shape[1:])
        assert extraction.to_json()["weights"]["unwrapped"] == ("" if network is plain else "entry ['state_dict']")
        found = features.extract(extraction, frames)
        for layer, whole in outputs(network, layers, images).items():
            assert extraction.frame_shapes[layer] == whole.shape[1:]
            every = whole.flatten(1).unflatten(0, (2, 2)).double()
            value = every if update else every.mean(dim=1)
            assert float(every.std()) > 0
            np.testing.assert_allclose(found[layer], value.numpy(), rtol=0, atol=2e-6 * float(every.abs().max()))


@pytest.mark.parametrize("family", ["vit", "swin", "maxvit_torchvision"])
def test_half_precision_is_near_single_precision(family, known):
    side = FAMILIES[family][1]
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, side, side, 3), dtype=np.uint8)
    found = {
        compute: features.extract(
            features.prepare(family, asked(), SETTINGS.model_copy(update={"compute": compute}), frames.shape[1:]),
            frames,
        )
        for compute in ("float32", "bfloat16")
    }
    for layer, values in found["float32"].items():
        difference = np.abs(found["bfloat16"][layer] - values).max()
        assert 0 < difference < 0.03 * np.abs(values).max(), layer


class Odd(nn.Module):
    """Outputs that are no feature space, and a constructor and a forward pass that look at numbers."""

    def __init__(self):
        super().__init__()
        self.scale = torch.linspace(0, 1, 3)[1].item()  # as many set their dropout
        self.conv = nn.Conv2d(3, 4, 4, stride=4)
        self.relu = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(4, 2)
        self.by_token = nn.LayerNorm(4)
        self.unused = nn.Linear(4, 4)

    def forward(self, images):
        maps = self.conv(images)
        if bool((maps > 1e9).any()):
            raise ValueError("too bright")
        maps = self.relu(self.relu(maps) - self.scale)
        tokens = self.by_token(maps.flatten(2).permute(2, 0, 1))
        return self.attention(tokens, tokens, tokens)[0].mean(dim=0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("relu", "goes more than once through relu; name the module around it"),
        ("unused", "does not go through unused"),
        ("attention", r"attention gives a tuple, no tensor; name a module inside it or around it"),
        ("by_token", r"by_token gives \(64, 3, 4\) for 3 images, no row for each"),
    ],
)
def test_an_output_that_is_no_feature_space_is_refused(monkeypatch, layer, message):
    odd = NetworkSpec(
        title="odd", build=Odd, layers=("conv",), layer_per_roi={}, published_layers=False, source=None, input_size=32
    )
    monkeypatch.setattr(plugins, "load", lambda _package, _name: odd)
    assert features.prepare("odd", asked(), SETTINGS, (2, 32, 32, 3)).frame_shapes == {"conv": (4, 8, 8)}
    with pytest.raises(features.FeaturesError, match=f"^odd: .*{message}"):
        features.prepare("odd", asked(), SETTINGS, (2, 32, 32, 3), [layer])


def test_frames_of_another_size_are_refused_with_the_right_one(known):
    with pytest.raises(features.FeaturesError, match=r"vit: frames of 48 x 48 pixels do not fit it \(.+\); .*size 32"):
        features.prepare("vit", asked(), SETTINGS, (2, 48, 48, 3))


# Models of timm by their names


def by_name(model, **settings):
    given = {"weights": "random", "file": None, "sha256": None, "n_frames": 1, "seed": 0, "model": f"timm/{model}"}
    return Network(**given | settings)


@pytest.mark.parametrize(
    ("model", "first", "has_class"),
    [
        ("test_resnet", "act1", False),
        ("test_convnext2", "stages.0", False),
        ("test_vit", "maps.blocks.0", True),
        ("test_vit4", "maps.blocks.0", False),  # a register and no class token
        ("deit_tiny_distilled_patch16_224", "maps.blocks.0", True),  # two tokens of that kind
        ("eva02_tiny_patch14_224", "maps.blocks.0", True),
        ("xcit_nano_12_p16_224", "maps.blocks.0", True),  # which has its class token behind these blocks
        ("swin_tiny_patch4_window7_224", "maps.layers.0", False),
        ("hiera_tiny_224", "blocks.0", False),
    ],
)
def test_layers_of_a_model_by_its_name_are_timms_own_maps(own_random_state, model, first, has_class):
    asked = by_name(model)
    spec = networks.spec_of("mine", asked)
    assert (spec.layers[0], "class_token" in spec.layers) == (first, has_class)
    torch.manual_seed(0)
    own = timm.create_model(model, pretrained=False).eval()
    module = _loading.built(spec)
    module.load_state_dict(own.state_dict())
    images = torch.rand(1, 3, spec.input_size, spec.input_size)
    with torch.inference_mode():
        expected = own.forward_intermediates(images, norm=False, intermediates_only=True)
        features_of_own = own.forward_features(images)
    found = _activations.take(module, spec.layers, images)
    maps = [layer for layer in spec.layers if layer != "class_token"]
    assert len(maps) == len(expected)
    for layer, values in zip(maps, expected):
        if model == "hiera_tiny_224":  # its tokens lie by windows: they stay tokens
            assert found[layer].ndim == 3 and found[layer].numel() == values.numel()
        else:
            torch.testing.assert_close(found[layer], values, msg=f"{model} {layer}")
    if has_class:
        torch.testing.assert_close(found["class_token"], features_of_own[:, 0])
    configuration = own.pretrained_cfg
    assert (spec.mean, spec.std) == (configuration["mean"], configuration["std"])


def test_a_model_takes_frames_of_other_sizes_where_it_can():
    spec = networks.spec_of("mine", by_name("vit_small_patch14_dinov2.lvd142m"))
    assert spec.input_size == 518
    shapes = _activations.shapes(_loading.skeleton(spec), spec.layers, torch.empty(3, 3, 224, 224, device="meta"))
    assert shapes["maps.blocks.0"] == (384, 16, 16)


def test_weights_of_a_model_by_its_name(own_random_state, tmp_path, caplog):
    asked = by_name("test_vit.r160_in1k")
    spec = networks.spec_of("mine", asked)
    own = spec.build()
    torch.save(own.state_dict(), tmp_path / "mine.pth")
    given = by_name("test_vit.r160_in1k", weights="file", file=tmp_path / "mine.pth")
    provenance = _weights.locate("mine", spec, given)
    assert "networks.mine.sha256 is null" in caplog.text and not provenance.official
    assert same(_loading.load("mine", spec, provenance).state_dict(), own.state_dict())
    with pytest.raises(
        _weights.WeightsError, match=r"Fetch the file from https://\S+/timm/test_vit.r160_in1k, and name"
    ):
        _weights.locate("mine", spec, by_name("test_vit.r160_in1k", weights="pretrained"))
    status = {entry.network: entry for entry in _weights.status({"mine": given})}
    assert (status["mine"].state, status["mine"].url) == ("not verified", spec.weights_page)
    first, again, other = (
        _loading.load("mine", spec, _weights.locate("mine", spec, by_name("test_vit", seed=seed))).head.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_published_files_of_models_are_checked_and_their_names_converted(own_random_state, tmp_path):
    spec = networks.spec_of("mine", by_name("vit_small_patch14_dinov2.lvd142m"))
    assert spec.source.url.endswith("dinov2_vits14_pretrain.pth") and spec.source.sha256_prefix == ""
    assert networks.spec_of("a", by_name("resnet50.a1_in1k")).source.sha256_prefix == "14fe96d1"
    assert networks.spec_of("b", by_name("resnet50.fb_ssl_yfcc100m_ft_in1k")).source.non_commercial
    own = spec.build().state_dict()
    torch.save(own | {"mask_token": torch.zeros(1, 384)}, tmp_path / spec.source.file_name)  # as its authors have it
    given = by_name("vit_small_patch14_dinov2.lvd142m", weights="file", file=tmp_path)
    assert same(_loading.load("mine", spec, _weights.locate("mine", spec, given)).state_dict(), own)
    torch.save(own | {"more": torch.zeros(1)}, tmp_path / spec.source.file_name)
    with pytest.raises(_weights.WeightsError, match=r"holds more than this network\n  unexpected \(1\): more"):
        _loading.load("mine", spec, _weights.locate("mine", spec, given))


@pytest.mark.parametrize(
    ("model", "message"),
    [("convnext_tiny.in12", r"no such model; close to it are convnext_tiny.in12k, "), ("hrnet_w18", "names no layers")],
)
def test_models_that_cannot_be_used_by_name(model, message):
    with pytest.raises(InputError, match=rf"^timm/{model}: .*{message}"):
        networks.spec_of("mine", by_name(model))

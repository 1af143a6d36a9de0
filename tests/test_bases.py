"""Bases: the blocks are the network without its classifier, in order, and the frozen ones are kept per frame."""

import numpy as np
import pytest
import torch

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.project.params import Base, Features, Network
from cinevox.stimuli import bases, features
from cinevox.stimuli.networks import _loading, _weights

ABLE = [name for name in plugins.names("networks") if plugins.load("networks", name).base]
RANDOM = Network(weights="random", file=None, sha256=None, n_frames=2, seed=0)
SETTINGS = Features(
    over_frames="mean", batch_size=4, device="cpu", compute="float32", storage="float32", memory_format="contiguous"
)
SIZE = 64


def base(network, features="frozen"):
    return Base(network=network, features=features, n_frames=2)


def built(network):
    spec = plugins.load("networks", network)
    return spec, _loading.load(network, spec, _weights.locate(network, spec, RANDOM))


def forward(network, module, images):
    """The network's own pass up to its classifier, as its library writes it."""
    if network == "alexnet":
        return module.avgpool(module.features(images))
    if network.startswith("efficientnet_lite"):
        return module.blocks(module.bn1(module.conv_stem(images)))
    stem = module.maxpool(module.relu(module.bn1(module.conv1(images))))
    return module.layer4(module.layer3(module.layer2(module.layer1(stem))))


def test_the_papers_two_bases_can_be_ones():
    assert {"alexnet", "resnet18_ssl"} <= set(ABLE)


@pytest.mark.parametrize("network", ABLE)
def test_the_blocks_one_after_another_are_the_network_without_its_classifier(network):
    spec, module = built(network)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        values = images
        for block in spec.base:
            for name in block:
                values = module.get_submodule(name)(values)
        torch.testing.assert_close(values, forward(network, module, images))


@pytest.mark.parametrize("n_tuned", [0, 1, 2])
def test_frozen_and_tuned_blocks_make_the_whole(n_tuned):
    word = f"tuned{n_tuned}" if n_tuned else "frozen"
    made = base("resnet18_ssl", word)
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, SIZE, SIZE, 3), dtype=np.uint8)
    extraction = bases.prepare(made, RANDOM, SETTINGS, frames.shape[1:])
    (layer,) = extraction.layers
    assert layer == ["layer4", "layer3", "layer2"][n_tuned]
    kept = features.extract(extraction, frames)[layer]
    assert kept.dtype == np.float16 and kept.shape[:2] == (3, 2)  # every frame
    values = torch.from_numpy(kept).float().reshape(-1, *extraction.frame_shapes[layer])
    tuned = bases.tuned_blocks(made, RANDOM)
    assert (tuned is None) == (n_tuned == 0)
    _, module = built("resnet18_ssl")
    images = torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (extraction.spec.mean, extraction.spec.std))
    with torch.inference_mode():
        found = values if tuned is None else tuned.eval()(values)
        expected = forward("resnet18_ssl", module, (images - mean) / std)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))  # kept as float16


def test_tuned_blocks_without_weights_have_the_same_parts():
    filled, empty = (bases.tuned_blocks(base("alexnet", "tuned2"), weights) for weights in (RANDOM, None))
    assert [tuple(v.shape) for v in filled.state_dict().values()] == [
        tuple(v.shape) for v in empty.state_dict().values()
    ]
    assert len(filled) == 6  # two convolutions with their ReLUs, the last pooling, the mean over positions


def test_a_network_that_is_no_chain_is_refused():
    with pytest.raises(InputError, match="NASNet.* is no chain of blocks, so it cannot be a base"):
        bases.prepare(base("nasnet_mobile"), RANDOM, SETTINGS, (2, SIZE, SIZE, 3))


def test_the_first_block_stays_frozen():
    with pytest.raises(InputError, match="AlexNet has 5 blocks, and 5 are to be tuned; expected at most tuned4"):
        bases.prepare(base("alexnet", "tuned5"), RANDOM, SETTINGS, (2, SIZE, SIZE, 3))

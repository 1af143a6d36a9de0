"""Heads: against torch's own layers, the paper's widths, and randomness of their own."""

import numpy as np
import pytest
import torch
from torch import nn

from cinevox.fitting.transfer import heads
from cinevox.project.params import Head

SETTINGS = {
    "lstm": [],
    "voxel_lstm": False,
    "fully_connected": [],
    "lstm_dropout": 0.0,
    "dropout": 0.0,
    "sequence": "frame",
    "standardize": False,
}


def head(map_shape=(2, 3, 3), n_voxels=4, seed=0, tuned=None, **changes):
    return heads.RoiNetwork(map_shape, n_voxels, Head(**(SETTINGS | changes)), tuned, None, seed)


@pytest.fixture
def activations():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((5, 6, 18)).astype(np.float32))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_step_is_what_torchs_lstm_gives_for_a_sequence_of_one(activations, bidirectional):
    lstm = nn.LSTM(18, 7, batch_first=True, bidirectional=bidirectional)
    expected = lstm(activations.flatten(0, 1).unsqueeze(1))[0].squeeze(1).unflatten(0, (5, 6))
    torch.testing.assert_close(heads.one_step(lstm, activations), expected)


def test_fully_connected_layers_are_averaged_over_frames(activations):
    network = head(fully_connected=[8, 5])
    (first, second), last = network.head.hidden, network.head.last
    per_frame = last(second(first(activations).relu()).relu())
    torch.testing.assert_close(network(activations), per_frame.mean(dim=1))


def test_lstm_layers_see_each_frame_alone(activations):
    network = head(lstm=[7, 5], voxel_lstm=True, fully_connected=[6])
    steps = activations.flatten(0, 1).unsqueeze(1)
    for lstm in network.head.lstms:
        steps = lstm(steps)[0]
    per_frame = network.head.last(network.head.hidden[0](steps).relu()).unflatten(0, (5, 6)).squeeze(2)
    assert steps.shape == (30, 1, 4)  # the last layer is as wide as there are voxels
    torch.testing.assert_close(network(activations), per_frame.mean(dim=1))
    shuffled = activations[:, torch.randperm(6)]
    torch.testing.assert_close(network(shuffled), network(activations))


def test_over_the_clip_the_order_of_frames_matters(activations):
    network = head(lstm=[7], sequence="clip", fully_connected=[6])
    sequence = network.head.lstms[0](activations)[0].mean(dim=1)
    torch.testing.assert_close(network(activations), network.head.last(network.head.hidden[0](sequence).relu()))
    assert not torch.allclose(network(activations.flip(1)), network(activations), atol=1e-4)


def sizes(settings, map_shape, n_voxels):
    with torch.device("meta"):
        made = heads.HeadModule(int(np.prod(map_shape)), n_voxels, Head(**(SETTINGS | settings)), None)
    return [tuple(weight.shape) for name, weight in made.named_parameters() if "weight" in name and "hh" not in name]


def test_the_papers_heads_have_its_widths(paper_params):
    settings = {name: head.model_dump() for name, head in paper_params.heads.items()}
    alexnet, resnet, n_voxels = (256, 6, 6), (512, 7, 7), 123
    assert sizes(settings["fully_connected"], alexnet, n_voxels) == [(4096, 9216), (4096, 4096), (123, 4096)]
    assert sizes(settings["fully_connected_1024"], resnet, n_voxels) == [(1024, 25088), (123, 1024)]
    both = [(2048, 9216)] * 2 + [(2048, 1024)] * 2  # four gates of 512, two directions
    assert sizes(settings["two_lstm"], alexnet, n_voxels) == [*both, (1024, 1024), (123, 1024)]
    assert sizes(settings["three_lstm"], alexnet, n_voxels) == [*both, (4 * 123, 1024), (1024, 123), (123, 1024)]


def test_randomness_is_a_heads_own(activations):
    options = {"fully_connected": [8], "dropout": 0.5}
    torch.manual_seed(1)
    first = head(**options).train()
    before = torch.random.get_rng_state()
    drawn = [first(activations) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = head(**options).train()
    head(seed=5, **options).train()(activations)  # another one at work in between
    torch.testing.assert_close([second(activations) for _ in range(2)], drawn, rtol=0, atol=0)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(first.eval()(activations), first(activations))
    assert not torch.equal(head(seed=1).head.last.weight, head(seed=0).head.last.weight)


def test_dropout_keeps_the_mean():
    drop = heads.Dropout(0.3, torch.Generator().manual_seed(0)).train()
    values = drop(torch.ones(200_000))
    assert values.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert values.mean().item() == pytest.approx(1, abs=0.01)


def test_tuned_blocks_come_before_the_head_with_batch_norms_as_they_were():
    blocks = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)).requires_grad_(False)
    network = head(tuned=blocks, n_voxels=2).train()
    statistics = blocks[1].running_mean.clone()
    values = torch.randn(5, 6, 18)
    maps = blocks[1](blocks[0](values.reshape(30, 2, 3, 3))).reshape(5, 6, 12)
    torch.testing.assert_close(network(values), network.head.last(maps.mean(dim=1)))
    assert torch.equal(blocks[1].running_mean, statistics)
    assert all(weight.requires_grad for weight in network.parameters())


def test_a_region_of_one_voxel(activations):
    assert head(n_voxels=1, lstm=[3], voxel_lstm=True, fully_connected=[2])(activations).shape == (5, 1)

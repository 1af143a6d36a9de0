"""Motion without a network: displacement held to a brute-force search, motion energy to pymoten itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from cinevox.project import plugins
from cinevox.project.params import Network
from cinevox.stimuli.networks import _activations, _loading, _motion_energy, _weights


def fixed(name):
    spec = plugins.load("networks", name)
    settings = Network(weights="none", file=None, sha256=None, n_frames=2, seed=0)
    return _loading.load(name, spec, _weights.locate(name, spec, settings))


def clips_of(frames):
    """uint8 (n, T, height, width, 3) as a network is given them: (n, 3, T, height, width) in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float().div(255)


def passed(name, frames):
    (layer,) = plugins.load("networks", name).layers
    return _activations.take(fixed(name), [layer], clips_of(frames))[layer].numpy()


def moving(rng, n_frames, height, width, steps):
    """A window that moves over noise, so that what is seen moves by -step between frames."""
    scene = rng.integers(0, 256, (height + 80, width + 80, 3), dtype=np.uint8)
    places = 40 - np.cumsum([(0, 0), *steps], axis=0)
    return np.stack([scene[y : y + height, x : x + width] for y, x in places[:n_frames]])


def brute_force(first, second, rows, columns):
    """The shift of a region, searched pixel by pixel in whole numbers; ties: the shortest, then the first."""
    height, width = first.shape[:2]
    best = None
    for dy in range(-15, 16):
        for dx in range(-15, 16):
            total = count = 0
            y0, y1 = max(rows[0], -dy), min(rows[1], height - dy)
            x0, x1 = max(columns[0], -dx), min(columns[1], width - dx)
            change = second[y0 + dy : y1 + dy, x0 + dx : x1 + dx].astype(int) - first[y0:y1, x0:x1]
            total, count = int((change**2).sum()), (y1 - y0) * (x1 - x0)
            found = (total / count, dy * dy + dx * dx, dy, dx)
            best = found if best is None or found < best else best
    return best[2:]


def displacement(frames):
    """The 40 numbers of one clip (T, height, width, 3)."""
    height, width = frames.shape[1:3]
    thirds = [[(size * i // 3, size * (i + 1) // 3) for i in range(3)] for size in (height, width)]
    regions = [((0, height), (0, width)), *((r, c) for r in thirds[0] for c in thirds[1])]
    shifts = np.array([[brute_force(a, b, *region) for region in regions] for a, b in pairwise(frames)])
    return np.concatenate([shifts.mean(axis=0).ravel(), np.abs(shifts).mean(axis=0).ravel()])


def test_displacement_equals_a_search_over_all_shifts():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 53, 61, 3), dtype=np.uint8)
    flat = np.full((3, 53, 61, 3), 7, np.uint8)
    stripes = np.broadcast_to((np.arange(61) // 2 % 2 * 200).astype(np.uint8)[None, None, :, None], flat.shape)
    drifting = moving(rng, 3, 53, 61, [(2, -5), (-15, 9)])
    clips = np.stack([noise, flat, stripes, drifting])
    found = passed("displacement", clips)
    assert found.shape == (4, 40) and found.dtype == np.float32
    np.testing.assert_allclose(found, [displacement(clip) for clip in clips], rtol=1e-6)
    assert not found[1:3].any(), "of shifts that fit equally well the shortest is taken"


def test_displacement_of_a_known_shift_down_and_to_the_left():
    clip = moving(np.random.default_rng(1), 4, 60, 48, [(3, -4), (5, -2), (-2, 0)])[None]
    found = passed("displacement", clip)[0]
    np.testing.assert_allclose(found[:20], np.tile([2, -2], 10))
    np.testing.assert_allclose(found[20:], np.tile([10 / 3, 2], 10), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 1, 60, 60, 3), "one frame a clip"), ((1, 2, 60, 47, 3), "60 x 47 pixels; expected at least 48 x 48")],
)
def test_displacement_refuses_what_has_none(shape, message):
    with pytest.raises(_activations.LayerError, match=message):
        passed("displacement", np.zeros(shape, np.uint8))


@pytest.mark.parametrize("n_frames", [27, 46])
def test_motion_energy_equals_pymoten(n_frames):
    from moten.colorspace import rgb2lab
    from moten.pyramids import MotionEnergyPyramid

    rng = np.random.default_rng(2)
    moving_clip = moving(rng, n_frames, 24, 24, rng.integers(-1, 2, (n_frames - 1, 2)))
    still = np.broadcast_to(moving_clip[:1], moving_clip.shape)
    frequencies = (0, 2, 4, 8)
    with torch.inference_mode():
        found = _motion_energy.MotionEnergy(frequencies)(clips_of(np.stack([moving_clip, still]))).numpy()
    filters = MotionEnergyPyramid(
        stimulus_vhsize=(24, 24), stimulus_fps=round(n_frames / 3), spatial_frequencies=list(frequencies)
    )
    assert found.shape == (2, filters.nfilters)
    for values, clip in zip(found, (moving_clip, still)):
        lightness = np.stack([rgb2lab(frame / 255)[..., 0] for frame in clip])
        energies = filters.project_stimulus(lightness, dtype="float64")
        np.testing.assert_allclose(values, energies.mean(axis=0), atol=2e-5)


def test_motion_energy_tells_directions_apart():
    """A drifting grating, without pymoten's numbers: mirrored, it does to the opposite filters what it did to its own.

    Its `direction` counts in reversed time: the filters of 0 degrees answer more to motion to the left.
    """
    columns = np.arange(48) / 47
    waves = np.stack([127 + 100 * np.cos(2 * np.pi * (4 * (columns - 0.5) - 2 * t / 15)) for t in range(45)])
    to_the_right = np.broadcast_to(waves[:, None, :, None], (45, 48, 48, 3)).astype(np.uint8)
    clips = clips_of(np.stack([to_the_right, to_the_right[:, :, ::-1]]))
    with torch.inference_mode():
        energies = _motion_energy.MotionEnergy((4, 8))(clips).numpy()
    table = _motion_energy.pyramid((4, 8), (48, 48), 15).parameters
    here = (table["spatial_freq"] == 4) & (table["temporal_freq"] == 2)
    right, left = (energies[:, here & (table["direction"] == degrees)].ravel() for degrees in (0, 180))
    np.testing.assert_allclose(right, left[::-1], atol=1e-3)
    assert left[0] > right[0] + 2


def test_motion_energy_needs_frames_enough_for_its_fastest_filters():
    message = "25 frames a clip, 8 per second, cannot show motion at 4 Hz; set n_frames under networks to 27 or more"
    with pytest.raises(_activations.LayerError, match=message):
        passed("motion_energy", np.zeros((1, 25, 96, 96, 3), np.uint8))
    assert _motion_energy.frame_rate(27) == 9


@pytest.mark.parametrize("name", ["displacement", "motion_energy"])
def test_a_fixed_computation_has_no_weights_and_is_not_untrained(name):
    spec = plugins.load("networks", name)
    settings = Network(weights="none", file=None, sha256=None, n_frames=45, seed=0)
    found = _weights.locate(name, spec, settings)
    assert (found.policy, found.official, found.file, found.non_commercial) == ("none", True, None, False)
    assert {s.network: s.state for s in _weights.status({name: settings})}[name] == "none needed"
    with pytest.raises(_weights.WeightsError, match=f"networks.{name}.weights is random; expected none"):
        _weights.locate(name, spec, settings.model_copy(update={"weights": "random"}))
    with pytest.raises(_weights.WeightsError, match="networks.alexnet.weights is none; expected package, pretrained"):
        _weights.locate("alexnet", plugins.load("networks", "alexnet"), settings)
    meta = torch.empty(3, 3, 45, 60, 60, device="meta")
    shapes = _activations.shapes(_loading.skeleton(spec), spec.layers, meta)
    assert shapes == {spec.layers[0]: (40,) if name == "displacement" else (6555,)}

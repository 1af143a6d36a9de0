"""Features: reduced over frames, the same for any workers, taken up after a kill, never silently wrong."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cinevox import parallel
from cinevox.files import io
from cinevox.project import plugins
from cinevox.project.params import Features, Network, Parallel
from cinevox.stimuli import features
from cinevox.stimuli.networks import _activations, _loading

SETTINGS = Features(
    over_frames="mean",
    batch_size=6,
    device="cpu",
    compute="float32",
    storage="float32",
    memory_format="channels_last",
)
NAME = "squeezenet"
LAYERS = ("features.2", "features.6", "features.12")
N_CLIPS, N_FRAMES = 70, 3  # at two clips a batch and 21 batches a task, the last task is a rest


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N_CLIPS, N_FRAMES, 32, 32, 3), dtype=np.uint8)


def prepared(frames, layers=LAYERS, weights="random", file=None, network=NAME, **settings):
    asked = Network(weights=weights, file=file, sha256=None, n_frames=frames.shape[1], seed=1)
    return features.prepare(network, asked, SETTINGS.model_copy(update=settings), frames.shape[1:], layers)


@pytest.fixture(scope="module")
def expected(frames):
    """Every frame, whole network, no batches, no channels_last: layer -> (n_clips, n_frames, n_features)."""
    extraction = prepared(frames)
    module = _loading.load(NAME, extraction.spec, extraction.weights)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (extraction.spec.mean, extraction.spec.std))
    kept = {layer: [] for layer in LAYERS}
    for layer in LAYERS:
        module.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: kept[layer].append(output.flatten().numpy().copy())
        )
    with torch.inference_mode():
        for frame in torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2):
            module(((frame / 255 - mean) / std)[None])
    return {layer: np.stack(rows).reshape(N_CLIPS, N_FRAMES, -1) for layer, rows in kept.items()}


def close(found, wanted, tolerance=2e-6):
    return np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize("over_frames", ["mean", "max", "none"])
@pytest.mark.parametrize("batch_size", [6, 2])  # two clips, and less than one
def test_features_equal_frame_by_frame_passes(frames, expected, over_frames, batch_size, memory_format):
    few = frames[:5]
    extraction = prepared(few, over_frames=over_frames, batch_size=batch_size, memory_format=memory_format)
    found = features.extract(extraction, few)
    for layer in LAYERS:
        every = expected[layer][:5].astype(np.float64)
        wanted = {"mean": every.mean(1), "max": every.max(1), "none": every}[over_frames]
        assert found[layer].shape == wanted.shape == extraction.shape(layer, 5)
        assert found[layer].dtype == np.float32
        assert close(found[layer], wanted)


def test_any_number_of_workers_and_a_read_only_map_give_the_same_bits(frames, tmp_path):
    io.write_array(tmp_path / "frames.npy", frames)
    mapped = io.read_array(tmp_path / "frames.npy")
    extraction = prepared(frames)
    alone = features.extract(extraction, frames)
    for backend in ("threading", "loky"):
        with parallel.context(Parallel(backend=backend, n_jobs=2, scheduler=None, jobqueue=None)):
            features.write(extraction, mapped, names(), tmp_path / backend, tmp_path / "unfinished")
        for layer in LAYERS:
            assert np.array_equal(io.read_array(tmp_path / backend / f"{layer}.npy"), alone[layer]), backend
    assert list((tmp_path / "unfinished").iterdir()) == []


def names():
    return [f"{index:04d}.mp4" for index in range(N_CLIPS)]


def test_a_killed_run_goes_on_where_it_was(frames, tmp_path, monkeypatch):
    unfinished, out = tmp_path / "unfinished", tmp_path / "out"
    extraction = prepared(frames)
    computed = []
    original = features._activations_of

    def counted(extraction, part, clips):
        computed.extend(clips)
        return original(extraction, part, clips)

    def killed(tasks, total, label):
        assert (total, label) == (7, NAME)
        for done, task in enumerate(tasks):
            yield task
            if done == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(features, "_activations_of", counted)
    monkeypatch.setattr(features, "FRAMES_PER_TASK", 30)
    with pytest.raises(KeyboardInterrupt):
        features.write(extraction, frames, names(), out, unfinished, killed)
    before = computed.copy()
    assert len(before) in range(40, N_CLIPS) and not out.exists()
    computed.clear()
    features.write(extraction, frames, names(), out, unfinished)
    assert computed == names()[len(before) :], "finished clips were done again, or some were left out"
    monkeypatch.undo()
    for layer, values in features.extract(extraction, frames).items():
        assert np.array_equal(np.load(out / f"{layer}.npy"), values)
    assert list(unfinished.iterdir()) == []


def test_unfinished_work_is_only_taken_up_for_the_same_inputs(frames):
    extraction = prepared(frames)
    other = frames.copy()
    other[-1, -1, -1, -1, -1] ^= 1
    digests = [
        extraction.digest(frames),
        extraction.digest(other),
        extraction.digest(frames[:-1]),
        prepared(frames, layers=LAYERS[:2]).digest(frames),
        prepared(frames, over_frames="max").digest(frames),
        prepared(frames, batch_size=4).digest(frames),
        replace(extraction, weights=replace(extraction.weights, seed=2)).digest(frames),
        replace(extraction, spec=replace(extraction.spec, std=(1.0, 1.0, 1.0))).digest(frames),
        replace(extraction, spec=replace(extraction.spec, configuration={"eps": 0.1})).digest(frames),
    ]
    assert len(set(digests)) == len(digests)
    assert prepared(frames).digest(frames.copy()) == digests[0]


def test_nothing_is_computed_behind_the_last_layer_needed():
    module = _loading.skeleton(plugins.load("networks", NAME))
    passed = []
    for name, part in module.named_modules():
        part.register_forward_hook(lambda *_, name=name: passed.append(name))
    images = torch.empty(1, 3, 64, 64, device="meta")
    outputs = _activations.take(module, ["features.4", "features.2"], images)
    assert set(outputs) == {"features.2", "features.4"}
    assert "features.4" in passed and "features.5" not in passed and "classifier.1" not in passed
    assert all(len(part._forward_hooks) == 1 for part in module.modules()), "hooks were left behind"
    with pytest.raises(ValueError, match="does not go through never"):
        module.add_module("never", torch.nn.Identity())
        _activations.take(module, ["never"], images)


@pytest.mark.parametrize(("compute", "tolerance"), [("bfloat16", 0.03), ("float16", 0.005)])
def test_lower_precision_stays_close(frames, expected, compute, tolerance):
    few = frames[:2]
    for layer, found in features.extract(prepared(few, compute=compute), few).items():
        wanted = expected[layer][:2].mean(1)
        assert found.dtype == np.float32 and close(found, wanted, tolerance)
        assert not close(found, wanted, 1e-5), f"{compute} was not used"


def test_half_precision_storage(frames, expected):
    few = frames[:2]
    for layer, found in features.extract(prepared(few, storage="float16"), few).items():
        assert found.dtype == np.float16 and close(found, expected[layer][:2].mean(1), 1e-3)


@pytest.fixture
def loud(tmp_path, frames):
    """Weights whose first map is so many times as large."""

    def made(factor):
        extraction = prepared(frames)
        state = _loading.load(NAME, extraction.spec, extraction.weights).state_dict()
        state["features.0.weight"] *= factor
        torch.save(state, tmp_path / "loud.pth")
        return tmp_path / "loud.pth"

    return made


def test_activations_that_are_not_finite_name_layer_and_clips(frames, loud, tmp_path):
    mixed = frames[:4].copy()
    mixed[[0, 2]] = 118  # about the mean colour: stays in range
    extraction = prepared(mixed, weights="file", file=loud(30_000), storage="float16", layers=["features.2"])
    clips = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    message = r"squeezenet: activations that are NaN or infinite, computed in float32 and kept in float16.*"
    with pytest.raises(features.FeaturesError, match=message) as error:
        features.write(extraction, mixed, clips, tmp_path / "out", tmp_path / "unfinished")
    assert "\n  features.2: b.mp4, d.mp4\n" in str(error.value)
    assert "set features.compute and features.storage to float32" in str(error.value)
    broken = prepared(mixed, weights="file", file=loud(1e38))
    with pytest.raises(features.FeaturesError, match=r"features.12: #0, #1, #2, #3"):
        features.extract(broken, frames[:4])


def test_what_cannot_be_prepared(frames, monkeypatch):
    with pytest.raises(features.FeaturesError, match=r"no layer fc; its own are features.2, .*\(\d+ in all\)"):
        prepared(frames, layers=["features.2", "fc"])
    with pytest.raises(
        features.FeaturesError, match=r"frames of 8 x 8 pixels do not fit it .*expected frames.size 224"
    ):
        prepared(np.zeros((1, 1, 8, 8, 3), np.uint8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "mps"):
        with pytest.raises(features.FeaturesError, match=f"device is {device}, and this machine has cpu"):
            prepared(frames, device=device)
    assert prepared(frames, device="auto").device == "cpu"
    with pytest.raises(
        features.FeaturesError, match=re.escape("frames are float32 (70, 3, 32, 32, 3), expected uint8")
    ):
        features.extract(prepared(frames), frames.astype(np.float32))


def test_the_sidecar_says_what_was_computed(frames):
    extraction = prepared(frames, layers=None)
    sidecar = extraction.to_json()
    assert sidecar["network"] == NAME and sidecar["n_frames"] == N_FRAMES and sidecar["over_frames"] == "mean"
    assert sidecar["weights"]["policy"] == "random" and sidecar["weights"]["seed"] == 1
    assert [layer["name"] for layer in sidecar["layers"]] == list(extraction.spec.layers)
    assert sidecar["layers"][-1] == {"name": "classifier.3", "n_features": 1000, "n_times": N_FRAMES}
    assert sidecar["normalisation"]["mean"] == (0.485, 0.456, 0.406)
    assert (sidecar["device"], sidecar["dtype"], sidecar["torch"]) == ("cpu", "float32", torch.__version__)


def test_random_draws_elsewhere_are_untouched(frames):
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    features.extract(prepared(frames[:2]), frames[:2])
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads

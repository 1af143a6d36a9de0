"""Simulation: real files, the challenge's format, and a truth that can be found again."""

import itertools
import tracemalloc

import av
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA

from cinevox import simulation
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import insilico_truth
from cinevox.measured.datasets.algonauts2021 import AFFINE, VOLUME
from cinevox.measured.insilico_truth import NO_SIGNAL, signals
from cinevox.project import plugins
from cinevox.project.params import MINI_ROIS, Network, ParamsError, parse
from cinevox.simulation import generators, listening, scenes, voxels
from cinevox.simulation.anatomy import PLACES, place
from cinevox.simulation.receptive_fields import field_components, fields_in_use
from cinevox.statistics import metrics
from cinevox.stimuli import features
from cinevox.stimuli.frames import read_clip
from cinevox.stimuli.networks import spec_of

ONLY_CLIPS = dict(zip(MINI_ROIS, itertools.cycle(generators.CLIP_GENERATORS)))


def small(default_params, **changes):
    sizes = {"n_train": 40, "n_test": 12, "voxel_fraction": 0.02, "min_voxels": 4, "n_latents": 4, "n_leading": 8}
    return default_params.simulation.model_copy(update=sizes | {"generators": ONLY_CLIPS} | changes)


def white(rng, settings):
    n_clips = settings.n_train + settings.n_test
    drawn = {name: rng.standard_normal((n_clips, settings.n_latents)) for name in generators.CLIP_GENERATORS}
    return {name: np.linalg.qr(z - z.mean(axis=0))[0] * np.sqrt(n_clips) for name, z in drawn.items()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return folder, [simulation.make_clip(folder, 7, index) for index in range(4)]


@pytest.fixture(scope="module")
def written(tmp_path_factory, default_params):
    folder = tmp_path_factory.mktemp("insilico")
    settings = small(default_params)
    components = white(np.random.default_rng(5), settings)
    simulation.write_subject(folder, settings, 1, components)
    simulation.write_truth(folder, settings, [], components, simulation.Heard())
    return folder, settings, components


# --- clips


def test_clips_are_what_the_challenge_has(clips):
    folder, made = clips
    assert sorted(path.name for path in folder.iterdir()) == [clip.name for clip in made]
    assert made[0].name.startswith("0001_insilico-")
    for clip in made:
        with av.open(str(folder / clip.name)) as container:
            stream = container.streams.video[0]
            n_decoded = sum(1 for _ in container.decode(stream))
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 268, 268)
            assert n_decoded == stream.frames == clip.scene.n_frames
            assert 15 <= stream.average_rate <= 30
            assert 2.96 <= n_decoded / stream.average_rate <= 3.08


def test_names_of_clips_are_known_before_they_are_made(default_params, clips):
    names = simulation.clip_names(small(default_params, seed=7))
    assert names[: len(clips[1])] == [clip.name for clip in clips[1]]


def test_a_clip_depends_on_seed_and_index_alone(clips, tmp_path):
    folder, made = clips
    again = simulation.make_clip(tmp_path, 7, 2)
    assert again.scene == made[2].scene
    assert (tmp_path / again.name).read_bytes() == (folder / made[2].name).read_bytes()
    other = simulation.make_clip(tmp_path, 8, 2)
    assert other.scene != made[2].scene
    assert len({clip.scene for clip in made}) == len(made)


def test_clips_have_the_spectrum_of_natural_images(clips):
    """Power falls about as 1/f^2 (Field 1987: slopes from -1.5 to -3)."""
    folder, made = clips
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(268, 1 / 268)] * 2))
    bands = np.geomspace(4, 100, 12)
    for clip in made:
        with av.open(str(folder / clip.name)) as container:
            image = next(container.decode(video=0)).to_ndarray(format="gray").astype(float)
        power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(np.hanning(268), np.hanning(268)))) ** 2
        means = [power[(frequency >= a) & (frequency < b)].mean() for a, b in itertools.pairwise(bands)]
        slope = stats.linregress(np.log(bands[1:]), np.log(means)).slope
        assert -3.3 < slope < -1.2, clip.name


def test_latents_cover_every_category_and_length(rng):
    drawn = [scenes.draw_scene(rng) for _ in range(400)]
    assert {scene.category for scene in drawn} == set(scenes.CATEGORIES)
    assert {scene.fps for scene in drawn} == set(scenes.FRAME_RATES)
    assert all(2.96 <= scene.n_frames / scene.fps <= 3.08 for scene in drawn)


def test_the_foremost_object_is_where_its_latents_say():
    base = scenes.draw_scene(np.random.default_rng(0))
    still = {"pan_x": 0, "pan_y": 0, "zoom": 0, "fps": 15, "n_frames": 45, "n_objects": 1, "category": "ball"}
    values = vars(base) | still | {"x": 0.0, "y": 0.1, "size": 0.3, "direction": 0.0, "speed": 0.2}
    film = [frame.astype(int) for frame in scenes.render(scenes.Scene(**values), np.random.default_rng(1))]
    changed = np.abs(film[0] - film[-1]).sum(axis=2) > 0
    rows, columns = np.nonzero(changed)
    assert rows.mean() / 268 - 0.5 == pytest.approx(0.1, abs=0.02)
    assert columns.mean() / 268 - 0.5 == pytest.approx(0.0, abs=0.02)
    assert np.ptp(columns) / 268 == pytest.approx(0.3 + 0.2 * 44 / 15, abs=0.03)


# --- generators


def grating(cycles, angle, phase):
    y, x = np.mgrid[: generators.GREY_SIDE, : generators.GREY_SIDE] / generators.GREY_SIDE
    return 0.5 + 0.4 * np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) - phase)


def energies_of(cycles, angle, advance):
    pairs = [[grating(cycles, angle, phase), grating(cycles, angle, phase + advance)] for phase in (0, 1, 2)]
    return generators.energies(np.array(pairs, dtype=np.float32))


@pytest.mark.parametrize(("filter_index", "cycles", "angle"), [(0, 4, 0), (6, 8, np.pi / 2), (9, 16, np.pi / 4)])
def test_gabor_energy_peaks_at_the_grating(filter_index, cycles, angle):
    gabor = energies_of(cycles, angle, 0)["gabor_energy"].reshape(-1, generators.GABOR_GRID**2).mean(axis=1)
    assert gabor.argmax() == filter_index


def test_motion_energy_tells_directions_apart():
    forth, back, still = (
        energies_of(8, 0, advance)["motion_energy"].reshape(2, -1, generators.MOTION_GRID**2).mean(axis=2)[:, 4]
        for advance in (0.8, -0.8, 0)
    )
    assert forth[1] > 5 * forth[0]
    assert back[0] > 5 * back[1]
    assert max(still) < 0.05 * max(forth)


def test_paired_frames_lie_inside_the_clip():
    for fps, n_frames in ((15, 45), (30, 92), (24, 72)):
        pairs = generators.paired_frames(n_frames, fps)
        assert pairs.min() == 0
        assert pairs.max() == n_frames - 1
        np.testing.assert_allclose(np.diff(pairs) / fps, 1 / 15, atol=0.02)


def test_grey_is_the_mean_of_blocks(rng):
    frame = rng.integers(0, 256, (268, 268, 3), dtype=np.uint8)
    expected = frame.reshape(67, 4, 67, 4, 3).mean(axis=(1, 3, 4)) / 255
    np.testing.assert_allclose(generators.grey(frame), expected, atol=1e-6)


def test_components_are_those_of_scikit_learn(rng, monkeypatch):
    monkeypatch.setattr(generators, "BLOCK_VALUES", 500)  # several blocks
    features = rng.standard_normal((30, 200)) @ np.diag(rng.uniform(0.1, 5, 200)) + 3
    features[:, 11] = 2.0
    features[:, 12] = np.where(np.arange(30) % 7, 2e-6, 0)  # silent but for noise
    spread = features.std(axis=0)
    z = (features - features.mean(axis=0)) / np.maximum(spread, 0.05 * np.median(spread[spread > 1e-3]))
    found = generators.components(generators.gram(features), 6)
    expected = PCA(6, svd_solver="full").fit_transform(z)
    expected /= expected.std(axis=0)
    np.testing.assert_allclose(np.abs(np.corrcoef(found.T, expected.T)[:6, 6:].diagonal()), 1, atol=1e-6)
    np.testing.assert_allclose(found.var(axis=0), 1)


def test_own_components_leave_out_what_another_layer_shares(rng, monkeypatch):
    monkeypatch.setattr(generators, "N_COMPARED", 3)
    basis = np.linalg.qr(rng.standard_normal((50, 9)))[0]
    basis -= basis.mean(axis=0)
    basis = np.linalg.qr(basis)[0]
    gram_a = (basis[:, :6] * np.arange(12, 6, -1)) @ basis[:, :6].T
    gram_b = (basis[:, [0, 1, 2]] * [5, 4, 3]) @ basis[:, [0, 1, 2]].T
    own = generators.own_components("a", {"a": gram_a, "b": gram_b}, 6, 3)
    assert np.abs(own.T @ basis[:, :3]).max() < 1e-8
    np.testing.assert_allclose(np.linalg.norm(own.T @ basis[:, 3:6] / np.sqrt(50), axis=1), 1)


def test_generators_are_uncorrelated_components(default_params, clips):
    _, made = clips
    found = simulation.driving_components(small(default_params), made, simulation.Heard())
    assert list(found) == list(generators.CLIP_GENERATORS)
    for name, z in found.items():
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(z.T @ z / len(made), np.eye(z.shape[1]), atol=1e-6, err_msg=name)


def test_unknown_generators_are_named(default_params):
    settings = small(default_params, generators=ONLY_CLIPS | {"V2": "blocks.9", "LOC": "conv1"})
    with pytest.raises(InputError, match=r"blocks\.9 .*gabor_energy.*\(conv1, conv2\)"):
        listening.needed_layers(settings, ["conv1", "conv2"])
    assert listening.needed_layers(small(default_params), ["conv1"]) == ()
    layered = small(default_params, generators=ONLY_CLIPS | {"V2": "conv1"})
    assert listening.needed_layers(layered, ["conv1", "conv2"]) == ("conv1", "conv2")


def heard(settings, folder, made, scratch):
    """What voxels listen to of a network while it sees these clips, with nothing left behind."""
    progress = lambda items, _total, _label: items  # noqa: E731
    paths = [folder / clip.name for clip in made]
    found = simulation.listen(settings, simulation.prepare(settings), paths, scratch, progress)
    assert not scratch.exists()
    return found


def test_layers_and_maps_come_from_the_files(default_params, clips, tmp_path):
    """Whole layers as their Gram matrices, of pooled maps the channels that were drawn, from one pass of the clips."""
    part = "features.6:max3"
    driving = ONLY_CLIPS | {"V2": "features.12", "V3": part, "V4": f"{part} + category"}
    settings = small(default_params, network="squeezenet", weights="random", n_frames=2, generators=driving)
    found = heard(settings, *clips, tmp_path / "scratch")
    assert found.weights["policy"] == "random"
    assert list(found.grams) == list(plugins.load("networks", "squeezenet").layers)
    gram = found.grams["features.12"]
    assert gram.shape == (4, 4)
    np.testing.assert_allclose(gram.sum(axis=0), 0, atol=1e-3 * gram.max())
    assert np.linalg.matrix_rank(gram, tol=1e-4 * gram.max()) == 3

    folder, made = clips
    films = [read_clip(folder / clip.name, 2, 224, "direct")[0] for clip in made]
    whole = features.extract(
        features.prepare(
            "squeezenet", Network(weights="random", file=None, sha256=None, n_frames=2, seed=settings.seed),
            listening.EXTRACTION.model_copy(update={"over_frames": "none"}), (2, 224, 224, 3), ("features.6",),
        ),
        np.stack(films),
    )["features.6"]  # fmt: skip
    maps = torch.from_numpy(whole).reshape(4, 2, 256, 27, 27)
    pooled = torch.stack([torch.nn.functional.adaptive_max_pool2d(of_clip, 3) for of_clip in maps]).mean(dim=1)
    by_field = pooled.flatten(2).numpy().transpose(0, 2, 1)
    chosen = np.take_along_axis(by_field, found.channels[part][None].repeat(4, axis=0), axis=2)
    ratio = found.fields[part] / (chosen - chosen.mean(axis=0))
    assert found.fields[part].shape == (4, 9, settings.n_latents)
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)  # one unit for the whole map
    assert np.mean(found.fields[part] ** 2) == pytest.approx(1)
    assert list(simulation.driving_components(settings, made, found)) == list(settings.parts)


def test_maps_of_a_video_network_are_pooled_over_space_alone(default_params, clips, tmp_path):
    part = "layer1:avg2"
    driving = ONLY_CLIPS | {"V1": part}
    settings = small(default_params, network="mc3_18", weights="random", n_frames=2, generators=driving)
    assert simulation.prepare(settings).layers == ()  # whole layers are for voxels that listen to one
    found = heard(settings, *clips, tmp_path / "scratch")
    assert found.fields[part].shape == (4, 4, settings.n_latents)
    assert found.channels[part].max() < 64
    assert not found.grams


def test_a_model_of_timm_drives_voxels(default_params, clips, tmp_path):
    """Layers and maps as an analysis of the same entry takes them."""
    part = "stages.1:avg3"
    driving = ONLY_CLIPS | {"V1": part, "V2": "stages.3"}
    chosen = {"network": "mine", "model": "timm/test_convnext2", "weights": "random", "n_frames": 2}
    settings = small(default_params, **chosen, generators=driving)
    found = heard(settings, *clips, tmp_path / "scratch")
    assert {"stages.0", "stages.3"} <= set(found.grams) and part in found.fields
    entry = Network(
        weights="random", file=None, sha256=None, n_frames=2, seed=settings.seed, model="timm/test_convnext2"
    )
    folder, made = clips
    size = spec_of("mine", entry).input_size
    films = np.stack([read_clip(folder / clip.name, 2, size, "direct")[0] for clip in made])
    own = features.prepare("mine", entry, listening.EXTRACTION, films.shape[1:], ("stages.3",))
    expected = generators.gram(features.extract(own, films)["stages.3"])
    np.testing.assert_allclose(found.grams["stages.3"], expected, rtol=1e-5)


def test_a_field_has_channels_that_vary_there_and_the_same_ones_again(rng):
    pooled = rng.standard_normal((20, 6, 4)) * np.array([1, 1, 0, 1, 1e-6, 2])[:, None]
    pooled[:, :, 2] = 1.0
    found, channels = field_components("a:max2", pooled, 5, np.random.default_rng(1))
    again, _ = field_components("a:max2", pooled, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(found, again)
    assert {frozenset(own.tolist()) for own in channels} == {frozenset({0, 1, 3, 5, -1}), frozenset({-1})}
    assert not found[:, channels == -1].any()
    assert list(fields_in_use(found)) == [0, 1, 3]
    with pytest.raises(InputError, match=r"no channel of a:max2 varies over the clips; name another"):
        field_components("a:max2", np.ones((20, 6, 4)), 5, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": ONLY_CLIPS | {"V2": "conv1:max3"}}, r"simulation\.generators.*no layer conv1"),
        (
            {"generators": ONLY_CLIPS | {"V2": "features.12:max99"}},
            r"its map is 13 x 13; expected a grid of at most 13",
        ),
        ({"generators": ONLY_CLIPS | {"V2": "features.12"}, "weights": "package"}, r"expected pretrained or random"),
        ({"model": "timm/test_vit"}, r"squeezenet is a network of its own; choose another name"),
        ({"network": "mine", "model": "timm/no_such"}, r"timm/no_such: timm .* has no such model"),
        (
            {
                "network": "mine",
                "model": "timm/test_vit",
                "weights": "package",
                "generators": ONLY_CLIPS | {"V2": "maps.blocks.0:max3"},
            },
            r"mine has no such weights; expected .*random",
        ),
        (
            {"generators": ONLY_CLIPS | {"V2": "features.12"}, "network": "displacement"},
            "network is displacement, a fixed computation without weights, .*; name a network, or let",
        ),
    ],
)
def test_networks_that_cannot_be_listened_to_are_told_before_any_clip(default_params, changes, message):
    with pytest.raises(InputError, match=message):
        simulation.prepare(small(default_params, **{"network": "squeezenet", "weights": "random"} | changes))
    assert simulation.prepare(small(default_params)) is None


@pytest.mark.parametrize("word", ["conv1:max", "conv1:max0", "conv1:min3", "conv1 + conv1", "conv1+conv2", "a:max3 +b"])
def test_generators_that_are_none_are_refused(default_params, word):
    document = default_params.model_dump(mode="json")
    document["simulation"]["generators"]["V2"] = word
    with pytest.raises(ParamsError, match=r"simulation\.generators\.V2: expected a property .* <layer>:max<k>"):
        parse(document, "params.yaml")


# --- anatomy


def test_real_counts(default_params):
    whole = small(default_params, voxel_fraction=1.0)
    counts = [voxels.voxel_counts(whole, subject) for subject in range(10)]
    assert sum(each["WB"] for each in counts) == 161326
    assert sum(each["LOC"] for each in counts) == 13244
    assert counts[2]["PPA"] == 368
    assert min(voxels.voxel_counts(small(default_params), 5).values()) == 4


def test_rois_lie_where_they_should(rng):
    counts = dict.fromkeys(PLACES, 100) | {"LOC": 1500}
    anatomy = place(counts, 8000, rng)
    assert anatomy.mask.shape == VOLUME
    assert anatomy.mask.sum() == 8000
    where = np.argwhere(anatomy.mask) @ np.array(AFFINE)[:3, :3].T + np.array(AFFINE)[:3, 3]
    for index, (roi, (centre, _)) in enumerate(PLACES.items()):
        spots = where[anatomy.rois == index]
        assert len(spots) == counts[roi]
        assert (spots[:, 0] > 0).sum() == counts[roi] // 2
        right = spots[spots[:, 0] > 0]
        assert np.linalg.norm(right.mean(axis=0) - centre) < 12, roi
        assert right.std(axis=0).max() < 15, roi
    assert (where[anatomy.rois < 0, 1] < -20).mean() > 0.6


def test_too_many_voxels(rng):
    with pytest.raises(ValueError, match="90 in ROIs"):
        place(dict.fromkeys(PLACES, 10), 80, rng)


# --- responses


def test_more_silent_voxels_than_the_others_can_make_up_for():
    with pytest.raises(InputError, match=r"V1: 60% of its voxels .* 1\.08; expected at most 0\.95: lower"):
        voxels.among_driven("V1", 0.6)


@pytest.mark.parametrize("roi", voxels.RELIABILITY)
def test_reliabilities_are_those_of_the_real_data(roi):
    mean, mean_root = voxels.RELIABILITY[roi]
    a, b = voxels.reliability_distribution(mean, mean_root)
    assert stats.beta(a, b).mean() == pytest.approx(mean)
    assert stats.beta(a, b).expect(np.sqrt) == pytest.approx(mean_root, abs=1e-6)


def test_impossible_reliabilities():
    with pytest.raises(ValueError, match=r"expected between 0\.4 and 0\.6325"):
        voxels.reliability_distribution(0.4, 0.64)


def test_true_reliability_is_recovered(default_params, rng):
    """Split-half reliability of the simulated trials against the truth and against the table."""
    settings = small(default_params, n_train=600, n_test=600, voxel_fraction=0.3, generators=ONLY_CLIPS)
    components = white(rng, settings)
    counts = voxels.voxel_counts(settings, 0)
    anatomy = place({roi: counts[roi] for roi in MINI_ROIS}, counts["WB"], rng)
    drawn = voxels.draw_voxels(settings, anatomy, components, rng)
    loc = anatomy.columns("LOC")
    generator, noise = drawn.generator[loc], drawn.noise[loc]
    signal = signals(settings.driving, generator, drawn.weights[:, loc], drawn.fields[:, loc], components)
    true = voxels.reliability(signal, noise, 10)
    found = metrics.split_half_reliability(voxels.trials(signal, noise, 10, rng))
    assert np.abs(found - true).mean() < 0.03
    assert np.abs((found - true).mean()) < 0.01
    driven = generator >= 0
    assert true.mean() == pytest.approx(voxels.RELIABILITY["LOC"][0], abs=0.02)  # of all voxels, as in the real data
    mean, mean_root = voxels.among_driven("LOC", settings.null_fraction)
    assert true[driven].mean() == pytest.approx(mean, abs=0.02)
    assert np.sqrt(true[driven]).mean() == pytest.approx(mean_root, abs=0.02)
    whole = signals(settings.driving, drawn.generator, drawn.weights, drawn.fields, components)
    everywhere = voxels.reliability(whole, drawn.noise, 10)
    assert everywhere.mean() == pytest.approx(voxels.RELIABILITY["WB"][0], abs=0.04)
    assert (~driven).mean() == pytest.approx(settings.null_fraction, abs=0.04)
    assert not signal[:, ~driven].any()
    assert not true[~driven].any()
    np.testing.assert_allclose(signal.var(axis=0) + noise**2, voxels.SD**2, rtol=1e-3)


def test_a_voxel_listens_to_one_field_and_to_the_parts_of_its_generator_in_equal_shares(default_params, rng, tmp_path):
    pooled, both = "conv1:max3", "conv1:max3 + category"
    driving = dict.fromkeys(MINI_ROIS, "motion") | {"V1": pooled, "LOC": both}
    settings = small(default_params, n_train=300, n_test=100, generators=driving)
    components = {name: z for name, z in white(rng, settings).items() if name in ("motion", "category")}
    components[pooled] = (rng.standard_normal((400, 9, 3)) * rng.uniform(0.1, 3, (9, 3))).astype(np.float32)
    components[pooled] -= components[pooled].mean(axis=0)
    components[pooled][:, 4] = 0  # a field without any channel that varies
    simulation.write_subject(tmp_path, settings, 0, components)
    simulation.write_truth(tmp_path, settings, [], components, simulation.Heard(channels={pooled: np.zeros((9, 3))}))
    assert io.read_json(tmp_path / "truth/truth.json")["generators"] == list(settings.driving)
    fields = set()
    for roi, word in (("V1", pooled), ("LOC", both), ("PPA", "motion")):
        truth = insilico_truth.read_truth(tmp_path, "sub01", roi)
        driven = truth.generators != NO_SIGNAL
        assert set(truth.generators[driven]) == {word}
        own = truth.fields[0]
        assert (own[driven] >= 0).all() == (word != "motion")
        assert (own[~driven] == insilico_truth.NO_FIELD).all()
        assert (truth.fields[1] == insilico_truth.NO_FIELD).all()
        fields |= set(own[driven].tolist())
        for voxel in np.flatnonzero(driven) if word != "motion" else ():
            X = components[pooled][:, own[voxel]]
            shared = np.hstack([X, components["category"]]) if word == both else X
            of_parts = np.linalg.lstsq(shared, truth.signal[:, voxel], rcond=None)[0]
            np.testing.assert_allclose(shared @ of_parts, truth.signal[:, voxel], atol=1e-4)  # of nothing else
            if word == both:
                first = (X @ of_parts[:3]).std()
                assert first == pytest.approx((components["category"] @ of_parts[3:]).std(), rel=1e-3)
    assert fields <= {-1, 0, 1, 2, 3, 5, 6, 7, 8}
    assert len(fields) > 5
    whole = io.read_pickle(tmp_path / "participants_data_v2021/mini_track/sub01/LOC.pkl")["train"]
    assert whole.std(axis=(0, 1)).mean() == pytest.approx(voxels.SD, rel=0.05)


def test_files_are_those_of_the_challenge(written):
    folder, settings, _ = written
    whole = io.read_pickle(folder / "participants_data_v2021/full_track/sub02/WB.pkl")
    assert set(whole) == {"train", "voxel_mask"}
    assert whole["voxel_mask"].shape == VOLUME
    assert whole["train"].dtype == np.float32
    assert whole["train"].shape == (40, 3, whole["voxel_mask"].sum())
    test = io.read_pickle(folder / "test_responses/full_track/sub02/WB.pkl")
    assert set(test) == {"test"}
    assert test["test"].shape == (12, 10, whole["train"].shape[2])
    counts = voxels.voxel_counts(settings, 1)
    mini = folder / "participants_data_v2021/mini_track/sub02"
    assert {path.stem: io.read_pickle(path)["train"].shape[2] for path in mini.iterdir()} == {
        roi: counts[roi] for roi in MINI_ROIS
    }
    assert (folder / "participants_data_v2021/full_track/sub02/WB.pkl").read_bytes()[:2] == b"\x80\x02"


def test_column_orders_of_the_two_tracks(written):
    """The whole brain fills the mask in C order; an ROI's columns are its voxels in Fortran order."""
    folder, _, _ = written
    whole = io.read_pickle(folder / "participants_data_v2021/full_track/sub02/WB.pkl")
    volume = np.full(VOLUME, np.nan, dtype=np.float32)
    volume[whole["voxel_mask"] == 1] = whole["train"][5, 2]
    flat = volume.ravel(order="F")
    seen = []
    for roi in MINI_ROIS:
        values = io.read_pickle(folder / f"participants_data_v2021/mini_track/sub02/{roi}.pkl")["train"][5, 2]
        at = [int(np.flatnonzero(flat == value)[0]) for value in values]
        assert at == sorted(at), roi
        seen += at
    assert len(set(seen)) == len(seen)


def test_truth_is_read_in_the_order_of_the_files(written):
    folder, settings, components = written
    for roi in ("LOC", "WB"):
        found = insilico_truth.read_truth(folder, "sub02", roi)
        track = "full_track" if roi == "WB" else "mini_track"
        trials = io.read_pickle(folder / f"test_responses/{track}/sub02/{roi}.pkl")["test"]
        driven = found.generators != NO_SIGNAL
        noise = trials - found.signal[40:, None]
        assert np.abs(noise.mean(axis=(0, 1))).max() < 0.4
        agreement = metrics.correlation_score(trials.mean(axis=1), found.signal[40:])
        expected = np.sqrt(found.reliability_test)
        assert agreement[driven].mean() == pytest.approx(expected[driven].mean(), abs=0.06)
        assert found.signal.shape == (52, trials.shape[2])
    assert set(insilico_truth.read_truth(folder, "sub02", "V1").generators) <= {ONLY_CLIPS["V1"], NO_SIGNAL}
    content = io.read_json(folder / "truth/truth.json")
    assert content["generators"] == list(components)
    assert content["simulation"]["seed"] == settings.seed


def test_missing_truth_is_named(written, tmp_path):
    folder, _, _ = written
    with pytest.raises(InputError, match="no ROI 'OFA'; there are V1, V2"):
        insilico_truth.read_truth(folder, "sub02", "OFA")
    with pytest.raises(InputError, match="no such file"):
        insilico_truth.read_truth(folder, "sub09", "V1")
    with pytest.raises(InputError, match="no such file"):
        insilico_truth.read_truth(tmp_path, "sub01", "V1")


def test_subjects_differ_and_are_the_same_again(written, tmp_path):
    folder, settings, components = written
    simulation.write_subject(tmp_path, settings, 1, components)
    simulation.write_subject(tmp_path, settings, 2, components)
    for path in (folder / "participants_data_v2021").rglob("*.pkl"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()
    first, other = (io.read_arrays(tmp_path / f"truth/sub{n}.npz")["weights"] for n in ("02", "03"))
    assert first.shape != other.shape


def test_memory_holds_one_whole_brain(default_params, rng, tmp_path):
    """At most the responses, a copy of their bytes while they are written, and the small rest."""
    settings = small(default_params, n_train=150, voxel_fraction=0.2)
    components = white(rng, settings)
    place(dict.fromkeys(PLACES, 4), 100, rng)  # the grey matter is kept from now on
    size = 4 * 150 * 3 * voxels.voxel_counts(settings, 0)["WB"]
    tracemalloc.start()
    simulation.write_subject(tmp_path, settings, 0, components)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * size + 30e6


def test_more_components_than_there_are_to_choose_from(default_params):
    document = default_params.model_dump(mode="json")
    document["simulation"] |= {"n_latents": 9, "n_leading": 8}
    with pytest.raises(ParamsError, match=r"n_leading is 8; expected at least n_latents \(9\)"):
        parse(document, "params.yaml")

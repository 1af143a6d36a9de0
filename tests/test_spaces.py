"""Named feature spaces: what they expand to, pooling in extraction, and rows of several spaces."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from joblib import parallel_config
from scipy.optimize import minimize
from sklearn.linear_model import LinearRegression

from cinevox.fitting import fits, prediction_store
from cinevox.fitting.feature_spaces import TOTAL_VARIANCE, joint_candidates
from cinevox.fitting.fits import feature_matrix, summary
from cinevox.fitting.regressors import RegressorSpec
from cinevox.project import params, plugins
from cinevox.project.params import FeatureMap, Features, FeatureSpace, Fields, Network, SpaceEntry
from cinevox.stimuli import features
from cinevox.stimuli.named_spaces import pca_of
from cinevox.stimuli.networks import _loading
from cinevox.stimuli.networks._extraction import FeaturesError
from conftest import ROOT
from test_fits import COLUMNS, PART, SPLIT, Recorder

SETTINGS = Features(
    over_frames="none", batch_size=6, device="cpu", compute="float32", storage="float32", memory_format="channels_last"
)
OWN = Fields(kind="max", fields=(((0, 2), (1, 4)), ((2, 5),)))
LAYERS = ("features.2", "features.6")
N_CLIPS, N_FRAMES = 7, 3


def entry(**changed):
    values = {
        "network": "alexnet", "layer": "features.7", "pool": "max5", "over_frames": "mean", "standardize": False,
        "n_components": None,
    }  # fmt: skip
    return SpaceEntry(**values | changed)


def space(**changed):
    return next(found for _, found in entry(**changed).spaces("any"))


def test_an_entry_is_one_space_or_one_for_each_combination_of_its_lists():
    [(name, found)] = entry().spaces("mid")
    assert name == "mid" and found == FeatureSpace("alexnet", "features.7", "max5", "mean", False, None)
    many = dict(entry(pool=["max3", OWN], n_components=[50, None], standardize=[True]).spaces("mid"))
    assert list(many) == [
        "mid.max3.standardized.pca50", "mid.max3.standardized.all",
        "mid.max.0-2_1-4.2-5.standardized.pca50", "mid.max.0-2_1-4.2-5.standardized.all",
    ]  # fmt: skip
    assert many["mid.max3.standardized.pca50"] == space(pool="max3", standardize=True, n_components=50)


@pytest.mark.parametrize("found", [space(), space(pool=OWN, n_components=3), space(pool="none", over_frames="none")])
def test_a_space_is_read_as_it_was_written(found):
    assert FeatureSpace.from_json(found.to_json()) == found
    assert FeatureMap.from_json(found.map.to_json() | {"n_features": 3}) == found.map


@pytest.mark.parametrize(
    "pool", ["max0", "max", "min3", "max3.5", {"kind": "max", "fields": []}, {"kind": "avg", "fields": [[[3, 2]]]}]
)
def test_pools_that_are_none_are_refused(pool):
    with pytest.raises(ValueError):
        entry(pool=pool)


def refused(**changes):
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    row = {"track": "mini", "label": "x", "spaces": ["a"], "together": "stack", "regressor": "ridge", "reported": None}
    row |= changes
    document["networks"]["mine"] = {
        "weights": "none", "model": "array", "file": "a.npz", "sha256": None, "n_frames": 2, "seed": 0,
    }  # fmt: skip
    document["spaces"] = {
        name: entry(network=network).model_dump() for name, network in (("a", "alexnet"), ("b", "vgg99"), ("c", "mine"))
    }
    document["spaces"]["d"] = entry(pool=["max3"]).model_dump()
    document["experiments"]["joint"] = {f"mini-x-{row['together']}-{row['regressor']}": row}
    with pytest.raises(params.ParamsError) as error:
        params.parse(document, "p")
    return str(error.value)


def test_rows_and_spaces_that_cannot_be_are_told_together():
    said = refused()
    assert "spaces.b: vgg99 is not a key of networks" in said
    assert "spaces.c: mine is an array that was brought" in said and "pool: none" in said
    assert "row mini-x-stack-ridge: together is stack, and there is one space" in said
    assert "row mini-x-stack-ridge: zz is not in spaces (a, b, c, d.max3)" in refused(spaces=["a", "zz"])
    assert "a is named twice" in refused(spaces=["a", "a"])
    assert "banded goes with banded_ridge" in refused(together="banded", spaces=["a", "b"])
    rois = dict.fromkeys(params.MINI_ROIS, "a")
    assert "V1 has a space twice" in refused(together="each", spaces=rois | {"V1": ["a", "a"]})
    assert "d stands for d.max3; name one of these" in refused(together="each", spaces=rois | {"V2": "d"})
    assert "banded goes with banded_ridge" in refused(together="concat", spaces=["a", "b"], regressor="banded_ridge")


# --- pooling in extraction ---


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (N_CLIPS, N_FRAMES, 64, 64, 3), dtype=np.uint8)


def extracted(frames, maps, layers=(), network="squeezenet", **settings):
    asked = Network(weights="random", file=None, sha256=None, n_frames=frames.shape[1], seed=1)
    used = SETTINGS.model_copy(update=settings)
    extraction = features.prepare(network, asked, used, frames.shape[1:], layers, maps)
    return extraction, features.extract(extraction, frames)


@pytest.fixture(scope="module")
def whole(frames):
    """Layer -> maps of every frame, (n_clips, n_frames, channels, height, width)."""
    extraction, found = extracted(frames, (), LAYERS)
    return {layer: found[layer].reshape(*frames.shape[:2], *extraction.frame_shapes[layer]) for layer in LAYERS}


def fields_of(pool, n):
    """Rows and columns of each field: (first, last + 1) twice, by the definition of adaptive pooling."""
    if isinstance(pool, Fields):
        groups = [[(first, last + 1) for first, last in group] for group in pool.fields]
    else:
        k = int(pool[3:])
        groups = [[(i * n // k, math.ceil((i + 1) * n / k)) for i in range(k)]]
    return [(rows, columns) for group in groups for rows in group for columns in group]


def pooled_by_hand(maps, pool):
    """maps: (..., channels, height, width); returns (..., channels * n_fields)"""
    of = np.max if str(pool).startswith("max") else np.mean
    parts = [of(maps[..., slice(*r), slice(*c)], axis=(-2, -1)) for r, c in fields_of(pool, maps.shape[-1])]
    return np.stack(parts, axis=-1).reshape(*maps.shape[:-3], -1)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize("over_frames", ["mean", "max", "none"])
@pytest.mark.parametrize("pool", ["max1", "max5", "avg4", OWN], ids=str)
def test_pooled_maps_are_those_of_the_whole_layer(frames, whole, pool, over_frames, memory_format):
    wanted = [FeatureMap(layer, pool, over_frames) for layer in LAYERS]
    extraction, found = extracted(frames, wanted, memory_format=memory_format, batch_size=2)
    assert list(found) == [one.name for one in wanted]  # nothing else is written
    for one in wanted:
        every = pooled_by_hand(whole[one.layer].astype(np.float64), pool)
        expected = {"mean": every.mean(1), "max": every.max(1), "none": every}[over_frames]
        assert found[one.name].shape == extraction.shape(one.name, N_CLIPS) == expected.shape
        np.testing.assert_allclose(found[one.name], expected, atol=1e-6 * np.abs(expected).max())


def test_a_whole_layer_and_its_pooled_map_come_from_one_pass(frames, whole):
    one = FeatureMap(LAYERS[1], "max3", "max")
    extraction, found = extracted(frames, [one, FeatureMap(LAYERS[0], "none", "none")], LAYERS[:1])
    assert list(found) == [LAYERS[0], one.name]  # the second map is the layer itself
    np.testing.assert_allclose(found[LAYERS[0]], whole[LAYERS[0]].reshape(N_CLIPS, N_FRAMES, -1), rtol=1e-6)
    described = {entry["name"]: entry for entry in extraction.to_json()["maps"]}
    assert described[one.name]["n_features"] == found[one.name].shape[1] == 9 * whole[one.layer].shape[2]
    assert FeatureMap.from_json(described[LAYERS[0]]) == FeatureMap(LAYERS[0], "none", "none")


@pytest.mark.parametrize("over_frames", ["max", "none"])
def test_a_whole_layer_and_another_reduction_of_it_are_two_files(frames, whole, over_frames):
    one = FeatureMap(LAYERS[1], "none", "mean")
    extraction, found = extracted(frames, [one], LAYERS[1:], over_frames=over_frames)
    every = whole[LAYERS[1]].reshape(N_CLIPS, N_FRAMES, -1)
    np.testing.assert_allclose(found[LAYERS[1]], every.max(axis=1) if over_frames == "max" else every, rtol=1e-6)
    [described] = extraction.to_json()["maps"]
    assert FeatureMap.from_json(described) == one and described["name"] != LAYERS[1]
    np.testing.assert_allclose(found[described["name"]], every.mean(axis=1), atol=1e-6 * np.abs(every).max())


def test_modules_with_channels_last_are_not_pooled_over_the_wrong_axes():
    clips = np.zeros((1, 4, 64, 64, 3), dtype=np.uint8)
    with pytest.raises(FeaturesError, match=r"features\.2 gives is no map .* name maps\.features\.2"):
        extracted(clips, [FeatureMap("features.2", "max3", "mean")], network="swin3d_t")


@pytest.mark.parametrize(
    ("layer", "pool", "told"),
    [
        ("features.12", "max9", r"features\.12: its map is 3 x 3; expected a grid of at most 3, found max9"),
        ("features.12", Fields(kind="avg", fields=(((1, 7),),)), "a field ends at 7; expected at most 2"),
        ("", "max2", r"classifier\.1: its output is \(4096,\), no map"),
        ("nowhere", "max2", "no layer nowhere"),
    ],
)
def test_maps_that_cannot_be_pooled_so_are_refused_before_any_work(frames, layer, pool, told):
    network, layer = ("squeezenet", layer) if layer else ("alexnet", "classifier.1")
    with pytest.raises(FeaturesError, match=told):
        extracted(frames, [FeatureMap(layer, pool, "mean")], network=network)


def test_clips_pass_a_video_network_whole_and_its_maps_have_times():
    clips = np.random.default_rng(1).integers(0, 256, (2, 3, 48, 48, 3), dtype=np.uint8)
    wanted = [FeatureMap("layer1", pool, over) for pool in ("max3", "none") for over in ("mean", "max", "none")]
    extraction, found = extracted(clips, [*wanted, FeatureMap("fc", "none", "mean")], network="r3d_18")
    spec, seen = extraction.spec, []
    module = _loading.load("r3d_18", spec, extraction.weights)
    module.layer1.register_forward_hook(lambda _module, _inputs, output: seen.append(output.numpy()))
    images = torch.from_numpy(clips).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.interpolate(images, (spec.input_size,) * 2, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (spec.mean, spec.std))
    with torch.inference_mode():
        logits = module(((images - mean) / std).unflatten(0, (2, 3)).transpose(1, 2)).numpy()
    maps = seen[0].swapaxes(1, 2)  # (n_clips, n_times, channels, height, width)
    assert maps.shape[1] == extraction.n_times("layer1") == 3
    for one in wanted:
        every = maps.reshape(*maps.shape[:2], -1) if one.pool == "none" else pooled_by_hand(maps, one.pool)
        expected = {"mean": every.mean(1), "max": every.max(1), "none": every}[one.over_frames]
        assert extraction.shape(one.name, 2) == expected.shape
        np.testing.assert_allclose(found[one.name], expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found["fc"], logits, atol=2e-5 * np.abs(logits).max())


def test_the_digest_of_unfinished_work_knows_the_maps(frames):
    one, other = (extracted(frames[:1], [FeatureMap(LAYERS[1], pool, "mean")])[0] for pool in ("max2", "max3"))
    assert one.digest(frames) != other.digest(frames)
    assert one.digest(frames) == replace(other, maps=one.maps).digest(frames)


# --- rows of several spaces ---


def test_a_space_has_the_pca_that_it_asks_for():
    reduction = params.Reduction(n_components=100, standardize=False, min_spread=None, normalize=True)
    assert pca_of(space(), reduction) is None
    assert pca_of(space(n_components=7), reduction) == reduction.model_copy(update={"n_components": 7})
    scaled = pca_of(space(n_components=7, standardize=True), reduction)
    assert scaled.standardize and scaled.min_spread == 0.05
    own = params.Reduction(n_components=100, standardize=True, min_spread=0.2, normalize=False)
    assert pca_of(space(n_components=7, standardize=True), own).min_spread == 0.2


SPACES = {"a": space(standardize=True), "b": space(pool="max3"), "c": space(n_components=3, standardize=True)}


@pytest.fixture
def given(rng):
    """Spaces of very different sizes; the second is correlated with the first."""
    a = rng.standard_normal((36, 4)) * [1.0, 100.0, 0.01, 3.0]
    b = 50 * (a[:, :1] / 2 + rng.standard_normal((36, 3)))
    return {name: values.astype(np.float32) for name, values in (("a", a), ("b", b), ("c", rng.random((36, 2))))}


@pytest.fixture
def measured(rng, given):
    return (rng.standard_normal((30, 9)) + given["b"][:30, :1] / 50).astype(np.float32)


def run(candidates, given, measured, batch_voxels=4):
    method = fits.Method(RegressorSpec("recorder", Recorder), {"offset": 0.0}, 3, batch_voxels)
    return list(fits.fit(candidates, given, measured, COLUMNS, PART, method, keep_maps=True))


def test_each_is_a_candidate_for_each_space_and_the_others_are_one():
    assert [found.name for found in joint_candidates(SPACES, "each")] == ["a", "b", "c"]
    for together in ("concat", "banded", "stack", "mean"):
        [found] = joint_candidates(SPACES, together)
        assert found.name == together and found.spaces == ("a", "b", "c") and found.standardized == ("a",)
    assert [part.standardized for part in found.members] == [("a",), (), ()]


def test_a_space_for_each_roi_is_a_candidate_and_several_stand_side_by_side_as_they_are(given):
    fixed = {"V1": ("c",), "V2": ("b", "c"), "V3": ("c",)}
    alone, several = joint_candidates(SPACES, "each", fixed)
    assert (alone.name, several.name, several.even) == ("c", "b+c", False)
    assert (alone.rois, several.rois) == (("V1", "V3"), ("V2",))
    X, bands = feature_matrix(several, [given["b"], given["c"]], PART.train)
    np.testing.assert_array_equal(X, np.hstack([given["b"], given["c"]]))
    assert [band.stop - band.start for band in bands] == [given["b"].shape[1], 2]


def test_a_candidate_is_fitted_to_its_own_rois_as_it_would_be_to_all(given, measured):
    ridge = fits.Method(plugins.load("regressors", "ridge"), {"alphas": [0.1, 10.0, 1e3], "per": "voxel"}, 3, 4)
    candidates = joint_candidates(SPACES, "each", {"V1": ("c",), "V2": ("b", "c")})
    found = list(fits.fit(candidates, given, measured, COLUMNS, PART, ridge))
    every = fits.fit([replace(one, rois=()) for one in candidates], given, measured, COLUMNS, PART, ridge)
    v1 = np.repeat([True, False, True], [3, 4, 2])
    for own, whole, where in zip(found, every, (v1, ~v1)):
        for part, values in own.predicted.items():
            np.testing.assert_allclose(values[:, where], whole.predicted[part][:, where], rtol=1e-5, atol=1e-6)
            assert np.isnan(values[:, ~where]).all() and not np.isnan(whole.predicted[part]).any()
    lonely = run([replace(candidates[1], rois=("V2",))], given, measured)  # who tells how many voxels it was given
    assert lonely[0].diagnostics["n_voxels_together"].max() == 4 and len(lonely[0].maps) == 1


@pytest.mark.parametrize("floor", [0.5, 0.0])
def test_a_standardized_space_without_a_pca_has_the_floor_that_a_pca_has(rng, floor):
    """0: plain z-scores, where a feature that does not vary stays as it is, but for its mean."""
    values = (rng.standard_normal((36, 4)) * [0.1, 1.0, 3.0, 0.0] + 0.1).astype(np.float32)
    [candidate] = joint_candidates({"a": SPACES["a"]}, "each", floor=floor)
    X, _ = feature_matrix(candidate, [values], PART.train)
    mean, sd = values[PART.train].mean(axis=0, dtype=float), values[PART.train].std(axis=0, dtype=float)
    spread = np.maximum(sd, 0.5 * np.median(sd[:-1])) if floor else np.append(sd[:-1], 1)
    np.testing.assert_allclose(X, (values - mean) / spread, rtol=1e-4, atol=1e-5)
    settings = params.Reduction(n_components=5, standardize=True, min_spread=floor, normalize=False)
    assert pca_of(replace(SPACES["a"], n_components=3), settings).min_spread == floor


@pytest.mark.parametrize("together", ["concat", "banded"])
def test_spaces_side_by_side_have_one_variance_in_total_on_the_training_clips(given, together):
    [candidate] = joint_candidates(SPACES, together)
    X, bands = feature_matrix(candidate, list(given.values()), PART.train)
    for (name, values), band in zip(given.items(), bands):
        assert X[PART.train][:, band].var(axis=0).sum() == pytest.approx(TOTAL_VARIANCE, rel=1e-5)
        np.testing.assert_allclose(X[PART.train][:, band].mean(axis=0), 0, atol=1e-5)
        spread = values[PART.train].std(axis=0) if name == "a" else np.ones(values.shape[1])
        spread = np.maximum(spread, 0.05 * np.median(spread)) if name == "a" else spread
        ratio = X[:, band] / ((values - values[PART.train].mean(axis=0)) / spread)
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_the_mean_is_that_of_a_model_for_each_space(given, measured):
    [found] = run(joint_candidates(SPACES, "mean"), given, measured)
    for name in ("validation", "test"):
        models = [LinearRegression().fit(values[PART.train], measured[PART.train]) for values in given.values()]
        expected = np.mean([m.predict(values[SPLIT[name]]) for m, values in zip(models, given.values())], axis=0)
        np.testing.assert_allclose(found.predicted[name], expected, atol=1e-4)


def weights_by_hand(given, Y, train):
    """w on the simplex of least out-of-fold error, a voxel's own and the mean over its ROI, by SLSQP for each voxel."""
    residuals = []
    for values in given.values():
        outside = np.empty(Y.shape)
        for held_out in np.array_split(np.arange(len(train)), 3):
            rest = np.setdiff1d(np.arange(len(train)), held_out)
            outside[held_out] = LinearRegression().fit(values[train[rest]], Y[rest]).predict(values[train[held_out]])
        residuals.append(Y - outside)
    R, found, k = np.array(residuals), [], len(given)
    S = np.einsum("jnv,knv->vjk", R, R) / np.square(R).sum(axis=1).min(axis=0)[:, None, None]
    for where in COLUMNS.slices:
        for own in S[where] + S[where].mean(axis=0):
            bounds, together = [(0, 1)] * k, {"type": "eq", "fun": lambda w: w.sum() - 1}
            found.append(minimize(lambda w, T=own: w @ T @ w, np.full(k, 1 / k), bounds=bounds, constraints=together).x)
    return np.array(found)


def test_a_stack_weighs_models_by_predictions_of_clips_in_no_fit(given, measured):
    [found] = run(joint_candidates(SPACES, "stack"), given, measured)
    weights = weights_by_hand(given, measured[PART.train], PART.train)
    assert ((weights > 0.01).sum(axis=1) > 1).any() and weights.std(axis=0).max() > 0.05
    models = [LinearRegression().fit(values[PART.train], measured[PART.train]) for values in given.values()]
    for name in ("validation", "test"):
        each = np.array([m.predict(values[SPLIT[name]]) for m, values in zip(models, given.values())])
        np.testing.assert_allclose(found.predicted[name], np.einsum("snv,vs->nv", each, weights), atol=2e-3)
    told = summary([found.diagnostics])
    for number, name in enumerate(SPACES):
        assert told[f"weight_{name}"]["median"] == pytest.approx(np.median(weights[:, number]), abs=2e-3)
    np.testing.assert_allclose(found.weights, weights, atol=2e-3)
    means = prediction_store.mean_weights(found.weights, list(SPACES), COLUMNS)["mixing_weights"]
    v1 = [np.mean([weights[:3, k].mean(), weights[7:, k].mean()]) for k in range(3)]  # subjects count alike
    assert list(means["V1"].values()) == pytest.approx(v1, abs=2e-3) and list(means) == ["V1", "V2"]
    assert run(joint_candidates(SPACES, "mean"), given, measured)[0].weights is None


def test_batches_do_not_change_the_weights_of_a_stack(given, measured):
    """They are drawn to those of a subject's ROI, however many of its voxels are fitted at once."""
    whole, parts = (run(joint_candidates(SPACES, "stack"), given, measured, n)[0] for n in (100, 2))
    np.testing.assert_allclose(parts.predicted["test"], whole.predicted["test"], atol=1e-5)


def test_what_a_stack_keeps_predicts_what_it_predicted(given, measured):
    [candidate] = joint_candidates(SPACES, "stack")
    [found] = run([candidate], given, measured)
    X, _ = feature_matrix(candidate, list(given.values()), PART.train)
    kept = np.hstack([part(X[SPLIT.test]) for part in found.maps])
    np.testing.assert_array_equal(kept, found.predicted["test"])


@pytest.mark.parametrize(("together", "n"), [("concat", 1), ("stack", 3)])
def test_batches_share_the_training_features_that_their_maps_keep(rng, measured, together, n):
    wide = {name: rng.standard_normal((36, 40)).astype(np.float32) for name in SPACES}
    ridge = fits.Method(plugins.load("regressors", "ridge"), {"alphas": [0.1, 10.0, 1e3], "per": "voxel"}, 3, 2)
    [candidate] = joint_candidates(SPACES, together)
    with parallel_config(backend="threading", n_jobs=2):
        [found] = fits.fit([candidate], wide, measured, COLUMNS, PART, ridge, keep_maps=True)
    kept = [part for own in found.maps for part in (own.maps if together == "stack" else [own])]
    assert len(found.maps) == 5 and len(kept) == 5 * n and len({id(part.X) for part in kept}) == n
    X, _ = feature_matrix(candidate, list(wide.values()), PART.train)
    again = np.hstack([own(X[SPLIT.test]) for own in found.maps])
    np.testing.assert_allclose(again, found.predicted["test"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("together", ["concat", "stack", "mean"])
def test_nothing_of_clips_that_are_predicted_reaches_the_fit(given, measured, together):
    candidates = joint_candidates(SPACES, together)
    before = run(candidates, given, measured)[0].predicted["test"]
    measured[SPLIT.validation] = 1e6
    for values in given.values():
        values[SPLIT.validation] *= 1e3
    np.testing.assert_array_equal(run(candidates, given, measured)[0].predicted["test"], before)

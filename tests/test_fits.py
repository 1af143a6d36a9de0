"""Fits: what reaches the regressor, how results come back together, and that no held-out clip leaks in."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.linear_model import LinearRegression

from cinevox.errors import InputError
from cinevox.fitting import fits
from cinevox.fitting.feature_spaces import Candidate, candidates
from cinevox.fitting.regressors import RegressorSpec
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.measured.responses import Block, Columns
from cinevox.project import plugins
from cinevox.project.params import Splits
from cinevox.statistics.splits import folds, partitions, split

SETTINGS = Splits(scheme="random", validation_fraction=0.2, n_folds=3, n_outer_folds=None, seed=0)
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 4), Block("sub02", "V1", 2)))
SPLIT = split(30, 6, SETTINGS)
[PART] = partitions(SPLIT, SETTINGS)


class Recorder:
    """Least squares by scikit-learn; its diagnostics tell what it was given."""

    def __init__(self, offset=0.0):
        self.offset = offset

    def fit(self, X, Y, *, folds, bands):
        self.model = LinearRegression().fit(X, Y)
        self.diagnostics = {
            "n_voxels_together": np.full(Y.shape[1], float(Y.shape[1])),
            "flag": np.arange(Y.shape[1]) == 0,
        }
        if len(folds) != 3 or bands[-1].stop != X.shape[1]:
            raise AssertionError("folds or bands are not what the contract says")
        coef = self.model.coef_.T.astype(np.float32)
        self.map = LinearMap(np.zeros(X.shape[1]), self.model.intercept_ + self.offset, coef)
        return self


@pytest.fixture
def layers(rng):
    return {name: rng.standard_normal((36, n)).astype(np.float32) for name, n in (("a", 4), ("b", 3))}


@pytest.fixture
def measured(rng):
    return rng.standard_normal((30, 9)).astype(np.float32)


def run(spaces, layers, measured, voxels="batch", batch_voxels=4, offset=0.0):
    spec = RegressorSpec("recorder", Recorder, voxels)
    found = fits.fit(spaces, layers, measured, COLUMNS, PART, fits.Method(spec, {"offset": offset}, 3, batch_voxels))
    return {result.candidate.name: result for result in found}


def test_every_space_is_fitted_on_training_clips_and_predicts_the_others(layers, measured):
    measured *= 100  # the offset, which the regressor adds to responses in their unit, is as much larger
    units = np.repeat([np.median(measured[PART.train][:, s].std(axis=0)) for s in COLUMNS.slices], [3, 4, 2])
    found = run(candidates("layer", ["a", "b"]), layers, measured, offset=1.0)
    assert list(found) == ["a", "b"]
    for name, result in found.items():
        model = LinearRegression().fit(layers[name][PART.train], measured[PART.train])
        for part in ("validation", "test"):
            expected = model.predict(layers[name][SPLIT[part]]) + units
            np.testing.assert_allclose(result.predicted[part], expected, atol=1e-3)


def test_held_out_responses_and_features_do_not_reach_the_fit(layers, measured):
    spaces = candidates("all_poly2", ["a", "b"])
    before = run(spaces, layers, measured)["a+b"].predicted["test"]
    measured[SPLIT.validation] = 1e6
    for layer in layers.values():
        layer[SPLIT.validation] *= 1e3
    np.testing.assert_array_equal(run(spaces, layers, measured)["a+b"].predicted["test"], before)


@pytest.mark.parametrize(("voxels", "together"), [("batch", [4, 4, 1]), ("roi", [3, 4, 2]), ("all", [9])])
def test_batches_bound_the_voxels_or_follow_the_rois_or_are_one(layers, measured, voxels, together):
    (result,) = run([Candidate("a", ("a",))], layers, measured, voxels).values()
    told = fits.summary([result.diagnostics])
    assert told["flag"] == len(together)
    assert told["n_voxels_together"]["max"] == max(together)
    assert result.predicted["test"].shape == (6, 9)


def test_batches_and_neighbours_do_not_change_the_unit_of_a_block(layers, measured):
    """Units are of an ROI of one subject: neither how many voxels are fitted at once nor other ROIs' sizes matter."""
    measured *= np.repeat(np.float32([1e-3, 1, 1e3]), [3, 4, 2])
    ard = plugins.load("regressors", "sparse_linear")
    options = {"max_iterations": 300, "tolerance": 1e-3, "threshold": 1e4}
    whole, parts = (
        next(fits.fit([Candidate("a", ("a",))], layers, measured, COLUMNS, PART, fits.Method(ard, options, 3, size)))
        for size in (100, 2)
    )
    np.testing.assert_allclose(whole.predicted["test"], parts.predicted["test"], rtol=1e-6)
    assert fits.summary([whole.diagnostics]) == fits.summary([parts.diagnostics])
    assert whole.diagnostics["empty"].sum() < 9
    blocks = [slice(0, 3), slice(3, 7), slice(7, 9)]
    for block, where in zip(COLUMNS.blocks, blocks):
        alone = fits.fit(
            [Candidate("a", ("a",))],
            layers,
            measured[:, where],
            Columns((block,)),
            PART,
            fits.Method(ard, options, 3, 100),
        )
        np.testing.assert_allclose(next(alone).predicted["test"], whole.predicted["test"][:, where], rtol=1e-5)


def test_one_alpha_is_chosen_for_a_region_whatever_the_batches(layers, measured):
    ridge = plugins.load("regressors", "ridge")
    options = {"alphas": [0.1, 1.0, 10.0, 1e3], "per": "roi"}
    method = fits.Method(ridge, options, 3, 2)
    assert method.batches(COLUMNS) == list(COLUMNS.slices)
    (found,) = fits.fit([Candidate("a", ("a",))], layers, measured, COLUMNS, PART, method, keep_maps=True)
    for where, kept in zip(COLUMNS.slices, found.maps):
        X, Y = layers["a"][PART.train], measured[PART.train][:, where]
        alone = ridge.build(options).fit(X, Y, folds=folds(len(X), 3), bands=[slice(0, 4)])
        np.testing.assert_allclose(kept(layers["a"][30:]), alone.predict(layers["a"][30:]), rtol=1e-5)
        assert len(set(alone.diagnostics["alpha"])) == 1


def test_workers_do_not_change_the_numbers(layers, measured):
    spaces = candidates("pair", ["a", "b"])
    alone = run(spaces, layers, measured)["a+b"].predicted["test"]
    with parallel_config(backend="threading", n_jobs=3):
        np.testing.assert_array_equal(run(spaces, layers, measured)["a+b"].predicted["test"], alone)


def test_polynomial_terms_are_products_scaled_on_training_clips(layers):
    X, bands = fits.feature_matrix(Candidate("a", ("a",), degree=2), [layers["a"]], PART.train)
    a = layers["a"]
    products = np.column_stack([a] + [a[:, i] * a[:, j] for i in range(4) for j in range(i, 4)])
    trained = products[PART.train]
    np.testing.assert_allclose(X, (products - trained.mean(axis=0)) / trained.std(axis=0), atol=1e-4)
    assert bands == (slice(0, 14),)


def test_a_polynomial_term_that_hardly_varies_is_not_blown_up(layers):
    """Two features that are active together in a test clip, and hardly in one training clip: 2e-6 is their product."""
    a = layers["a"].copy()
    a[:, :2] = 0
    a[PART.train[3], :2], a[33, :2] = [2e-6, 1.0], 1.0
    X, _ = fits.feature_matrix(Candidate("a", ("a",), degree=2), [a], PART.train)
    products = np.column_stack([a] + [a[:, i] * a[:, j] for i in range(4) for j in range(i, 4)])
    sd = products[PART.train].std(axis=0)
    floor = 0.05 * np.median(sd[sd > 1e-5])
    expected = (products - products[PART.train].mean(axis=0)) / np.maximum(sd, floor)
    np.testing.assert_allclose(X, expected, atol=1e-4)
    assert np.abs(X).max() < 100


def test_layers_stand_side_by_side_one_band_each(layers):
    X, bands = fits.feature_matrix(Candidate("a+b", ("a", "b")), [layers["a"], layers["b"]], PART.train)
    np.testing.assert_array_equal(X[:, bands[0]], layers["a"])
    np.testing.assert_array_equal(X[:, bands[1]], layers["b"])


def test_a_single_raw_layer_is_passed_through_without_a_copy(layers):
    X, _ = fits.feature_matrix(Candidate("a", ("a",), raw=True), [layers["a"]], PART.train)
    assert np.shares_memory(X, layers["a"])


def test_too_many_features_are_refused_before_the_first_fit(layers, measured):
    spec = RegressorSpec("recorder", Recorder, max_features=13)
    spaces = [Candidate("b", ("b",), degree=2), Candidate("a", ("a",), degree=2)]  # 9 and 14 features
    with pytest.raises(InputError, match=r"recorder takes at most 13 features, and 1 of 2 .*: a 14\. Take no products"):
        fits.fit(spaces, layers, measured, COLUMNS, PART, fits.Method(spec, {}, 3, 4))


def test_the_cure_of_too_many_features_is_one_of_the_row():
    sizes, lasso = {"a": 30_000, "b": 100}, plugins.load("regressors", "lasso")
    best = fits.Method(plugins.load("regressors", "best"), {"candidates": {"ridge": {}, "lasso": {}}}, 3, 4)
    together = Candidate("stack", ("a", "b"), combine="stack")
    for candidate, cure in (
        (Candidate("a", ("a",), raw=True), "Take components: the row's word without _raw"),
        (Candidate("b", ("b",), degree=3), "Take no products .*, or fewer components"),
        (Candidate("concat", ("a", "b"), even=True), r"n_components of the spaces, .*pool of the spaces"),
        (together, r"1 of 2 candidates have more: a 30,000\. .*pool of the spaces"),
    ):
        for method in (fits.Method(lasso, {}, 3, 4), best):
            with pytest.raises(InputError, match=rf"at most 10,000 features, .*{cure}.*, or take a regressor for any"):
                fits.check_sizes([candidate], sizes, method)
    fits.check_sizes([together], sizes, fits.Method(plugins.load("regressors", "ridge"), {}, 3, 4))

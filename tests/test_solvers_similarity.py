"""Representational similarity encoding against its formula, clip by clip."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from cinevox.fitting.regressors._solvers.similarity import center_and_weight, cosines, recentred, weighted_products
from regression_problems import fitted, problem


def res_by_loop(X, Y, new, spread=1.0):
    predictions = []
    for clip in new:
        about = (clip - X.mean(axis=0)) / spread
        similarity = np.array([1 - cosine(about, (row - X.mean(axis=0)) / spread) for row in X])
        weights = similarity / np.abs(similarity).sum()
        predictions.append(Y.mean(axis=0) + weights @ (Y - Y.mean(axis=0)))
    return np.array(predictions)


@pytest.mark.parametrize("kind", ["whitened", "correlated", "wide"])
def test_res_is_its_formula(kind):
    X, Y = problem(kind)
    new = problem(kind, seed=1)[0][:15]
    np.testing.assert_allclose(fitted("res", X, Y).predict(new), res_by_loop(X, Y, new), atol=1e-5)
    expected = res_by_loop(X, Y, new, X.std(axis=0))
    np.testing.assert_allclose(fitted("res", X, Y, normalize=True).predict(new), expected, atol=1e-5)


def test_similarities_of_all_components_are_those_of_the_features(rng):
    X = rng.standard_normal((30, 12)) @ rng.standard_normal((12, 12)) + 5
    Y = rng.standard_normal((30, 4))
    U, S, Vt = np.linalg.svd(X[:25] - X[:25].mean(axis=0), full_matrices=False)
    components = (X - X[:25].mean(axis=0)) @ Vt.T
    expected = fitted("res", X[:25], Y[:25]).predict(X[25:])
    np.testing.assert_allclose(fitted("res", components[:25], Y[:25]).predict(components[25:]), expected, atol=1e-6)


def test_res_streams_a_memory_map(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("cinevox.fitting.regressors._solvers.similarity.BLOCK_FEATURES", 100)
    raw = np.abs(rng.standard_normal((50, 1234))).astype(np.float32)
    np.save(tmp_path / "raw.npy", raw)
    X, Y = np.load(tmp_path / "raw.npy", mmap_mode="r"), rng.standard_normal((50, 6))
    prediction = fitted("res", X[:40], Y[:40]).predict(X[40:])
    np.testing.assert_allclose(
        prediction, res_by_loop(raw[:40].astype(float), Y[:40], raw[40:].astype(float)), atol=1e-5
    )


def about_mean(X):
    centred = X - X.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit @ unit.T


def similarity(X):
    center, weight = center_and_weight(X, normalize=False)
    return cosines(X, X, center, weight)


def test_far_means_lose_no_precision(rng):
    far = (rng.standard_normal((20, 5000)) + 1000).astype(np.float32)
    np.testing.assert_allclose(similarity(far), about_mean(far.astype(float)), atol=1e-4)


def test_half_precision_features_are_not_multiplied_in_it(rng):
    half = (300 * rng.random((20, 5000))).astype(np.float16)
    np.testing.assert_allclose(similarity(half), about_mean(half.astype(float)), atol=1e-5)


def test_blocks_do_not_matter(rng, monkeypatch):
    X = rng.standard_normal((30, 300)) + 5
    center, weight = center_and_weight(X, normalize=True)
    np.testing.assert_allclose([center, weight], [X.mean(axis=0), 1 / X.std(axis=0)], rtol=1e-12)
    whole = cosines(X[:20], X, center, weight)
    np.testing.assert_allclose(whole, about_mean(X / X.std(axis=0))[:20], atol=1e-12)
    monkeypatch.setattr("cinevox.fitting.regressors._solvers.similarity.BLOCK_FEATURES", 7)
    np.testing.assert_array_equal(center_and_weight(X, normalize=True), [center, weight])
    np.testing.assert_allclose(cosines(X[:20], X, center, weight), whole, atol=1e-12)


def test_a_folds_similarities_are_about_the_mean_of_its_clips(rng):
    X = rng.standard_normal((30, 8)) + 2
    products = weighted_products(X, X, X.mean(axis=0), np.ones(8))[0]
    rows = np.arange(4, 30)
    centred = X - X[rows].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(recentred(products, rows), unit @ unit.T, atol=1e-12)


def test_a_feature_that_hardly_varied_does_not_decide_alone(rng):
    """With float noise in training clips, and a value in a new one, its z-score would be a million."""
    X, Y = rng.standard_normal((60, 20)), rng.standard_normal((60, 3))
    X[:, 7] = 1e-6 * rng.standard_normal(60)
    X[:, 8] = 0.5
    new = rng.standard_normal((5, 20))
    new[:, 7:9] = 1.0
    weight = center_and_weight(X, normalize=True)[1]
    assert 50 < weight[7] < 200
    assert weight[8] == 0
    predicted = fitted("res", X, Y, normalize=True).predict(new)
    assert np.isfinite(predicted).all()


def test_a_clip_at_the_mean_is_like_none_and_predicted_by_the_mean():
    X, Y = problem("whitened")
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    for normalize in (False, True):
        prediction = fitted("res", X, Y, normalize=normalize).predict(np.array([X.mean(axis=0)] * 2))
        np.testing.assert_allclose(prediction, np.broadcast_to(Y.mean(axis=0), prediction.shape), rtol=1e-5)


def test_features_that_never_vary_predict_the_mean():
    _, Y = problem("whitened")
    for normalize in (False, True):
        prediction = fitted("res", np.full((90, 3), 0.1), Y, normalize=normalize).predict(np.full((2, 3), 0.1))
        np.testing.assert_allclose(prediction, np.broadcast_to(Y.mean(axis=0), prediction.shape), rtol=1e-6)

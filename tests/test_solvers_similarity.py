"""Representational similarity encoding against its formula, clip by clip."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from cinevox.errors import InputError
from cinevox.regressors._solvers.similarity import pearson_kernel
from regression_problems import fitted, problem


def res_by_loop(X, Y, new):
    predictions = []
    for clip in new:
        similarity = np.array([pearsonr(clip, row).statistic for row in X])
        weights = similarity / np.abs(similarity).sum()
        predictions.append(Y.mean(axis=0) + weights @ (Y - Y.mean(axis=0)))
    return np.array(predictions)


@pytest.mark.parametrize("kind", ["whitened", "correlated", "wide"])
def test_res_is_its_formula(kind):
    X, Y = problem(kind)
    new = problem(kind, seed=1)[0][:15]
    np.testing.assert_allclose(fitted("res", X, Y).predict(new), res_by_loop(X, Y, new), atol=1e-5)


def test_res_streams_a_memory_map(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("cinevox.regressors._solvers.similarity.BLOCK_FEATURES", 100)
    raw = np.abs(rng.standard_normal((50, 1234))).astype(np.float32)
    np.save(tmp_path / "raw.npy", raw)
    X, Y = np.load(tmp_path / "raw.npy", mmap_mode="r"), rng.standard_normal((50, 6))
    prediction = fitted("res", X[:40], Y[:40]).predict(X[40:])
    np.testing.assert_allclose(
        prediction, res_by_loop(raw[:40].astype(float), Y[:40], raw[40:].astype(float)), atol=1e-5
    )


def test_far_means_lose_no_precision(rng):
    far = (rng.standard_normal((20, 5000)) + 1000).astype(np.float32)
    np.testing.assert_allclose(pearson_kernel(far, far), np.corrcoef(far.astype(float)), atol=1e-5)


def test_half_precision_features_are_not_multiplied_in_it(rng):
    half = (300 * rng.random((20, 5000))).astype(np.float16)
    np.testing.assert_allclose(pearson_kernel(half, half), np.corrcoef(half.astype(float)), atol=1e-5)


def test_blocks_do_not_matter(rng, monkeypatch):
    A, B = rng.standard_normal((20, 300)), rng.standard_normal((30, 300)) + 5
    whole = pearson_kernel(A, B)
    np.testing.assert_allclose(whole, np.corrcoef(A, B)[:20, 20:], atol=1e-12)
    monkeypatch.setattr("cinevox.regressors._solvers.similarity.BLOCK_FEATURES", 7)
    np.testing.assert_allclose(pearson_kernel(A, B), whole, atol=1e-12)


def test_a_clip_without_contrast_is_like_none_and_predicted_by_the_mean():
    X, Y = problem("whitened")
    prediction = fitted("res", X, Y).predict(np.full((2, 12), 0.1))
    np.testing.assert_allclose(prediction, np.broadcast_to(Y.mean(axis=0), prediction.shape), rtol=1e-6)


def test_one_feature_is_refused():
    X, Y = problem("one_feature")
    with pytest.raises(InputError, match="across 1 features; expected at least 2"):
        fitted("res", X, Y).predict(X)

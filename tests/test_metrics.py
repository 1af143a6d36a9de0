"""Scores against scipy and closed forms; the bootstrap against resampling one by one."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from cinevox.statistics import metrics


def test_correlation_is_scipys_and_zero_where_nothing_varies(rng):
    x, y = rng.standard_normal((2, 40, 5)) + 3
    y[:, 1] = x[:, 1] * -2 + 7
    x[:, 2] = 0.3
    y[:, 3] = 0
    expected = [stats.pearsonr(x[:, v], y[:, v]).statistic if v not in (2, 3) else 0 for v in range(5)]
    np.testing.assert_allclose(metrics.correlation_score(x, y), expected, atol=1e-12)
    assert metrics.is_constant(x).tolist() == [False, False, True, False, False]


def test_correlation_of_float32_with_a_large_mean_is_not_lost_to_rounding(rng):
    x = rng.standard_normal((50, 3))
    y = x + rng.standard_normal((50, 3))
    shifted = (x + 1000).astype(np.float32)
    np.testing.assert_allclose(metrics.correlation_score(shifted, y), metrics.correlation_score(x, y), atol=1e-3)


def test_correlation_names_the_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\).*n_stimuli, n_voxels"):
        metrics.correlation_score(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least 2 stimuli; there are 1"):
        metrics.correlation_score(np.zeros((1, 2)), np.zeros((1, 2)))


def test_many_voxels_are_scored_in_batches_as_in_one(rng, monkeypatch):
    x, y = rng.standard_normal((2, 12, 23))
    whole = metrics.correlation_score(x, y)
    monkeypatch.setattr(metrics, "_batches", lambda n, size=5: (slice(i, i + 5) for i in range(0, n, 5)))
    np.testing.assert_array_equal(metrics.correlation_score(x, y), whole)


def official_reliability(values):
    """The challenge's recipe, split by split: 10 repetitions, halves of 5, Spearman-Brown, mean."""
    n = values.shape[1]
    found = []
    for half in combinations(range(n), n // 2):
        if 0 not in half:
            continue
        rest = [r for r in range(n) if r not in half]
        a, b = values[:, list(half)].mean(axis=1), values[:, rest].mean(axis=1)
        rho = np.array([np.corrcoef(a[:, v], b[:, v])[0, 1] for v in range(values.shape[2])])
        found.append(2 * rho / (1 + rho))
    return np.mean(found, axis=0), len(found)


@pytest.mark.parametrize(("n_repetitions", "n_splits"), [(2, 1), (4, 3), (10, 126)])
def test_reliability_of_even_repetitions_is_the_official_recipe(rng, n_repetitions, n_splits):
    values = rng.standard_normal((30, 1, 4)) * [0, 0.5, 1, 2] + rng.standard_normal((30, n_repetitions, 4))
    expected, count = official_reliability(values)
    assert count == n_splits
    np.testing.assert_allclose(metrics.split_half_reliability(values), expected, atol=1e-10)


@pytest.mark.parametrize("n_repetitions", [2, 3, 5, 10])
def test_reliability_recovers_signal_over_signal_and_noise(n_repetitions):
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((4000, 1, 60)) * np.sqrt(0.2)
    values = signal + rng.standard_normal((4000, n_repetitions, 60))
    true = 0.2 / (0.2 + 1 / n_repetitions)
    assert metrics.split_half_reliability(values).mean() == pytest.approx(true, abs=0.006)


def test_reliability_of_a_constant_voxel_is_zero_and_of_exact_copies_one(rng):
    values = np.repeat(rng.standard_normal((20, 1, 2)), 3, axis=1)
    values[:, :, 0] = 4
    np.testing.assert_allclose(metrics.split_half_reliability(values), [0, 1], atol=1e-5)


def test_reliability_needs_two_repetitions():
    with pytest.raises(ValueError, match="at least 2 repetitions of 2 stimuli; there are 1 of 9"):
        metrics.split_half_reliability(np.zeros((9, 1, 2)))


def test_ceiling_policies_for_voxels_of_little_reliability():
    reliability = np.array([0.64, 0.1, 0.0999, -0.3])
    ceiling, scored = metrics.noise_ceiling(reliability, "exclude", 0.1)
    np.testing.assert_allclose(ceiling, [0.8, np.sqrt(0.1), np.nan, np.nan])
    assert scored.tolist() == [True, True, False, False]
    ceiling, scored = metrics.noise_ceiling(reliability, "floor", 0.1)
    np.testing.assert_allclose(ceiling, [0.8, *[np.sqrt(0.1)] * 3])
    assert scored.all()
    ceiling, scored = metrics.noise_ceiling(np.array([0.0004, 0.0, -0.3]), "exclude", 0.0)  # no threshold
    np.testing.assert_allclose(ceiling, [0.02, np.nan, np.nan])
    assert scored.tolist() == [True, False, False]


def test_normalized_score_is_not_clipped(rng):
    x = rng.standard_normal((30, 1))
    assert metrics.normalized_correlation_score(x, x, np.array([0.5]))[0] == pytest.approx(2)


def test_bootstrap_equals_resampling_clip_by_clip(rng):
    n, v, b = 25, 7, 9
    x, y = rng.standard_normal((2, n, v))
    y[:, 4] = 1.0  # never varies: 0 in every resample
    weights = rng.random((v, 2))
    counts = metrics.resampled_clips(n, b, rng)
    assert (counts.sum(axis=1) == n).all()
    expected = np.empty((b, 2))
    for k in range(b):
        rows = np.repeat(np.arange(n), counts[k].astype(int))
        r = [0 if i == 4 else stats.pearsonr(x[rows, i], y[rows, i]).statistic for i in range(v)]
        expected[k] = np.array(r) @ weights
    np.testing.assert_allclose(metrics.bootstrap_means(x, y, weights, counts), expected, atol=1e-10)


def test_reliability_is_the_same_bits_whatever_the_order_in_memory(rng):
    values = rng.standard_normal((40, 3, 5000)).astype(np.float32)
    expected = metrics.split_half_reliability(values)
    for same in (np.asfortranarray(values), np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, 0)), 0, 1)):
        np.testing.assert_array_equal(metrics.split_half_reliability(same), expected)


def test_ceilings_are_those_of_every_split():
    reliability = {"validation": np.array([0.04, 0.25]), "test": np.array([0.81, -0.2])}
    found = metrics.noise_ceilings(reliability, ["validation", "test"], "exclude", 0.1)
    assert list(found) == ["validation", "test"]
    np.testing.assert_allclose(found["validation"], [np.nan, 0.5])
    np.testing.assert_allclose(found["test"], [0.9, np.nan])


def test_a_split_without_repetitions_has_no_ceiling_and_is_scored_in_plain_correlations():
    found = metrics.noise_ceilings({"test": np.array([0.81])}, ["validation", "test"], "exclude", 0.1)
    assert found["validation"] is None and found["test"] == pytest.approx([0.9])
    assert [metrics.measure_of(ceiling) for ceiling in found.values()] == [
        "plain correlation",
        "normalized correlation",
    ]

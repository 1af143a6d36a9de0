"""Tests of chance against naive loops and scipy, and on data without signal: 5 % stays 5 %."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from cinevox.statistics import significance
from cinevox.statistics.significance import (
    chance_of_mean,
    false_discovery_rate,
    permutation_test,
    permuted_clips,
    sign_flip_test,
)
from crossed import cross_predicted


def plausible(count, n, rate):
    """Whether so many of n independent trials are what a rate gives, but for one case in a thousand."""
    return stats.binomtest(int(count), n, rate).pvalue > 1e-3


def r_by_strata(measured, predicted):
    return np.mean([[pearson(*pair) for pair in zip(x.T, y.T)] for x, y in zip(measured, predicted)], axis=0)


def pearson(x, y):
    return stats.pearsonr(x, y).statistic if np.ptp(x) and np.ptp(y) else 0.0


@pytest.mark.parametrize("strata", [(21,), (12, 9)])
def test_permutations_are_those_of_a_loop_with_scipy(rng, strata):
    x = [rng.standard_normal((n, 6)) for n in strata]
    y = [part + 2 * rng.standard_normal(part.shape) for part in x]
    y[0][:, 3] = 7.0
    weights = rng.random((6, 2)) * (rng.random((6, 2)) < 0.8)
    orders = permuted_clips(strata, 60, rng)
    found = permutation_test(x, y, weights, orders)
    observed, starts = r_by_strata(x, y), np.cumsum([0, *strata])
    wider = np.sqrt(2) if len(strata) > 1 else 1  # folds that cross: see test_folds_that_predict_each_other
    null = np.array(
        [wider * r_by_strata([part[order[a : a + len(part)] - a] for part, a in zip(x, starts)], y) for order in orders]
    )
    np.testing.assert_allclose(found.p, (1 + (null >= observed).sum(axis=0)) / 61, rtol=1e-12)
    np.testing.assert_allclose(
        found.p_familywise, (1 + (null.max(axis=1)[:, None] >= observed).sum(axis=0)) / 61, rtol=1e-12
    )
    np.testing.assert_allclose(found.null_means, null @ weights, atol=1e-6)


def test_clips_stay_in_their_stratum_and_every_order_is_as_likely():
    orders = permuted_clips((3, 4), 6000, np.random.default_rng(2))
    assert (np.sort(orders, axis=1) == np.arange(7)).all()
    assert orders[:, :3].max() == 2
    _, counts = np.unique(orders[:, :3], axis=0, return_counts=True)
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_a_voxel_that_does_not_vary_has_p_one(rng):
    x, y = rng.standard_normal((2, 30, 4))
    x[:, 1], y[:, 2] = 0.1, -3.0
    found = permutation_test([x], [y], np.eye(4), permuted_clips((30,), 99, rng))
    assert (found.p[[1, 2]] == 1).all() and (found.p_familywise[[1, 2]] == 1).all()
    assert (found.null_means[:, [1, 2]] == 0).all()


def test_voxels_of_many_passes_are_those_of_one(rng):
    x, y = rng.standard_normal((2, 25, 2 * significance.WIDTH + 5))
    orders = permuted_clips((25,), 200, rng)
    whole = permutation_test([x], [y], np.ones((x.shape[1], 1)), orders)
    for voxel in (0, significance.WIDTH, x.shape[1] - 1):
        alone = permutation_test([x[:, [voxel]]], [y[:, [voxel]]], np.ones((1, 1)), orders)
        assert alone.p == whole.p[voxel] == alone.p_familywise


def test_orders_that_exchange_equal_responses_count_as_equal(rng):
    x, y = (rng.random((2, 20, 300)) < 0.5).astype(np.float32)
    orders = permuted_clips((20,), 199, rng)
    hits = x.sum(axis=0), y.sum(axis=0), np.array([(x[order] * y).sum(axis=0) for order in orders])  # whole numbers
    expected = (1 + (hits[2] >= (x * y).sum(axis=0)).sum(axis=0)) / 200
    constant = (np.ptp(x, axis=0) == 0) | (np.ptp(y, axis=0) == 0)
    found = permutation_test([x], [y], np.ones((300, 1)), orders).p
    np.testing.assert_allclose(found[~constant], expected[~constant])


def test_false_discovery_rates_are_scipys_and_leave_the_unknown_out():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(false_discovery_rate(p), [0.04, np.nan, 4 / 3 * 0.04, 4 / 3 * 0.04, 0.5])
    known = np.isfinite(p)
    np.testing.assert_allclose(false_discovery_rate(p)[known], stats.false_discovery_control(p[known]))
    assert np.isnan(false_discovery_rate(np.full(3, np.nan))).all()
    assert false_discovery_rate(np.array([])).shape == (0,)
    for n in (1, 2, 50):
        p = np.random.default_rng(n).integers(0, 21, n) / 20  # with ties, 0 and 1
        np.testing.assert_array_equal(false_discovery_rate(p), stats.false_discovery_control(p))


def t_over_subjects(values, axis):
    return np.mean(values, axis) / np.std(values, axis, ddof=1) * np.sqrt(np.shape(values)[axis])


def test_flipped_signs_are_scipys(rng):
    values = rng.standard_normal((7, 5)) + 0.5
    found = sign_flip_test(values, rng)
    np.testing.assert_allclose(found.t, stats.ttest_1samp(values, 0).statistic)
    for place in range(5):
        expected = stats.permutation_test(
            (values[:, place],), t_over_subjects, permutation_type="samples", alternative="greater", n_resamples=np.inf
        )
        assert found.p[place] == pytest.approx(expected.pvalue, abs=1e-12)
    flips = np.array(list(product((1, -1), repeat=7)))
    maxima = np.array([t_over_subjects(values * signs[:, None], 0).max() for signs in flips])
    np.testing.assert_allclose(found.p_familywise, [(maxima >= t - 1e-9).mean() for t in found.t])


def test_a_subject_without_a_value_is_left_out_where_it_has_none(rng):
    values = rng.standard_normal((6, 5)) + 1
    values[[0, 3], 1] = np.nan
    values[1:, 2] = np.nan
    values[:, 3] = 0
    found = sign_flip_test(values, rng)
    alone = sign_flip_test(values[np.isfinite(values[:, 1])][:, [1]], rng)
    assert found.p[1] == alone.p[0]
    assert found.t[1] == pytest.approx(stats.ttest_1samp(values[:, 1], 0, nan_policy="omit").statistic)
    for part in (found.t, found.p, found.p_familywise):
        assert np.isnan(part).tolist() == [False, False, True, True, False]
    assert np.isnan(sign_flip_test(np.full((4, 2), np.nan), rng).p).all()


@pytest.mark.parametrize("spread", [0, 1e-9, 1e-6, 1e-3])
def test_subjects_that_agree_reach_the_smallest_p_and_not_zero(rng, spread):
    values = 0.3 + spread * rng.standard_normal((9, 50))
    found = sign_flip_test(values, rng)
    assert (found.p == 1 / 2**9).all() and (found.p_familywise == 1 / 2**9).all()
    assert (sign_flip_test(-values, rng).p == 1).all()


def test_beyond_twelve_subjects_flips_are_drawn():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((20, 30)) + 0.2
    found = sign_flip_test(values, rng)
    expected = stats.ttest_1samp(values, 0, alternative="greater").pvalue
    np.testing.assert_allclose(found.p, expected, atol=0.03)
    assert (sign_flip_test(values + 9, rng).p == 1 / (significance.MOST_FLIPS + 1)).all()


def correlated(rng, n, n_voxels, reach=4):
    """Smooth over voxels: neighbours share most of what they do."""
    kernel = np.exp(-0.5 * (np.arange(-3 * reach, 3 * reach + 1) / reach) ** 2)
    noise = rng.standard_normal((n, n_voxels + len(kernel) - 1))
    return np.lib.stride_tricks.sliding_window_view(noise, len(kernel), axis=1) @ kernel


def families(n_families, rng, n_clips=30, n_voxels=24, n_permutations=199):
    """Permutation tests of predictions that know nothing; voxels and predictions are smooth."""
    weights = np.full((n_voxels, 1), 1 / n_voxels)
    for _ in range(n_families):
        x, y = correlated(rng, n_clips, n_voxels), correlated(rng, n_clips, n_voxels)
        yield x, y, permutation_test([x], [y], weights, permuted_clips((n_clips,), n_permutations, rng))


@pytest.fixture(scope="module")
def null_families():
    return list(families(600, np.random.default_rng(11)))


def test_without_signal_five_of_a_hundred_voxels_pass_at_five_percent(null_families):
    p = np.array([test.p for _, _, test in null_families])
    for alpha in (0.05, 0.1, 0.5):
        assert plausible((p[:, 7] <= alpha).sum(), len(p), alpha)  # one voxel of each family: independent
        assert (p <= alpha).mean() == pytest.approx(alpha, rel=0.15)


def test_without_signal_five_of_a_hundred_families_have_a_voxel_that_passes(null_families):
    passed = [(test.p_familywise <= 0.05).any() for _, _, test in null_families]
    assert plausible(sum(passed), len(passed), 0.05)
    uncorrected = [(test.p <= 0.05).any() for _, _, test in null_families]
    assert np.mean(uncorrected) > 0.2  # what the correction is for


def test_without_signal_false_discoveries_are_as_rare_as_promised(null_families):
    """All discoveries are false, so their rate is the chance of any: at most q, less where voxels go together."""
    passed = [(false_discovery_rate(test.p) <= 0.05).any() for _, _, test in null_families]
    assert sum(passed) <= stats.binom.ppf(0.999, len(passed), 0.05)


def test_without_signal_a_regions_p_is_uniform(null_families):
    p = [
        chance_of_mean(r_mean, test.null_means[:, 0])
        for x, y, test in null_families
        for r_mean in [(stats.zscore(x) * stats.zscore(y)).mean()]
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.isnan(chance_of_mean(np.nan, np.ones(3)))
    assert chance_of_mean(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4


def test_signal_passes_among_silent_voxels_and_few_silent_ones_do():
    rng, wrong, found = np.random.default_rng(5), 0, []
    for _ in range(60):
        x, y = correlated(rng, 60, 40, 2), correlated(rng, 60, 40, 2)
        y[:, :10] += 3 * x[:, :10]
        test = permutation_test([x], [y], np.ones((40, 1)), permuted_clips((60,), 199, rng))
        found.append((test.p_familywise[:10] <= 0.05).mean())
        wrong += (test.p_familywise[10:] <= 0.05).any()
    assert np.mean(found) > 0.9
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.parametrize("n_folds", [3, 5])
def test_folds_that_predict_each_other_pass_no_more_often(n_folds, monkeypatch):
    """Folds share products of their responses; permuting within them as if they did not lets 12 of 100 pass."""
    rng, each, any_of, naive = np.random.default_rng(6), [], [], []
    for _ in range(80):
        x, y = rng.standard_normal((60, 10)), rng.standard_normal((60, 25))
        measured, predicted = cross_predicted(x, y, n_folds)
        orders = permuted_clips([len(part) for part in measured], 99, rng)
        test = permutation_test(measured, predicted, np.ones((25, 1)), orders)
        each.append((test.p <= 0.05).mean())
        any_of.append((test.p_familywise <= 0.05).any())
        monkeypatch.setattr(significance, "CROSSED", 1.0)
        naive.append((permutation_test(measured, predicted, np.ones((25, 1)), orders).p <= 0.05).mean())
        monkeypatch.undo()
    assert 0.03 < np.mean(each) < 0.06
    assert sum(any_of) <= stats.binom.ppf(0.999, len(any_of), 0.05)
    assert np.mean(naive) > 0.09


def test_without_signal_five_of_a_hundred_groups_of_subjects_pass():
    rng = np.random.default_rng(8)
    each, any_of = [], []
    for _ in range(500):
        values = correlated(rng, 8, 15) * rng.uniform(0.2, 3, (8, 1))  # subjects vary unequally
        test = sign_flip_test(values, rng)
        each.append(test.p[4] <= 0.05)
        any_of.append((test.p_familywise <= 0.05).any())
    assert plausible(sum(each), 500, 12 / 256)  # 256 flips: the largest multiple of 1/256 under 5 %
    assert plausible(sum(any_of), 500, 12 / 256)

"""Estimators of reliability against naive loops, and against a truth that is known."""

import numpy as np
import pytest

from cinevox.measured import ceiling
from cinevox.measured.responses import Responses
from cinevox.project.params import ImportedCeiling
from cinevox.statistics import metrics, reliability
from cinevox.statistics.reliability import METHODS
from test_repetitions import PATTERNS, without

UNBIASED = [name for name in METHODS if name != "ncsnr"]  # it is never negative


def trials(rng, n_stimuli, n_repetitions, true, n_voxels=1, shared=0.0):
    """Responses whose means over repetitions have this reliability; voxels share a part of the signal and the noise."""
    own = rng.standard_normal((n_stimuli, n_repetitions + 1, n_voxels))
    common = rng.standard_normal((n_stimuli, n_repetitions + 1, 1))
    parts = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return parts[:, :1] + np.sqrt(n_repetitions * (1 - true) / true) * parts[:, 1:]


@pytest.fixture
def few(rng):
    """Twelve stimuli with 1 to 4 repetitions, at any of the four places."""
    values = trials(rng, 12, 4, 0.6, 5) + 3
    missing = rng.permuted(np.arange(4) >= np.array([1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4])[:, None], axis=1)
    return without(values, missing)


def lists(values, voxel):
    """Return the trials of each stimulus that are there."""
    return [[float(y) for y in stimulus if not np.isnan(y)] for stimulus in values[:, :, voxel]]


def by_definition(values, voxel):
    """Return ncsnr, and reliability by each formula, of lists of trials, one number after another."""
    known = lists(values, voxel)
    every = [y for own in known for y in own]
    noise = sum((y - np.mean(own)) ** 2 for own in known for y in own) / sum(len(own) - 1 for own in known)
    total = sum((y - np.mean(every)) ** 2 for y in every) / (len(every) - 1)
    inverse = np.mean([1 / len(own) for own in known])
    means = [np.mean(own) for own in known]
    spread = sum((m - np.mean(means)) ** 2 for m in means) / (len(means) - 1)
    ratio = np.sqrt(max(0.0, total - noise) / noise)
    power, freedom = 0.0, 0
    for r in range(values.shape[1]):
        for q in range(r):
            x, y = values[:, [r, q], voxel][~np.isnan(values[:, [r, q], voxel]).any(axis=1)].T
            power += ((x - x.mean()) * (y - y.mean())).sum()
            freedom += len(x) - 1
    return ratio, {
        "ncsnr": ratio**2 / (ratio**2 + inverse),
        "analytic": (spread - noise * inverse) / spread,
        "schoppe": power / freedom / spread,
    }


@pytest.mark.parametrize("equal", [True, False])
def test_formulas_are_those_of_naive_loops(few, rng, equal):
    values = trials(rng, 12, 4, 0.6, 5) if equal else few
    for voxel in range(values.shape[2]):
        ratio, expected = by_definition(values, voxel)
        assert reliability.ncsnr(values)[voxel] == pytest.approx(ratio, rel=1e-10)
        for name, value in expected.items():
            assert METHODS[name](values)[voxel] == pytest.approx(value, rel=1e-10), name


def test_formulas_with_equal_repetitions_are_the_published_ones(rng):
    """Noise as the mean of the stimuli's variances (Allen), signal power of sums over repetitions (Schoppe)."""
    values, R = trials(rng, 40, 5, 0.5, 6), 5
    noise = values.var(axis=1, ddof=1).mean(axis=0)
    ratio = np.sqrt(np.maximum(0, values.reshape(200, 6).var(axis=0, ddof=1) - noise) / noise)
    np.testing.assert_allclose(reliability.ncsnr(values), ratio)
    np.testing.assert_allclose(100 * METHODS["ncsnr"](values), 100 * ratio**2 / (ratio**2 + 1 / R))
    spread = values.mean(axis=1).var(axis=0, ddof=1)
    np.testing.assert_allclose(METHODS["analytic"](values), (spread - noise / R) / spread)
    power = (values.sum(axis=1).var(axis=0, ddof=1) - values.var(axis=0, ddof=1).sum(axis=0)) / (R * (R - 1))
    np.testing.assert_allclose(reliability.signal_power(values), power)
    predicted = rng.standard_normal((40, 6))
    measured = values.mean(axis=1)
    expected = [
        np.cov(predicted[:, v], measured[:, v])[0, 1] / np.sqrt(predicted[:, v].var(ddof=1) * power[v])
        for v in range(6)
    ]
    np.testing.assert_allclose(reliability.ccnorm_score(values, predicted), expected)


@pytest.mark.parametrize("true", [0.05, 0.2, 0.5])
def test_estimators_agree_on_a_known_truth(true):
    """A thousand voxels as the challenge's test clips have them: the amounts stand in docs/ceilings.md."""
    values = trials(np.random.default_rng(0), 102, 10, true, 1000)
    found = {name: estimate(values) for name, estimate in METHODS.items()}
    spread = {0.05: 0.15, 0.2: 0.13, 0.5: 0.07}[true]
    for name in UNBIASED:
        assert found[name].std() == pytest.approx(spread, abs=0.02), name
        assert -0.035 < found[name].mean() - true < 0.0, name
        np.testing.assert_allclose(found[name], found["split_half"], atol=0.03 if true > 0.1 else 0.15)
        assert found[name].mean() == pytest.approx(found["split_half"].mean(), abs=0.01 if true > 0.1 else 0.02), name
    assert found["ncsnr"].min() >= 0
    assert (found["ncsnr"].mean() > true) == (true < 0.1)  # no value is negative, so that small ones are too high


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_with_unequal_repetitions_the_truth_is_that_of_the_means(pattern, name):
    """Signal .2 and noise 1: .2 / (.2 + h), h the mean over stimuli of 1 / repetitions."""
    rng, n, n_repetitions = np.random.default_rng(5), 3000, 4
    missing = PATTERNS[pattern](rng, n, n_repetitions)
    missing[missing.all(axis=1), 0] = False
    values = np.sqrt(0.2) * rng.standard_normal((n, 1, 40)) + rng.standard_normal((n, n_repetitions, 40))
    found = METHODS[name](without(values, missing))
    true = 0.2 / (0.2 + np.mean(1 / (~missing).sum(axis=1)))
    assert found.mean() == pytest.approx(true, abs=3.5 * found.std() / np.sqrt(40))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "split_half"])
def test_blocks_and_orders_in_memory_change_nothing(few, name, monkeypatch):
    expected = METHODS[name](few)
    np.testing.assert_allclose(METHODS[name](np.asfortranarray(few)), expected, rtol=1e-12)
    monkeypatch.setattr(reliability, "BLOCK", 1)
    np.testing.assert_allclose(METHODS[name](few), expected, rtol=1e-12)


def test_a_shift_of_a_whole_repetition_is_noise_to_those_that_take_variances(rng):
    values = trials(rng, 50, 4, 0.6, 3)
    shifted = values + np.array([0.0, 3.0, -1.0, 2.0])[:, None]
    for name in ("split_half", "schoppe"):
        np.testing.assert_allclose(METHODS[name](shifted), METHODS[name](values))
    for name in ("ncsnr", "analytic"):
        assert (METHODS[name](shifted) < METHODS[name](values) - 0.1).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_voxel_of_one_value_has_no_reliability_and_copies_have_all(rng, name):
    values = np.repeat(rng.standard_normal((20, 1, 2)), 3, axis=1).astype(np.float32)
    values[:, :, 0] = 4.1
    np.testing.assert_allclose(METHODS[name](values), [0, 1], atol=1e-5)


def test_reliability_needs_what_it_is_of(few):
    for name in METHODS:
        with pytest.raises(ValueError, match="1 of 12 stimuli have no repetition at all"):
            METHODS[name](np.where(np.arange(12)[:, None, None] == 11, np.nan, few))
    for name in ("ncsnr", "analytic", "schoppe"):
        with pytest.raises(ValueError, match="2 repetitions of one of them; there are 1 of 12"):
            METHODS[name](few[:, :1])
    apart = np.full((4, 4, 1), np.nan)
    apart[[0, 0, 1, 1, 2, 3], [0, 1, 2, 3, 0, 0]] = np.arange(6.0)[:, None]
    with pytest.raises(ValueError, match="no two of 4 repetitions have 2 of 4 stimuli in common"):
        reliability.signal_power(apart)


# From one way of saying it to another


def test_shares_and_ratios():
    ratio = np.array([0.0, 0.5, 1.0, np.inf])
    np.testing.assert_allclose(reliability.explainable_share(ratio), [0, 0.2, 0.5, 1])  # of a single trial
    np.testing.assert_allclose(reliability.explainable_share(ratio, 1 / 3), [0, 3 / 7, 0.75, 1])
    np.testing.assert_allclose(reliability.signal_to_noise(reliability.explainable_share(ratio)), ratio)


def test_the_explained_share_is_the_square_of_r_over_the_ceiling():
    found = reliability.explained_share(np.array([0.3, -0.3, 0.6, 0.3]), np.array([0.36, 0.36, 0.3, -0.1]))
    np.testing.assert_allclose(found, [0.25, 0, 1.2, np.nan])


def test_ccnorm_is_r_over_the_root_of_schoppes_reliability(few, rng):
    predicted = rng.standard_normal((12, 5))
    known = METHODS["schoppe"](few)
    r = metrics.correlation_score(np.nanmean(few, axis=1), predicted)
    np.testing.assert_allclose(
        reliability.ccnorm_score(few, predicted), r / np.sqrt(np.where(known > 0, known, np.nan))
    )


def test_a_ceiling_of_the_studys_own_becomes_the_reliability_of_these_means():
    counts, h = np.array([1, 2, 4]), (1 + 1 / 2 + 1 / 4) / 3
    of_means = 0.25 / (0.25 + h)
    for holds, values, expected in (
        ("ncsnr", [0, 0.5, np.nan], [0, of_means, 0]),
        ("nc_trial", [0, 20, np.nan], [0, of_means, 0]),
        ("nc_mean", [0, 73, 100], [0, 0.73, 1]),
        ("reliability", [0, 0.73, 1], [0, 0.73, 1]),
    ):
        asked = ImportedCeiling(column="nc", holds=holds)
        np.testing.assert_allclose(ceiling.imported(np.array(values), asked, counts), expected)


# The interval of an ROI


def replicates(values, n_resamples, rng):
    resamples = metrics.resampled_clips(len(values), n_resamples, rng)
    return resamples, np.concatenate([part for _, part in reliability.resampled_analytic(values, resamples)])


def test_a_resample_is_that_of_its_stimuli(few, rng):
    resamples, found = replicates(few, 7, rng)
    whole = METHODS["analytic"](few)
    for drawn, changes in zip(resamples, found.T):
        again = METHODS["analytic"](np.repeat(few, drawn.astype(int), axis=0))
        again = 1 - (1 - again) * 11 / 12  # the variance of the means of n stimuli, some twice, is (n - 1) / n as large
        np.testing.assert_allclose(whole + changes, again, atol=1e-12)


def test_the_replicates_of_split_halves_are_near_those_of_their_own(rng):
    values = trials(np.random.default_rng(1), 102, 10, 0.4, 30, shared=0.3)
    resamples, changes = replicates(values, 60, rng)
    known = METHODS["split_half"](values)
    near = (known[:, None] + changes).mean(axis=0)
    own = [METHODS["split_half"](np.repeat(values, drawn.astype(int), axis=0)).mean() for drawn in resamples]
    assert np.std(near - own) < 0.005 < np.std(own) / 5
    np.testing.assert_allclose(near, own, atol=0.02)


@pytest.mark.parametrize(("true", "n_stimuli", "n_repetitions"), [(0.1, 102, 10), (0.5, 60, 10), (0.3, 160, 3)])
def test_the_interval_covers_at_its_rate(true, n_stimuli, n_repetitions):
    """300 made-up studies of an ROI with 15 voxels; a share of 90 % has a standard error of 1.7 %."""
    rng, n = np.random.default_rng(2), 300
    hits = 0
    for _ in range(n):
        shown = Responses(trials(rng, n_stimuli, n_repetitions, true, 15, shared=0.3), "s", "V1")
        [part] = [
            ceiling.reliability(
                lambda *_, shown=shown: (shown, None), [("s", "V1")],
                draw=lambda _, size: metrics.resampled_clips(size, 100, rng), confidence=0.9,
            ).rois["validation"]["V1"]
        ]  # fmt: skip
        hits += part.low <= true <= part.high
    assert hits / n == pytest.approx(0.9, abs=0.045)

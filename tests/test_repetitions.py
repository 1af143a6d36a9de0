"""Trials that are missing, filled or copied: found by what they hold, and averaged around where they are declared."""

import numpy as np
import pytest

from cinevox.measured import voxel_blocks
from cinevox.measured.responses import Responses
from cinevox.statistics import metrics
from cinevox.statistics.trials import present, rectangle
from cinevox.validation import repetitions


@pytest.fixture
def trials(rng):
    signal = rng.standard_normal((14, 1, 30))
    return (signal + rng.standard_normal((14, 3, 30))).astype(np.float32)


def found(values):
    trials = repetitions.Trials(values, present(values))
    passed = repetitions.Passed(trials)
    for block in trials.blocks():
        passed.add(block, ~metrics.is_constant(block[trials.there]))
    faults = repetitions.faults(trials, passed)
    return {name: told for name, told in faults.items() if told}


def changed(values, where, what):
    values = values.copy()
    values[where] = what
    return values


@pytest.mark.parametrize("n_voxels", [1, 4, 12, 30])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e4])
def test_measured_trials_have_no_fault(trials, n_voxels, unit):
    values = (unit * trials[:, :, :n_voxels]).astype(np.float32)
    assert found(values) == {}
    assert found(changed(values, (3, 1), np.nan)) == {}


def test_a_pattern_that_all_trials_share_is_no_copy(trials, rng):
    """Raw signals: a baseline that differs between voxels a thousand times more than a voxel does between trials."""
    baseline = 1e4 + 1e3 * rng.standard_normal(30)
    assert found((baseline + trials.astype(np.float64)).astype(np.float32)) == {}


COPY = "1 pair of repetitions, of 1 stimulus: stimulus 5 repetition 1 = repetition 3"


@pytest.mark.parametrize(
    ("change", "fault", "told"),
    [
        (lambda v: changed(v, (4, 2), 0), "filled", "1 of 42 trials: stimulus 5 repetition 3"),
        (lambda v: changed(v, (slice(7), 1), 0.5), "filled", "stimulus 5 repetition 2, and 2 more"),
        (lambda v: changed(v, (4, 2), v[4, 0]), "copied", COPY),
        (lambda v: changed(v, (4, 2), v[4, 0] * (1 + 1e-5 * np.sin(np.arange(30)))), "copied", COPY),
        (lambda v: changed(v, (4, 2), 1.7 * v[4, 0] + 0.2), "copied", COPY),
        (lambda v: changed(v, (4, 2), -v[4, 0]), "imputed", "1 stimulus: stimulus 5"),
        (lambda v: changed(v, (4, 2), v[4, :2].mean(axis=0)), "imputed", "1 stimulus: stimulus 5"),
        (
            lambda v: changed(v, (4, 2), v[6, 0]),
            "repeated", "1 pair of trials, of 2 stimuli: stimulus 5 repetition 3 = stimulus 7 repetition 1",
        ),
    ],
)  # fmt: skip
def test_a_trial_that_was_not_measured(trials, change, fault, told):
    faults = found(change(trials))
    assert list(faults) == [fault] and told in faults[fault]
    assert found(changed(change(trials), (9, 0), np.nan)) == faults


def test_few_voxels_only_tell_of_equal_trials(trials):
    values = trials[:, :, :4]
    assert list(found(changed(values, (4, 2), values[4, 0]))) == ["copied"]
    assert found(changed(values, (4, 2), 2 * values[4, 0])) == {}  # four voxels can do so by chance
    constant = changed(values, (slice(None), slice(None), slice(2)), 1.0)
    assert found(changed(constant, (4, 2), constant[4, 0])) == {}  # two voxels vary


def test_all_repetitions_alike(trials):
    told = found(np.repeat(trials[:, :1], 3, axis=1))["copied"]
    assert told.startswith("42 pairs of repetitions, of 14 stimuli: stimulus 1 repetition 1 = repetition 2, ")
    assert told.endswith(", and 37 more")


def test_blocks_change_nothing(trials, monkeypatch):
    values = changed(trials, (slice(3, 9), 2), trials[3:9, :2].mean(axis=1))
    expected = found(values)
    monkeypatch.setattr(repetitions, "BLOCK", 1)
    monkeypatch.setattr(voxel_blocks, "BLOCK", 4 * 42 * 7)
    assert found(values) == expected


# Declared: means and reliabilities of the others


def without(values, missing):
    return np.where(missing[:, :, None], np.nan, values)


def test_the_mean_is_of_the_others(trials, rng):
    missing = rng.random((14, 3)) < 0.3
    missing[missing.all(axis=1), 0] = False
    expected = np.stack([v[~m].astype(np.float64).mean(axis=0) for v, m in zip(trials, missing)])
    np.testing.assert_array_equal(Responses(without(trials, missing), "", "").mean(), expected.astype(np.float32))
    np.testing.assert_array_equal(Responses(trials, "", "").mean(), trials.mean(axis=1, dtype=np.float64).astype("f4"))
    assert np.isnan(Responses(without(trials, missing | (np.arange(14) == 5)[:, None]), "", "").mean()[5]).all()


def test_the_rectangle_holds_the_most_trials(trials):
    assert rectangle(trials) is trials
    few = np.zeros((14, 3), dtype=bool)
    few[[1, 5], [0, 2]] = True
    np.testing.assert_array_equal(rectangle(without(trials, few)), np.delete(trials, [1, 5], axis=0))
    first = np.tile([True, False, False], (14, 1))
    np.testing.assert_array_equal(rectangle(without(trials, first)), trials[:, 1:])
    ragged = np.array([[False, False, True]] * 13 + [[False, True, True]])
    np.testing.assert_array_equal(rectangle(without(trials, ragged)), trials[:13, :2])


PATTERNS = {
    "some": lambda rng, n, R: rng.random((n, R)) < 0.1,
    "many": lambda rng, n, R: rng.random((n, R)) < 0.4,
    "a session": lambda rng, n, R: np.tile(np.arange(R) == 0, (n, 1)),
    "one of each": lambda rng, n, R: np.arange(R) == rng.integers(R, size=n)[:, None],
    "ragged": lambda rng, n, R: np.arange(R) >= rng.integers(2, R + 1, size=n)[:, None],
}


@pytest.mark.parametrize("n_repetitions", [3, 10])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_reliability_is_that_of_the_means_over_fewer(pattern, n_repetitions):
    """True signal v and noise 1: v / (v + mean over stimuli of 1 / repetitions), as the noise of their means is."""
    rng, n, v = np.random.default_rng(3), 4000, 0.2
    missing = PATTERNS[pattern](rng, n, n_repetitions)
    missing[missing.all(axis=1), 0] = False
    values = np.sqrt(v) * rng.standard_normal((n, 1, 60)) + rng.standard_normal((n, n_repetitions, 60))
    true = v / (v + np.mean(1 / (~missing).sum(axis=1)))
    reliability = metrics.split_half_reliability(without(values, missing))
    spread = reliability.std() / np.sqrt(60)
    assert reliability.mean() == pytest.approx(true, abs=max(0.006, 3 * spread))
    assert reliability.mean() < metrics.split_half_reliability(values).mean()


def test_an_unreliable_voxel_stays_one(rng):
    values = rng.standard_normal((40, 4, 200))
    whole = metrics.split_half_reliability(values[:-1])
    fewer = metrics.split_half_reliability(changed(values, (-1, 0), np.nan))
    np.testing.assert_array_equal(fewer > 0, whole > 0)
    np.testing.assert_array_equal(fewer[whole <= 0], whole[whole <= 0])


def test_a_reliability_needs_what_it_is_of(trials):
    with pytest.raises(ValueError, match="1 of 14 stimuli have no repetition at all"):
        metrics.split_half_reliability(changed(trials, 3, np.nan))
    with pytest.raises(ValueError, match="at least 2 repetitions of 2 stimuli"):
        metrics.split_half_reliability(changed(trials, (slice(None), slice(1, None)), np.nan))

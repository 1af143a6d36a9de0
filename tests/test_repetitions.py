"""Trials that are missing, filled or copied: found by what they hold, and averaged around where they are declared."""

import numpy as np
import pytest

from cinevox.measured import voxel_blocks
from cinevox.measured.responses import Responses
from cinevox.statistics import metrics
from cinevox.statistics.trials import present, rectangle
from cinevox.validation import consistency, inspection, repetitions


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


# A file's description, in blocks of voxels, with stimuli that were shown once to five times


@pytest.fixture
def ragged(rng):
    """Some repetitions of 40 stimuli in any place; NaN in every voxel of the others."""
    there = np.arange(5) < rng.integers(1, 6, size=40)[:, None]
    there = rng.permuted(there, axis=1)
    signal = 0.4 * rng.standard_normal((40, 1, 50))
    values = (signal + rng.standard_normal((40, 5, 50))).astype(np.float32)
    return without(values, ~there).astype(np.float32)


def halves_by_hand(values):
    """Mean over the halves of the most trials that make a rectangle, stimulus by stimulus, (2, n_kept, n_voxels)."""
    trials = [[trial for trial in stimulus if not np.isnan(trial).all()] for stimulus in values]
    n_held = {R: R * sum(len(each) >= R for each in trials) for R in range(2, values.shape[1] + 1)}
    R = max(n_held, key=n_held.get)
    kept = [each[:R] for each in trials if len(each) >= R]
    return np.array([[np.mean(part, axis=0) for part in (each[: R // 2], each[R // 2 :])] for each in kept]).swapaxes(
        0, 1
    )


def described(values, may_be_missing=True, unequal=True):
    return inspection._described(values, may_be_missing, unequal)[0]


@pytest.mark.parametrize("block", [1, 4 * 200 * 7, 2**25])
def test_a_file_is_described_by_its_measured_trials(ragged, rng, block, monkeypatch):
    monkeypatch.setattr(voxel_blocks, "BLOCK", block)
    ragged[:, :, 8] = np.where(np.isnan(ragged[:, :, 8]), np.nan, 3)
    row = described(ragged)
    first, second = halves_by_hand(ragged)
    with np.errstate(invalid="ignore"):
        r = [np.corrcoef(first[:, v], second[:, v])[0, 1] for v in range(50) if v != 8]
    assert row["split_half"] == pytest.approx(np.sum(r) / 50, abs=6e-5)  # a voxel of one value counts 0
    assert row["sd"] == pytest.approx(np.nanstd(ragged.astype(np.float64)), rel=5e-4)
    assert (row["n_not_finite"], row["n_constant"], row["n_repetitions"]) == (0, 1, 5)
    assert row["made_up"] is None and "missing" not in row
    first, second = (
        (half - half.mean(axis=0)) / np.where(half.std(axis=0) > 1e-6, half.std(axis=0), np.inf)
        for half in (first, second)
    )
    drawn = np.array([(first * second[rng.permutation(len(first))]).mean() for _ in range(4000)])
    assert row["split_half_z"] == pytest.approx(((first * second).mean() - drawn.mean()) / drawn.std(), rel=0.06)


def test_blocks_of_voxels_change_no_description(ragged, monkeypatch):
    spoilt = ragged.copy()
    at = np.argwhere(~np.isnan(ragged[:, :, 0]))
    spoilt[tuple(at[3])] = spoilt[tuple(at[40])]
    spoilt[tuple(at[6])] = 1.5
    spoilt[tuple(at[9])][7:9] = np.inf, np.nan
    for values in (spoilt, ragged.astype(np.float64), np.asfortranarray(spoilt), ragged[:9], ragged[:, :1], ragged[:0]):
        monkeypatch.setattr(voxel_blocks, "BLOCK", 2**25)
        row, *prints = inspection._described(values, True, True)
        monkeypatch.setattr(voxel_blocks, "BLOCK", 4 * 200 * 7)
        blocked, *also = inspection._described(values, True, True)
        assert blocked == row
        for one, two in zip(prints, also):
            np.testing.assert_array_equal(one, two)
    told = described(spoilt)
    assert told["n_not_finite"] == 2
    assert "filled: 1 of 200 trials" in told["made_up"] and "repeated: 1 pair of trials" in told["made_up"]


def test_stimuli_shown_once_have_no_ceiling(trials):
    """One stimulus with two trials gives no reliability; two do."""
    once = changed(trials, (slice(1, None), slice(1, None)), np.nan)
    assert described(once)["n_repetitions"] == 1 and "split_half" not in described(once)
    twice = changed(trials, (slice(2, None), slice(1, None)), np.nan)
    assert described(twice)["n_repetitions"] == 3 and "split_half" in described(twice)


def test_files_with_the_same_voxels_or_trials():
    """Voxels of two subjects never; of one subject's ROIs, which may overlap, where a study's tables say so."""

    def marked(rois_may_share):
        files = {
            ("train", "mini", subject, roi): consistency.Inspected(
                {"file": f"{subject} {roi}", "track": "mini", "subject": subject, "n_stimuli": n},
                prints=np.array(prints, np.uint64),
                keys=np.array([3, 5, 8], np.uint64),
            )
            for subject, roi, prints, n in (
                ("a", "V1", [1, 2], 9), ("a", "V1v", [1, 2], 9), ("b", "V1", [3, 4], 9), ("c", "V1", [3, 4], 9),
                ("d", "V1", [0, 0], 0), ("e", "V1", [0, 0], 0), ("f", "V1", [5, 6], 9),
            )
        }  # fmt: skip
        for subject, keys in {"a": [1, 3, 8], "b": [1, 4], "c": []}.items():
            row = {"file": f"{subject} test", "track": "mini", "subject": subject, "n_stimuli": 3}
            files["test", "mini", subject, "V1"] = consistency.Inspected(row, keys=np.array(keys, np.uint64))
        consistency.mark_copies(files, rois_may_share)
        return {each.row["file"]: each.row["same_as"] for each in files.values() if "same_as" in each.row}

    assert marked(True) == {"b V1": "c V1", "c V1": "b V1", "a test": "2 trials of a V1"}
    assert marked(False) == marked(True) | {"a V1": "a V1v", "a V1v": "a V1"}


def test_a_test_trial_that_trains_is_found_in_any_study_of_trials(ragged):
    """In eight voxels and more: fewer numbers of 16 bits may agree by chance."""
    test = ragged[:6] + 1
    test[2, 3] = ragged[17][~np.isnan(ragged[17, :, 0])][0]
    for n_voxels, n_found in ((50, 1), (8, 1), (7, 0)):
        keys = [inspection._described(values[:, :, :n_voxels], True, True)[2] for values in (ragged, test)]
        assert len(np.intersect1d(*keys)) == n_found


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

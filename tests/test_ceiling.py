"""Ceiling: which repetitions of which clips stand behind each split's reliability."""

import numpy as np

from cinevox.measured.ceiling import reliability
from cinevox.measured.responses import Responses
from cinevox.statistics import metrics


def test_validation_uses_training_repetitions_and_test_its_own(rng):
    train = {s: rng.standard_normal((20, 3, 2)) for s in ("sub01", "sub02")}
    test = {s: rng.standard_normal((8, 10, 2)) for s in train}

    def read(subject, roi):
        return Responses(train[subject], subject, roi), Responses(test[subject], subject, roi)

    found = reliability(read, [(subject, "V1") for subject in train])
    assert [(block.subject, block.n_voxels) for block in found.columns.blocks] == [("sub01", 2), ("sub02", 2)]
    assert found.n_repetitions == {"validation": 3, "test": 10}
    for name, values in (("validation", train), ("test", test)):
        expected = np.concatenate([metrics.split_half_reliability(values[s]) for s in train])
        np.testing.assert_array_equal(found.by_split[name], expected)


def test_without_test_responses_there_is_no_test_ceiling(rng):
    found = reliability(lambda s, r: (Responses(rng.standard_normal((9, 3, 1)), s, r), None), [("sub01", "V1")])
    assert list(found.by_split) == ["validation"]


def test_clips_that_were_shown_once_have_no_reliability_and_it_is_said(rng):
    def read(n_train, n_test):
        parts = {n: rng.standard_normal((9, n, 2)) for n in (n_train, n_test)}
        return lambda s, r: (Responses(parts[n_train], s, r), Responses(parts[n_test], s, r))

    for shown, repeated in (((1, 10), ["test"]), ((3, 1), ["validation"]), ((1, 1), [])):
        found = reliability(read(*shown), [("sub01", "V1")])
        assert list(found.by_split) == repeated
        assert found.n_repetitions == dict(zip(("validation", "test"), shown))


def test_one_roi_without_repetitions_takes_the_ceiling_from_the_split(rng):
    """Scores of a track are means over its ROIs: they must all be of one kind."""
    shown = {"V1": 3, "FFA": 1}
    found = reliability(
        lambda s, r: (Responses(rng.standard_normal((9, shown[r], 2)), s, r), None), [("s", "V1"), ("s", "FFA")]
    )
    assert found.by_split == {} and found.n_repetitions == {"validation": 1}

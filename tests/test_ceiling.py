"""Ceiling: which repetitions of which clips stand behind each split's reliability."""

import numpy as np

from cinevox import metrics
from cinevox.ceiling import reliability
from cinevox.responses import Responses


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

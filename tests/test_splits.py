"""Splits and folds: disjoint, complete, seeded; folds against scikit-learn."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from cinevox.errors import InputError
from cinevox.params import Splits
from cinevox.splits import folds, split


def settings(**changes):
    return Splits(
        **({"scheme": "random", "validation_fraction": 0.1, "n_folds": 3, "n_outer_folds": None, "seed": 0} | changes)
    )


@pytest.mark.parametrize("scheme", ["random", "last"])
def test_a_split_is_disjoint_complete_and_of_the_size_asked_for(scheme):
    parts = split(1000, 102, settings(scheme=scheme))
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [900, 100, 102]
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(together), np.arange(1102))
    assert parts.test.min() == 1000
    if scheme == "last":
        assert np.array_equal(parts.validation, np.arange(900, 1000))


def test_the_seed_decides():
    first, again, other = (split(100, 0, settings(seed=seed)).validation for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_clips_are_refused_with_the_cure():
    with pytest.raises(InputError, match=r"6 training clips leave 4 .* 3 folds need 6; lower splits"):
        split(6, 0, settings())
    with pytest.raises(InputError, match="2 training clips cannot make 3 folds"):
        folds(2, 3)


@pytest.mark.parametrize(("n_rows", "n_folds"), [(9, 3), (10, 3), (11, 4), (3, 3)])
def test_folds_are_scikit_learns(n_rows, n_folds):
    expected = KFold(n_folds).split(np.zeros(n_rows))
    for fold, (fit, held_out) in zip(folds(n_rows, n_folds), expected, strict=True):
        assert np.array_equal(fold.fit, fit)
        assert np.array_equal(fold.held_out, held_out)

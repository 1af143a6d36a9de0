"""Splits and folds: disjoint, complete, seeded; folds against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from cinevox.errors import InputError
from cinevox.project.params import Splits
from cinevox.statistics.splits import best_split, folds, generator, inner_of, outer_names, partitions, split


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


def partitioned(n_train_clips=40, n_test_clips=5, **changes):
    wanted = settings(**changes)
    parts = split(n_train_clips, n_test_clips, wanted)
    return parts, partitions(parts, wanted)


def test_without_outer_folds_there_is_one_fit():
    parts, (only,) = partitioned()
    assert (only.name, only.folder, list(only.predicted)) == ("train", "", ["validation", "test"])
    assert only.train is parts.train and only.predicted["test"] is parts.test
    _, (hidden,) = partitioned(n_test_clips=0)
    assert list(hidden.predicted) == ["validation"]


@pytest.mark.parametrize("scheme", ["random", "last"])
@pytest.mark.parametrize("n_outer", [3, 4, 11])
def test_outer_folds_are_disjoint_and_cover_the_training_set(scheme, n_outer):
    _, (first, *others) = partitioned(scheme=scheme, n_outer_folds=n_outer)
    assert first.name == "train" and len(others) == n_outer + n_outer * (n_outer - 1) // 2
    clips = {name: rows for part in others for name, rows in part.predicted.items()}
    outer = outer_names(clips)
    assert outer == tuple(f"outer-{k}" for k in range(1, n_outer + 1))
    together = np.concatenate([clips[name] for name in outer])
    assert np.array_equal(np.sort(together), np.arange(40))
    assert {len(clips[name]) for name in outer} <= {40 // n_outer, 40 // n_outer + 1}
    assert np.array_equal(clips["outer-1"], np.arange(len(clips["outer-1"]))) == (scheme == "last")


@pytest.mark.parametrize("n_outer", [3, 11])
def test_a_fit_never_sees_the_folds_that_it_predicts_or_that_a_choice_is_scored_on(n_outer):
    _, (_, *others) = partitioned(n_outer_folds=n_outer)
    source = {name: part for part in others for name in part.predicted}
    clips = {name: part.predicted[name] for name, part in source.items()}
    for k in range(1, n_outer + 1):
        assert np.array_equal(np.union1d(source[f"outer-{k}"].train, clips[f"outer-{k}"]), np.arange(40))
        assert not np.isin(source[f"outer-{k}"].train, clips[f"outer-{k}"]).any()
    for k, j in permutations(range(1, n_outer + 1), 2):
        inner = f"inner-{k}-{j}"
        assert np.array_equal(clips[inner], clips[f"outer-{j}"])
        left_out = np.union1d(clips[f"outer-{k}"], clips[f"outer-{j}"])
        assert np.array_equal(source[inner].train, np.setdiff1d(np.arange(40), left_out))
        assert source[inner].name == source[inner].folder == f"without-{min(k, j)}-{max(k, j)}"


def test_a_choice_for_a_fold_reads_that_folds_inner_splits_alone():
    names = [f"inner-{k}-{j}" for k, j in permutations((1, 2, 11), 2)] + ["outer-1", "outer-11", "test"]
    assert inner_of("outer-1", names) == ("inner-1-2", "inner-1-11")
    assert inner_of("outer-11", names) == ("inner-11-1", "inner-11-2")


def test_too_few_clips_for_outer_folds_are_refused_with_the_cure():
    with pytest.raises(InputError, match=r"12 training clips leave 4 .*3 outer folds.*3 folds need 6"):
        partitioned(12, n_outer_folds=3)
    assert len(partitioned(12, n_outer_folds=4)[1]) == 11


@pytest.mark.parametrize(
    ("names", "best"),
    [(["validation", "test", "nested"], "test"), (["nested", "validation"], "nested"), (["validation"], "validation")],
)
def test_the_split_whose_scores_count(names, best):
    assert best_split(names) == best


def test_randomness_belongs_to_splits():
    drawn = [generator(*names).random() for names in ((0, "a"), (0, "a"), (1, "a"), (0, "b"), (0, "a", "b"))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


def test_fewer_clips_than_training_responses(default_params):
    with pytest.raises(InputError, match="40 training responses and 38 clips: 2 clips are missing"):
        split(40, -2, default_params.splits)


GROUPS = np.random.default_rng(4).integers(17, size=60)  # of sizes between 1 and 8, all over the clips


def crosses(*sides):
    """Whether a group stands on two sides."""
    labels = [set(GROUPS[side].tolist()) for side in sides]
    return any(a & b for number, a in enumerate(labels) for b in labels[:number])


@pytest.mark.parametrize("scheme", ["random", "last"])
def test_no_group_stands_on_two_sides_of_a_split(scheme):
    wanted = settings(scheme=scheme, n_outer_folds=3)
    parts = split(60, 5, wanted, GROUPS)
    assert np.array_equal(np.sort(np.concatenate([parts.train, parts.validation])), np.arange(60))
    assert not crosses(parts.train, parts.validation)
    last = GROUPS[parts.validation]
    smallest = min(np.count_nonzero(last == group) for group in set(last.tolist()))
    assert len(parts.validation) >= 6 and len(parts.validation) - smallest < 6 + 8
    _, *outer = partitions(parts, wanted, GROUPS)
    for partition in outer:
        assert not crosses(partition.train, *partition.predicted.values())
    folded = [rows for partition in outer[:3] for rows in partition.predicted.values()]
    assert np.array_equal(np.sort(np.concatenate(folded)), np.arange(60))
    assert max(map(len, folded)) - min(map(len, folded)) <= 12


def test_no_group_stands_in_two_folds():
    found = folds(60, 4, GROUPS)
    assert not crosses(*(fold.held_out for fold in found))
    assert np.array_equal(np.sort(np.concatenate([fold.held_out for fold in found])), np.arange(60))
    for fold in found:
        assert np.array_equal(np.union1d(fold.fit, fold.held_out), np.arange(60)) and not crosses(
            fold.fit, fold.held_out
        )


def test_every_clip_a_group_is_no_group():
    own, wanted = np.arange(40), settings(n_outer_folds=4, scheme="last")
    plain, grouped = split(40, 5, wanted), split(40, 5, wanted, own)
    assert all(np.array_equal(plain[name], grouped[name]) for name in ("train", "validation", "test"))
    for one, other in zip(partitions(plain, wanted), partitions(grouped, wanted, own), strict=True):
        assert np.array_equal(one.train, other.train)
    for one, other in zip(folds(40, 3), folds(40, 3, own), strict=True):
        assert np.array_equal(one.held_out, other.held_out)


def test_too_few_groups_are_refused():
    with pytest.raises(InputError, match="2 groups of dataset.together cannot make 3 folds"):
        folds(20, 3, np.arange(20) % 2)
    with pytest.raises(InputError, match="training clips leave 0 to fit"):
        split(20, 0, settings(), np.zeros(20, dtype=int))

"""Subjects who saw different stimuli: each cohort is fitted and scored as if it were alone."""

import numpy as np
import pytest

import trials_study
from cinevox.errors import InputError
from cinevox.fitting import fits, prediction_store, refit
from cinevox.fitting.feature_spaces import Candidate, joint_candidates
from cinevox.fitting.fits import Method, Shown
from cinevox.measured.cohorts import Cohort
from cinevox.measured.responses import Block, Columns
from cinevox.project import plugins
from cinevox.project.params import FeatureSpace, Reduction, Splits
from cinevox.project.paths import Paths
from cinevox.scoring import draws, scores
from cinevox.statistics.splits import partitions, split
from cinevox.validation import cohort_checks

N_TRAIN, N_TEST, N_VOXELS = 40, 6, 3
SETTINGS = Splits(scheme="random", validation_fraction=0.2, n_folds=3, n_outer_folds=3, seed=1)
ROWS = np.concatenate([np.arange(0, N_TRAIN, 2), N_TRAIN + np.array([0, 1, 4])])  # every other clip, half of the tests
COHORT = Cohort("cohort-2", (("ann", "V1"),), ROWS, N_TRAIN // 2)
COLUMNS = Columns((Block("ann", "V1", N_VOXELS),))
RIDGE = Method(plugins.load("regressors", "ridge"), {"alphas": [1.0, 10.0], "per": "voxel"}, 3, 2)


@pytest.fixture
def features(rng):
    return {name: rng.standard_normal((N_TRAIN + N_TEST, n)).astype(np.float32) for name, n in (("a", 5), ("b", 4))}


@pytest.fixture
def measured(rng):
    return rng.standard_normal((N_TRAIN // 2, N_VOXELS)).astype(np.float32)


def test_a_cohort_counts_its_own_stimuli():
    parts = split(N_TRAIN, N_TEST, SETTINGS)
    own = COHORT.split(parts)
    assert np.array_equal(ROWS[own.train], np.intersect1d(ROWS, parts.train))
    assert np.array_equal(COHORT.everywhere(own.test), N_TRAIN + np.array([0, 1, 4]))
    assert own.test.min() >= COHORT.n_train > own.validation.max()  # the training clips come first
    for part in partitions(parts, SETTINGS):
        local = COHORT.partition(part, 3)
        assert np.array_equal(ROWS[local.train], np.intersect1d(ROWS, part.train))
        for name, clips in part.predicted.items():
            assert np.array_equal(ROWS[local.predicted[name]], np.intersect1d(ROWS, clips))


def test_too_few_stimuli_of_a_split_are_refused_with_the_subject():
    few = Cohort("cohort-3", (("bob", "V1"),), np.array([0, 2, 4, N_TRAIN]), 3)
    with pytest.raises(InputError, match=r"bob saw too few stimuli of a split: \d training, \d validation, 1 test"):
        few.partition(partitions(split(N_TRAIN, N_TEST, SETTINGS), SETTINGS)[0], 3)


def test_ready_names_every_subject_with_too_few_stimuli(tmp_path, default_params):
    trials_study.make(tmp_path / "study")
    wanted = trials_study.wanted(tmp_path / "study")

    def check(rows=None, **changed):
        splits = default_params.splits.model_copy(update=changed)
        handed_in = default_params.submission.model_copy(update={"rows": rows or {}, "ensembles": {}})
        params = default_params.model_copy(update={"dataset": wanted, "splits": splits, "submission": handed_in})
        return cohort_checks.check_cohorts(Paths(tmp_path), params)

    [note] = check(validation_fraction=0.4, n_folds=2, seed=3)
    with pytest.raises(InputError, match=r"(?s)sub-02 saw too few .* 8 to fit on .*sub-03 saw too few"):
        check(validation_fraction=0.3, n_folds=4, scheme="random", seed=3)
    assert note.startswith("a subject has 4 test stimuli: ")
    together = wanted.model_copy(update={"together": "scene"})  # of three values
    splits = default_params.splits.model_copy(update={"validation_fraction": 0.3, "n_folds": 3})
    none = default_params.submission.model_copy(update={"rows": {}, "ensembles": {}})
    params = default_params.model_copy(update={"dataset": together, "splits": splits, "submission": none})
    with pytest.raises(InputError, match=r"sub-0\d: . groups of dataset.together cannot make 3 folds"):
        cohort_checks.check_cohorts(Paths(tmp_path), params)
    with pytest.raises(InputError, match=r"a submission is of data .* set submission.rows"):
        check({"mini": "any"}, validation_fraction=0.4, n_folds=2, seed=3)
    other = default_params.model_copy(update={"dataset": wanted.model_copy(update={"folder": tmp_path / "nothing"})})
    cohort_checks.check_cohorts(Paths(tmp_path), other)


@pytest.mark.parametrize("together", ["concat", "stack", "mean"])
def test_a_fit_of_a_cohort_is_that_of_a_study_of_its_own(features, measured, together):
    spaces = {n: FeatureSpace("alexnet", n, "none", "mean", standardize=True, n_components=None) for n in features}
    candidates = joint_candidates(spaces, together)
    part = COHORT.partition(partitions(split(N_TRAIN, N_TEST, SETTINGS), SETTINGS)[0], 3)
    alone = {name: values[ROWS] for name, values in features.items()}
    [expected] = fits.fit(candidates, alone, measured, COLUMNS, part, RIDGE)
    [found] = fits.fit(candidates, features, measured, COLUMNS, part, RIDGE, shown=Shown(ROWS))
    for name, predicted in expected.predicted.items():
        np.testing.assert_array_equal(found.predicted[name], predicted)


def test_folds_inside_of_a_fit_hold_groups_together(features, measured):
    """Every clip of a group is a copy: divided between folds, the smallest alpha would be the best."""
    groups = np.repeat(np.arange(10), 2)
    copies = {"a": np.repeat(features["a"][:10], 2, axis=0)}
    Y = np.repeat(measured[:10], 2, axis=0)
    part = partitions(split(20, 0, Splits(**dict(SETTINGS) | {"n_outer_folds": None})), SETTINGS)[0]
    seen = []

    class Spy:
        diagnostics, map = {}, None

        def fit(self, X, Y, *, folds, bands, units):
            seen.extend(folds)
            self.mean = Y.mean(axis=0)
            return self

        def predict(self, X):
            return np.tile(self.mean, (len(X), 1)).astype(np.float32)

    class Spec:
        def most_features(self, options):
            return None

        def together(self, options):
            return "all"

        def build(self, options):
            return Spy()

    method = Method(Spec(), {}, 3, 5)
    list(fits.fit([Candidate("a", ("a",))], copies, Y, COLUMNS, part, method, shown=Shown(None, groups)))
    own = groups[part.train]
    assert seen and not any(set(own[fold.fit]) & set(own[fold.held_out]) for fold in seen)


def test_a_refit_is_of_each_cohort_by_itself_with_components_of_all_training_stimuli(features, rng):
    both = [np.arange(N_TRAIN + N_TEST), ROWS]
    given = [rng.standard_normal((n, N_VOXELS)).astype(np.float32) for n in (N_TRAIN, N_TRAIN // 2)]
    columns = [Columns((Block(name, "V1", N_VOXELS),)) for name in ("bob", "ann")]
    cohorts = [refit.Measured(Y, own, Shown(rows)) for Y, own, rows in zip(given, columns, both)]
    candidates, chosen = [Candidate("a", ("a",)), Candidate("b", ("b",))], np.array([0, 1, 1, 1, 0, 1], dtype=np.int16)
    pca = Reduction(n_components=3, normalize=True, standardize=True, min_spread=0.05)

    def run(chosen, cohorts):
        return refit.refit(
            candidates,
            chosen,
            features,
            N_TRAIN,
            cohorts,
            dict.fromkeys(features, pca),
            RIDGE,
            lambda i, *_: i,
            keep=True,
        )

    found = run(chosen, cohorts)
    assert [len(values) for values in found.predicted] == [N_TEST, 3]
    for number in (0, 1):
        [alone] = run(chosen[3 * number : 3 * number + 3], cohorts[number : number + 1]).predicted
        np.testing.assert_array_equal(found.predicted[number], alone)
    assert sorted(int(v) for part in found.parts for v in part.voxels) == list(range(6))
    assert {tuple(part.train) for part in found.parts} == {tuple(range(N_TRAIN)), tuple(range(0, N_TRAIN, 2))}


def test_draws_are_shared_by_subjects_who_saw_the_same(rng):
    """Cohorts with equal test clips are drawn alike, as if they were one; a part has the part of the study's draws."""
    columns = Columns(tuple(Block(name, "V1", 2) for name in ("ann", "bob", "eve")))
    cohorts = [Cohort(f"cohort-{n}", ((name, "V1"),), ROWS, 1) for n, name in enumerate(columns.subjects)]
    own = [np.arange(50, 62), np.arange(50, 62), np.array([50, 53, 54, 61])]
    index = prediction_store.of_cohorts(("c1",), cohorts, [{"test": clips} for clips in own], columns, {}, {})
    alone = prediction_store.Index(("c1",), {"test": own[0]}, columns, {}, {})
    expected = draws.drawn(alone, *alone.cohorts, "test", 5, 300, 400)
    found = [draws.drawn(index, cohort, "test", 5, 300, 400) for cohort in index.cohorts]
    for both in found[:2]:
        np.testing.assert_array_equal(both[0], expected[0])
        np.testing.assert_array_equal(both[1], expected[1])
    resamples, orders = found[2]
    part = np.searchsorted(own[0], own[2])
    drawn_anew = expected[0][:, part].sum(axis=1) == 0
    np.testing.assert_array_equal(resamples[~drawn_anew], expected[0][~drawn_anew][:, part])
    assert drawn_anew.any() and (resamples.sum(axis=1) > 0).all()
    for order, whole in zip(orders, expected[1]):
        assert [own[2][k] for k in order] == [own[0][k] for k in whole if own[0][k] in own[2]]


def test_a_space_of_rois_that_a_cohort_lacks_has_no_scores_there(rng):
    values = rng.standard_normal((2, 10, N_VOXELS))
    resamples = np.ones((4, 10))
    for ceiling in (None, np.ones(N_VOXELS)):
        found = scores.score_own(*values, ceiling, COLUMNS, ["FFA"], resamples)
        assert np.isnan(found.correlation).all() and np.isnan(found.replicates).all()
        assert (found.normalized is None) == (ceiling is None)
        assert found.blocks["n_voxels"].tolist() == [N_VOXELS] and found.blocks["score"].isna().all()


def test_predictions_of_cohorts_come_back_as_they_were_written(tmp_path, rng):
    columns = Columns((Block("bob", "V1", 2), Block("ann", "V1", 3)))
    row = {"track": "mini", "network": "alexnet", "features": "layer", "regressor": "ridge"}
    row["weights"] = {"alexnet": {"policy": "random"}}
    cohorts = [Cohort(f"cohort-{n}", ((name, "V1"),), ROWS, 1) for n, name in ((1, "bob"), (2, "ann"))]
    clips = [{"test": np.array([4, 5])}, {"test": np.array([5, 6, 7])}]
    index = prediction_store.of_cohorts(("c1",), cohorts, clips, columns, row, {})
    folder = tmp_path / "mini-alexnet-layer-ridge"
    prediction_store.write_index(folder, index)
    again = prediction_store.read_index(folder)
    assert again.clips["test"].tolist() == [4, 5, 6, 7]
    for cohort, expected in zip(again.cohorts, (2, 3), strict=True):
        predicted = rng.standard_normal((expected, expected)).astype(np.float32)
        prediction_store.write(folder, "c1", "test", predicted, cohort.name)
        np.testing.assert_array_equal(prediction_store.read(folder, cohort, "c1", "test"), predicted)
    assert [cohort.where for cohort in again.cohorts] == [slice(0, 2), slice(2, 5)]

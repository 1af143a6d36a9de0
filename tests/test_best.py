"""The best of several regressors: the choice is cross-validation's, on training clips only."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, PredefinedSplit, cross_val_predict

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.statistics.splits import Fold, folds
from regression_problems import TIGHT, fitted, problem

CANDIDATES = {"linear": {}, "ridge": {"alphas": [300.0], "per": "voxel"}}


def noisy():
    """Nearly as many features as a fold has clips: least squares follows the noise."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 35))
    return X, X @ rng.standard_normal((35, 8)) + 4 * rng.standard_normal((60, 8))


def oracle(estimator, X, Y, n_folds=3):
    """Mean over folds of the held-out correlation of each voxel, from scikit-learn's out-of-fold predictions."""
    splitter = KFold(n_folds)
    predicted = cross_val_predict(estimator, X, Y, cv=splitter)
    return np.mean([pearsonr(Y[rows], predicted[rows]).statistic for _, rows in splitter.split(X)], axis=0)


@pytest.mark.parametrize(("data", "winner"), [(problem("whitened", n=60), "linear"), (noisy(), "ridge")])
def test_scores_and_choice_are_those_of_cross_val_predict(data, winner):
    X, Y = data
    regressor = fitted("best", X, Y, candidates=CANDIDATES)
    expected = {"linear": oracle(LinearRegression(), X, Y), "ridge": oracle(Ridge(alpha=300.0), X, Y)}
    for name, score in expected.items():
        np.testing.assert_allclose(regressor.diagnostics[f"cv_score_{name}"], score, atol=1e-5)
        np.testing.assert_array_equal(regressor.diagnostics[f"chose_{name}"], np.full(8, name == winner))
    assert max(expected, key=lambda name: expected[name].mean()) == winner


def test_the_chosen_one_is_refitted_on_every_clip():
    X, Y = noisy()
    found = fitted("best", X, Y, candidates=CANDIDATES).predict(X[:10])
    np.testing.assert_allclose(found, Ridge(alpha=300.0).fit(X, Y).predict(X[:10]), atol=1e-4)
    np.testing.assert_array_equal(found, fitted("ridge", X, Y, alphas=[300.0]).predict(X[:10]))


def test_what_a_candidate_chooses_it_chooses_within_the_fold():
    X, Y = problem("correlated", n_voxels=1, n=60)
    alphas = [0.1, 10.0, 1000.0]
    regressor = fitted("best", X, Y, candidates={"linear": {}, "ridge": {"alphas": alphas, "per": "voxel"}})
    scores = []
    for fit, rows in KFold(3).split(X):
        inner = PredefinedSplit(np.repeat(range(3), len(fit) // 3).tolist() + [2] * (len(fit) % 3))
        model = RidgeCV(alphas, cv=inner, scoring="neg_mean_squared_error").fit(X[fit], Y[fit, 0])
        scores.append(pearsonr(Y[rows, 0], model.predict(X[rows])).statistic)
    np.testing.assert_allclose(regressor.diagnostics["cv_score_ridge"], np.mean(scores), atol=1e-5)


def test_only_the_chosen_voxels_of_one_roi_decide():
    """Two ROIs of the same subject may choose differently: one is linear in all features, one in a single feature."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 60))
    dense = X @ rng.standard_normal((60, 5)) + rng.standard_normal((90, 5))
    sparse = 3 * X[:, [4]] + rng.standard_normal((90, 5))
    candidates = {"ridge": {"alphas": [1.0, 10.0, 100.0], "per": "voxel"}, "omp": {"max_features": 2}}
    chosen = [
        [name for name in candidates if fitted("best", X, Y, candidates=candidates).diagnostics[f"chose_{name}"].all()]
        for Y in (dense, sparse)
    ]
    assert chosen == [["ridge"], ["omp"]]


def test_equal_candidates_give_the_first():
    X, Y = problem("whitened")
    Y[:] = 1.0
    diagnostics = fitted(
        "best", X, Y, candidates={"ridge": {"alphas": [1.0], "per": "voxel"}, "linear": {}}
    ).diagnostics
    assert diagnostics["chose_ridge"].all() and not diagnostics["chose_linear"].any()
    assert not diagnostics["cv_score_ridge"].any() and diagnostics["constant"].all()


def test_candidates_that_fit_voxels_together_are_welcome():
    X, Y = problem("whitened", n_voxels=4)
    joint = {"l1_ratios": [0.5], **TIGHT}
    found = fitted("best", X, Y, candidates={"multitask_elastic_net": joint, "res": {"normalize": False}})
    assert found.diagnostics["chose_multitask_elastic_net"].all()
    alone = fitted("multitask_elastic_net", X, Y, **joint)
    np.testing.assert_array_equal(found.predict(X[:5]), alone.predict(X[:5]))


def test_faults_of_all_candidates_are_named_at_once():
    ridge = {"alphas": [], "per": "voxel"}
    candidates = {"rigde": {}, "ridge": ridge, "lasso": {"n_alphas": 3}, "best": {}, "linear": 3}
    with pytest.raises(InputError) as caught:
        plugins.load("regressors", "best").build({"candidates": candidates})
    message = str(caught.value)
    assert message.startswith("regressors.best.candidates: rigde: regressors: there is no 'rigde'; there are ")
    for part in (
        "ridge: regressors.ridge.alphas is []; expected a list",
        "lasso: Lasso: options missing alpha_ratio",
        "best cannot be its own candidate",
        "linear is 3; expected two or more regressors, each with its options",
    ):
        assert part in message


def test_a_fold_of_one_clip_has_no_correlation():
    X, Y = problem("whitened", n=12)
    every = np.arange(12)
    single = (*folds(12, 2), Fold(every[1:], every[:1]))
    with pytest.raises(InputError, match=r"fold 2 holds out 1 clip, and a correlation needs 2; lower splits.n_folds"):
        plugins.load("regressors", "best").build({"candidates": CANDIDATES}).fit(
            X, Y, folds=single, bands=[slice(0, X.shape[1])]
        )


def test_parameters_admit_candidates_and_nothing_looser(default_params):
    from cinevox.project import params

    document = default_params.model_dump(mode="json")
    assert set(document["regressors"]["best"]["candidates"]) == {"lasso", "res", "ridge"}
    for wrong in ({"ridge": 3}, {"ridge": {"alphas": {"a": 1}}}):
        document["regressors"]["best"] = {"candidates": wrong}
        with pytest.raises(params.ParamsError, match=r"regressors\.best\.candidates"):
            params.parse(document, "p")

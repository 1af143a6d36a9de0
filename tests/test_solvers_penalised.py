"""Lasso and elastic nets against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNetCV, LassoCV, MultiTaskElasticNetCV

from cinevox.statistics.splits import Fold
from regression_problems import KINDS, build, cv, fitted, problem

REFERENCE = {"alphas": 30, "eps": 1e-3, "tol": 1e-10, "max_iter": 1_000_000}
WIDE = {"alphas": 15, "eps": 0.05}  # more features than clips: small alphas are slow in any solver


def case(kind):
    """A problem, and what our options and scikit-learn's change for it."""
    if kind == "wide":
        return *problem(kind, n_voxels=3), {"n_alphas": 15, "alpha_ratio": 0.05}, REFERENCE | WIDE
    return *problem(kind), {}, REFERENCE


@pytest.mark.parametrize("kind", KINDS)
def test_lasso_is_lassocv(kind):
    X, Y, ours, theirs = case(kind)
    lasso = fitted("lasso", X, Y, **ours)
    for voxel, y in enumerate(Y.T):
        reference = LassoCV(cv=cv(len(X)), **theirs).fit(X, y)
        np.testing.assert_allclose(lasso.diagnostics["alpha"][voxel], reference.alpha_, rtol=1e-9)
        np.testing.assert_allclose(lasso.map.coef[:, voxel], reference.coef_, atol=1e-5)
        np.testing.assert_allclose(lasso.predict(X)[:, voxel], reference.predict(X), atol=1e-5)
        best = reference.mse_path_.mean(axis=1).min()
        np.testing.assert_allclose(lasso.diagnostics["cv_error"][voxel], best, rtol=1e-6)
        assert lasso.diagnostics["empty"][voxel] == (not reference.coef_.any())
    assert not lasso.diagnostics["not_converged"].any()
    assert lasso.diagnostics["gap"].max() < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_elastic_net_is_elasticnetcv(kind):
    X, Y, ours, theirs = case(kind)
    net = fitted("elastic_net", X, Y, **ours)
    for voxel, y in enumerate(Y.T):
        reference = ElasticNetCV(l1_ratio=[0.3, 0.9], cv=cv(len(X)), **theirs).fit(X, y)
        assert net.diagnostics["l1_ratio"][voxel] == reference.l1_ratio_
        np.testing.assert_allclose(net.diagnostics["alpha"][voxel], reference.alpha_, rtol=1e-9)
        np.testing.assert_allclose(net.map.coef[:, voxel], reference.coef_, atol=1e-5)
    assert net.diagnostics["gap"].max() < 1e-7


@pytest.mark.parametrize("n_voxels", [1, 5, 40])  # fewer and more than features
@pytest.mark.parametrize("kind", ["whitened", "correlated", "constant_feature", "one_feature"])
def test_multitask_is_multitaskelasticnetcv(kind, n_voxels):
    X, Y = problem(kind, n_voxels=n_voxels)
    net = fitted("multitask_elastic_net", X, Y)
    reference = MultiTaskElasticNetCV(l1_ratio=[0.3, 0.9], cv=cv(len(X)), **REFERENCE).fit(X, Y)
    assert net.diagnostics["l1_ratio"][0] == reference.l1_ratio_
    np.testing.assert_allclose(net.diagnostics["alpha"], reference.alpha_, rtol=1e-9)
    np.testing.assert_allclose(net.map.coef.T, reference.coef_, atol=1e-5)
    assert not net.diagnostics["not_converged"].any()


def test_elastic_net_of_ratio_one_is_lasso():
    X, Y = problem("correlated")
    net, lasso = fitted("elastic_net", X, Y, l1_ratios=[1.0]), fitted("lasso", X, Y)
    np.testing.assert_array_equal(net.map.coef, lasso.map.coef)


@pytest.mark.parametrize("name", ["lasso", "elastic_net", "multitask_elastic_net"])
def test_early_stop_chooses_the_same_alpha(name):
    X, Y = problem("whitened", n_voxels=200, n=600)
    options = {"n_alphas": 100, "tolerance": 1e-7}
    whole = fitted(name, X, Y, early_stop=False, **options).diagnostics
    stopped = fitted(name, X, Y, early_stop=True, **options).diagnostics
    np.testing.assert_array_equal(stopped["alpha"], whole["alpha"])


def test_early_stop_is_a_heuristic_on_correlated_features():
    X, Y = problem("correlated", n_voxels=200, n=150)
    options = {"n_alphas": 100, "tolerance": 1e-7}
    whole = fitted("lasso", X, Y, early_stop=False, **options).diagnostics
    stopped = fitted("lasso", X, Y, early_stop=True, **options).diagnostics
    assert (stopped["alpha"] == whole["alpha"]).mean() > 0.95
    assert (stopped["cv_error"] / whole["cv_error"]).max() < 1.05


def test_uneven_and_overlapping_folds():
    X, Y = problem("correlated", n_voxels=3)
    rng = np.random.default_rng(0)
    parts = []
    for n_out in (20, 31, 25):  # not a partition: some clips are in no fold's fit
        order = rng.permutation(len(X))
        parts.append(Fold(np.sort(order[n_out:-5]), np.sort(order[:n_out])))
    lasso = build("lasso").fit(X, Y, folds=parts, bands=[])
    for voxel, y in enumerate(Y.T):
        reference = LassoCV(cv=[(f.fit, f.held_out) for f in parts], **REFERENCE).fit(X, y)
        np.testing.assert_allclose(lasso.diagnostics["alpha"][voxel], reference.alpha_, rtol=1e-9)
        np.testing.assert_allclose(lasso.map.coef[:, voxel], reference.coef_, atol=1e-5)


@pytest.mark.parametrize("name", ["lasso", "elastic_net", "multitask_elastic_net"])
def test_too_few_sweeps_are_reported(name):
    X, Y = problem("correlated")
    assert fitted(name, X, Y, max_sweeps=1).diagnostics["not_converged"].any()


def test_pure_noise_selects_the_empty_model_and_predicts_the_mean(rng):
    X, Y = rng.standard_normal((90, 12)), rng.standard_normal((90, 60))
    lasso = fitted("lasso", X, Y)
    empty = lasso.diagnostics["empty"]
    assert 10 < empty.sum() < 60
    np.testing.assert_allclose(lasso.predict(X)[:, empty] - Y.mean(axis=0)[empty], 0, atol=1e-6)


@pytest.mark.parametrize("name", ["lasso", "elastic_net", "multitask_elastic_net"])
def test_paths_that_end_too_early_say_so(name):
    """Without noise, on uncorrelated features, the smallest alpha is the best of any path."""
    X, _ = problem("whitened")
    Y = X @ np.random.default_rng(2).standard_normal((12, 4))
    short = fitted(name, X, Y, n_alphas=5, alpha_ratio=0.5).diagnostics
    assert short["alpha_lowest"].all()
    noise = fitted(name, X, np.random.default_rng(3).standard_normal((90, 4)), n_alphas=5, alpha_ratio=0.01)
    assert not noise.diagnostics["alpha_lowest"].any()

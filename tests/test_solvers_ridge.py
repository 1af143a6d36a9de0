"""Least squares, ridge, banded ridge and kernel ridge against lstsq, himalaya and closed forms."""

import himalaya.ridge
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from cinevox.regressors.banded_ridge import draw_shares
from regression_problems import KINDS, cv, fitted, problem

ALPHAS = [0.1, 1.0, 10.0, 100.0]


@pytest.mark.parametrize("kind", KINDS)
def test_linear_is_lstsq_of_smallest_norm(kind):
    X, Y = problem(kind)
    linear = fitted("linear", X, Y)
    reference, _, rank, _ = np.linalg.lstsq(X - X.mean(axis=0), Y - Y.mean(axis=0))
    np.testing.assert_allclose(linear.map.coef, reference, atol=1e-5 * np.abs(reference).max())
    assert (linear.diagnostics["rank"] == rank).all()


def test_linear_with_as_many_features_as_clips_interpolates(rng):
    X, Y = rng.standard_normal((20, 19)), rng.standard_normal((20, 3))
    np.testing.assert_allclose(fitted("linear", X, Y).predict(X), Y, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_ridge_is_himalayas_and_the_closed_form(kind):
    X, Y = problem(kind)
    ridge = fitted("ridge", X, Y)
    reference = himalaya.ridge.RidgeCV(
        alphas=ALPHAS, fit_intercept=True, cv=cv(len(X)), solver_params={"warn": False}
    ).fit(X, Y)
    np.testing.assert_allclose(ridge.diagnostics["alpha"], reference.best_alphas_, rtol=1e-9)
    np.testing.assert_allclose(ridge.map.coef, reference.coef_, atol=1e-5)
    np.testing.assert_allclose(ridge.diagnostics["cv_error"], -reference.cv_scores_.ravel(), rtol=1e-6)
    Xc = X - X.mean(axis=0)
    for voxel, alpha in enumerate(ridge.diagnostics["alpha"]):
        closed = np.linalg.solve(Xc.T @ Xc + alpha * np.eye(X.shape[1]), Xc.T @ Y[:, voxel])
        np.testing.assert_allclose(ridge.map.coef[:, voxel], closed, atol=1e-5)


@pytest.mark.parametrize("kind", ["whitened", "wide"])
def test_ridge_over_blocks_of_voxels(kind, monkeypatch):
    X, Y = problem(kind, n_voxels=30)
    whole = fitted("ridge", X, Y)
    monkeypatch.setattr("cinevox.regressors._solvers.ridge.BLOCK_VOXELS", 7)
    np.testing.assert_allclose(fitted("ridge", X, Y).map.coef, whole.map.coef, rtol=1e-5, atol=1e-7)


def test_banded_ridge_of_one_band_is_ridge():
    X, Y = problem("correlated")
    banded, ridge = fitted("banded_ridge", X, Y, n_draws=1), fitted("ridge", X, Y)
    np.testing.assert_allclose(banded.diagnostics["alpha"], ridge.diagnostics["alpha"], rtol=1e-6)
    np.testing.assert_allclose(banded.predict(X), ridge.predict(X), atol=1e-4)


@pytest.mark.parametrize("kind", ["whitened", "correlated"])
def test_banded_ridge_is_himalayas_with_the_same_shares(kind):
    X, Y = problem(kind)
    bands = [slice(0, 5), slice(5, 12)]
    banded = fitted("banded_ridge", X, Y, bands=bands, n_draws=20)
    Xc, Yc = X - X.mean(axis=0), Y - Y.mean(axis=0)
    logs, coef, scores, _ = himalaya.ridge.solve_group_ridge_random_search(
        [Xc[:, band] for band in bands],
        Yc,
        n_iter=draw_shares(2, 20, seed=0),
        alphas=np.array(ALPHAS),
        fit_intercept=True,
        cv=cv(len(X)),
        return_weights=True,
        progress_bar=False,
    )
    np.testing.assert_allclose(banded.map.coef, coef, atol=1e-5)
    np.testing.assert_allclose(banded.diagnostics["cv_error"], -scores.max(axis=0), rtol=1e-6)
    shares = np.exp(logs) / np.exp(logs).sum(axis=0)
    np.testing.assert_allclose([banded.diagnostics["share_0"], banded.diagnostics["share_1"]], shares, rtol=1e-6)


def test_banded_ridge_drops_a_band_of_noise(rng):
    X = rng.standard_normal((200, 20))
    Y = X[:, :10] @ rng.standard_normal((10, 5)) + rng.standard_normal((200, 5))
    banded = fitted("banded_ridge", X, Y, bands=[slice(0, 10), slice(10, 20)], n_draws=30)
    assert (banded.diagnostics["share_0"] > banded.diagnostics["share_1"]).all()


def test_pearson_ridge_is_kernel_ridge_on_corrcoef():
    X, Y = problem("correlated")
    ridge = fitted("pearson_ridge", X, Y)
    alphas = [0.01, 0.1, 1.0, 10.0]
    kernel = np.corrcoef(X)
    errors = np.zeros((len(alphas), Y.shape[1]))
    for fit, out in cv(len(X)):
        mean = Y[fit].mean(axis=0)
        for row, alpha in enumerate(alphas):
            oracle = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel[np.ix_(fit, fit)], Y[fit] - mean)
            errors[row] += ((oracle.predict(kernel[np.ix_(out, fit)]) + mean - Y[out]) ** 2).mean(axis=0) / 3
    best = np.array(alphas)[errors.argmin(axis=0)]
    np.testing.assert_array_equal(ridge.diagnostics["alpha"], best)
    np.testing.assert_allclose(ridge.diagnostics["cv_error"], errors.min(axis=0), rtol=1e-6)
    mean = Y.mean(axis=0)
    oracle = KernelRidge(alpha=best, kernel="precomputed").fit(kernel, Y - mean)
    new = problem("correlated", seed=1)[0][:9]
    cross = np.corrcoef(new, X)[:9, 9:]
    np.testing.assert_allclose(ridge.predict(new), oracle.predict(cross) + mean, atol=1e-5)

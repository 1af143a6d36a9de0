"""Least squares, ridge, banded ridge and kernel ridge against lstsq, himalaya and closed forms."""

import himalaya.ridge
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from cinevox.fitting.regressors._solvers import maps
from cinevox.fitting.regressors.banded_ridge import draw_shares
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
    monkeypatch.setattr("cinevox.fitting.regressors._solvers.ridge.BLOCK_VOXELS", 7)
    np.testing.assert_allclose(fitted("ridge", X, Y).map.coef, whole.map.coef, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_ridge_of_more_features_than_clips_is_the_closed_form_for_new_clips(precision, rng, monkeypatch):
    """Of features of all sizes, in blocks of them, one constant in the training clips; also at a tiny penalty."""
    monkeypatch.setattr("cinevox.fitting.regressors._solvers.dual.BLOCK_FEATURES", 37)
    X = (rng.standard_normal((50, 150)) * np.geomspace(1e-2, 1e2, 150) + 3).astype(precision)
    X[:40, 7] = 0.1
    Y = rng.standard_normal((40, 6)).astype(precision)
    for alpha in (1e-3, 100.0):
        ridge = fitted("ridge", X[:40], Y, alphas=[alpha])
        mean = X[:40].mean(axis=0, dtype=np.float64)
        centred = X - mean
        centred[:, 7] = 0.0
        K = centred @ centred[:40].T
        oracle = K[40:] @ np.linalg.solve(K[:40] + alpha * np.eye(40), Y - Y.mean(axis=0, dtype=np.float64))
        np.testing.assert_allclose(
            ridge.predict(X[40:]), oracle + Y.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5
        )
        linear = (centred[40:] @ ridge.map.coef.astype(np.float64)) + Y.mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(linear, ridge.predict(X[40:]), rtol=1e-4, atol=1e-4)


def test_ridge_of_more_features_than_clips_is_kept_by_its_clips():
    X, Y = problem("wide")
    ridge = fitted("ridge", X, Y)
    kind, arrays = maps.to_arrays(ridge.map)
    assert kind == "dual"
    assert {name: array.shape for name, array in arrays.items()} == {
        "X": (90, 180),
        "x_mean": (180,),
        "y_mean": (8,),
        "duals": (90, 8),
    }
    np.testing.assert_array_equal(maps.from_arrays(kind, arrays)(X[:9]), ridge.predict(X[:9]))
    some, units = np.array([6, 1]), np.geomspace(0.1, 10, 8)
    np.testing.assert_allclose(ridge.map.of_voxels(some)(X[:9]), ridge.predict(X[:9])[:, some], rtol=1e-6)
    np.testing.assert_allclose(ridge.map.times(units)(X[:9]), ridge.predict(X[:9]) * units, rtol=1e-6)


def test_banded_ridge_of_one_band_is_ridge():
    X, Y = problem("correlated")
    banded, ridge = fitted("banded_ridge", X, Y, n_draws=1), fitted("ridge", X, Y)
    np.testing.assert_allclose(banded.diagnostics["alpha"], ridge.diagnostics["alpha"], rtol=1e-6)
    np.testing.assert_allclose(banded.predict(X), ridge.predict(X), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "ends"),
    [("whitened", (5, 12)), ("correlated", (5, 12)), ("correlated", (2, 9, 12)), ("wide", (130, 170, 180))],
)
def test_banded_ridge_is_himalayas_with_the_same_shares(kind, ends):
    X, Y = problem(kind)
    alphas = [*ALPHAS, 1e3, 1e4]
    bands = [slice(start, end) for start, end in zip((0, *ends), ends)]
    banded = fitted("banded_ridge", X, Y, bands=bands, n_draws=20, alphas=alphas)
    Xc, Yc = X - X.mean(axis=0), Y - Y.mean(axis=0)
    logs, coef, scores, _ = himalaya.ridge.solve_group_ridge_random_search(
        [Xc[:, band] for band in bands],
        Yc,
        n_iter=draw_shares(len(bands), 20, seed=0),
        alphas=np.array(alphas),
        fit_intercept=True,
        cv=cv(len(X)),
        return_weights=True,
        progress_bar=False,
        warn=False,
    )
    new = problem(kind, seed=1)[0]
    np.testing.assert_allclose(banded.predict(new), (new - X.mean(axis=0)) @ coef + Y.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(banded.diagnostics["cv_error"], -scores.max(axis=0), rtol=1e-6)
    gammas = np.exp(logs)  # share / alpha
    shares = [banded.diagnostics[f"share_{number}"] for number in range(len(bands))]
    np.testing.assert_allclose(shares, gammas / gammas.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(banded.diagnostics["alpha"], 1 / gammas.sum(axis=0), rtol=1e-6)
    assert len(np.unique(banded.diagnostics["alpha"])) > 1


def test_banded_ridge_of_more_features_than_clips_is_kept_as_a_stack_of_its_bands():
    X, Y = problem("wide")
    banded = fitted("banded_ridge", X, Y, bands=[slice(0, 20), slice(20, 180)], n_draws=5)
    kind, arrays = maps.to_arrays(banded.map)
    assert kind == "stacked"
    shares = np.stack([banded.diagnostics["share_0"], banded.diagnostics["share_1"]], axis=1)
    np.testing.assert_allclose(arrays["weights"], shares, rtol=1e-6)
    np.testing.assert_array_equal(maps.from_arrays(kind, arrays)(X[:9]), banded.predict(X[:9]))


def test_banded_ridge_drops_a_band_of_noise(rng):
    X = rng.standard_normal((200, 20))
    Y = X[:, :10] @ rng.standard_normal((10, 5)) + rng.standard_normal((200, 5))
    banded = fitted("banded_ridge", X, Y, bands=[slice(0, 10), slice(10, 20)], n_draws=30)
    assert (banded.diagnostics["share_0"] > banded.diagnostics["share_1"]).all()


def cosine_about(X, rows):
    centred = X - X[rows].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit @ unit.T


def test_similarity_ridge_is_kernel_ridge_on_cosines_about_the_mean():
    X, Y = problem("correlated")
    ridge = fitted("similarity_ridge", X, Y)
    alphas = [0.01, 0.1, 1.0, 10.0]
    errors = np.zeros((len(alphas), Y.shape[1]))
    for fit, out in cv(len(X)):
        kernel, mean = cosine_about(X, fit), Y[fit].mean(axis=0)
        for row, alpha in enumerate(alphas):
            oracle = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel[np.ix_(fit, fit)], Y[fit] - mean)
            errors[row] += ((oracle.predict(kernel[np.ix_(out, fit)]) + mean - Y[out]) ** 2).mean(axis=0) / 3
    best = np.array(alphas)[errors.argmin(axis=0)]
    np.testing.assert_array_equal(ridge.diagnostics["alpha"], best)
    np.testing.assert_allclose(ridge.diagnostics["cv_error"], errors.min(axis=0), rtol=1e-6)
    mean, new = Y.mean(axis=0), problem("correlated", seed=1)[0][:9]
    kernel = cosine_about(np.vstack([X, new]), np.arange(len(X)))
    oracle = KernelRidge(alpha=best, kernel="precomputed").fit(kernel[:90, :90], Y - mean)
    np.testing.assert_allclose(ridge.predict(new), oracle.predict(kernel[90:, :90]) + mean, atol=1e-5)


@pytest.mark.parametrize("kind", ["correlated", "wide"])
def test_one_alpha_for_a_region_is_scikit_learns_and_himalayas_for_z_scored_voxels(kind):
    """Equal weight for every voxel, whatever its size: they minimise the mean MSE, of voxels of one variance."""
    X, Y = problem(kind, n=60)
    z = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, scoring="neg_mean_squared_error", cv=cv(60)).fit(X, z)
    himalayas = himalaya.ridge.RidgeCV(
        alphas=ALPHAS, fit_intercept=True, cv=cv(60), solver_params={"warn": False, "local_alpha": False}
    ).fit(X, z)
    uneven = Y * np.geomspace(0.01, 100, Y.shape[1])
    ridge = fitted("ridge", X, uneven, per="roi")
    assert (ridge.diagnostics["alpha"] == search.best_params_["alpha"]).all()
    np.testing.assert_allclose(himalayas.best_alphas_, search.best_params_["alpha"])
    expected = Ridge(alpha=search.best_params_["alpha"]).fit(X, uneven).predict(X[:9])
    np.testing.assert_allclose(ridge.predict(X[:9]), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert len(np.unique(fitted("ridge", X, uneven, per="voxel").diagnostics["alpha"])) > 1


def test_one_alpha_of_constant_voxels_is_chosen_without_them():
    X, Y = problem("correlated")
    alone = fitted("ridge", X, Y, per="roi")
    Y = np.hstack([Y, np.full((90, 30), 7.0)])
    np.testing.assert_array_equal(fitted("ridge", X, Y, per="roi").diagnostics["alpha"][:8], alone.diagnostics["alpha"])
    assert (fitted("ridge", X, Y[:, 8:], per="roi").predict(X) == 7).all()


@pytest.mark.parametrize("name", ["ridge", "banded_ridge", "similarity_ridge"])
def test_alphas_at_an_end_of_their_grid_count_where_the_error_still_falls(name, rng):
    """Not of noise, whose best model is the mean, and not where the lowest alphas make one and the same fit."""
    X = rng.standard_normal((300, 5))
    Y = np.hstack([X[:, :2] + 0.3 * rng.standard_normal((300, 2)), rng.standard_normal((300, 40))])
    wide = fitted(name, X, Y, alphas=[1e-8, 1e-7, 1.0, 1e6, 1e7]).diagnostics
    assert (wide["alpha"][2:] == 1e7).any()
    assert not wide["alpha_lowest"].any() and not wide["alpha_highest"].any()
    high = fitted(name, X, Y, alphas=[1e6, 300.0, 1000.0]).diagnostics
    np.testing.assert_array_equal(high["alpha_lowest"][:2], [True, True])
    assert high["alpha_highest"].mean() < 0.05  # chance
    assert not fitted(name, X, Y, alphas=[300.0]).diagnostics["alpha_lowest"].any()  # a grid of one has no ends


def test_a_grid_that_ends_too_low_says_so(rng):
    """Also where its highest alpha is so low that held-out clips are predicted worse than by the mean."""
    X = rng.standard_normal((60, 38))
    Y = np.hstack([X @ rng.standard_normal((38, 8)), np.zeros((60, 4))]) + 12 * rng.standard_normal((60, 12))
    for per in ("voxel", "roi"):
        low = fitted("ridge", X, Y, alphas=[0.01, 0.1, 1.0], per=per).diagnostics
        assert low["alpha_highest"].all()
        wide = fitted("ridge", X, Y, alphas=[1e-4, 1.0, 100.0, 1e4, 1e6, 1e7], per=per).diagnostics
        assert (wide["alpha"] >= 100).all()
        assert not wide["alpha_highest"].any()

"""Sparse linear regression and matching pursuit against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import ARDRegression, OrthogonalMatchingPursuitCV

from regression_problems import KINDS, cv, fitted, problem


@pytest.mark.parametrize("kind", ["whitened", "correlated", "constant_feature", "one_feature", "wide"])
def test_sparse_linear_is_ardregression(kind):
    X, Y = problem(kind, n_voxels=4 if kind == "wide" else 8)
    ard = fitted("sparse_linear", X, Y)
    for voxel, y in enumerate(Y.T):
        reference = ARDRegression(max_iter=300, tol=1e-3).fit(X, y)
        assert ard.diagnostics["iterations"][voxel] == reference.n_iter_
        np.testing.assert_allclose(ard.map.coef[:, voxel], reference.coef_, atol=1e-5)
        np.testing.assert_allclose(ard.predict(X)[:, voxel], reference.predict(X), atol=1e-4)
        assert ard.diagnostics["not_converged"][voxel] == (reference.n_iter_ == 300)


def test_sparse_linear_prunes_what_is_no_signal(rng):
    X = rng.standard_normal((300, 30))
    Y = 2 * X[:, :3] @ np.ones((3, 4)) + rng.standard_normal((300, 4))
    ard = fitted("sparse_linear", X, Y, tolerance=1e-6, max_iterations=2000)
    assert (np.abs(ard.map.coef[:3] - 2) < 0.3).all()
    assert (ard.diagnostics["n_kept"] < 30).all()


def test_sparse_linear_reports_what_did_not_converge():
    X, Y = problem("correlated")
    assert fitted("sparse_linear", X, Y, max_iterations=2).diagnostics["not_converged"].all()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"one_feature", "constant_feature"}))
def test_omp_is_orthogonalmatchingpursuitcv(kind):
    X, Y = problem(kind)
    omp = fitted("omp", X, Y)
    for voxel, y in enumerate(Y.T):
        reference = OrthogonalMatchingPursuitCV(max_iter=6, cv=cv(len(X))).fit(X, y)
        assert omp.diagnostics["n_kept"][voxel] == reference.n_nonzero_coefs_
        np.testing.assert_allclose(omp.map.coef[:, voxel], reference.coef_, atol=1e-5)


def test_omp_never_takes_a_constant_or_repeated_feature(rng):
    X = rng.standard_normal((60, 3))
    X = np.hstack([X, X[:, :1], np.ones((60, 1))])
    omp = fitted("omp", X, X[:, :3] @ np.ones((3, 1)) + 0.01 * rng.standard_normal((60, 1)), max_features=5)
    assert omp.diagnostics["n_kept"] == 3
    np.testing.assert_allclose(omp.map.coef[[0, 3]].sum(axis=0), 1, atol=0.02)
    assert omp.map.coef[4] == 0

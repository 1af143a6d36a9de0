"""Banded ridge: a penalty of its own for every layer's features, chosen for every voxel by random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.regressors import Floats, RegressorSpec
from cinevox.regressors._checks import check_options, check_problem, grid, whole
from cinevox.regressors._linear import LinearMap, centred, constant_columns
from cinevox.splits import Fold


class BandedRidge:
    """argmin_W |Y - sum_b X_b W_b|^2 + sum_b (alpha / g_b) |W_b|^2, X_b the columns of a band; himalaya's solver.

    The shares g (on the simplex, one draw from a Dirichlet distribution per iteration) and alpha are those of
    the smallest mean held-out MSE of each voxel.

    n_draws: random shares tried, the first all equal; seed: theirs
    Reference: Dupre la Tour, Eickenberg, Nunez-Elizalde and Gallant (2022), NeuroImage 264, 119728.
    """

    def __init__(self, *, alphas: Sequence[float], n_draws: int, seed: int) -> None:
        faults = {"alphas": grid(alphas), "n_draws": whole(n_draws, 1), "seed": whole(seed, 0)}
        check_options("banded_ridge", dict(zip(faults, (alphas, n_draws, seed))), faults)
        self.alphas = np.array(alphas, dtype=np.float64)
        self.n_draws, self.seed = n_draws, seed
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        from himalaya.kernel_ridge import generate_dirichlet_samples
        from himalaya.ridge import solve_group_ridge_random_search

        check_problem(X, Y, folds)
        _check_bands(bands, X.shape[1])
        Xc, x_mean = centred(X)
        Yc, y_mean = centred(Y)
        shares = generate_dirichlet_samples(self.n_draws, len(bands), random_state=self.seed)
        shares[0] = 1.0 / len(bands)
        log_shares, coef, scores, _ = solve_group_ridge_random_search(
            [Xc[:, band] for band in bands],
            Yc,
            n_iter=shares,
            alphas=self.alphas,
            cv=[(fold.fit, fold.held_out) for fold in folds],
            random_state=self.seed,
            fit_intercept=True,
            progress_bar=False,
            warn=False,
        )
        live = ~constant_columns(Y)
        weights = np.zeros((X.shape[1], Y.shape[1]), dtype=np.float32)
        weights[np.concatenate([np.arange(X.shape[1])[band] for band in bands])] = coef
        self.map = LinearMap(x_mean, y_mean, weights * live)
        total = np.exp(log_shares).sum(axis=0)
        self.diagnostics = {"alpha": 1.0 / total, "cv_error": -scores.max(axis=0), "constant": ~live}
        for number, log_share in enumerate(log_shares):
            self.diagnostics[f"share_{number}"] = np.exp(log_share) / total
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


def _check_bands(bands: Sequence[slice], n_features: int) -> None:
    columns = [column for band in bands for column in range(n_features)[band]]
    if sorted(columns) != list(range(n_features)) or any(not len(range(n_features)[band]) for band in bands):
        raise InputError(
            f"bands are {list(bands)} of {n_features} features; expected every feature in one band, no band empty"
        )


SPEC = RegressorSpec(title="Banded ridge", make=BandedRidge)

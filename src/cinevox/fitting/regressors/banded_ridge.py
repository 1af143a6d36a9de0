"""Banded ridge: a penalty of its own for every layer's features, chosen for every voxel by random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors import Floats, RegressorSpec
from cinevox.fitting.regressors._solvers.banded import BandsInFeatures, BandsInKernels
from cinevox.fitting.regressors._solvers.checks import check_options, check_problem, grid, whole
from cinevox.fitting.regressors._solvers.linear import constant_columns
from cinevox.fitting.regressors._solvers.ridge import at_ends, cv_errors, error_of_mean
from cinevox.statistics.splits import Fold


class BandedRidge:
    """argmin_W |Y - sum_b X_b W_b|^2 + sum_b (alpha / g_b) |W_b|^2, X_b the columns of a band.

    The shares g (on the simplex) and alpha are those of the smallest mean held-out MSE of each voxel. Shares are
    drawn at random, by turns from Dirichlet distributions of concentration 1 and 0.1, the first all equal. With one
    band it is ridge. More features than clips are solved by kernels, one per band, and X is then kept by reference.

    n_draws: shares tried; seed: theirs
    Reference: Dupre la Tour, Eickenberg, Nunez-Elizalde and Gallant (2022), NeuroImage 264, 119728.
    """

    def __init__(self, *, alphas: Sequence[float], n_draws: int, seed: int) -> None:
        faults = {"alphas": grid(alphas), "n_draws": whole(n_draws, 1), "seed": whole(seed, 0)}
        check_options("banded_ridge", dict(zip(faults, (alphas, n_draws, seed))), faults)
        self.alphas = np.array(alphas, dtype=np.float64)
        self.n_draws, self.seed = n_draws, seed
        self.diagnostics: Mapping[str, NDArray[Any]] = {}

    def fit(self, X: Floats, Y: Floats, *, folds: Sequence[Fold], bands: Sequence[slice]) -> Self:
        check_problem(X, Y, folds)
        _check_bands(bands, X.shape[1])
        shares = draw_shares(len(bands), self.n_draws, self.seed)
        banded: BandsInKernels | BandsInFeatures
        banded = BandsInKernels(X, bands) if X.shape[1] > len(X) else BandsInFeatures(X, bands)
        n_voxels = Y.shape[1]
        best, draw, alpha = np.full(n_voxels, np.inf), np.zeros(n_voxels, int), np.zeros(n_voxels)
        of_mean, ends = error_of_mean(Y, folds), dict[str, NDArray[np.bool_]]()
        for number, share in enumerate(shares):
            errors = cv_errors(banded.folds(share, folds), Y, self.alphas)
            row, lowest = errors.argmin(axis=0), errors.min(axis=0)
            better = lowest < best
            best[better], draw[better], alpha[better] = lowest[better], number, self.alphas[row[better]]
            for flag, found in at_ends(errors, row, self.alphas, of_mean).items():
                ends[flag] = np.where(better, found, ends.get(flag, False))
        self.map = banded.map(shares, draw, Y, alpha)
        chosen_shares = {f"share_{number}": shares[draw, number] for number in range(len(bands))}
        self.diagnostics = {"alpha": alpha, "cv_error": best, "constant": constant_columns(Y)} | chosen_shares | ends
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)


def draw_shares(n_bands: int, n_draws: int, seed: int) -> NDArray[np.float64]:
    """Shares of bands, each row sums to 1, (n_draws, n_bands)."""
    rng = np.random.default_rng(seed)
    shares = np.array([rng.dirichlet(np.full(n_bands, 1.0 if draw % 2 else 0.1)) for draw in range(n_draws)])
    shares[0] = 1.0 / n_bands
    return shares


def _check_bands(bands: Sequence[slice], n_features: int) -> None:
    starts, stops = [band.start for band in bands], [band.stop for band in bands]
    ends = [0, *stops]
    if starts != ends[:-1] or ends[-1] != n_features or any(stop <= start for start, stop in zip(starts, stops)):
        raise InputError(
            f"bands are {list(bands)} of {n_features} features; expected every feature in one band, no band empty, "
            "one band after the other"
        )


SPEC = RegressorSpec(title="Banded ridge", make=BandedRidge, shrinks_evenly=True)

"""Lasso and elastic net with alpha (and the l1 ratio) chosen for every voxel by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats
from cinevox.fitting.regressors._solvers.checks import flag, whole, within
from cinevox.fitting.regressors._solvers.descent import path_errors, solve
from cinevox.fitting.regressors._solvers.kernels import over_voxels
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.fitting.regressors._solvers.moments import Matrix, Problem, problem
from cinevox.fitting.regressors._solvers.ridge import FALLS
from cinevox.statistics.splits import Fold


@dataclass(frozen=True)
class Path:
    """The way in which alphas are tried.

    n_alphas, alpha_ratio: from each voxel's alpha_max down to alpha_ratio alpha_max, geometrically
    tolerance: a coefficient that would change the fitted values by less than this share of the responses' norm stays
    max_sweeps: over the coefficients, for one alpha; early_stop: leave a path more than 10 steps
        past its best whose error is more than 1 % above it; features that are nearly orthogonal (components of a
        PCA) make the error fall once and rise, so that the same alpha is found; a second dip would be missed
    """

    n_alphas: int
    alpha_ratio: float
    tolerance: float
    max_sweeps: int
    early_stop: bool

    def faults(self) -> dict[str, str | None]:
        """Say what is wrong with each option."""
        return {
            "n_alphas": whole(self.n_alphas, 1),
            "alpha_ratio": within(self.alpha_ratio, 0, 1),
            "tolerance": within(self.tolerance, 0, 1),
            "max_sweeps": whole(self.max_sweeps, 1),
            "early_stop": flag(self.early_stop),
        }

    def grid(self) -> Matrix:
        """Alphas as shares of alpha_max, (n_alphas,), from 1 down."""
        return np.geomspace(1.0, self.alpha_ratio, self.n_alphas) if self.n_alphas > 1 else np.ones(1)


def elastic_net_cv(
    X: Floats, Y: Floats, folds: Sequence[Fold], l1_ratios: Sequence[float], path: Path
) -> tuple[LinearMap, Mapping[str, NDArray[Any]]]:
    """Elastic net for every voxel at its own alpha and l1 ratio: those of the smallest mean held-out MSE.

    argmin_w (1 / 2n) |y - Xw|^2 + alpha rho |w|_1 + alpha (1 - rho) / 2 |w|^2, centred; the grid of each ratio
    starts at alpha_max = max |X'y| / (n rho) of all clips; refitted on all clips. Ratio 1 is the lasso.

    X: (n_clips, n_features); Y: (n_clips, n_voxels). Memory: 2 (n_folds + 1) n_features (n_features + n_voxels)
    numbers of 8 bytes.
    Returns the map and, by voxel: alpha, l1_ratio, cv_error (the smallest mean MSE), gap (duality gap over
    sum y^2), not_converged, empty (no coefficient), constant (one value only: alpha is 0, the mean is predicted),
    alpha_lowest (the last of the path, of a voxel that is predicted better than by its mean, by FALLS of the error).
    """
    data = problem(X, Y, folds)
    error, ratio, alpha, failed, lowest = _choose(data, l1_ratios, path)
    predicts = error < (1 - FALLS) * data.error_of_mean
    coef, gap = np.empty(data.whole.cross.shape), np.empty(len(alpha))
    norm = np.sqrt(np.diagonal(data.whole.gram))

    def refit(start: int, stop: int) -> None:
        whole = data.whole
        solve(start, stop, whole.gram, norm, whole.cross, whole.yy, whole.n, alpha, ratio,
              path.tolerance, path.max_sweeps, coef, gap, failed)  # fmt: skip

    over_voxels(refit, len(alpha))
    diagnostics: dict[str, NDArray[Any]] = {
        "alpha": alpha,
        "l1_ratio": ratio,
        "cv_error": error,
        "gap": gap,
        "not_converged": failed,
        "empty": np.count_nonzero(coef, axis=1) == 0,
        "constant": data.constant,
        "alpha_lowest": predicts & lowest,
    }
    return LinearMap(data.x_mean, data.y_mean, coef.T.astype(np.float32)), diagnostics


def _choose(
    data: Problem, l1_ratios: Sequence[float], path: Path
) -> tuple[Matrix, Matrix, Matrix, NDArray[np.bool_], NDArray[np.bool_]]:
    """Smallest cross-validated error of every voxel, the ratio and alpha it has, whether a path failed; and whether
    the alpha is the last of several."""
    fits, outs = [fold.fit for fold in data.folds], [fold.held_out for fold in data.folds]
    moments = (
        np.stack([fit.gram for fit in fits]),
        np.stack([out.gram for out in outs]),
        np.sqrt([np.diagonal(fit.gram) for fit in fits]),
        np.stack([fit.cross for fit in fits]),
        np.stack([out.cross for out in outs]),
        np.stack([fit.yy for fit in fits]),
        np.stack([out.yy for out in outs]),
        np.array([float(fit.n) for fit in fits]),
        np.array([float(out.n) for out in outs]),
    )
    grid = path.grid()
    n_voxels = len(data.y_mean)
    best = np.full(n_voxels, np.inf)
    ratio, alpha = np.full(n_voxels, float(l1_ratios[0])), np.zeros(n_voxels)
    failed, lowest = np.zeros(n_voxels, bool), np.zeros(n_voxels, bool)
    for rho in l1_ratios:
        alpha_max = np.abs(data.whole.cross).max(axis=1) / (data.whole.n * rho)
        error, step = np.empty(n_voxels), np.empty(n_voxels, np.int64)

        def chunk(start: int, stop: int, rho: float = rho, top: Matrix = alpha_max, out: Any = (error, step)) -> None:
            path_errors(start, stop, *moments, top, grid, rho,
                        path.tolerance, path.max_sweeps, path.early_stop, *out, failed)  # fmt: skip

        over_voxels(chunk, n_voxels)
        better = error < best
        best[better], ratio[better] = error[better], rho
        alpha[better] = alpha_max[better] * grid[step[better]]
        lowest[better] = step[better] == len(grid) - 1
    return best, ratio, alpha, failed, lowest & (len(grid) > 1)

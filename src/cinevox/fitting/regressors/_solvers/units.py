"""Responses in a unit of their own size: what makes every regressor independent of the units they are measured in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Floats, Map, Regressor
from cinevox.measured.responses import unit
from cinevox.statistics.splits import Fold


class InUnits:
    """A regressor that does not depend on the units of the responses: one number is divided out and put back.

    Elastic net weighs a penalty that grows with the responses against one that grows with their square; relevance
    determination drops coefficients below an absolute size. Of responses in other units they make other models.

    diagnostics: of the regressor, of the responses after division
    """

    def __init__(self, regressor: Regressor) -> None:
        self._regressor = regressor
        self.map: Map

    @property
    def diagnostics(self) -> Mapping[str, NDArray[Any]]:
        return self._regressor.diagnostics

    def fit(
        self,
        X: Floats,
        Y: Floats,
        *,
        folds: Sequence[Fold],
        bands: Sequence[slice],
        units: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit every column of Y, as `Regressor.fit` does.

        units: what each column is divided by, (n_voxels,), the same for all voxels of an ROI of one subject, also of
            those that are not in Y; None takes `responses.unit` of Y for all
        """
        if units is None:
            units = np.full(Y.shape[-1], unit(Y) if Y.ndim == 2 else 1.0)  # other shapes the regressor refuses
        scaled = Y / units.astype(np.result_type(Y, np.float32))
        self.map = self._regressor.fit(X, scaled, folds=folds, bands=bands).map.times(units)
        return self

    def predict(self, X: Floats) -> NDArray[np.float32]:
        return self.map(X)

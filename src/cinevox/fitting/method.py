"""Method: the way in which a row is fitted, and the voxels that are fitted at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.regressors import Regressor, RegressorSpec
from cinevox.measured.responses import Columns
from cinevox.project import plugins
from cinevox.project.params import Params
from cinevox.statistics.splits import Indices, folds

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Method:
    """The way in which a row is fitted, whichever the feature space.

    spec, options: the regressor
    n_folds: inside the training clips, for what the regressor chooses itself
    batch_voxels: how many are fitted at once, where the regressor takes each by itself
    """

    spec: RegressorSpec
    options: Mapping[str, Any]
    n_folds: int
    batch_voxels: int

    @classmethod
    def of(cls, regressor: str, params: Params) -> Self:
        """As the parameters have it. params: has the sections splits, regressors and fits."""
        name, options = plugins.regressor_of(regressor, params.regressors[regressor])
        return cls(plugins.load("regressors", name), options, params.splits.n_folds, params.fits.batch_voxels)

    @property
    def voxels(self) -> Literal["batch", "roi", "all"]:
        """The voxels that the regressor is given at once."""
        return self.spec.together(self.options)

    def batches(self, columns: Columns) -> list[slice]:
        """The voxels that are fitted at once, see `RegressorSpec.voxels`."""
        n_voxels = columns.n_voxels
        match self.voxels:
            case "roi":
                return list(columns.slices)
            case "all":
                return [slice(0, n_voxels)]
        starts = range(0, n_voxels, self.batch_voxels)
        return [slice(start, min(start + self.batch_voxels, n_voxels)) for start in starts]

    def fitted(
        self, X: Floats, Y: Floats, bands: Sequence[slice], units: NDArray[np.float64], groups: Indices | None = None
    ) -> Regressor:
        """The regressor, fitted to training clips. units: of each column of Y, as for `InUnits.fit`; groups: of rows"""
        regressor = self.spec.build(self.options)
        return regressor.fit(X, Y, folds=folds(len(X), self.n_folds, groups), bands=bands, units=units)


@dataclass(frozen=True)
class Shown:
    """The clips that some subjects saw, training clips first.

    rows: their positions among all clips; None: all of them
    groups: of each training clip of these the number of its group, which no fold divides; None: every clip by itself
    """

    rows: Indices | None = None
    groups: Indices | None = None

    def __call__(self, features: Sequence[Floats]) -> Sequence[Floats]:
        """The features of these clips, (n_clips, ...) each."""
        return features if self.rows is None else [values[self.rows] for values in features]

    def rows_of(self, n_clips: int) -> Indices:
        """Their positions among all `n_clips`."""
        return np.arange(n_clips) if self.rows is None else self.rows

    def groups_of(self, clips: Indices) -> Indices | None:
        """The groups of some of the training clips, positions among these."""
        return None if self.groups is None else self.groups[clips]


EVERY_CLIP = Shown()


@dataclass(frozen=True)
class Served:
    """The voxels that a candidate is fitted to.

    columns: their blocks; where: which of all voxels they are, (n_voxels of all,)
    batches: those that are fitted at once, as slices of them
    responses: of each batch, its responses to the training clips and the units of these; workers get each array once
    """

    columns: Columns
    where: NDArray[np.bool_]
    batches: Sequence[slice]
    responses: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]]

    @classmethod
    def of(
        cls,
        rois: tuple[str, ...],
        measured: NDArray[np.float32],
        columns: Columns,
        units: NDArray[np.float64],
        train: Indices,
        method: Method,
    ) -> Self:
        own, where = columns.of_rois(rois)
        if not where.all():
            measured, units = measured[:, where], units[where]
        batches = method.batches(own) if own.n_voxels else []  # these subjects may have none of the ROIs
        return cls(own, where, batches, [(measured[train, batch], units[batch]) for batch in batches])

    def widened(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of these voxels, (n, n_voxels of these), among all; NaN in the others."""
        if self.where.all():
            return values
        found = np.full((len(values), len(self.where)), np.nan, dtype=np.float32)
        found[:, self.where] = values
        return found

"""Which clips train, validate and test, and the folds inside the training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.params import Splits

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Disjoint positions in the list of all clips, each sorted: the training set's clips come first in it."""

    train: Indices
    validation: Indices
    test: Indices

    def __getitem__(self, name: str) -> Indices:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


@dataclass(frozen=True)
class Fold:
    """Positions within the training rows handed to a solver."""

    fit: Indices
    held_out: Indices


def split(n_train_clips: int, n_test_clips: int, settings: Splits) -> Split:
    """Divide the clips: the last `n_test_clips` test; of the others a fraction validates.

    The number of validation clips is the fraction rounded to the nearest, at least 2 (one clip has no
    correlation). `random` draws them with the seed, `last` takes the last ones as the challenge's devkit does.

    Raises
    ------
    InputError
        Too few clips would remain for the folds.
    """
    n_validation = max(2, round(n_train_clips * settings.validation_fraction))
    n_fitted = n_train_clips - n_validation
    if n_fitted < 2 * settings.n_folds:
        raise InputError(
            f"{n_train_clips} training clips leave {n_fitted} to fit after {n_validation} for validation, and "
            f"{settings.n_folds} folds need {2 * settings.n_folds}; lower splits.validation_fraction or splits.n_folds"
        )
    order = np.arange(n_train_clips)
    if settings.scheme == "random":
        order = np.random.default_rng(settings.seed).permutation(n_train_clips)
    return Split(
        train=np.sort(order[:n_fitted]),
        validation=np.sort(order[n_fitted:]),
        test=np.arange(n_train_clips, n_train_clips + n_test_clips),
    )


def folds(n_rows: int, n_folds: int) -> tuple[Fold, ...]:
    """Consecutive folds of nearly equal size over the training rows (scikit-learn's `KFold` without shuffle).

    Raises
    ------
    InputError
        Fewer rows than folds.
    """
    if n_folds < 2 or n_rows < n_folds:
        raise InputError(f"{n_rows} training clips cannot make {n_folds} folds; expected 2 <= n_folds <= n_clips")
    every = np.arange(n_rows)
    held_out: Sequence[Indices] = np.array_split(every, n_folds)
    return tuple(Fold(fit=np.setdiff1d(every, rows), held_out=rows) for rows in held_out)

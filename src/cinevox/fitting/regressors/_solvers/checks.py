"""Checks that every regressor makes of its options and of its input. Every fault is reported, not the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cinevox.errors import InputError
from cinevox.fitting.regressors import Floats
from cinevox.statistics.splits import Fold

BLOCK = 1 << 22


def check_options(regressor: str, found: Mapping[str, Any], faults: Mapping[str, str | None]) -> None:
    """Raise one error for every option whose fault is not None."""
    wrong = [f"regressors.{regressor}.{name} is {found[name]!r}; expected {why}" for name, why in faults.items() if why]
    if wrong:
        raise InputError("; ".join(wrong))


def whole(value: Any, least: int) -> str | None:
    """The fault of an option that should be a whole number."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    return None if good else f"a whole number, {least} or more"


def within(value: Any, low: float, high: float, *, closed_high: bool = False) -> str | None:
    """The fault of an option that should lie strictly above low and below (or at) high."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and low < value and (value < high or (closed_high and value == high)):
        return None
    top = "" if high == np.inf else f" and {'at most' if closed_high else 'below'} {high:g}"
    return f"a number above {low:g}{top}"


def flag(value: Any) -> str | None:
    """The fault of an option that should be true or false."""
    return None if isinstance(value, bool) else "true or false"


def one_of(value: Any, *allowed: str) -> str | None:
    """The fault of an option that should be one of some words."""
    return None if value in allowed else " or ".join(allowed)


def grid(values: Any, high: float = np.inf) -> str | None:
    """The fault of an option that should be a list of positive numbers, at most `high`."""
    if (
        isinstance(values, list | tuple)
        and len(values)
        and not any(within(v, 0, high, closed_high=True) for v in values)
    ):
        return None
    return "a list of at least one positive number" + ("" if high == np.inf else f", {high:g} or less")


def check_problem(X: Floats, Y: Floats, folds: Sequence[Fold] | None = None, *, finite_X: bool = True) -> None:
    """Refuse features and responses that no regressor can use.

    X: (n_clips, n_features); Y: (n_clips, n_voxels); folds: positions in the clips, None where none are used.
    finite_X: look through X for NaN (a solver that streams X finds them itself).

    Raises
    ------
    InputError
        Wrong number of axes, clips that don't pair, an empty axis, NaN or infinity, unusable folds.
    """
    faults = []
    if X.ndim != 2:
        faults.append(f"X has shape {X.shape}; expected (n_clips, n_features)")
    if Y.ndim != 2:
        faults.append(f"Y has shape {Y.shape}; expected (n_clips, n_voxels)")
    if not faults and X.shape[0] != Y.shape[0]:
        faults.append(
            f"X (n_clips, n_features) is {X.shape} and Y (n_clips, n_voxels) is {Y.shape}; expected the same n_clips"
        )
    if not faults and (0 in X.shape or 0 in Y.shape or len(X) < 2):
        faults.append(f"X is {X.shape} and Y is {Y.shape}; expected at least 2 clips, 1 feature and 1 voxel")
    if faults:
        raise InputError("; ".join(faults))
    if finite_X and not all_finite(X):
        faults.append("X has NaN or infinite features; check the features stage")
    if not all_finite(Y):
        bad = np.flatnonzero(~np.isfinite(Y).all(axis=0))
        faults.append(f"Y has NaN or infinite responses in {len(bad)} voxels (first: {bad[0]}); exclude them")
    if folds is not None:
        faults += _fold_faults(len(X), folds)
    if faults:
        raise InputError("; ".join(faults))


def check_new(X: Floats, n_features: int) -> None:
    """Refuse features to predict from that are not those fitted."""
    if X.ndim != 2 or X.shape[1] != n_features:
        raise InputError(f"X has shape {X.shape}; expected (n_clips, n_features) with {n_features} features as fitted")


def all_finite(values: Floats) -> bool:
    """Whether no value is NaN or infinite, looked at in blocks of rows."""
    rows = max(1, BLOCK // max(1, values.shape[1]))
    return all(np.isfinite(values[start : start + rows]).all() for start in range(0, len(values), rows))


def _fold_faults(n_clips: int, folds: Sequence[Fold]) -> list[str]:
    if len(folds) < 2:
        return [f"{len(folds)} folds; expected at least 2 to choose anything by cross-validation"]
    if n_clips < len(folds):
        return [f"{n_clips} clips for {len(folds)} folds; lower splits.n_folds"]
    faults = []
    for number, fold in enumerate(folds):
        both = np.concatenate([fold.fit, fold.held_out])
        if len(fold.fit) < 2 or len(fold.held_out) < 1:
            faults.append(
                f"fold {number} fits {len(fold.fit)} clips and holds out {len(fold.held_out)}; expected >= 2, 1"
            )
        elif both.min() < 0 or both.max() >= n_clips:
            faults.append(f"fold {number} names clip {both.max()}, and there are {n_clips}")
        elif len(np.intersect1d(fold.fit, fold.held_out)):
            faults.append(f"fold {number} holds out clips that it fits; expected disjoint sets")
    return faults

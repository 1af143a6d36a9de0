"""Splits: clips that train, validate and test, folds inside the training clips, and folds outside of everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.project.params import Splits

Indices = NDArray[np.intp]
ScoredSplit = Literal["test", "nested", "validation"]  # nested: the outer folds, each with a choice made without it
BEST_FIRST: tuple[ScoredSplit, ...] = ("test", "nested", "validation")


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


def split(n_train_clips: int, n_test_clips: int, settings: Splits, groups: Indices | None = None) -> Split:
    """Divide the clips: the last `n_test_clips` test; of the others a fraction validates.

    The number of validation clips is the fraction rounded to the nearest, at least 2 (one clip has no
    correlation). `random` draws them with the seed, `last` takes the last ones as the challenge's devkit does.

    groups: of each training clip the number of its group, (n_train_clips,); a group is never divided, so that as many
        clips validate as whole groups have, the fewest that are enough. None: every clip by itself

    Raises
    ------
    InputError
        Too few clips would remain for the folds, or there are fewer clips than training responses.
    """
    if n_test_clips < 0:
        raise InputError(
            f"{n_train_clips} training responses and {n_train_clips + n_test_clips} clips: {-n_test_clips} clips are "
            "missing; `cinevox validate` names them"
        )
    n_validation = max(2, round(n_train_clips * settings.validation_fraction))
    order = _ordered(np.arange(n_train_clips), settings, groups)
    if groups is not None:  # the first place, from the end, where a group begins
        begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
        n_validation = n_train_clips - int(begins[begins <= n_train_clips - n_validation][-1])
    n_fitted = n_train_clips - n_validation
    if n_fitted < 2 * settings.n_folds:
        raise InputError(
            f"{n_train_clips} training clips leave {n_fitted} to fit after {n_validation} for validation, and "
            f"{settings.n_folds} folds need {2 * settings.n_folds}; lower splits.validation_fraction or splits.n_folds"
        )
    return Split(
        train=np.sort(order[:n_fitted]),
        validation=np.sort(order[n_fitted:]),
        test=np.arange(n_train_clips, n_train_clips + n_test_clips),
    )


def _ordered(clips: Indices, settings: Splits, groups: Indices | None) -> Indices:
    """The clips in the order in which they are dealt out, those of a group one after another."""
    rng = np.random.default_rng(settings.seed) if settings.scheme == "random" else None
    if groups is None:
        return clips if rng is None else rng.permutation(clips)
    _, first = np.unique(groups[clips], return_index=True)
    order = groups[clips][np.sort(first)]
    if rng is not None:
        order = rng.permutation(order)
    return np.concatenate([clips[groups[clips] == group] for group in order])


def _dealt(order: Indices, n_folds: int, groups: Indices | None) -> list[Indices]:
    """Consecutive parts of nearly equal size; with groups, cut where one begins, as near to that as can be."""
    if groups is None:
        return np.array_split(order, n_folds)
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))[1:]
    wanted = np.cumsum([len(part) for part in np.array_split(order, n_folds)])[:-1]
    cuts = begins[np.abs(begins[:, None] - wanted).argmin(axis=0)] if len(begins) else np.zeros(n_folds - 1, int)
    if len(set(cuts.tolist())) < n_folds - 1:
        raise InputError(
            f"{len(begins) + 1} groups of dataset.together cannot make {n_folds} folds of nearly equal size; lower "
            "splits.n_folds or splits.n_outer_folds, or choose a column with more values"
        )
    return np.split(order, cuts)


@dataclass(frozen=True)
class Partition:
    """The clips that one fit is made on, and which clips are predicted from it.

    name: "train", or "without-1", "without-1-2" for those outer folds left out
    predicted: split name -> positions
    """

    name: str
    train: Indices
    predicted: Mapping[str, Indices]

    @property
    def folder(self) -> str:
        """The folder of its files within an output; "" for the first one, whose files lie there directly."""
        return "" if self.name == "train" else self.name


def partitions(parts: Split, settings: Splits, groups: Indices | None = None) -> tuple[Partition, ...]:
    """Every fit that the splits ask for: on the training clips, then, with outer folds, without each and each two.

    Nested cross-validation over K outer folds of the training set's clips (training and validation). To score fold k
    a candidate is chosen among fits without it: `inner-k-j` are the predictions for fold j of a fit without k and
    j; `outer-k` those for fold k of a fit without k alone. A fit without k and j serves both, so there are
    K + K (K - 1) / 2 fits.

    groups: as for `split`

    Raises
    ------
    InputError
        Too few clips would remain for the folds inside.
    """
    named = {name: parts[name] for name in ("validation", "test") if len(parts[name])}
    found = [Partition("train", parts.train, named)]
    if settings.n_outer_folds is None:
        return tuple(found)
    every = np.union1d(parts.train, parts.validation)
    dealt = _dealt(_ordered(every, settings, groups), settings.n_outer_folds, groups)
    held_out = {k: np.sort(fold) for k, fold in enumerate(dealt, 1)}
    for k, fold in held_out.items():
        found.append(Partition(f"without-{k}", np.setdiff1d(every, fold), {f"outer-{k}": fold}))
    for k, j in combinations(held_out, 2):
        rest = np.setdiff1d(every, np.union1d(held_out[k], held_out[j]))
        found.append(
            Partition(f"without-{k}-{j}", rest, {f"inner-{k}-{j}": held_out[j], f"inner-{j}-{k}": held_out[k]})
        )
    fewest = min(len(partition.train) for partition in found)
    if fewest < 2 * settings.n_folds:
        raise InputError(
            f"{len(every)} training clips leave {fewest} without two of {settings.n_outer_folds} outer folds, and "
            f"{settings.n_folds} folds need {2 * settings.n_folds}; raise splits.n_outer_folds or lower splits.n_folds"
        )
    return tuple(found)


def outer_names(names: Iterable[str]) -> tuple[str, ...]:
    """Select the splits that are outer folds."""
    return tuple(name for name in names if name.startswith("outer-"))


def inner_of(outer: str, names: Iterable[str]) -> tuple[str, ...]:
    """The splits on which a candidate is chosen for an outer fold."""
    number = outer.removeprefix("outer-")
    return tuple(name for name in names if name.startswith(f"inner-{number}-"))


def outer_of(split: str) -> str | None:
    """The outer fold that a split is, or is an inner fold of; None where it is neither."""
    kind, _, numbers = split.partition("-")
    return f"outer-{numbers.partition('-')[0]}" if kind in ("outer", "inner") else None


def best_split(names: Iterable[str]) -> ScoredSplit:
    """The split whose scores count: test where there are test responses, else nested, else validation."""
    there = set(names)
    return next(name for name in BEST_FIRST if name in there)


def ceiling_split(split: str) -> str:
    """Return the split whose noise ceiling divides a split's scores: folds of the training clips use validation's."""
    return "test" if split == "test" else "validation"


def generator(seed: int, *names: str) -> np.random.Generator:
    """The randomness that belongs to splits: the same for every row that has them, independent between splits."""
    return np.random.default_rng([seed, *"/".join(names).encode()])


def folds(n_rows: int, n_folds: int, groups: Indices | None = None) -> tuple[Fold, ...]:
    """Consecutive folds of nearly equal size over the training rows (scikit-learn's `KFold` without shuffle).

    groups: the number of each row's group, (n_rows,): then folds are of whole groups, one after another

    Raises
    ------
    InputError
        Fewer rows than folds.
    """
    if n_folds < 2 or n_rows < n_folds:
        raise InputError(f"{n_rows} training clips cannot make {n_folds} folds; expected 2 <= n_folds <= n_clips")
    every = np.arange(n_rows)
    order = every if groups is None else np.argsort(groups, kind="stable")
    held_out: Sequence[Indices] = [np.sort(fold) for fold in _dealt(order, n_folds, groups)]
    return tuple(Fold(fit=np.setdiff1d(every, rows), held_out=rows) for rows in held_out)

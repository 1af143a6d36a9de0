"""Refit: each voxel's chosen candidate, fitted again on all of the training set's clips.

What the submission predicts with, and what an encoding model keeps.

Validation clips have done their work once the spaces are chosen; a tenth more clips to fit on is worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.fitting.feature_spaces import Candidate
from cinevox.fitting.fits import fit
from cinevox.fitting.method import EVERY_CLIP, Method, Shown
from cinevox.fitting.regressors import Map
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Reduction
from cinevox.statistics.splits import Indices, Partition
from cinevox.stimuli.reduction import Components, Projection, projection, reduced

Floats = NDArray[np.floating]
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Measured:
    """The responses of one cohort.

    responses: (n_train_clips, n_voxels), means, to the training clips that it saw
    columns: whose they are; shown: the clips that it saw
    """

    responses: NDArray[np.float32]
    columns: Columns
    shown: Shown = EVERY_CLIP


@dataclass(frozen=True)
class Part:
    """The predictions of one candidate for the voxels of a cohort that chose it.

    train: the clips that it was fitted to, positions among all
    voxels: their columns; predicted: float32, (n_test_clips, n_voxels of these)
    diagnostics: as of `cinevox.fitting.fits.Fit`
    maps: what was fitted, each with the columns of its voxels; none unless they are kept
    """

    candidate: Candidate
    train: Indices
    voxels: NDArray[np.intp]
    predicted: NDArray[np.float32]
    diagnostics: Mapping[str, Any]
    maps: tuple[tuple[NDArray[np.intp], Map], ...]


@dataclass(frozen=True)
class Refitted:
    """Every voxel's prediction by its own candidate and, where the fit is kept, what makes it again for other clips.

    predicted: of each cohort, float32, (n_test_clips, n_voxels)
    features: space -> (n_clips, n_features), what candidates in use were fitted to: components or raw features
    projections: space -> its projection to components; none for raw features
    parts: one for each candidate in use by a cohort
    """

    predicted: tuple[NDArray[np.float32], ...]
    features: Mapping[str, Floats]
    projections: Mapping[str, Projection]
    parts: tuple[Part, ...]


def in_use(candidates: Sequence[Candidate], chosen: NDArray[np.integer], columns: Columns) -> tuple[Candidate, ...]:
    """Select the candidates that at least one voxel has.

    chosen: (n_voxels,), each voxel's position in `candidates`, as the stage selection wrote it

    Raises
    ------
    FileError
        The choice is not one for these voxels among these candidates.
    """
    known = np.arange(len(candidates))
    if chosen.shape != (columns.n_voxels,) or not np.isin(chosen, known).all():
        raise FileError(
            f"the selection is {chosen.dtype} {chosen.shape} of up to {chosen.max(initial=-1) + 1} feature spaces, and "
            f"there are {columns.n_voxels} voxels and {len(candidates)} spaces; run `dvc repro selection` again"
        )
    return tuple(candidates[number] for number in np.unique(chosen))


def refit(
    candidates: Sequence[Candidate],
    chosen: NDArray[np.integer],
    features: Mapping[str, Floats],
    n_train: int,
    cohorts: Sequence[Measured],
    reductions: Mapping[str, Reduction],
    method: Method,
    progress: Progress,
    *,
    keep: bool = False,
) -> Refitted:
    """Fit each candidate in use on all training clips, and predict each voxel's test responses by its own.

    chosen: as for `in_use`, of all cohorts' voxels; features: space -> (n_clips, n_features) of all clips, the
    `n_train` training clips first. Only spaces in use are read.
    reductions: space -> the PCA that it goes through, fitted on all training clips; the others are taken as they are
    keep: whether projections and parts are returned; they are empty otherwise
    """
    columns = Columns(tuple(block for cohort in cohorts for block in cohort.columns.blocks))
    used = in_use(candidates, chosen, columns)
    own = {space: features[space] for candidate in used for space in candidate.spaces}
    projections, parts, predictions, start = {}, [], [], 0
    whole = {space: (values, reductions[space]) for space, values in own.items() if space in reductions}
    for space, found, by in progress(components(whole, n_train, keep), len(whole), "PCA"):
        own[space] = found.scores
        if by is not None:
            projections[space] = by
    for cohort in cohorts:
        n_voxels = cohort.columns.n_voxels
        wanted = chosen[start : start + n_voxels]
        n_test = len(cohort.shown.rows_of(len(next(iter(own.values()))))) - len(cohort.responses)
        predicted = np.full((n_test, n_voxels), np.nan, dtype=np.float32)
        fitted = _by_candidate(candidates, wanted, own, cohort, method, keep)
        for part in progress(fitted, len(np.unique(wanted)), "refit"):
            predicted[:, part.voxels] = part.predicted
            if keep:
                maps = tuple((start + voxels, found) for voxels, found in part.maps)
                parts.append(replace(part, voxels=start + part.voxels, maps=maps))
        predictions.append(predicted)
        start += n_voxels
    return Refitted(tuple(predictions), own, projections, tuple(parts))


def components(
    features: Mapping[str, tuple[Floats, Reduction]], n_train: int, keep: bool
) -> Iterator[tuple[str, Components, Projection | None]]:
    """Principal components of each space, fitted on the first `n_train` clips, as they come.

    features: space -> (n_clips, n_features), a memory map at best, and how it is reduced
    keep: whether the space's projection, for other clips, comes too
    """
    if not features:  # joblib warns of a generator that nobody asks
        return
    tasks = (joblib.delayed(_components)(name, *given, n_train, keep) for name, given in features.items())
    for name, found in zip(features, joblib.Parallel(return_as="generator")(tasks)):
        yield name, *found


def _components(
    space: str, features: Floats, settings: Reduction, n_train: int, keep: bool
) -> tuple[Components, Projection | None]:
    train = np.arange(n_train)
    found = reduced(space, features, train, settings)
    return found, projection(features, train, found) if keep else None


def _by_candidate(
    candidates: Sequence[Candidate],
    chosen: NDArray[np.integer],
    features: Mapping[str, Floats],
    cohort: Measured,
    method: Method,
    keep_maps: bool,
) -> Iterator[Part]:
    """Each candidate in use, fitted on all training clips for the voxels it serves, and what it predicts of the rest.

    A regressor that shares something over an ROI is given the whole ROI, as when it was chosen, and the voxels of
    other candidates are left out of what it predicts.

    features: space -> (n_clips, n_features), components or raw, of all clips
    """
    measured, columns, shown = cohort.responses, cohort.columns, cohort.shown
    rows, n_train = shown.rows_of(len(next(iter(features.values())))), len(measured)
    units = columns.units(measured, np.arange(n_train))
    everything = Partition("train", np.arange(n_train), {"test": np.arange(n_train, len(rows))})
    for number in np.unique(chosen):
        serves = chosen == number
        fitted = _whole_blocks(serves, columns) if method.voxels == "roi" else serves
        responses = measured if fitted.all() else measured[:, fitted]
        restricted = _restricted(columns, fitted)
        own = units[fitted]  # of whole blocks, whichever of their voxels are here
        given = [candidates[number]], features, responses, restricted, everything, method
        (found,) = fit(*given, keep_maps, own, shown)
        yield Part(
            candidates[number],
            rows[:n_train],
            np.flatnonzero(serves),
            found.predicted["test"][:, serves[fitted]],
            found.diagnostics,
            tuple(_serving(found.maps, method.batches(restricted), np.flatnonzero(fitted), serves)),
        )


def _serving(
    maps: Sequence[Map], batches: Sequence[slice], columns: NDArray[np.intp], serves: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], Map]]:
    """Each batch's map without the voxels that it does not serve; columns: those of all fitted voxels."""
    for found, batch in zip(maps, batches):
        inside = serves[columns[batch]]
        if inside.any():
            yield columns[batch][inside], found if inside.all() else found.of_voxels(inside)


def _whole_blocks(serves: NDArray[np.bool_], columns: Columns) -> NDArray[np.bool_]:
    whole = serves.copy()
    for where in columns.slices:
        whole[where] = serves[where].any()
    return whole


def _restricted(columns: Columns, kept: NDArray[np.bool_]) -> Columns:
    counts = [int(kept[where].sum()) for where in columns.slices]
    return Columns(tuple(Block(b.subject, b.roi, count) for b, count in zip(columns.blocks, counts) if count))

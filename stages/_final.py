"""The final predictions of the test clips by a row: refitted on all training clips where it can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import _members
import _spaces
from _inputs import Run
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store, refit
from cinevox.fitting.method import Method
from cinevox.fitting.prediction_store import Index
from cinevox.measured.cohorts import NO_CHALLENGE
from cinevox.project.params import EnsembleRow, Row


def predicted(run: Run, index: Index) -> tuple[NDArray[np.float32], tuple[Row, ...]]:
    """A row's predictions, (n_test_clips, n_voxels), and its members where it is an ensemble.

    An ensemble's members predict each by itself, and are combined as they were on clips of no member's fit. Transfer
    networks are not refitted: their best epoch is chosen on the validation clips.

    Raises
    ------
    InputError
        Subjects saw different stimuli.
    """
    if index.by_cohort:
        raise InputError(f"{NO_CHALLENGE}; set submission.rows and submission.ensembles to {{}} in params.yaml")
    if not isinstance(index.row, EnsembleRow):
        return _of_one(run, index), ()
    combine = ensembles.from_arrays(io.read_arrays(run.paths.predictions(index.row.name) / _members.FILE))
    members = _members.of_row(run, index.row)
    return combine([_of_one(run, member.index) for member in members]), tuple(member.row for member in members)


def _of_one(run: Run, index: Index) -> NDArray[np.float32]:
    row = index.row
    if row.is_transfer:
        (cohort,) = index.cohorts
        return np.array(prediction_store.read(run.paths.predictions(row.name), cohort, index.spaces[0], "test"))
    chosen = io.read_arrays(run.paths.selection(row.name) / "voxels.npz")["space"]
    (found,) = refitted(run, row, chosen, _spaces.of_row(run, row)).predicted
    return found


def refitted(
    run: Run, row: Row, chosen: NDArray[np.integer], spaces: _spaces.Spaces, *, keep: bool = False
) -> refit.Refitted:
    """Each voxel's chosen candidate, fitted again on all training clips; `refit.refit` has the arguments."""
    responses, cohorts = run.responses("train"), run.cohorts(row.track)
    measured = [
        refit.Measured(*responses.means(row.track, cohort.blocks), _spaces.shown(run, cohort)) for cohort in cohorts
    ]
    return refit.refit(
        spaces.candidates, chosen, spaces.raw(), responses.n_stimuli, measured, spaces.reductions(run.params.reduction),
        Method.of(row.regressor, run.params), run.progress, keep=keep,
    )  # fmt: skip

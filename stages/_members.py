"""The members of an ensemble: what each predicts with the feature spaces that it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from _inputs import Run
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.fitting.prediction_store import Index
from cinevox.project.params import EnsembleRow, Row
from cinevox.scoring import outcomes
from cinevox.scoring.outcomes import Outcome
from cinevox.scoring.selection.choice import Choice

FILE = "combination.npz"  # beside an ensemble's predictions: how they were combined


@dataclass(frozen=True)
class Member:
    """A row that an ensemble takes, as its fit and its selection left it."""

    run: Run
    row: Row
    index: Index
    outcome: Outcome
    choice: Choice

    def predicted(self, split: str, cohort: int = 0) -> NDArray[np.float32]:
        """Each voxel's predictions by the feature space that the member chose for it, (n_clips, n_voxels).

        cohort: which of the index, by number
        """
        folder, own = self.run.paths.predictions(self.row.name), self.index.cohorts[cohort]
        found = {space: prediction_store.read(folder, own, space, split) for space in self.choice.used}
        return self.choice.of(own.where).predicted(found, slice(None))


def of_row(run: Run, ensemble: EnsembleRow) -> list[Member]:
    """The members of an ensemble, in its order, with predictions of the validation and the test clips.

    Outer folds are left out: there a member is chosen by none of its predictions for them.

    Raises
    ------
    FileError
        Members predict other clips or other voxels than the first one.
    """
    members = [_member(run, name) for name in ensemble.rows]
    first = members[0].index
    for member in members[1:]:
        alike = ensemble.together == "paste" or member.index.columns == first.columns
        if not alike or _clips(member.index) != _clips(first):
            raise FileError(
                f"{run.paths.predictions(member.row.name)}: of other {'clips' if alike else 'voxels'} than "
                f"{members[0].row.name}; run `dvc repro` for both"
            )
    return members


def _scored(clips: Mapping[str, NDArray[np.intp]]) -> dict[str, NDArray[np.intp]]:
    return {split: rows for split, rows in clips.items() if split in ("validation", "test")}


def _clips(index: Index) -> list[dict[str, list[int]]]:
    return [{split: rows.tolist() for split, rows in cohort.clips.items()} for cohort in index.cohorts]


def _member(run: Run, name: str) -> Member:
    index = prediction_store.read_index(run.paths.predictions(name))
    several = {name: (subjects, _scored(clips)) for name, (subjects, clips) in index.by_cohort.items()}
    index = replace(index, clips=_scored(index.clips), by_cohort=several)
    selected = run.paths.selection(name)
    outcome = outcomes.read(selected, index.row)
    space = io.read_arrays(selected / "voxels.npz")["space"]
    if space.shape != (index.columns.n_voxels,) or not np.isin(space, np.arange(len(index.spaces))).all():
        raise FileError(f"{selected / 'voxels.npz'}: not of the row's predictions; run `dvc repro` again")
    return Member(run, index.row, index, outcome, Choice(index.spaces, space))

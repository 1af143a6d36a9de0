"""The members of an ensemble: what each predicts with the feature spaces that it chose."""

from __future__ import annotations

from dataclasses import dataclass

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

    def predicted(self, split: str) -> NDArray[np.float32]:
        """Each voxel's predictions by the feature space that the member chose for it, (n_clips, n_voxels)."""
        folder = self.run.paths.predictions(self.row.name)
        own = {space: prediction_store.read(folder, self.index, space, split) for space in self.choice.used}
        return self.choice.predicted(own, slice(None))


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
        same = {name: rows.tolist() for name, rows in member.index.clips.items()}
        alike = ensemble.together == "paste" or member.index.columns == first.columns
        if not alike or same != {name: rows.tolist() for name, rows in first.clips.items()}:
            raise FileError(
                f"{run.paths.predictions(member.row.name)}: of other {'clips' if alike else 'voxels'} than "
                f"{members[0].row.name}; run `dvc repro` for both"
            )
    return members


def _member(run: Run, name: str) -> Member:
    index = prediction_store.read_index(run.paths.predictions(name))
    scored = {split: rows for split, rows in index.clips.items() if split in ("validation", "test")}
    index = Index(index.spaces, scored, index.columns, index.provenance, index.diagnostics)
    selected = run.paths.selection(name)
    outcome = outcomes.read(selected, index.row)
    space = io.read_arrays(selected / "voxels.npz")["space"]
    if space.shape != (index.columns.n_voxels,) or not np.isin(space, np.arange(len(index.spaces))).all():
        raise FileError(f"{selected / 'voxels.npz'}: not of the row's predictions; run `dvc repro` again")
    return Member(run, index.row, index, outcome, Choice(index.spaces, space))

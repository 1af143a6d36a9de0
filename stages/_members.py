"""The members of an ensemble: what each predicts with the feature spaces that it chose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from _inputs import Run
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store
from cinevox.fitting.ensembles import Combination, Pasted
from cinevox.fitting.prediction_store import Index
from cinevox.project.params import WHOLE_BRAIN, EnsembleRow, Row, Track
from cinevox.scoring import outcomes
from cinevox.scoring.outcomes import Outcome
from cinevox.scoring.selection.choice import Choice
from cinevox.statistics.splits import outer_names, outer_of

FILE = "combination.npz"  # beside an ensemble's predictions: how they were combined


@dataclass(frozen=True)
class Member:
    """A row that an ensemble takes, as its fit and its selection left it."""

    run: Run
    row: Row
    index: Index
    outcome: Outcome
    choices: Mapping[str | None, Choice]

    def predicted(self, split: str, cohort: int = 0) -> NDArray[np.float32]:
        """Each voxel's predictions by the feature space that the member chose for it, (n_clips, n_voxels).

        For an outer fold, and the inner folds that choose without it, by the one that was chosen without it.
        cohort: which of the index, by number
        """
        folder, choice = self.run.paths.predictions(self.row.name), self.choices[outer_of(split)]
        own = self.index.cohorts[cohort]
        found = {space: prediction_store.read(folder, own, space, split) for space in choice.used}
        return choice.of(own.where).predicted(found, slice(None))

    def has_outer_folds(self) -> bool:
        return len(self.choices) > 1

    def only(self, splits: Collection[str]) -> Self:
        """The same with the predictions of some splits."""
        return replace(self, index=self.index.only(splits))


def of_row(run: Run, ensemble: EnsembleRow) -> list[Member]:
    """The members of an ensemble, in its order, with predictions of the validation and the test clips.

    They have predictions of outer and inner folds too if all of them do: transfer networks have none.

    Raises
    ------
    FileError
        Members predict other clips or other voxels than the first one.
    """
    members = [_member(run, name) for name in ensemble.rows]
    if not all(member.has_outer_folds() for member in members):
        members = [member.only(("validation", "test")) for member in members]
    first = members[0].index
    for member in members[1:]:
        alike = ensemble.together == "paste" or member.index.columns == first.columns
        if not alike or _clips(member.index) != _clips(first):
            raise FileError(
                f"{run.paths.predictions(member.row.name)}: of other {'clips' if alike else 'voxels'} than "
                f"{members[0].row.name}; run `dvc repro` for both"
            )
    return members


def _clips(index: Index) -> list[dict[str, list[int]]]:
    return [{split: rows.tolist() for split, rows in cohort.clips.items()} for cohort in index.cohorts]


def combine(
    run: Run, row: EnsembleRow, members: Sequence[Member], splits: Sequence[str], cohort: int = 0
) -> Combination | Pasted:
    """The members' combination for the voxels of one cohort, chosen on their predictions of some splits.

    The clips of these are in no fit. cohort: which of the index, by number
    """
    train, cohorts = run.responses("train"), [member.index.cohorts[cohort] for member in members]
    columns = [own.columns for own in cohorts]
    if row.together == "paste":
        tracks: dict[str, Track] = {WHOLE_BRAIN: "full"}
        blocks = [(block.subject, block.roi) for own in columns for block in own.blocks]
        trials = {key: train.trials(tracks.get(key[1], "mini"), *key).values for key in blocks}
        return ensembles.paste(columns[0], columns[1], trials)
    predicted = [np.concatenate([member.predicted(split, cohort) for split in splits]) for member in members]
    if row.together == "mean":
        return ensembles.mean(predicted, columns[0])
    blocks = [(block.subject, block.roi) for block in columns[0].blocks]
    clips = np.concatenate([cohorts[0].clips[split] for split in splits])
    measured, _ = train.means(row.track, blocks, clips)
    return ensembles.stack(predicted, measured, columns[0])


def _member(run: Run, name: str) -> Member:
    index = prediction_store.read_index(run.paths.predictions(name))
    selected = run.paths.selection(name)
    outcome = outcomes.read(selected, index.row)
    arrays, choices = io.read_arrays(selected / "voxels.npz"), dict[str | None, Choice]()
    for fold in (None, *outer_names(index.clips)):
        space = arrays.get("space" if fold is None else f"{fold}.space", np.empty(0))
        if space.shape != (index.columns.n_voxels,) or not np.isin(space, np.arange(len(index.spaces))).all():
            raise FileError(f"{selected / 'voxels.npz'}: not of the row's predictions; run `dvc repro` again")
        choices[fold] = Choice(index.spaces, space)
    return Member(run, index.row, index, outcome, choices)

"""The results of a row as outlets need them: its score files and its `Outcome`, read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.project.params import EnsembleRow, Row
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes
from cinevox.scoring.outcomes import Outcome, SplitScores
from cinevox.statistics.aggregation import roi_means
from cinevox.statistics.metrics import PLAIN, Measure
from cinevox.statistics.splits import BEST_FIRST, ScoredSplit, outer_names

FILES = ("index.json", "rois.csv", "subjects.csv")


@dataclass(frozen=True)
class Result:
    """One row, as the stages scores and selection wrote it.

    index: feature spaces, columns, provenance, diagnostics
    rois, subjects: the score tables, one line per space, split, ROI (and aggregation, or subject)
    outcome: what stands for each ROI, how surely, and the scores with that choice, per split
    """

    name: str
    row: Row
    index: prediction_store.Index
    rois: pd.DataFrame
    subjects: pd.DataFrame
    outcome: Outcome
    folder: Path
    selection_folder: Path

    @property
    def untrained(self) -> bool:
        """Whether the network has random weights: then the row is a baseline, and no result of that network."""
        return self.outcome.origin.untrained

    @property
    def split(self) -> ScoredSplit:
        """The split that counts: test where there are test responses, else nested, else validation."""
        return self.outcome.split

    @property
    def scores(self) -> SplitScores:
        """The scores on the split that counts."""
        return self.outcome.best

    @property
    def measure(self) -> Measure:
        """The quantity that the scores are on the split that counts."""
        return self.scores.measure

    @property
    def is_plain(self) -> bool:
        """Whether that is a plain correlation."""
        return self.measure == PLAIN

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons why the score is not comparable with the paper's; empty where it is."""
        return tuple(claims.doubts(self.outcome.origin, self.split, self.scores.chosen_here, self.is_plain))

    @property
    def cautions(self) -> tuple[claims.Caution, ...]:
        """Reasons why the score is no result of the network that it names, or no finding; empty where it is both."""
        in_silico, here = self.outcome.origin.in_silico, self.scores.chosen_here
        return tuple(claims.cautions(self.untrained, in_silico, self.split, here, self.is_plain, self.stimuli))

    @property
    def stimuli(self) -> str:
        """The word for what the study's subjects were shown, `clips` or `stimuli`."""
        return self.outcome.origin.stimuli

    @property
    def n_subjects(self) -> dict[str, int]:
        """ROI -> how many subjects have it."""
        blocks = self.index.columns.blocks
        return {roi: sum(block.roi == roi for block in blocks) for roi in self.index.columns.rois}

    def in_order(self, rois: Iterable[str]) -> Result:
        """The same result with its ROIs in this order: in its files those come first that its first subject has."""
        names = [roi for roi in rois if roi in self.scores.rois]

        def ordered(values: Mapping[str, Any]) -> dict[str, Any]:
            return {roi: values[roi] for roi in names if roi in values}

        def in_scores(found: SplitScores) -> SplitScores:
            own = {name: one.model_copy(update={"rois": ordered(one.rois)}) for name, one in found.subjects.items()}
            return found.model_copy(update={"rois": ordered(found.rois), "subjects": own})

        changed: dict[str, Any] = {"scores": {split: in_scores(found) for split, found in self.outcome.scores.items()}}
        changed |= {name: ordered(getattr(self.outcome, name)) for name in ("chosen", "frequencies")}
        return replace(self, outcome=self.outcome.model_copy(update=changed))

    @property
    def chosen(self) -> dict[str, str]:
        """ROI -> its feature space; where subjects or voxels have their own, the commonest."""
        return self.outcome.spaces

    @property
    def curves(self) -> Mapping[str, Mapping[str, list[float]]]:
        """Training curves of transfer networks, a mean each epoch: ROI -> loss, train_correlation, ... -> values."""
        found: Mapping[str, Mapping[str, list[float]]] = self._diagnostics.get("curves", {})
        return found

    @property
    def best_network(self) -> str | None:
        """The transfer network with the highest validation correlation, as `<subject>-<roi>`; else None."""
        return self._diagnostics.get("best_network")

    @property
    def _diagnostics(self) -> Mapping[str, Any]:
        return self.index.diagnostics.get(self.index.spaces[0], {})

    @cached_property
    def voxels(self) -> dict[str, NDArray[Any]]:
        """The arrays of the chosen spaces.

        They are `<split>.correlation`, `.normalized` (with a ceiling), `.p` and `.p_familywise`, each (n_voxels,); and
        `<split>.replicates`, (n_resamples, n_blocks).
        """
        file = self.selection_folder / "voxels.npz"
        found, expected = io.read_arrays(file), (self.index.columns.n_voxels,)
        for split in self.outcome.scores:
            name = f"{split}.correlation"
            if name not in found or found[name].shape != expected:
                there = f"{name} of shape {found[name].shape}" if name in found else f"no {name}"
                raise io.FileError(f"{file}: {there}, expected {expected}; delete it and run `dvc repro`")
        return found

    def voxel_scores(self, split: str) -> NDArray[np.float32]:
        """Scores of the chosen spaces, in the split's own measure, (n_voxels,); NaN where a voxel is excluded."""
        normalized = self.voxels.get(f"{split}.normalized")
        return np.asarray(self.voxels[f"{split}.correlation"] if normalized is None else normalized)

    def replicates(self, split: str) -> NDArray[np.float64]:
        """Bootstrap replicates of each ROI's mean over subjects, (n_resamples, n_rois), ROIs in the columns' order."""
        lines = self.by_subject(split).groupby(["subject", "roi"], sort=False)
        # all spaces score the same voxels of a block, but for those that are not fitted to it and score none
        blocks = lines[["n_voxels", "n_excluded"]].min().reset_index()
        return roi_means(self.voxels[f"{split}.replicates"], blocks, self.index.columns.rois)

    def table(self, split: str, aggregation: str = "subjects") -> pd.DataFrame:
        """The ROI table of one split and aggregation, one line per space and ROI; nested: means over outer folds."""
        rows = _of_split(self.rois[self.rois["aggregation"] == aggregation], split, ["space", "roi"])
        return rows.assign(low=np.nan, high=np.nan, standard_error=np.nan) if split == "nested" else rows

    def by_subject(self, split: str) -> pd.DataFrame:
        """The subjects' table of one split, one line per space, subject and ROI; nested: means over outer folds."""
        return _of_split(self.subjects, split, ["space", "subject", "roi"])


def _of_split(rows: pd.DataFrame, split: str, names: list[str]) -> pd.DataFrame:
    if split != "nested":
        return rows[rows["split"] == split].reset_index(drop=True)
    folds = rows[rows["split"].isin(outer_names(dict.fromkeys(rows["split"])))]
    return folds.groupby(names, sort=False).mean(numeric_only=True).reset_index().assign(split="nested")


def read(paths: Paths, rows: Mapping[str, Row]) -> tuple[Result, ...]:
    """Every row's result, in the order of the parameters (what is left on disk of other rows is not looked at).

    Raises
    ------
    FileError
        A file is missing, broken or of another version.
    """
    return tuple(_read(paths, name, row) for name, row in rows.items())


def _read(paths: Paths, name: str, row: Row) -> Result:
    folder = paths.scores(name)
    index = prediction_store.read_index(folder)
    cure = f"`dvc repro {row.instance('scores')}` makes its tables"
    try:
        rois, subjects = (pd.read_csv(folder / file) for file in FILES[1:])
    except (OSError, ValueError) as error:
        raise io.FileError(f"{folder}: {error}; {cure}") from None
    for file, table in zip(FILES[1:], (rois, subjects)):
        if told := _odd(table, index):
            raise io.FileError(f"{folder / file}: {told}; {cure}")
    outcome = outcomes.read(paths.selection(name), row)
    if told := _unlike(index, rois["split"], outcome):
        cure = f"`dvc repro -f -s {row.instance('selection')}` makes it again"
        raise io.FileError(f"{paths.selection(name) / outcomes.FILE}: not of the scores in {folder}: {told}; {cure}")
    return Result(name, row, index, rois, subjects, outcome, folder, paths.selection(name))


def remade(paths: Paths, row: Row, rows: Mapping[str, Row]) -> tuple[str, ...]:
    """Members of an ensemble whose result was made again since the ensemble was; none of another row.

    rows: those of the parameters. Errors: FileError, where a file is missing or broken.
    """
    if not isinstance(row, EnsembleRow):
        return ()
    then = prediction_store.read_index(paths.predictions(row.name)).provenance["made_of"]
    known = {name: rows[name] for name in row.rows if name in rows and name in then}
    return tuple(name for name, own in known.items() if outcomes.read(paths.selection(name), own).digest != then[name])


def _odd(table: pd.DataFrame, index: prediction_store.Index) -> str:
    """Tell how a score table differs from the index beside it; empty if it doesn't."""
    for name, expected in (("space", index.spaces), ("roi", index.columns.rois), ("split", None)):
        if name not in table:
            return f"no column {name}"
        found = tuple(dict.fromkeys(table[name]))
        if expected is not None and set(found) != set(expected):
            return f"{name} {_listed(found)}, expected {_listed(expected)}"
    return ""


def _unlike(index: prediction_store.Index, splits: Iterable[str], outcome: Outcome) -> str:
    """Tell how a selection differs from the scores that it is said to be of; empty if it doesn't."""
    there = dict.fromkeys(splits)
    scored = [name for name in BEST_FIRST if name in there] + ["nested"] * bool(outer_names(there))
    if set(outcome.scores) != set(scored):
        return f"splits {_listed(outcome.scores)}, expected {_listed(scored)}"
    if set(outcome.chosen) != set(index.columns.rois):
        return f"ROIs {_listed(outcome.chosen)}, expected {_listed(index.columns.rois)}"
    spaces = dict.fromkeys(space for shares in outcome.chosen.values() for space in shares)
    strange = [space for space in spaces if space not in index.spaces]
    return f"feature space {strange[0]}, expected of {_listed(index.spaces)}" if strange else ""


def _listed(names: Iterable[str]) -> str:
    return " ".join(map(str, names)) or "none"

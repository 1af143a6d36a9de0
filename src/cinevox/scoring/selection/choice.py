"""Choice: which candidate stands for which voxels, by a policy, from scores on the clips that choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.prediction_store import Index
from cinevox.measured.responses import Columns
from cinevox.scoring.origin import Origin
from cinevox.scoring.scores import BLOCK_COLUMNS, SpaceScore
from cinevox.statistics.aggregation import roi_means
from cinevox.statistics.metrics import NORMALIZED, PLAIN, Measure
from cinevox.statistics.splits import outer_names

Floats = NDArray[np.floating]

GIVEN = ("paper", "given")  # policies that choose nothing: the published layers, a row's own spaces of each ROI


@dataclass(frozen=True)
class Seen:
    """The candidates' scores on the clips that choose (on several splits: means over them).

    spaces: in the order of the network's layers
    blocks: one line per block, with subject, roi, n_voxels, n_excluded
    score: (n_spaces, n_blocks), mean normalized correlation, or plain r without a ceiling; NaN where no voxel is scored
    correlation: (n_spaces, n_voxels), plain r
    replicates: (n_spaces, n_resamples, n_blocks), `score` in each bootstrap resample
    """

    spaces: tuple[str, ...]
    columns: Columns
    blocks: pd.DataFrame
    score: Floats
    correlation: Floats
    replicates: Floats


@dataclass(frozen=True)
class Candidates:
    """The scores that the stage scores wrote about a row's candidates.

    origin: the data and the weights behind them
    subjects: one line per space, split, subject and ROI, in the order of `index.spaces` and of the columns' blocks;
        `SpaceScore.blocks` of each
    voxels: `<split>.correlation`, and `.normalized` where there is a ceiling -> (n_spaces, n_voxels)
    replicates: split -> (n_spaces, n_resamples, n_blocks)
    """

    index: Index
    origin: Origin
    subjects: pd.DataFrame
    voxels: Mapping[str, Floats]
    replicates: Mapping[str, Floats]

    def table(self, split: str) -> pd.DataFrame:
        return self.subjects[self.subjects["split"] == split].reset_index(drop=True)

    def seen(self, splits: Sequence[str], measure: str = "score") -> Seen:
        """The scores of these splits; `measure` is the table's column that is taken for them."""
        spaces, columns = self.index.spaces, self.index.columns
        tables = [self.table(split) for split in splits]
        shape = (len(spaces), len(columns.blocks))
        return Seen(
            spaces,
            columns,
            tables[0].iloc[: len(columns.blocks)],
            np.mean([table[measure].to_numpy().reshape(shape) for table in tables], axis=0),
            np.mean([self.voxels[f"{split}.correlation"] for split in splits], axis=0),
            np.mean([self.replicates[split] for split in splits], axis=0),
        )

    def measure(self, split: str) -> Measure:
        return NORMALIZED if f"{split}.normalized" in self.voxels else PLAIN

    @property
    def outer(self) -> tuple[str, ...]:
        return outer_names(self.index.clips)

    def of(self, split: str, choice: Choice) -> SpaceScore | None:
        """The scores of a choice, put together from those of its candidates.

        None where the voxels of a block have several: then the block's mean in each resample is of no candidate.
        """
        columns = self.index.columns
        if (by_block := choice.by_block(columns)) is None:
            return None
        blocks, voxels = np.arange(len(columns.blocks)), np.arange(columns.n_voxels)
        every = {name: self.voxels.get(f"{split}.{name}") for name in ("correlation", "normalized")}
        own = {name: None if values is None else values[choice.index, voxels] for name, values in every.items()}
        return SpaceScore(
            np.asarray(own["correlation"]),
            own["normalized"],
            self.table(split).iloc[by_block * len(blocks) + blocks].reset_index(drop=True)[list(BLOCK_COLUMNS)],
            np.ascontiguousarray(self.replicates[split][by_block, :, blocks].T),
        )


@dataclass(frozen=True)
class Choice:
    """The candidate that predicts each voxel. index: int16 (n_voxels,), into `spaces`."""

    spaces: tuple[str, ...]
    index: NDArray[np.int16]

    def shares(self, columns: Columns) -> dict[str, dict[str, float]]:
        """ROI -> the candidates in use there -> their share of its voxels, over subjects, the largest first."""
        found: dict[str, dict[str, float]] = {}
        for roi in columns.rois:
            parts = [self.index[where] for b, where in zip(columns.blocks, columns.slices) if b.roi == roi]
            counts = np.bincount(np.concatenate(parts), minlength=len(self.spaces))
            order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
            found[roi] = {self.spaces[k]: float(counts[k] / counts.sum()) for k in order}
        return found

    def of(self, where: slice) -> Choice:
        """The choice of some voxels."""
        return Choice(self.spaces, self.index[where])

    @property
    def used(self) -> tuple[str, ...]:
        """The candidates that stand for some voxel."""
        return tuple(self.spaces[number] for number in np.unique(self.index))

    def by_block(self, columns: Columns) -> NDArray[np.intp] | None:
        """The candidate of every block, (n_blocks,); None where voxels of one block have different ones."""
        found = [np.unique(self.index[where]) for where in columns.slices]
        return None if any(len(numbers) != 1 for numbers in found) else np.concatenate(found).astype(np.intp)

    def predicted(self, by_space: Mapping[str, Floats], where: slice) -> NDArray[np.float32]:
        """Each voxel's predictions by its own candidate, (n_clips, n_voxels of `where`).

        by_space: each of `used` -> (n_clips, n_voxels of all), a memory map at best
        """
        index = self.index[where]
        every = {number: by_space[self.spaces[number]][:, where] for number in np.unique(index)}
        if len(every) == 1:
            return np.array(next(iter(every.values())), dtype=np.float32)
        found = np.empty((len(next(iter(every.values()))), len(index)), dtype=np.float32)
        for number, values in every.items():
            found[:, index == number] = values[:, index == number]
        return found


def choose(found: Seen, policy: str, per: str, published: Mapping[str, str]) -> Choice:
    """The candidate of every voxel.

    policy: the highest score (validation, nested), the earlier on a tie; one_standard_error: the
        earliest whose score is no more than one standard error (over clips, of the best one's score) below that;
        paper: the layer that the network's spec names for the ROI; given: the one that the row names for it
    per: what has one candidate: an ROI (`roi`: by the mean over subjects), an ROI of a subject (`subject`), or a
        voxel (`voxel`: by its r, its ceiling being the same for all). A subject's ROI without a scored voxel
        takes the ROI's
    published: ROI -> layer, or the candidate that is given

    Raises
    ------
    InputError
        An ROI has no scored voxel, or the published layer is not among the candidates.
    """
    columns, rois = found.columns, list(found.columns.rois)
    if len(found.spaces) == 1:
        return Choice(found.spaces, np.zeros(columns.n_voxels, dtype=np.int16))
    block_roi = np.array([rois.index(block.roi) for block in columns.blocks])
    of_voxel = np.repeat(np.arange(len(columns.blocks)), [block.n_voxels for block in columns.blocks])
    if policy in GIVEN:
        by_roi = _published(found.spaces, rois, published)
    elif per == "voxel":
        return Choice(found.spaces, found.correlation.argmax(axis=0).astype(np.int16))
    else:
        table = roi_means(found.score, found.blocks, rois)
        _check_scored(rois, table)
        by_roi = _best(table, roi_means(found.replicates, found.blocks, rois), policy)
    by_block = by_roi[block_roi]
    if per == "subject" and policy not in GIVEN:
        scored = np.isfinite(found.score).all(axis=0)
        by_block[scored] = _best(found.score[:, scored], found.replicates[:, :, scored], policy)
    return Choice(found.spaces, by_block[of_voxel].astype(np.int16))


def _best(table: Floats, replicates: Floats, policy: str) -> NDArray[np.intp]:
    """table: (n_spaces, n_groups); replicates: (n_spaces, n_resamples, n_groups); returns (n_groups,)."""
    filled = np.where(np.isfinite(table), table, -np.inf)
    best = filled.argmax(axis=0)
    if policy != "one_standard_error":
        return best
    groups = np.arange(table.shape[1])
    enough = filled[best, groups] - replicates[best, :, groups].std(axis=1, ddof=1)
    return np.asarray((filled >= enough).argmax(axis=0))


def _published(spaces: Sequence[str], rois: Sequence[str], published: Mapping[str, str]) -> NDArray[np.intp]:
    wrong = [f"{roi} wants {published.get(roi)}" for roi in rois if published.get(roi) not in spaces]
    if wrong:
        raise InputError(
            f"selection.policy is paper, but {'; '.join(wrong)}, and the candidates are {', '.join(spaces)}; "
            "use the policy validation for this row, or features: layer"
        )
    return np.array([list(spaces).index(published[roi]) for roi in rois], dtype=np.intp)


def _check_scored(rois: Sequence[str], table: Floats) -> None:
    hopeless = [roi for roi, scores in zip(rois, table.T) if not np.isfinite(scores).any()]
    if hopeless:
        raise InputError(
            f"no voxel of {', '.join(hopeless)} reaches ceiling.min_reliability, so no layer can be chosen; "
            "lower it, or use ceiling.policy: floor"
        )


def frequencies(found: Seen) -> dict[str, dict[str, float]]:
    """The steadiness of the choice: ROI -> candidate -> share of the resamples of clips in which it is the best.

    By the mean over subjects; candidates that are never the best are left out.
    """
    shares: dict[str, dict[str, float]] = {}
    every = roi_means(found.replicates, found.blocks, found.columns.rois)  # (n_spaces, n_resamples, n_rois)
    for number, roi in enumerate(found.columns.rois):
        drawn = every[..., number]
        if np.isfinite(drawn).all() and drawn.size:
            counts = np.bincount(drawn.argmax(axis=0), minlength=len(found.spaces))
            shares[roi] = {s: float(n / drawn.shape[1]) for s, n in zip(found.spaces, counts) if n}
    return shares

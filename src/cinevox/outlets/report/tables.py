"""Content of the report's tables: numbers and words, before they are set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.outlets.report.sources import Sources
from cinevox.project.params import Track
from cinevox.scoring import claims
from cinevox.scoring.outcomes import RoiScore, SplitScores
from cinevox.scoring.row_results import Result
from cinevox.statistics.splits import ScoredSplit, ceiling_split

SHOWN_CANDIDATES = 16  # of a row's feature spaces; rows of pairs have hundreds


@dataclass(frozen=True)
class TableCell:
    """One score. `space`: the feature space that stands for it; `best`: the highest of its column."""

    value: float | None
    low: float | None
    high: float | None
    space: str = ""
    best: bool = False


@dataclass(frozen=True)
class ScoreLine:
    """One row of a score table.

    doubts: why it can't stand beside the paper's number; empty if it can
    marks: what has to be read with the score
    """

    result: Result
    score: TableCell
    cells: tuple[TableCell, ...]
    doubts: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def subject_error(self) -> float | None:
        """Standard error of the score over subjects."""
        return self.result.scores.subject_error

    @property
    def reported(self) -> float | None:
        """The paper's score, where the row is one of the paper's."""
        return None if any(claims.barred(self.result.outcome.origin)) else self.result.row.reported


def splits_in_words(stimuli: str) -> dict[str, str]:
    """Split -> its name on the page. stimuli: the word for the study's"""
    words = {"validation": "validation", "test": "test", "nested": "outer folds of the training"}
    return {split: f"{word} {stimuli}" for split, word in words.items()}


def score_lines(sources: Sources, track: Track) -> list[ScoreLine]:
    """The rows of a track, the best first."""
    rows = sources.of_track(track)
    rois = sources.params.dataset.track_rois(track)
    best = {roi: max((v for r in rows if (v := r.scores.rois[roi].score) is not None), default=None) for roi in rois}
    highest = max((v for r in rows if (v := r.scores.score) is not None), default=None)
    return [
        ScoreLine(
            result,
            _cell(result.scores, "", highest),
            tuple(_cell(result.scores.rois[roi], result.chosen[roi], best[roi]) for roi in rois),
            result.doubts,
            tuple(_marks(result, rows[0].split)),
        )
        for result in rows
    ]


def _cell(found: SplitScores | RoiScore, space: str, best: float | None) -> TableCell:
    value = found.score
    highest = value is not None and best is not None and round(value, 3) == round(best, 3)
    return TableCell(value, found.low, found.high, space, highest)


def _marks(result: Result, split: str) -> Iterator[str]:
    """split: of the track's best row, which the table is headed with"""
    if result.untrained:
        yield claims.UNTRAINED.name
    if result.split != split:
        yield f"on the {splits_in_words(result.stimuli)[result.split]}"
    if result.scores.chosen_here:
        yield claims.CHOSEN_HERE.about(result.stimuli).name


def label(result: Result) -> str:
    """A row's name without its track, marked if its network is untrained: for where the name stands alone."""
    return result.name.partition("-")[2] + (f" ({claims.UNTRAINED.name})" if result.untrained else "")


def ceilings(sources: Sources, track: Track, split: str) -> dict[str, float]:
    """ROI -> the highest reachable r: mean over subjects of the mean over scored voxels (and `all`, over ROIs).

    Empty but for `all`, which is NaN, where the split has no ceiling.
    """
    known, means = sources.ceilings[track], dict[str, list[float]]()
    ceiling = known.ceiling[ceiling_split(split)]
    for block, where in zip(known.columns.blocks, known.columns.slices):
        if ceiling is not None and np.isfinite(values := ceiling[where]).any():
            means.setdefault(block.roi, []).append(float(np.nanmean(values)))
    found = {roi: float(np.mean(values)) for roi, values in means.items()}
    return found | {"all": float(np.mean(list(found.values()))) if found else np.nan}


@dataclass(frozen=True)
class Profile:
    """Scores of a row's candidates, table (n_candidates, n_rois) for each of the splits in the measure that counts.

    left_out: how many candidates with lower scores are not shown
    """

    result: Result
    spaces: tuple[str, ...]
    rois: tuple[str, ...]
    by_split: Mapping[ScoredSplit, pd.DataFrame]
    left_out: int

    def frequency(self, roi: str, space: str) -> float:
        """Share of the resamples of clips in which this candidate is the best of its ROI."""
        return self.result.outcome.frequency(roi, space)

    def values(self, split: ScoredSplit, column: str = "score") -> NDArray[np.float64]:
        wide = self.by_split[split].pivot(index="space", columns="roi", values=column)
        return np.asarray(wide.loc[list(self.spaces), list(self.rois)], dtype=np.float64)


def named_spaces(sources: Sources) -> dict[str, str]:
    """Named space of some row -> what it is, in words."""
    named = {name: space for result in sources.results for name, space in result.index.named.items()}
    found = {}
    for name, space in named.items():
        pool = space["pool"] if isinstance(space["pool"], str) else "own fields"
        reduced = space["n_components"]
        found[name] = ", ".join(
            [
                f"{space['layer']} of {space['network']}",
                "not pooled" if pool == "none" else f"pooled by {pool}",
                f"{space['over_frames']} over frames",
                *(["z-scored"] if space["standardize"] else []),
                "no PCA" if reduced is None else f"{reduced} principal components",
            ]
        )
    return found


def profile(result: Result) -> Profile | None:
    """The scores of every candidate; None where there is only one. Many pairs: those with the highest mean."""
    spaces = result.index.spaces
    if len(spaces) < 2:
        return None
    same = (split for split, found in result.outcome.scores.items() if found.measure == result.measure)
    by_split = {split: result.table(split) for split in same}
    rois = tuple(result.scores.rois)
    kept = spaces
    if len(spaces) > 2 * SHOWN_CANDIDATES:
        means = by_split[result.split].groupby("space")["score"].mean()
        first = set(means.sort_values(ascending=False).index[:SHOWN_CANDIDATES]) | set(result.chosen.values())
        kept = tuple(space for space in spaces if space in first)
    return Profile(result, kept, rois, by_split, len(spaces) - len(kept))


@dataclass(frozen=True)
class Mixture:
    """Mean mixing weights of a stack: how much each space, or each member of an ensemble, counts in each ROI.

    weights: (n_spaces, n_rois), means over subjects of the means over their voxels; columns sum to 1
    """

    result: Result
    spaces: tuple[str, ...]
    rois: tuple[str, ...]
    weights: NDArray[np.float64]


def mixture(result: Result) -> Mixture | None:
    """The mixing weights of a row; None where it is no stack."""
    known = result.index.mixing_weights
    if not known:
        return None
    spaces = tuple(next(iter(known.values())))
    rois = tuple(roi for roi in result.scores.rois if roi in known)
    weights = np.array([[known[roi][space] for roi in rois] for space in spaces])
    return Mixture(result, spaces, rois, weights)


@dataclass(frozen=True)
class VoxelCount:
    """Number of subjects and voxels that stand behind the scores of an ROI."""

    roi: str
    subjects: int
    voxels: int
    excluded: int
    constant: int
    reliability: float | None
    significant_fdr: float
    significant_fwe: float
    p: float | None

    @property
    def share(self) -> float:
        return self.excluded / self.voxels if self.voxels else 0.0


def voxel_counts(sources: Sources, track: Track, split: str) -> list[VoxelCount]:
    """Per ROI, over subjects; `constant` and what is above chance as of the track's best row."""
    [best, *_] = sources.of_track(track)
    known = sources.ceilings[track]
    found = []
    for roi in best.scores.rois:
        inside = [where for block, where in zip(known.columns.blocks, known.columns.slices) if block.roi == roi]
        every = known.reliability.get(ceiling_split(split))
        reliability = None if every is None else float(np.concatenate([every[where] for where in inside]).mean())
        line = best.scores.rois[roi]
        found.append(
            VoxelCount(
                roi, best.n_subjects[roi], line.n_voxels, line.n_excluded, line.n_constant, reliability,
                line.significant_fdr, line.significant_fwe, line.p,
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class NetworkLine:
    """A network of this run and the weights it had."""

    name: str
    policy: str
    source: str
    sha256: str
    licence: str
    non_commercial: bool
    unverified: bool
    n_frames: int
    n_spaces: int


def network_lines(sources: Sources) -> list[NetworkLine]:
    """Every network that a row used, in the order of the rows."""
    found: dict[str, NetworkLine] = {}
    for result in sources.results:
        for name, weights in result.index.weights.items():
            found.setdefault(
                name,
                NetworkLine(
                    name,
                    weights.policy,
                    weights.source or "–",
                    weights.sha256 or "–",
                    weights.licence or "–",
                    non_commercial=bool(weights.non_commercial),
                    unverified=weights.unverified,
                    n_frames=sources.params.networks[name].n_frames,
                    n_spaces=len(result.index.spaces),
                ),
            )
    return list(found.values())

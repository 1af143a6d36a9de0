"""The report's section about the choice of layers: how much it flatters, and how steady it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.tables import TableCell
from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import PLAIN

NAMES = {"validation": "validation", "nested": "outer folds", "test": "test"}
JUDGED = {"nested": "outer folds, chosen without each", "test": "test"}


@dataclass(frozen=True)
class OptimismLine:
    """One row on one set of clips that did not choose.

    difference, low, high: score where it was chosen minus score there; found: whether the interval excludes 0
    plain: whether these are plain correlations, as where one set of clips has no noise ceiling
    choice: the part that comes from choosing, None where the candidates' scores can't be compared
    rank, rank_error: Spearman's rho of candidates, mean over ROIs
    steady, unsteady: the ROIs whose choice comes out most and least often in resamples of the clips, with the share
    """

    result: Result
    chosen_on: str
    judged_on: str
    n_candidates: int
    difference: float
    low: float | None
    high: float | None
    choice: TableCell | None
    rank: float | None
    rank_error: float | None
    plain: bool
    steady: tuple[str, float] | None
    unsteady: tuple[str, float] | None

    @property
    def found(self) -> bool:
        return self.low is not None and self.low > 0


def optimism_lines(sources: Sources) -> list[OptimismLine]:
    """Every row that chose something, on every set of clips that did not; in the order of the tables."""
    return [line for track in ("mini", "full") for result in sources.of_track(track) for line in _lines(result)]


def _lines(result: Result) -> Iterator[OptimismLine]:
    outcome = result.outcome
    steady = sorted(_steadiness(result), key=lambda pair: -pair[1])
    for split, found in outcome.optimism.items():
        if found.difference is None or outcome.chosen_on is None:
            continue
        ranks, part = found.rank_correlation, found.choice
        yield OptimismLine(
            result,
            NAMES[outcome.chosen_on] + (" (epoch)" if result.row.is_transfer else ""),
            JUDGED[split],
            len(result.index.spaces),
            found.difference,
            found.low,
            found.high,
            None if part is None else TableCell(part.difference, part.low, part.high),
            None if ranks is None else ranks.mean,
            None if ranks is None else ranks.error,
            found.measure == PLAIN,
            steady[0] if steady else None,
            steady[-1] if steady else None,
        )


def _steadiness(result: Result) -> Iterator[tuple[str, float]]:
    for roi in result.outcome.frequencies:
        yield roi, result.outcome.frequency(roi, result.chosen[roi])

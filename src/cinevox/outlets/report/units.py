"""The same scores and ceilings in the units of other studies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.tables import splits_in_words
from cinevox.project.params import Track
from cinevox.scoring.row_results import Result
from cinevox.statistics.reliability import TITLES, explained_share
from cinevox.statistics.splits import ceiling_split


@dataclass(frozen=True)
class UnitLine:
    """One row's score: means over the scored voxels, as its score is one.

    correlation: r; ceiling: sqrt(reliability); normalized: r / ceiling, which is CCnorm; explained: r^2 / reliability
    """

    result: Result
    correlation: float
    ceiling: float
    normalized: float
    explained: float

    @property
    def clips(self) -> str:
        return splits_in_words(self.result.stimuli)[self.result.split]


@dataclass(frozen=True)
class CeilingLine:
    """Mean reliability of all voxels of an ROI, which times 100 is NC %, with its interval, and the root of each."""

    roi: str
    reliability: float
    low: float | None
    high: float | None

    @property
    def ceiling(self) -> tuple[float, ...]:
        """The highest reachable r, and its ends where they are known."""
        ends = (self.reliability, self.low, self.high)
        return tuple(float(np.sqrt(max(0.0, value))) for value in ends if value is not None)


def unit_lines(sources: Sources, track: Track) -> list[UnitLine]:
    """The rows of a track that are scored against a ceiling, the best first."""
    known = sources.ceilings[track]
    found = []
    for result in sources.of_track(track):
        ceiling = known.ceiling[ceiling_split(result.split)]
        if ceiling is None or result.is_plain:
            continue
        r = result.voxels[f"{result.split}.correlation"].astype(np.float64)
        scored = np.where(np.isfinite(ceiling), r, np.nan)
        values = (scored, ceiling + 0 * scored, scored / ceiling, explained_share(scored, ceiling**2))
        found.append(UnitLine(result, *(_mean(known.columns, own) for own in values)))
    return found


def ceiling_lines(sources: Sources, track: Track, split: str) -> list[CeilingLine]:
    """The ROIs of a track; none where the split has no reliability."""
    known, name = sources.ceilings[track], ceiling_split(split)
    if name not in known.reliability:
        return []
    intervals = known.intervals.get(name, {})
    found = []
    for roi in known.columns.rois:
        _, inside = known.columns.of_rois([roi])
        low, high = intervals.get(roi, (None, None))
        found.append(CeilingLine(roi, float(known.reliability[name][inside].mean()), low, high))
    return found


def method_words(sources: Sources) -> str:
    """Say how the reliability was found."""
    settings = sources.params.ceiling
    if settings.method != "imported":
        return TITLES[settings.method]
    named = ", ".join(
        f"of {split} {sources.stimuli} {own.column} ({own.holds})" for split, own in (settings.imported or {}).items()
    )
    rest = "" if len(settings.imported or {}) == 2 else f", else {TITLES[settings.estimator]}"
    return f"{TITLES['imported']}: {named}{rest}"


def _mean(columns: Columns, values: NDArray[np.float64]) -> float:
    """Mean over ROIs of the mean over subjects of the mean over voxels that have a value."""
    means: dict[str, list[float]] = {}
    for block, where in zip(columns.blocks, columns.slices):
        if np.isfinite(values[where]).any():
            means.setdefault(block.roi, []).append(float(np.nanmean(values[where])))
    return float(np.mean([np.mean(own) for own in means.values()])) if means else np.nan

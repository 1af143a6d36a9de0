"""The state of a run: every row's scores and their bootstrap replicates, the counts of the checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.scoring.origin import Origin
from cinevox.scoring.outcomes import RoiScore
from cinevox.scoring.row_metrics import RowMetrics
from cinevox.statistics.metrics import NORMALIZED, PLAIN, PLAIN_KEY, Measure

CHECKS = ("validation", "checks")
COUNTS = ("errors", "warnings")


class GateError(InputError):
    """There is nothing to compare with: exit code 2, not 1."""


@dataclass(frozen=True)
class Reading:
    """One metric.

    value: None where no voxel could be scored
    half_width: of its own bootstrap interval; None if unknown
    choice: standard deviation of the value over the layers that other validation clips would have chosen
    replicates: float16, (n_kept,), bootstrap replicates less the value; None if unknown
    """

    value: float | None
    half_width: float | None = None
    choice: float = 0.0
    replicates: NDArray[np.float16] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """One row.

    metrics: `test.score`, `test.V1`, ... -> reading; plain correlations are `test.plain_r.score`, ...
    drawn: what chance had a hand in, by name: clips, seeds, number of resamples; empty if unknown
    responses: reliabilities of some voxels, which differ between any two measurements; None if unknown
    origin: data and weights, as recorded; None where an earlier version made the metrics
    edited: metrics whose value in the file is not that of the selection on disk
    alone: how they differ, and what makes the file again; empty as a rule
    """

    metrics: Mapping[str, Reading]
    drawn: Mapping[str, Any] = field(default_factory=dict)
    responses: NDArray[np.float32] | None = field(default=None, compare=False)
    origin: Origin | None = None
    edited: frozenset[str] = frozenset()
    alone: str = ""

    @property
    def measures(self) -> dict[str, Measure]:
        """Split -> what its scores are; different ones can't be compared."""
        named = [name.split(".") for name in self.metrics]
        return {split: PLAIN if name == PLAIN_KEY else NORMALIZED for split, name, *_ in named}


@dataclass(frozen=True)
class State:
    """A run.

    rows: row -> entry; checks: validation, checks -> errors, warnings -> how many
    elsewhere: row -> why its result is left out: it is of other data or parameters than params.yaml has now
    """

    rows: Mapping[str, Entry]
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)


def counts(metrics: Mapping[str, int]) -> dict[str, int]:
    """Those numbers of a stage that checks of which more is worse."""
    return {name: int(metrics[name]) for name in COUNTS}


def readings(file: Path, metrics: RowMetrics, known: Mapping[str, RoiScore] | None = None) -> dict[str, Reading]:
    """The metrics of the split that a row reports (`splits.best_split`), as `test.score`, `test.V1` (plain
    correlations as `test.plain_r.score`, ...).

    file: theirs, for messages
    known: the scores of the ROIs of that split: they have their intervals. Without it the half-width of
        the row's score stands in: an ROI's own is rarely smaller, so the gate is then the stricter one.

    Raises
    ------
    GateError
        They hold NaN, or what is no number.
    """
    rois = known or {}
    try:
        whole = _half_width(metrics.values.get("low"), metrics.values.get("high"))
        return {
            f"{metrics.prefix}.{name}": Reading(
                finite(value), _half_width(rois[name].low, rois[name].high) if name in rois else whole
            )
            for name, value in metrics.readings.items()
        }
    except GateError as error:
        raise GateError(f"{file}: {error}") from None


def _half_width(lowest: float | None, highest: float | None) -> float | None:
    low, high = finite(lowest), finite(highest)
    return None if low is None or high is None else (high - low) / 2


def finite(value: float | None) -> float | None:
    """The number, or None.

    Raises
    ------
    GateError
        It is neither, or NaN or infinite.
    """
    if value is None:
        return None
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise GateError(f"{value} among the metrics; expected finite numbers, or null without a score; run `dvc repro`")
    return float(value)

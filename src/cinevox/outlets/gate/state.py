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
from cinevox.scoring import row_metrics
from cinevox.scoring.origin import Origin, differences
from cinevox.scoring.outcomes import RoiScore

CHECKS = ("validation", "checks")
COUNTS = ("errors", "warnings")
SAME_RESPONSES = 1e-3  # reliabilities that differ by less: machines round, another measurement differs by far more


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
class RowState:
    """One row.

    metrics: `test.score`, `test.V1`, ... -> reading; plain correlations are `test.plain_r.score`, ...
    drawn: what chance had a hand in, by name: clips, seeds, number of resamples; empty if unknown
    responses: reliabilities of some voxels, which differ between any two measurements; None if unknown
    origin: data and weights, as recorded
    """

    metrics: Mapping[str, Reading] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)
    responses: NDArray[np.float32] | None = field(default=None, compare=False)
    origin: Origin | None = None

    def reading(self, metric: str) -> Reading:
        return self.metrics.get(metric, Reading(None))

    def other_data(self, now: RowState, metric: str = "") -> tuple[str, ...]:
        """Tell how the data of one metric, or of the whole row, differ in another state; nothing if they don't."""
        a, b, roi = self.origin, now.origin, metric.rpartition(".")[2]
        if a is None or b is None:
            return ()
        rois = dict.fromkeys((*a.n_voxels, *b.n_voxels))
        counts = ((name, a.n_voxels.get(name, 0), b.n_voxels.get(name, 0)) for name in ([roi] if roi in rois else rois))
        return differences(a, b) or tuple(f"{name} {n} voxels, now {m}" for name, n, m in counts if n != m)

    def remeasured(self, now: RowState) -> bool:
        """Whether the responses are known to be others."""
        a, b = self.responses, now.responses
        if a is None or b is None:
            return False
        return a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=SAME_RESPONSES, equal_nan=True)

    def drawn_anew(self, now: RowState) -> tuple[str, ...]:
        """Tell why the two are not paired: what was drawn anew (the same clips then tell only part of what chance does
        to a difference), or that there are no replicates."""
        if self.responses is None or now.responses is None:
            return ("no replicates",)
        names = dict.fromkeys((*self.drawn, *now.drawn))
        found = [name for name in names if self.drawn.get(name) != now.drawn.get(name)]
        return tuple(f"other {name}" for name in [*found, *["responses"] * self.remeasured(now)])


@dataclass(frozen=True)
class State:
    """A run. rows: row -> entry; checks: validation, checks -> errors, warnings -> how many"""

    rows: Mapping[str, RowState]
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def counts(metrics: Mapping[str, int]) -> dict[str, int]:
    """Those numbers of a stage that checks of which more is worse."""
    return {name: int(metrics[name]) for name in COUNTS}


def entry_of(file: Path, known: Mapping[str, RoiScore] | None = None) -> RowState:
    """The scores of the split that a row reports (`splits.best_split`), and the record of its data.

    file: the row's metrics
    known: the scores of the ROIs of that split: they have their intervals. Without it the half-width of
        the row's score stands in: an ROI's own is rarely smaller, so the gate is then the stricter one.

    Raises
    ------
    GateError
        They hold NaN, or say nothing of their data.
    FileError
        They are no metrics of a row.
    """
    metrics, rois = row_metrics.read(file), known or {}
    try:
        whole = _half_width(metrics.values.get("low"), metrics.values.get("high"))
        readings = {
            f"{metrics.prefix}.{name}": Reading(
                finite(value), _half_width(rois[name].low, rois[name].high) if name in rois else whole
            )
            for name, value in metrics.readings.items()
        }
    except GateError as error:
        raise GateError(f"{file}: {error}") from None
    if metrics.origin is None:
        raise GateError(
            f"{file} does not say what data it is of: an earlier version made it; `dvc repro` makes it anew"
        )
    return RowState(readings, origin=metrics.origin)


def listed(rows: list[str]) -> str:
    """Rows by name, or how many there are."""
    return f"{len(rows)} rows" if len(rows) > 3 else ", ".join(rows)


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

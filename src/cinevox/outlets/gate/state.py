"""The state of a run: every row's scores and their bootstrap replicates, counts of the checks, and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from cinevox.errors import InputError, printable
from cinevox.project.params import Gate, Section
from cinevox.scoring.origin import differences
from cinevox.scoring.outcomes import Recorded


class GateError(InputError):
    """There is nothing to compare with: exit code 2, not 1."""


class GateLimits(Section):
    """params.gate, and the confidence of the intervals."""

    gate: Gate
    confidence: float

    def __str__(self) -> str:
        interval = f" + the half-width of the difference ({self.confidence:.0%} of all metrics together)"
        drop = f"max({self.gate.absolute:g}, {self.gate.relative:g} of what it was)"
        return drop + (interval if self.gate.use_interval else "")


class Reading(BaseModel, frozen=True):
    """One metric.

    value: None where no voxel could be scored
    choice: standard deviation of the value over the layers that other validation clips would have chosen
    replicates: float16, (n_kept,), bootstrap replicates less the value; NaN where a resample has no score
    """

    value: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None
    choice: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    replicates: Any = Field(exclude=True, repr=False)


class RowState(BaseModel, frozen=True):
    """One row.

    origin: data and weights, as recorded with the result
    drawn: everything that chance had a hand in, by name: clips, responses, seeds, number of resamples
    metrics: `test.score`, `test.V1`, ... -> reading; plain correlations are `test.plain_r.score`, ...
    """

    origin: Recorded
    drawn: dict[str, Any]
    metrics: dict[str, Reading]

    def other_data(self, now: RowState) -> str:
        """Tell how the data of another state differ; empty if they don't."""
        a, b = self.origin.n_voxels, now.origin.n_voxels
        pairs = ((roi, a.get(roi, 0), b.get(roi, 0)) for roi in dict.fromkeys((*a, *b)))
        voxels = [f"{roi} {n} voxels, now {m}" for roi, n, m in pairs if n != m]
        return ", ".join(differences(self.origin, now.origin) or voxels)

    def drawn_anew(self, now: RowState) -> str:
        """Tell what chance has drawn anew: the same clips then tell only part of what it does to a difference."""
        names = dict.fromkeys((*self.drawn, *now.drawn))
        other = [name for name in names if self.drawn.get(name) != now.drawn.get(name)]
        return ", ".join(f"other {name}".replace("clips", now.origin.stimuli) for name in other)


class State(BaseModel, frozen=True):
    """A run. checks: validation, checks -> errors, warnings -> how many"""

    limits: GateLimits
    checks: dict[str, dict[str, int]]
    rows: dict[str, RowState]

    @property
    def readings(self) -> dict[tuple[str, str], Reading]:
        """(row, metric) -> reading."""
        return {(row, name): reading for row, entry in self.rows.items() for name, reading in entry.metrics.items()}


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """`<rows>: <reason>` for each of the reasons that rows have; the rows by name, or how many there are."""
    told = []
    for why in dict.fromkeys(reasons.values()):
        rows = [printable(row) for row in reasons if reasons[row] == why]
        told.append(f"{f'{len(rows)} rows' if len(rows) > 3 else ', '.join(rows)}: {why}")
    return told

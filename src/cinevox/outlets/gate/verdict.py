"""The rule: which differences between two states are too large to be let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from cinevox.outlets.gate.intervals import half_widths
from cinevox.outlets.gate.state import GateError, Reading, RowState, State
from cinevox.project.params import Gate, Section

Word = Literal["regressed", "missing", "implausible", "other data", "higher", "improved", "new", "same"]
Basis = Literal["paired", "unpaired", ""]

FAILURES: tuple[Word, ...] = ("regressed", "missing", "implausible", "other data")
CEILING = 1.0  # of a normalized correlation: nothing explains more than the responses repeat of themselves
CURE = "write one with `cinevox gate --update` and commit it"
NOTHING = RowState()


class GateLimits(Section):
    """params.gate, and the confidence of the intervals."""

    gate: Gate
    confidence: float

    def __str__(self) -> str:
        interval = f" + the half-width of the difference ({self.confidence:.0%} of all metrics together)"
        drop = f"max({self.gate.absolute:g}, {self.gate.relative:g} of what it was)"
        return drop + (interval if self.gate.use_interval else "")


@dataclass(frozen=True)
class Line:
    """One metric of one row (or one count of validation or checks), before and after.

    half_width: of the interval of `was - now`; basis: what that is from, replicates of the same clips or of others
    """

    row: str
    metric: str
    was: float | None
    now: float | None
    allowed: float | None
    verdict: Word
    half_width: float | None = None
    basis: Basis = ""

    @property
    def change(self) -> float | None:
        return None if self.was is None or self.now is None or self.verdict == "other data" else self.now - self.was


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    against: names the base; differing: row -> what chance has drawn anew (or why that is not known), so that its
        scores are not paired; other_data: row -> how its data differ, so that scores can't be compared
    """

    against: str
    limits: GateLimits
    lines: tuple[Line, ...]
    differing: Mapping[str, tuple[str, ...]]
    other_data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.of(*FAILURES))

    @property
    def exit_code(self) -> int:
        return int(self.failed)

    def of(self, *words: Word) -> list[Line]:
        return [line for line in self.lines if line.verdict in words]

    def to_json(self) -> dict[str, Any]:
        told = {"against": self.against, "failed": self.failed, "limits": self.limits.model_dump()}
        told |= {"unpaired": self.differing, "other_data": self.other_data}
        return told | {"lines": [asdict(line) for line in self.lines]}


def compare(was: State, now: State, limits: GateLimits, against: str) -> Verdict:
    """Compare every metric of `was` with `now`; what is only in `now` is listed as new.

    A metric has regressed when

        was - now > max(absolute, relative * |was|) + half-width of the interval of `was - now`,

    the last only with `use_interval` (see `intervals.half_widths`), and is missing when it is gone. It is implausible
    when it is new or rose by more than that, and its own interval lies above 1, the noise ceiling: rather a leak than
    a success. Scores of other data can't be compared, so they fail. Where only the responses are others (measured
    again), a rise is called higher, and is no improvement. Errors and warnings of validation and checks have regressed
    when there are more than there were.

    Raises
    ------
    GateError
        `was` holds no score.
    """
    if not any(reading.value is not None for entry in was.rows.values() for reading in entry.metrics.values()):
        raise GateError(f"{against} holds no scores to compare with; {CURE}")
    rows = {
        row: (was.rows.get(row, NOTHING), now.rows.get(row, NOTHING)) for row in dict.fromkeys((*was.rows, *now.rows))
    }
    shared = {row: pair for row, pair in rows.items() if row in was.rows and row in now.rows}
    differing = {row: found for row, (a, b) in shared.items() if (found := a.drawn_anew(b))}
    keys = [
        (row, metric)
        for row, (a, b) in shared.items()
        for metric in a.metrics
        if None not in (a.reading(metric).value, b.reading(metric).value) and not a.other_data(b, metric)
    ]
    pairs = [
        (x := was.rows[row].reading(name), y := now.rows[row].reading(name), _paired(x, y, row in differing))
        for row, name in keys
    ]
    widths = half_widths(pairs, limits.confidence, _n_clips(was, now))
    intervals = {key: (width, paired) for key, width, (_, _, paired) in zip(keys, widths, pairs)}
    lines = [
        _line(row, metric, a, b, limits.gate, *intervals.get((row, metric), (None, False)))
        for row, (a, b) in rows.items()
        for metric in dict.fromkeys((*a.metrics, *b.metrics))
    ]
    data = {row: found for row, (a, b) in shared.items() if (found := a.other_data(b))}
    return Verdict(against, limits, (*lines, *_counts(was, now)), differing, data)


def _paired(was: Reading, now: Reading, differing: bool) -> bool:
    return not differing and was.replicates is not None and now.replicates is not None


def _n_clips(*states: State) -> float:
    """Number of clips of the row with the fewest."""
    known = [entry.drawn.get("n_clips", np.inf) for state in states for entry in state.rows.values()]
    return min(known, default=np.inf)


def _line(
    row: str, metric: str, before: RowState, after: RowState, limits: Gate, half_width: float | None, paired: bool
) -> Line:
    was, now, own = before.reading(metric).value, after.reading(metric).value, after.reading(metric).half_width or 0.0
    too_high = now is not None and now - own > CEILING
    if was is None:
        word: Word = "implausible" if too_high else "new"
        if metric in before.metrics and now is None:
            word = "same" if metric in after.metrics else "missing"
        return Line(row, metric, None, now, None, word)
    allowed = max(limits.absolute, limits.relative * abs(was))
    if now is None:
        return Line(row, metric, was, None, allowed, "missing")
    if before.other_data(after, metric):
        return Line(row, metric, was, now, None, "other data")
    basis: Basis = "" if half_width is None else "paired" if paired else "unpaired"
    allowed += (half_width or 0.0) if limits.use_interval else 0.0
    word = "regressed" if was - now > allowed else "same"
    if now - was > allowed:
        word = "implausible" if too_high else "higher" if before.remeasured(after) else "improved"
    return Line(row, metric, was, now, allowed, word, half_width, basis)


def _counts(was: State, now: State) -> Iterator[Line]:
    for step in dict.fromkeys((*was.checks, *now.checks)):
        before, after = was.checks.get(step, {}), now.checks.get(step, {})
        for name in dict.fromkeys((*before, *after)):
            a, b = before.get(name), after.get(name)
            word: Word = "same"
            if a is None or b is None:
                word = "new" if a is None else "missing"
            elif a != b:
                word = "regressed" if b > a else "improved"
            yield Line(step, name, a, b, None if a is None else 0, word)

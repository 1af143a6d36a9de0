"""The rule: which differences between two states are too large to be let through."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cinevox.outlets.gate import intervals
from cinevox.outlets.gate.baseline import CURE
from cinevox.outlets.gate.state import GateError, GateLimits, Reading, State, by_reason

Word = Literal["regressed", "missing", "implausible", "higher", "fewer", "new", "same"]
Key = tuple[str, str]  # row, metric
FAILURES: tuple[Word, ...] = ("regressed", "missing", "implausible")
CEILING = 1.0  # of a normalized correlation: nothing explains more than the responses repeat of themselves


@dataclass(frozen=True)
class Line:
    """One metric of one row (or one count of validation or checks), before and after.

    half_width: of the interval of `was - now`; None if unknown
    """

    row: str
    metric: str
    was: float | None
    now: float | None
    allowed: float | None
    verdict: Word
    half_width: float | None = None

    @property
    def failed(self) -> bool:
        return self.verdict in FAILURES

    @property
    def change(self) -> float | None:
        return None if self.was is None or self.now is None else self.now - self.was


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    against: names the base
    unpaired: row -> what chance has drawn anew, so that its scores are not compared in pairs
    """

    against: str
    limits: GateLimits
    lines: tuple[Line, ...]
    unpaired: Mapping[str, str]

    @property
    def failed(self) -> bool:
        return any(line.failed for line in self.lines)

    def of(self, word: Word) -> list[Line]:
        return [line for line in self.lines if line.verdict == word]

    def to_json(self) -> dict[str, Any]:
        told = {
            "failed": self.failed,
            "limits": self.limits.model_dump(),
            "lines": [asdict(line) for line in self.lines],
        }
        return vars(self) | told


def compare(was: State, now: State, against: str) -> Verdict:
    """Compare every metric of `was` with `now`, by the limits of `was`; what is only in `now` is listed as new.

    A metric has regressed when

        was - now > max(absolute, relative * |was|) + half-width of the interval of `was - now`,

    the last only with `use_interval` (see `intervals.half_widths`) and where every resample has a score, and is missing
    when it is gone. It is implausible when it is new or rose by more than that, and its own interval lies above 1, the
    noise ceiling: rather a leak than a success. Errors and warnings of validation and checks have regressed when there
    are more than there were.

    Raises
    ------
    GateError
        `was` holds no score, or scores of other data.
    """
    before, after = was.readings, now.readings
    if all(reading.value is None for reading in before.values()):
        raise GateError(f"{against} holds no scores to compare with; {CURE}")
    shared = {row: (entry, now.rows[row]) for row, entry in was.rows.items() if row in now.rows}
    if other := {row: why for row, (a, b) in shared.items() if (why := a.other_data(b))}:
        raise GateError(f"{against} is of other data: {'; '.join(by_reason(other))}; if that is meant, {CURE}")
    unpaired = {row: why for row, (a, b) in shared.items() if (why := a.drawn_anew(b))}
    sizes = (entry.drawn.get("n_clips", np.inf) for pair in shared.values() for entry in pair)
    pairs = {key: (before[key], after[key]) for key in before if key in after}
    widths = _half_widths(pairs, unpaired, was.limits.confidence, min(sizes, default=np.inf))
    lines = [
        _line(key, before.get(key), after.get(key), was.limits, widths.get(key))
        for key in dict.fromkeys((*before, *after))
    ]
    return Verdict(against, was.limits, (*lines, *_counts(was, now)), unpaired)


def _half_widths(
    pairs: Mapping[Key, tuple[Reading, Reading]], unpaired: Container[str], confidence: float, n_clips: float
) -> dict[Key, float]:
    """Half-widths of the differences; none of metrics that a resample could not score."""
    falls, choice = {}, []
    for key, (was, now) in pairs.items():
        paired = key[0] not in unpaired
        drawn = intervals.falls(was.replicates, now.replicates, paired)
        if np.isfinite(drawn).all():
            falls[key] = drawn
            choice.append(0.0 if paired else float(np.hypot(was.choice, now.choice)))
    found = intervals.half_widths([*falls.values()], choice, confidence, n_clips)
    return dict(zip(falls, found.tolist()))


def _line(key: Key, was: Reading | None, now: Reading | None, limits: GateLimits, width: float | None) -> Line:
    a, b = (None if reading is None else reading.value for reading in (was, now))
    if now is None or b is None:
        gone = a is not None or now is None
        return Line(*key, a, None, None, "missing" if gone else "same" if was else "new")
    own = np.nan_to_num(np.quantile(now.replicates, (1 - limits.confidence) / 2))
    is_high = b + own > CEILING
    if a is None:
        return Line(*key, None, b, None, "implausible" if is_high else "new")
    allowed = max(limits.gate.absolute, limits.gate.relative * abs(a)) + (width or 0.0) * limits.gate.use_interval
    word: Word = "regressed" if a - b > allowed else "same"
    if b - a > allowed:
        word = "implausible" if is_high else "higher"
    return Line(*key, a, b, allowed, word, width)


def _counts(was: State, now: State) -> Iterator[Line]:
    for step, before in was.checks.items():
        for name, a in before.items():
            b = now.checks.get(step, {}).get(name)
            word: Word = "missing" if b is None else "regressed" if b > a else "fewer" if b < a else "same"
            yield Line(step, name, a, b, 0, word)

"""The rule: which differences between two states are too large to be let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from cinevox.outlets.gate.data import is_unrecorded, lost_subjects, other_data
from cinevox.outlets.gate.intervals import half_widths
from cinevox.outlets.gate.state import Entry, GateError, Reading, State
from cinevox.project.params import Gate, Section

Word = Literal["regressed", "missing", "implausible", "other data", "edited", "higher", "improved", "new", "same"]
Basis = Literal["paired", "unpaired", ""]

FAILURES: tuple[Word, ...] = ("regressed", "missing", "implausible", "other data", "edited")
CEILING = 1.0  # of a normalized correlation: nothing explains more than the responses repeat of themselves
OTHER_RESPONSES = "other responses"
SAME_RESPONSES = 1e-3  # reliabilities that differ by less: machines round, another measurement differs by far more
CURE = "write one with `cinevox gate --update` and commit it"


class Limits(Section):
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
        if self.was is None or self.now is None or self.verdict == "other data":
            return None
        return self.now - self.was


@dataclass(frozen=True)
class Verdict:
    """What the comparison found.

    against: names the base; differing: row -> what chance has drawn anew (or why that is not known), so that its
        scores are not paired
    """

    against: str
    limits: Limits
    lines: tuple[Line, ...]
    differing: Mapping[str, tuple[str, ...]]
    other_data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()
    edited: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return any(line.verdict in FAILURES for line in self.lines)

    @property
    def exit_code(self) -> int:
        return int(self.failed)

    def of(self, *words: Word) -> list[Line]:
        return [line for line in self.lines if line.verdict in words]

    def to_json(self) -> dict[str, Any]:
        lines = [asdict(line) for line in self.lines]
        limits = self.limits.model_dump()
        told = {"against": self.against, "failed": self.failed, "limits": limits, "unpaired": self.differing}
        told |= {"other_data": self.other_data, "unrecorded": self.unrecorded, "edited": self.edited}
        return told | {"lines": lines}


def compare(was: State, now: State, limits: Limits, against: str) -> Verdict:
    """Compare every metric of `was` with `now`; what is only in `now` is listed as new.

    A metric has regressed when

        was - now > max(absolute, relative * |was|) + half-width of the interval of `was - now`,

    the last only with `use_interval` (see `intervals.half_widths`), and is missing when it is gone, as a subject is. It
    is implausible when it is new or rose by more than that, and its own interval lies above 1, the noise ceiling:
    rather a leak than a success. Scores of other data can't be compared, so they fail. Where only the responses are
    others (measured again), a rise is called higher, and is no improvement. A metric is edited where the file has
    another value than the selection that it was made from. Errors and warnings of validation and checks have regressed
    when there are more than there were.

    Raises
    ------
    GateError
        `was` holds no score, or a row's score is a normalized correlation in one and a plain one in the other.
    """
    if not any(reading.value is not None for entry in was.rows.values() for reading in entry.metrics.values()):
        raise GateError(f"{against} holds no scores to compare with; {CURE}")
    if told := _other_measures(was, now, against):
        raise GateError(f"{'; '.join(told)}; the two can't be compared: {CURE}")
    both = [
        (row, metric)
        for row, entry in was.rows.items()
        for metric, reading in entry.metrics.items()
        if None not in (reading.value, _reading(now, row, metric).value) and not other_data(was, now, row, metric)
    ]
    differing = {row: found for row, entry in was.rows.items() if (found := _differing(entry, now.rows.get(row)))}
    pairs = [(a := _reading(was, *key), b := _reading(now, *key), _paired(a, b, key[0] in differing)) for key in both]
    widths = half_widths(pairs, limits.confidence, _n_clips(was, now))
    intervals = {key: (width, paired) for key, (_, _, paired), width in zip(both, pairs, widths)}
    lines = [
        _line(row, metric, was, now, limits.gate, *intervals.get((row, metric), (None, False)))
        for row in dict.fromkeys((*was.rows, *now.rows))
        for metric in dict.fromkeys((*_metrics(was, row), *_metrics(now, row), *_edited(now, row)))
    ]
    data = {row: found for row in was.rows if (found := other_data(was, now, row))}
    data |= {row: (why,) for row, why in now.elsewhere.items() if row in was.rows}
    unrecorded = tuple(row for row, entry in was.rows.items() if is_unrecorded(entry, now.rows.get(row)))
    edited = {row: entry.alone for row, entry in now.rows.items() if entry.edited}
    every = (*_subjects(was, now), *lines, *_counts(was, now))
    return Verdict(against, limits, every, differing, data, unrecorded, edited)


def _edited(state: State, row: str) -> list[str]:
    return sorted(state.rows[row].edited) if row in state.rows else []


def _subjects(was: State, now: State) -> Iterator[Line]:
    for subject, rows in lost_subjects(was, now).items():
        yield Line(listed(rows), f"subject {subject}", None, None, None, "missing")


def listed(rows: Sequence[str]) -> str:
    """Rows by name, or how many there are."""
    return f"{len(rows)} rows" if len(rows) > 3 else ", ".join(rows)


def _other_measures(was: State, now: State, against: str) -> list[str]:
    rows: dict[str, list[str]] = {}
    for row, entry in was.rows.items():
        after = now.rows[row].measures if row in now.rows else {}
        for split, measure in entry.measures.items():
            if after.get(split, measure) != measure:
                what = f"a {measure} on {split} clips in {against}, and a {after[split]} now"
                rows.setdefault(what, []).append(row)
    return [f"the score of {', '.join(some)} is {what}" for what, some in rows.items()]


def _paired(was: Reading, now: Reading, differing: bool) -> bool:
    return not differing and was.replicates is not None and now.replicates is not None


def _n_clips(*states: State) -> float:
    """Of the row with the fewest."""
    return min(
        (entry.drawn.get("n_clips", np.inf) for state in states for entry in state.rows.values()), default=np.inf
    )


def _metrics(state: State, row: str) -> Mapping[str, Reading]:
    return state.rows[row].metrics if row in state.rows else {}


def _reading(state: State, row: str, metric: str) -> Reading:
    return _metrics(state, row).get(metric, Reading(None))


def _differing(was: Entry, now: Entry | None) -> tuple[str, ...]:
    """Why a row is not paired: what was drawn anew, as then the same clips tell only part of what chance does to a
    difference, or what there are no replicates of."""
    if now is None:
        return ()
    a, b = was.responses, now.responses
    if now.edited:
        return ("edited",)
    if a is None or b is None:
        return ("no replicates",)
    names = dict.fromkeys((*was.drawn, *now.drawn))
    found = [name for name in names if was.drawn.get(name) != now.drawn.get(name)]
    if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=SAME_RESPONSES, equal_nan=True):
        found.append("responses")
    return tuple(f"other {name}" for name in found)


def _line(
    row: str, metric: str, before: State, after: State, limits: Gate, half_width: float | None, paired: bool
) -> Line:
    was, now = _reading(before, row, metric).value, _reading(after, row, metric)
    if metric in _edited(after, row):
        return Line(row, metric, was, now.value, None, "edited")
    too_high = now.value is not None and now.value - (now.half_width or 0.0) > CEILING
    if was is None:
        there = metric in _metrics(after, row)
        word: Word = "missing" if not there else "implausible" if too_high else "new"
        if there and now.value is None and metric in _metrics(before, row):
            word = "same"
        return Line(row, metric, was, now.value, None, word)
    allowed = max(limits.absolute, limits.relative * abs(was))
    if now.value is None:
        return Line(row, metric, was, None, allowed, "missing")
    if other_data(before, after, row, metric):
        return Line(row, metric, was, now.value, None, "other data")
    basis: Basis = "" if half_width is None else "paired" if paired else "unpaired"
    allowed += (half_width or 0.0) if limits.use_interval else 0.0
    change = now.value - was
    word = "regressed" if change < -allowed else "same"
    if change > allowed:
        word = "implausible" if too_high else "higher" if _remeasured(before, after, row) else "improved"
    return Line(row, metric, was, now.value, allowed, word, half_width, basis)


def _remeasured(was: State, now: State, row: str) -> bool:
    return OTHER_RESPONSES in _differing(was.rows[row], now.rows.get(row))


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

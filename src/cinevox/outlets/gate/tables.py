"""A verdict as text: one sentence, the rows of a table, Markdown for a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import get_args

from cinevox.errors import printable
from cinevox.outlets.gate.state import listed
from cinevox.outlets.gate.verdict import FAILURES, Line, Verdict, Word

HEADERS = ("row", "metric", "was", "now", "change", "allowed drop", "interval", "verdict")
MOVED: tuple[Word, ...] = ("higher", "improved", "new")
MOST_LINES = 400  # in Markdown: a comment on a pull request holds 65,536 characters
MEANT = (
    "If this is meant (other data, or a row that was removed on purpose, too), `cinevox gate --update` makes the "
    "present scores the baseline; commit `metrics/baseline.json` and `metrics/baseline.npz` with the change that "
    "explains them. Against a git revision it fails until it is merged."
)
HIGHER = "Higher: a rise on other responses is no improvement; `cinevox gate --update` takes it as the base."


def sentence(verdict: Verdict) -> str:
    """Passed or failed, against what, and how many of each verdict."""
    counts = {word: len(verdict.of(word)) for word in get_args(Word)}
    found = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"{'Failed' if verdict.failed else 'Passed'} against {verdict.against}: {found}."


def cells(line: Line) -> tuple[str, ...]:
    """The cells under `HEADERS` of one line."""
    form = "d" if isinstance(line.now if line.was is None else line.was, int) else ".3f"  # counts, or scores
    numbers = ((line.was, form), (line.now, form), (line.change, f"+{form}"), (line.allowed, form))
    shown = ("–" if value is None else format(value, how) for value, how in numbers)
    interval = "–" if line.half_width is None else f"±{line.half_width:.3f} {line.basis}"
    return (printable(line.row), printable(line.metric), *shown, interval, line.verdict)


def rule(verdict: Verdict) -> list[str]:
    """What was allowed, and which rows could not be compared, or not in pairs, and why."""
    told = [f"Allowed drop: {verdict.limits}."]
    told += _by_reason("Not comparable with the base", verdict.other_data)
    told += _by_reason("Not paired with the base", verdict.differing)
    return told + [HIGHER] * bool(verdict.of("higher"))


def _by_reason(what: str, reasons: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Each reason that rows have, and those rows."""
    rows = {why: [printable(row) for row in reasons if reasons[row] == why] for why in reasons.values()}
    return [f"{what} ({', '.join(why)}): {listed(some)}." for why, some in rows.items()]


def to_markdown(verdict: Verdict) -> str:
    """The sentence, failures in a table, then improvements and what is new; all that stayed is folded."""
    parts = [verdict.of(*FAILURES), verdict.of(*MOVED), verdict.of("same")]
    text, room = [f"**{sentence(verdict)}**", ""], MOST_LINES
    folded = (f"<details><summary>{len(parts[-1])} the same</summary>", "")
    around = [((), (MEANT, "")), ((), ()), (folded, ("</details>", ""))]
    for lines, (before, after) in zip(parts, around):
        if told := lines[:room]:
            text += [*before, *_table(told), "", *after]
        room -= len(told)
    if (left := sum(map(len, parts)) - MOST_LINES) > 0:
        text += [f"{left} more lines; `cinevox gate` prints all.", ""]
    return "\n".join([*text, *map(_escaped, rule(verdict))]) + "\n"


def _table(lines: Iterable[Line]) -> list[str]:
    rows = ["| " + " | ".join(HEADERS) + " |", "|-|-|-:|-:|-:|-:|-:|-|"]
    for line in lines:
        *others, verdict = map(_escaped, cells(line))
        rows.append("| " + " | ".join([*others, f"**{verdict}**" if line.verdict in FAILURES else verdict]) + " |")
    return rows


def _escaped(cell: str) -> str:
    """A cell as text: the names in it come from files that whoever proposes a change has written."""
    return re.sub(r"([\\`|\[\]])", r"\\\1", html.escape(cell, quote=False)).replace("@", "&#64;")

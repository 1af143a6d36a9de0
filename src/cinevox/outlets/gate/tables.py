"""A verdict as text: one sentence, the rows of a table, Markdown for a pull request."""

from __future__ import annotations

import html
import re
from typing import get_args

from cinevox.errors import printable
from cinevox.outlets.gate.state import by_reason
from cinevox.outlets.gate.verdict import Line, Verdict, Word

HEADERS = ("row", "metric", "was", "now", "change", "allowed drop", "interval", "verdict")
MEANT = (
    "If this is meant (a row that was removed on purpose, too), cinevox gate --update makes the present scores the "
    "baseline; commit metrics/baseline.json and metrics/baseline.npz with the change that explains "
    "them. Against a git revision it fails until it is merged."
)


def sentence(verdict: Verdict) -> str:
    """Passed or failed, against what, and how many of each verdict."""
    counts = {word: len(verdict.of(word)) for word in get_args(Word)}
    found = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"{'Failed' if verdict.failed else 'Passed'} against {verdict.against}: {found}."


def in_order(verdict: Verdict) -> list[Line]:
    """Failures first, what stayed last."""
    return [line for word in get_args(Word) for line in verdict.of(word)]


def cells(line: Line) -> tuple[str, ...]:
    """The cells under `HEADERS` of one line."""
    form = "d" if isinstance(line.now if line.was is None else line.was, int) else ".3f"  # counts, or scores
    numbers = ((line.was, form), (line.now, form), (line.change, f"+{form}"), (line.allowed, form))
    shown = ("–" if value is None else format(value, how) for value, how in numbers)
    interval = "–" if line.half_width is None else f"±{line.half_width:.3f}"
    return (printable(line.row), printable(line.metric), *shown, interval, line.verdict)


def notes(verdict: Verdict) -> list[str]:
    """Tell what was allowed, which rows were not compared in pairs, and why, and what to do."""
    unpaired = [f"Not paired with the base: {told}." for told in by_reason(verdict.unpaired)]
    return [f"Allowed drop: {verdict.limits}.", *unpaired, *[MEANT] * verdict.failed]


def to_markdown(verdict: Verdict) -> str:
    """The sentence, a table of what failed and what else moved, the notes."""
    text = [f"**{sentence(verdict)}**", ""]
    if moved := [line for line in in_order(verdict) if line.verdict != "same"]:
        text += ["| " + " | ".join(HEADERS) + " |", "|-|-|-:|-:|-:|-:|-:|-|", *map(_row, moved), ""]
    return "\n".join([*text, *map(_escaped, notes(verdict))]) + "\n"


def _row(line: Line) -> str:
    *others, word = map(_escaped, cells(line))
    return "| " + " | ".join([*others, f"**{word}**" if line.failed else word]) + " |"


def _escaped(cell: str) -> str:
    """A cell as text: the names in it come from files that whoever proposes a change has written."""
    return re.sub(r"([\\`|\[\]])", r"\\\1", html.escape(cell, quote=False)).replace("@", "&#64;")

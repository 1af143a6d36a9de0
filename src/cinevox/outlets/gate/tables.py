"""A verdict as text: one sentence, the rows of a table, Markdown for a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from cinevox.errors import printable
from cinevox.outlets.gate.verdict import FAILURES, Line, Verdict, Word, listed

HEADERS = ("row", "metric", "was", "now", "change", "allowed drop", "interval", "verdict")
MOVED: tuple[Word, ...] = ("higher", "improved", "new")
MOST_LINES = 400  # in Markdown: a comment on a pull request holds 65,536 characters
MEANT = (
    "If this is meant (other data, or a row that was removed on purpose, too), `cinevox gate --update` makes the "
    "present scores the baseline; commit `metrics/baseline.json` and `metrics/baseline.npz` with the change that "
    "explains them. Against a git revision it fails until it is merged."
)


def sentence(verdict: Verdict) -> str:
    """Passed or failed, against what, and how many of each verdict."""
    counts = {word: len(verdict.of(word)) for word in get_args(Word)}
    found = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"{'Failed' if verdict.failed else 'Passed'} against {verdict.against}: {found}."


def cells(line: Line) -> tuple[str, ...]:
    """What `HEADERS` names, of one line."""
    whole = isinstance(line.now if line.was is None else line.was, int)  # counts
    form, signed = ("d", "+d") if whole else (".3f", "+.3f")
    numbers = (_text(line.was, form), _text(line.now, form), _text(line.change, signed), _text(line.allowed, form))
    interval = "–" if line.half_width is None else f"±{line.half_width:.3f} {line.basis}"
    return (printable(line.row), printable(line.metric), *numbers, interval, line.verdict)


def rule(verdict: Verdict) -> list[str]:
    """What was allowed, and which rows could not be compared, or not in pairs, and why."""
    told = [f"Allowed drop: {verdict.limits}."]
    told += [f"Not comparable with the base ({why}): {rows}." for why, rows in _by_reason(verdict.other_data)]
    told += [f"Edited: {how}." for how in verdict.edited.values()]
    told += [f"Not paired with the base ({why}): {rows}." for why, rows in _by_reason(verdict.differing)]
    if verdict.of("higher"):
        told.append(
            "Higher: a rise on other responses is no improvement; `cinevox gate --update` takes it as the base."
        )
    if verdict.unrecorded:
        told.append(
            f"An earlier version made the base or the metrics, and did not record their data: "
            f"{listed(verdict.unrecorded)}. `dvc repro` and `cinevox gate --update` record them."
        )
    return told


def _by_reason(reasons: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Each reason that rows have, and those rows."""
    for why in dict.fromkeys(reasons.values()):
        yield ", ".join(why), listed([printable(row) for row in reasons if reasons[row] == why])


def to_markdown(verdict: Verdict) -> str:
    """The sentence, failures in a table, then improvements and what is new; all that stayed is folded."""
    text = [f"**{sentence(verdict)}**", ""]
    ordered = [*verdict.of(*FAILURES), *verdict.of(*MOVED), *verdict.of("same")]
    told, left = ordered[:MOST_LINES], len(ordered) - MOST_LINES
    if failures := [line for line in told if line.verdict in FAILURES]:
        text += [*_table(failures), "", MEANT, ""]
    if moved := [line for line in told if line.verdict in MOVED]:
        text += [*_table(moved), ""]
    if same := [line for line in told if line.verdict == "same"]:
        text += [
            f"<details><summary>{len(verdict.of('same'))} the same</summary>",
            "",
            *_table(same),
            "",
            "</details>",
            "",
        ]
    if left > 0:
        text += [f"{left} more lines; `cinevox gate` prints all.", ""]
    return "\n".join([*text, *map(_escaped, rule(verdict))]) + "\n"


def _table(lines: Iterable[Line]) -> list[str]:
    head = ["| " + " | ".join(HEADERS) + " |", "|-|-|-:|-:|-:|-:|-:|-|"]
    return head + ["| " + " | ".join(_marked(line)) + " |" for line in lines]


def _marked(line: Line) -> tuple[str, ...]:
    *others, verdict = map(_escaped, cells(line))
    return (*others, f"**{verdict}**" if line.verdict in FAILURES else verdict)


def _escaped(cell: str) -> str:
    """A cell as text: the names in it come from files that whoever proposes a change has written."""
    return re.sub(r"([\\`|\[\]])", r"\\\1", html.escape(cell, quote=False)).replace("@", "&#64;")


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)

"""The gate: did a change make a score fall by more than its limits allow?

A metric (the score of a row, or of one of its ROIs) has regressed when
    was - now > max(absolute, relative * |was|, half-width of the bootstrap interval of `was`),
the last only with `use_interval`. A row or an ROI that was there and is gone has regressed too.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from cinevox import io
from cinevox.errors import InputError
from cinevox.params import Gate
from cinevox.paths import Paths
from cinevox.splits import best_split

Word = Literal["regressed", "missing", "same", "improved", "new"]

FAILURES: tuple[Word, ...] = ("regressed", "missing")
BESIDE = ("low", "high", "pooled_score", "correlation")  # stand beside the score; they move with it
CURE = "write one with `cinevox gate --update` and commit it"


class GateError(InputError):
    """There is nothing to compare with: exit code 2, not 1."""


@dataclass(frozen=True)
class Reading:
    """One metric: its value (None: no voxel could be scored), half the width of its interval (None: unknown)."""

    value: float | None
    half_width: float | None = None


Readings = Mapping[str, Mapping[str, Reading]]  # row -> metric -> reading


@dataclass(frozen=True)
class Line:
    """One metric of one row, before and after."""

    row: str
    metric: str
    was: float | None
    now: float | None
    allowed: float | None
    verdict: Word


@dataclass(frozen=True)
class Verdict:
    """What the comparison found. `against` names the base."""

    against: str
    lines: tuple[Line, ...]

    @property
    def failed(self) -> bool:
        return any(line.verdict in FAILURES for line in self.lines)

    @property
    def exit_code(self) -> int:
        return int(self.failed)

    def to_json(self) -> dict[str, Any]:
        return {"against": self.against, "failed": self.failed, "lines": [asdict(line) for line in self.lines]}

    def to_markdown(self) -> str:
        """A sentence and a table, the failures first."""
        counts = {word: sum(line.verdict == word for line in self.lines) for word in Word.__args__}  # type: ignore[attr-defined]
        found = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
        text = [f"**{'Failed' if self.failed else 'Passed'}** against {self.against}: {found}.", ""]
        text += ["| row | metric | was | now | change | allowed drop | verdict |", "|-|-|-:|-:|-:|-:|-|"]
        for line in sorted(self.lines, key=lambda line: line.verdict not in FAILURES):
            change = None if line.was is None or line.now is None else line.now - line.was
            verdict = f"**{line.verdict}**" if line.verdict in FAILURES else line.verdict
            numbers = f"{_text(line.was)} | {_text(line.now)} | {_text(change, '+.3f')} | {_text(line.allowed)}"
            text.append(f"| {line.row} | {line.metric} | {numbers} | {verdict} |")
        return "\n".join(text) + "\n"


def compare(was: Readings, now: Readings, limits: Gate, against: str) -> Verdict:
    """Compare every metric of `was` with `now`; what is only in `now` is listed as new.

    Raises
    ------
    GateError
        `was` holds no metric.
    """
    if not any(was.values()):
        raise GateError(f"{against} holds no metrics to compare with; {CURE}")
    lines = []
    for row in dict.fromkeys((*was, *now)):
        before, after = was.get(row, {}), now.get(row, {})
        for metric in dict.fromkeys((*before, *after)):
            lines.append(_line(row, metric, before.get(metric), after.get(metric), limits))
    return Verdict(against, tuple(lines))


def _line(row: str, metric: str, before: Reading | None, after: Reading | None, limits: Gate) -> Line:
    was, now = (None if reading is None else reading.value for reading in (before, after))
    if before is None or was is None:
        unchanged = before is not None and after is not None and now is None
        return Line(row, metric, was, now, None, "same" if unchanged else "new" if after is not None else "missing")
    interval = (before.half_width or 0.0) if limits.use_interval else 0.0
    allowed = max(limits.absolute, limits.relative * abs(was), interval)
    if now is None:
        return Line(row, metric, was, now, allowed, "missing")
    change = now - was
    verdict: Word = "regressed" if change < -allowed else "improved" if change > allowed else "same"
    return Line(row, metric, was, now, allowed, verdict)


def read_current(paths: Paths, rows: Iterable[str]) -> Readings:
    """The metrics of this run's rows; a row without a file is left out (and fails if it was in the base).

    Half-widths of the ROIs come from the row's selection file, where there is one.

    Raises
    ------
    FileError
        A file is broken.
    """
    found = {}
    for row in rows:
        if paths.metrics(row).is_file():
            selection = paths.selection(row) / "selection.json"
            details = io.read_json(selection)["scores"] if selection.is_file() else {}
            found[row] = _readings(io.read_json(paths.metrics(row)), details)
    return found


def read_baseline(path: Path) -> Readings:
    """A committed baseline, as `write_baseline` wrote it.

    Raises
    ------
    GateError
        It is missing or broken.
    """
    if not path.is_file():
        raise GateError(f"{path}: no such file; {CURE}")
    try:
        return {
            row: {metric: Reading(**reading) for metric, reading in metrics.items()}
            for row, metrics in io.read_json(path).items()
        }
    except (InputError, AttributeError, TypeError) as error:
        raise GateError(f"{path}: not a baseline ({error}); {CURE}") from None


def write_baseline(path: Path, readings: Readings) -> None:
    """Make these readings the ones that later runs are compared with."""
    io.write_json(
        path, {row: {name: asdict(reading) for name, reading in metrics.items()} for row, metrics in readings.items()}
    )


def read_revision(paths: Paths, revision: str) -> tuple[Readings, Gate]:
    """The metrics committed in a git revision, and that revision's limits (a change can't loosen its own gate).

    The half-widths of ROIs are those of the revision's baseline; where it has none, the half-width of the row's
    score stands in: an ROI's own is rarely smaller, so the gate is then the stricter one.

    Raises
    ------
    GateError
        No such revision, no readable params.yaml in it, or metrics that are no JSON.
    """
    params = _show(paths, revision, paths.params) if revision else None
    if params is None:
        raise GateError(f"{revision}: no git revision with {paths.params}; try HEAD or origin/main (fetched)")
    try:
        document = yaml.safe_load(params)
        rows = [row for group in document["experiments"].values() for row in group]
        limits = Gate.model_validate(document["gate"])
    except (yaml.YAMLError, ValidationError, AttributeError, KeyError, TypeError) as error:
        raise GateError(f"{revision}:{paths.params}: no rows or limits to be had from it ({error!r})") from None
    try:
        baseline = json.loads(_show(paths, revision, paths.baseline) or "{}")
        found = {}
        for row in rows:
            text = _show(paths, revision, paths.metrics(row))
            if text is not None:
                known = {name: reading["half_width"] for name, reading in baseline.get(row, {}).items()}
                found[row] = _with_half_widths(_readings(json.loads(text), {}), known)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise GateError(f"{revision}: its metrics are unreadable ({error!r})") from None
    return found, limits


def _show(paths: Paths, revision: str, path: Path) -> str | None:
    relative = path.relative_to(paths.root).as_posix()
    command = ["git", "-C", str(paths.root), "show", "--end-of-options", f"{revision}:./{relative}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else None


def _readings(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Reading]:
    """The metrics of the split that a row reports (`splits.best_split`), as `test.score`, `test.V1`."""
    split = best_split(metrics)
    block = metrics[split]
    rois = details.get(split, {}).get("rois", {})
    widths = {roi: _half_width(values) for roi, values in rois.items()} | {"score": _half_width(block)}
    return {
        f"{split}.{name}": Reading(_finite(value), widths.get(name))
        for name, value in block.items()
        if name not in BESIDE
    }


def _with_half_widths(readings: dict[str, Reading], known: Mapping[str, float | None]) -> dict[str, Reading]:
    whole = next((reading.half_width for name, reading in readings.items() if name.endswith(".score")), None)
    return {
        name: Reading(reading.value, next((w for w in (reading.half_width, known.get(name)) if w is not None), whole))
        for name, reading in readings.items()
    }


def _half_width(values: Mapping[str, Any]) -> float | None:
    low, high = _finite(values.get("low")), _finite(values.get("high"))
    return None if low is None or high is None else (high - low) / 2


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _text(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)

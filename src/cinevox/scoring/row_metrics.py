"""The few numbers of a row that are compared between versions: metrics/<row>.json, which git keeps.

The best evidence there is comes in full (test, else nested, else validation), other splits as their score. Plain
correlations stand one level deeper, under `PLAIN_KEY`, so that nothing compares them with normalized ones. Files of
earlier commits are read too: those from before origins were recorded have none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.scoring.origin import KEY, Origin, origin_of
from cinevox.scoring.outcomes import Outcome, SplitScores
from cinevox.statistics.metrics import NORMALIZED, PLAIN, PLAIN_KEY, Measure
from cinevox.statistics.splits import ScoredSplit, best_split

DIGITS = 5  # decimals in git: on another processor the scores of fits move by less than half a unit of the last one
BESIDE = ("low", "high", "pooled_score", "correlation")  # stand beside the score and move with it


@dataclass(frozen=True)
class RowMetrics:
    """The metrics of a row on the split that counts.

    values: score, what stands beside it, and each ROI -> number, None where no voxel could be scored
    origin: None where an earlier version made them
    """

    split: ScoredSplit
    measure: Measure
    values: Mapping[str, float | None]
    origin: Origin | None

    @property
    def is_plain(self) -> bool:
        return self.measure == PLAIN

    @property
    def prefix(self) -> str:
        """The prefix of the dotted names of its numbers."""
        return f"{self.split}.{PLAIN_KEY}" if self.is_plain else self.split

    @property
    def readings(self) -> dict[str, float | None]:
        """The row's score and each ROI's."""
        return {name: value for name, value in self.values.items() if name not in BESIDE}


def content(outcome: Outcome) -> dict[str, Any]:
    """Content of a row's file: numbers rounded to DIGITS decimals, behind which lies what other processors change."""
    parts = {}
    for split, scores in outcome.scores.items():
        values = _values(scores) if split == outcome.split else {"score": scores.score}
        part = {name: None if value is None else round(value, DIGITS) for name, value in values.items()}
        parts[split] = {PLAIN_KEY: part} if scores.measure == PLAIN else part
    ordered = [outcome.split, *(split for split in parts if split != outcome.split)]
    return {split: parts[split] for split in ordered} | {KEY: outcome.origin.to_json()}


def _values(scores: SplitScores) -> dict[str, float | None]:
    whole = {name: getattr(scores, name) for name in ("score", *BESIDE)}
    return whole | {roi: entry.score for roi, entry in scores.rois.items()}


def write(path: Path, outcome: Outcome) -> None:
    io.write_json(path, content(outcome))


def _finite(value: Any) -> bool:
    return type(value) in (float, int) and math.isfinite(value)


def parse(found: Any) -> RowMetrics:
    """The parsed content of a metrics file, of this or an earlier commit.

    Raises
    ------
    ValueError
        It is no such content.
    """
    try:
        split = best_split(found)
        block = found[split]
        measure, values = (PLAIN, block[PLAIN_KEY]) if PLAIN_KEY in block else (NORMALIZED, block)
        if odd := {name: value for name, value in values.items() if value is not None and not _finite(value)}:
            raise TypeError(odd)
        values["score"]
        return RowMetrics(split, measure, dict(values), origin_of(found))
    except (StopIteration, KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{str(found)[:80]}: expected the metrics of a row, by split; run `dvc repro`") from None


def read(path: Path) -> RowMetrics:
    """A row's metrics file. Errors: FileError, where it is missing or holds something else."""
    found = io.read_json(path)
    try:
        return parse(found)
    except ValueError as error:
        raise FileError(f"{path}: {error}") from None

"""Every row against every other: paired differences over the same clips and the same subjects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.sources import Sources
from cinevox.project.params import Track
from cinevox.scoring.row_results import Result
from cinevox.statistics.comparison import Comparison, compare
from cinevox.statistics.significance import false_discovery_rate


@dataclass(frozen=True)
class Pairs:
    """Comparisons of a track's rows, the best first.

    cells: (row, other) numbers -> the row minus the other; q: (n_rows, n_rows), false discovery rate over all pairs
    """

    rows: tuple[Result, ...]
    cells: dict[tuple[int, int], Comparison]
    q: NDArray[np.float64]

    @property
    def n_apart(self) -> int:
        """Pairs that differ at a false discovery rate of 5 %."""
        return int((self.q <= 0.05).sum())


def in_pairs(sources: Sources, track: Track) -> Pairs | None:
    """Compare all rows of a track that have the split that counts; None with fewer than two of them."""
    found = tuple(_comparable(sources.of_track(track)))
    rows, scores = tuple(result for result, _ in found), [score for _, score in found]
    if len(rows) < 2:
        return None
    confidence, rng = sources.params.scores.confidence, np.random.default_rng(sources.params.scores.seed)
    drawn = [result.replicates(result.split).mean(axis=1) for result in rows]
    subjects = [
        {name: one.score for name, one in result.scores.subjects.items() if one.score is not None} for result in rows
    ]
    cells = {
        (a, b): compare(scores[a], scores[b], drawn[a], drawn[b], subjects[a], subjects[b], confidence, rng)
        for a, b in combinations(range(len(rows)), 2)
    }
    q = np.full((len(rows), len(rows)), np.nan)
    adjusted = false_discovery_rate(np.array([cell.p for cell in cells.values()]))
    for (a, b), value in zip(cells, adjusted):
        q[a, b] = value
    return Pairs(rows, cells, q)


def _comparable(results: Sequence[Result]) -> Iterator[tuple[Result, float]]:
    """Rows scored on the same split as the best one, with a score, and that."""
    known = [(result, result.scores.score) for result in results]
    best = next((result.split for result, score in known if score is not None), None)
    return ((result, score) for result, score in known if score is not None and result.split == best)

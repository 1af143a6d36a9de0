"""What the solvers say of themselves, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cinevox.results import Result


@dataclass(frozen=True)
class SolverLine:
    """One row's fits: one for each voxel and feature space.

    empty, not_converged: share of the fits, None where the regressor has no such thing
    alpha: its smallest, median and largest value over the row's spaces, None likewise
    """

    row: str
    n_fits: int
    empty: float | None
    not_converged: float | None
    alpha: tuple[float, float, float] | None


def solver_lines(results: Iterable[Result]) -> list[SolverLine]:
    """A line for each row of fits; transfer networks have their curves instead."""
    return [line for result in results if (line := _line(result)) is not None]


def _line(result: Result) -> SolverLine | None:
    spaces = list(result.index.diagnostics.values())
    if not spaces or any("curves" in space for space in spaces):
        return None
    n_fits = len(spaces) * result.index.columns.n_voxels

    def share(flag: str) -> float | None:
        known = all(flag in space for space in spaces)
        return sum(space[flag] for space in spaces) / n_fits if known else None

    ranges = [space["alpha"] for space in spaces if "alpha" in space]
    alpha = None
    if ranges:
        medians = sorted(found["median"] for found in ranges)
        alpha = (min(r["min"] for r in ranges), medians[len(medians) // 2], max(r["max"] for r in ranges))
    return SolverLine(result.name, n_fits, share("empty"), share("not_converged"), alpha)

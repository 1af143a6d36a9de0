"""Diagnostics of the solvers, row by row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cinevox.fitting.feature_spaces import lone_components
from cinevox.fitting.regressors import cautions
from cinevox.project.params import EnsembleRow, FeatureSpace, Params
from cinevox.scoring.row_results import Result

AT_AN_END = 0.05  # of the voxels: chance takes some to an end of any grid
MANY_EMPTY = 0.5  # of the voxels: those without signal, which are a part of every brain, have empty models by right


@dataclass(frozen=True)
class SolverLine:
    """One row's fits: one for each voxel and feature space.

    empty, not_converged: share of the fits, None where the regressor has no such thing
    alpha: its smallest, median and largest value over the row's spaces, None likewise
    warnings: a sentence each, of the spaces that were chosen for some ROI
    """

    row: str
    n_fits: int
    empty: float | None
    not_converged: float | None
    alpha: tuple[float, float, float] | None
    warnings: tuple[str, ...] = ()


def solver_lines(results: Iterable[Result], params: Params) -> list[SolverLine]:
    """A line for each row of fits; transfer networks have their curves instead, ensembles their members.

    params: has the sections regressors and reduction
    """
    return [line for result in results if (line := _line(result, params)) is not None]


def _line(result: Result, params: Params) -> SolverLine | None:
    spaces = list(result.index.diagnostics.values())
    if not spaces or result.row.is_transfer or isinstance(result.row, EnsembleRow):
        return None
    n_fits = sum(map(result.index.n_voxels_of, result.index.diagnostics))

    def share(flag: str) -> float | None:
        known = all(flag in space for space in spaces)
        return sum(space[flag] for space in spaces) / n_fits if known else None

    ranges = [space["alpha"] for space in spaces if "alpha" in space]
    alpha = None
    if ranges:
        medians = sorted(found["median"] for found in ranges)
        alpha = (min(r["min"] for r in ranges), medians[len(medians) // 2], max(r["max"] for r in ranges))
    used = {space for shares in result.outcome.chosen.values() for space in shares}
    row, options = result.row, params.regressors[result.row.regressor]
    named = {name: FeatureSpace.from_json(space) for name, space in result.index.named.items()}
    lone = lone_components(row, named)
    warnings = tuple(cautions(row.regressor, options, row.way, lone, normalize=params.reduction.normalize))
    # where alpha changes nothing, which alpha it is says nothing
    idle = (used if set(lone) == set(named) else set(lone)) if warnings else set()
    warnings += (*_empty(*_of(result, used)), *_ends(*_of(result, used - idle), row.regressor, options))
    return SolverLine(result.name, n_fits, share("empty"), share("not_converged"), alpha, warnings)


def _of(result: Result, used: Collection[str]) -> tuple[list[Mapping[str, Any]], int]:
    """The diagnostics of some feature spaces, and how many fits they are of."""
    known = {name: found for name, found in result.index.diagnostics.items() if name in used}
    return list(known.values()), sum(map(result.index.n_voxels_of, known))


def _empty(spaces: list[Mapping[str, Any]], n_fits: int) -> Iterator[str]:
    found = sum(space.get("empty", 0) for space in spaces) / n_fits if n_fits else 0.0
    if found > MANY_EMPTY:
        yield (
            f"{found:.0%} of the models are empty: their voxels are predicted by the mean and score 0, which is right "
            "where there is no signal and a fault where other regressors find some"
        )


def _ends(spaces: list[Mapping[str, Any]], n_fits: int, regressor: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Alphas at an end of their grid where the error still falls (`_solvers.ridge.at_ends`)."""
    key = "alphas" if "alphas" in options else "alpha_ratio"
    smaller = "smaller alphas" if key == "alphas" else "a smaller value"
    for end, cure in (("lowest", smaller), ("highest", "larger alphas")):
        found = sum(space.get(f"alpha_{end}", 0) for space in spaces) / n_fits if n_fits else 0.0
        if found > AT_AN_END:
            yield (
                f"alpha is the {end} of its grid for {found:.0%} of the voxels on the chosen feature spaces, and the "
                f"error still falls there: give regressors.{regressor}.{key} {cure}"
            )

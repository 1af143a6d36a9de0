"""A table of every simulation of how often inference is wrong."""

from __future__ import annotations

from _chances import crossed_folds, permutations, subjects
from _choices import choices
from _intervals import intervals, nested_intervals, pairs

NOTE = (
    "Simulated data sets whose truth is known; 5 % is the level asked for, 95 % the confidence. Voxels are smooth "
    "(each shares most with its neighbours), predictions too. Intervals are Clopper and Pearson's over data sets."
)
SIMULATIONS = (permutations, crossed_folds, subjects, intervals, pairs, nested_intervals, choices)


def table(quick: bool) -> str:
    """Every simulation, as lines of Markdown."""
    rows = [row for simulation in SIMULATIONS for row in simulation(20 if quick else 1)]
    lines = ["## How often it is wrong", "", NOTE, "", "| data | what | found (95 % interval) |", "|---|---|---|"]
    return "\n".join(lines + [f"| {data} | {what} | {found} |" for data, what, found in rows]) + "\n"

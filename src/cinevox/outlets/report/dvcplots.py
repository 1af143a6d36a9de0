"""The tables that `dvc plots` draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cinevox.outlets.report.regions import score_table
from cinevox.scoring import claims
from cinevox.scoring.row_results import Result

PROFILE = ["row", "roi", "layer_index", "layer", "score"]


def plots(results: Sequence[Result]) -> dict[str, pd.DataFrame]:
    """The tables that `dvc plots` draws: the rows' scores, and the candidates' profiles; untrained networks marked."""
    profiles = []
    for r in (r for r in results if len(r.index.spaces) > 1):
        table = r.table(r.split).dropna(subset=["score"])  # where each ROI has its own space, it is in no other
        numbers = {space: number for number, space in enumerate(r.index.spaces)}
        profiles.append(
            pd.DataFrame(
                {
                    "row": r.name,
                    "roi": table["roi"],
                    "layer_index": table["space"].map(numbers),
                    "layer": table["space"],
                    "score": table["score"],
                }
            )
        )
    found = {
        "scores": score_table(results),
        "profile": pd.concat(profiles, ignore_index=True) if profiles else pd.DataFrame(columns=PROFILE),
        "curves": pd.DataFrame(_curve_lines(results), columns=["row", "epoch", "clips", "correlation"]),
    }
    marked = {r.name: f"{r.name} ({claims.UNTRAINED.name})" for r in results if r.untrained}
    return {name: table.assign(row=table["row"].replace(marked)) for name, table in found.items()}


def _curve_lines(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    for r in results:
        for clips in ("train", "validation"):
            values = [curves[f"{clips}_correlation"] for curves in r.curves.values()]
            for epoch, means in enumerate(zip(*values), 1):
                yield {"row": r.name, "epoch": epoch, "clips": clips, "correlation": float(np.mean(means))}

"""Checks of ensembles: their members are rows that can be combined."""

from __future__ import annotations

from collections.abc import Iterator

from cinevox.project.params.experiments import EnsembleRow, Experiments


def ensemble_faults(row: EnsembleRow, experiments: Experiments) -> Iterator[str]:
    """Say why an ensemble can't be made of its rows."""
    every = {name: found for name, found in experiments.rows.items() if not isinstance(found, EnsembleRow)}
    if unknown := [name for name in row.rows if name not in every]:
        what = "an ensemble is made of other rows" if {*unknown} & {*experiments.ensembles} else "there is no such row"
        yield f"row {row.name}: rows has {', '.join(unknown)}; {what} ({', '.join(every)})"
        return
    if twice := sorted({name for name in row.rows if row.rows.count(name) > 1}):
        yield f"row {row.name}: {', '.join(twice)} is named twice in rows"
    tracks = [every[name].track for name in row.rows]
    if row.together != "paste" and (other := [name for name in row.rows if every[name].track != row.track]):
        yield f"row {row.name}: {', '.join(other)} is not of its track, {row.track}; only paste takes both tracks"
    if row.together == "paste" and (row.track != "full" or tracks != ["full", "mini"]):
        yield (
            f"row {row.name}: together is paste, its track is {row.track}, and its rows have {', '.join(tracks)}; "
            "expected the track full and two rows: one of the full track, then the one of the mini track that is pasted"
        )

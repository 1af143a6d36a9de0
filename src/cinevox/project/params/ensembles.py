"""Checks of ensembles, whose members are rows that can be combined, and of where rows and ensembles are handed in."""

from __future__ import annotations

from collections.abc import Iterator

from cinevox.project.params.experiments import EnsembleRow, Experiments
from cinevox.project.params.sections import Submission


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


def submission_faults(submission: Submission, every: Experiments) -> Iterator[str]:
    """Say why a submission's rows are none: rows stand under `rows`, ensembles under `ensembles`."""
    for key, other, what in (("rows", "ensembles", "row"), ("ensembles", "rows", "ensemble")):
        known = {name: row for name, row in every.rows.items() if (name in every.ensembles) == (key == "ensembles")}
        for track, name in getattr(submission, key).items():
            fitting = [found for found, row in known.items() if row.track == track]
            if name in every.rows and name not in known:
                yield f"submission.{key}.{track} is {name}; name it under submission.{other} instead"
            elif name not in fitting:
                yield (
                    f"submission.{key}.{track} is {name}, which is no {what} of the {track} track in experiments "
                    f"({', '.join(fitting) or 'there is none'})"
                )
    for track in submission.rows.keys() & submission.ensembles.keys():
        yield f"submission.rows and submission.ensembles both have {track}; a track has one submission"

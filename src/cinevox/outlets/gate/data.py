"""What differs in the data of two states, as far as it was recorded with their metrics."""

from __future__ import annotations

from cinevox.outlets.gate.state import Entry, State
from cinevox.scoring.origin import differences


def other_data(was: State, now: State, row: str, metric: str = "") -> tuple[str, ...]:
    """How the data of one metric differ, or of the whole row; nothing if they don't, or if one side has no record."""
    a, b = (state.rows[row].origin if row in state.rows else None for state in (was, now))
    if a is None or b is None:
        return ()
    rois = dict.fromkeys((*a.n_voxels, *b.n_voxels))
    roi = metric.rpartition(".")[2]
    counts = ((name, a.n_voxels.get(name, 0), b.n_voxels.get(name, 0)) for name in ([roi] if roi in rois else rois))
    return differences(a, b) or tuple(f"{name} {n} voxels, now {m}" for name, n, m in counts if n != m)


def is_unrecorded(was: Entry, now: Entry | None) -> bool:
    """Whether nothing says that both are of the same data: neither a record nor the reliabilities of the responses."""
    sides = () if now is None else (was, now)
    return any(side.origin is None for side in sides) and any(side.responses is None for side in sides)


def lost_subjects(was: State, now: State) -> dict[str, list[str]]:
    """Subjects of the base that are gone -> the rows that had them."""
    gone: dict[str, list[str]] = {}
    for row, entry in was.rows.items():
        there = now.rows[row].origin if row in now.rows else None
        if entry.origin is None or there is None:
            continue
        for subject in entry.origin.subjects.split():
            if subject not in there.subjects.split():
                gone.setdefault(subject, []).append(row)
    return gone

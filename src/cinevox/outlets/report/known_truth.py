"""In-silico data: what the run found against the truth that the simulation knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.sources import Sources
from cinevox.project.params import Track
from cinevox.statistics.splits import ceiling_split


@dataclass(frozen=True)
class Recovered:
    """One ROI: what drives its voxels, and what each row on the generating network chose for it."""

    roi: str
    generator: str
    is_layer: bool
    chosen: tuple[tuple[str, str, int | None], ...]  # row, layer, how many layers away from the true one


def recovered(sources: Sources) -> list[Recovered]:
    """The choice of layers against the truth, for the mini-track rows of single layers of the generating network."""
    simulation = sources.params.simulation
    rows = [
        result
        for result in sources.of_track("mini")
        if result.index.networks == (simulation.network,) and result.row.way.startswith("layer")
    ]
    if not rows:
        return []
    layers = rows[0].index.spaces
    lines = []
    for roi in sources.params.dataset.rois:
        true = simulation.generators[roi]
        away = {name: abs(layers.index(name) - layers.index(true)) if true in layers else None for name in layers}
        chosen = tuple((r.name, r.chosen[roi], away.get(r.chosen[roi])) for r in rows)
        lines.append(Recovered(roi, true, true in layers, chosen))
    return lines


@dataclass(frozen=True)
class Silent:
    """Voxels of one kind under the best row's choice: their mean score and twice its standard error over voxels."""

    kind: str
    voxels: int
    excluded: int
    correlation: float
    margin: float
    values: NDArray[np.float64]


def silent(sources: Sources, track: Track) -> list[Silent]:
    """Voxels that follow noise alone beside those with a signal, by plain r (a null voxel has no ceiling)."""
    [best, *_] = sources.of_track(track)
    values = np.asarray(best.voxels[f"{best.split}.correlation"])
    ceiling = sources.ceilings[track].ceiling[ceiling_split(best.split)]
    null = sources.truth[track].generators == "none"
    lines = []
    for kind, inside in (("noise alone", null), ("with a signal", ~null)):
        part = values[inside].astype(np.float64)
        if len(part) > 1:
            margin = 2 * part.std(ddof=1) / np.sqrt(len(part))
            excluded = 0 if ceiling is None else int(np.isnan(ceiling[inside]).sum())
            lines.append(Silent(kind, len(part), excluded, float(part.mean()), float(margin), part))
    return lines

"""In-silico data: what the run found against the truth that the simulation knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.sources import Sources
from cinevox.project.params import FeatureMap, FeatureSpace, JointRow, Track
from cinevox.project.params.generators import is_pooled, layer_and_pool, parts
from cinevox.scoring.row_results import Result
from cinevox.statistics.splits import ceiling_split
from cinevox.stimuli.networks import spec_of

TRUE_OVER_FRAMES: Literal["mean"] = "mean"  # as `simulation.listening` has it
OVER_FRAMES = {"mean": "its mean over frames", "max": "its maximum over frames", "none": "every frame by itself"}


@dataclass(frozen=True)
class Chosen:
    """The feature space that one row chose for an ROI, beside what drives the voxels.

    row: the part of its name that tells it from the others of the table
    verdict: how far the space is from the truth, in words; "" where nothing of the network drives the voxels
    kind: hit (the generating map), near (the same layer, pooled or reduced over frames otherwise, or the next layer),
        or "" of all others
    """

    row: str
    space: str
    verdict: str
    kind: Literal["hit", "near", ""]


@dataclass(frozen=True)
class Recovered:
    """One ROI: what drives its voxels, whether that is of the network, and what each row chose for it."""

    roi: str
    generator: str
    is_layer: bool
    chosen: tuple[Chosen, ...]


def recovered(sources: Sources) -> list[Recovered]:
    """The choice of feature spaces against the truth, for the mini-track rows whose candidates can be the truth.

    They are rows on single layers of the generating network, and joint rows that choose among spaces some of which
    are of it. A space is the truth if its layer and its pool are, and if it is a mean over frames, as the truth is.
    """
    simulation = sources.params.simulation
    layers = spec_of(simulation.network, simulation.listened_to).layers
    rows = [(result, found) for result in sources.of_track("mini") if (found := _candidates(sources, result))]
    lines = []
    for roi in sources.params.dataset.rois if rows else ():
        word = sources.params.simulation.generators[roi]
        driving = (layer_and_pool(part) for part in parts(word) if is_pooled(part) or part in layers)
        true = [FeatureMap(layer, pool, TRUE_OVER_FRAMES) for layer, pool in driving]
        chosen = tuple(
            Chosen(_heading(result), result.chosen[roi], *_judged(found.get(result.chosen[roi]), true, layers))
            for result, found in rows
        )
        lines.append(Recovered(roi, word, bool(true), chosen))
    return lines


def _candidates(sources: Sources, result: Result) -> dict[str, FeatureMap]:
    """Space -> its map, of those of the generating network that the row can choose."""
    network, row = sources.params.simulation.network, result.row
    if isinstance(row, JointRow):
        named = result.index.named if row.together == "each" and not row.fixed else {}
        spaces = {name: FeatureSpace.from_json(found) for name, found in named.items()}
        return {name: space.map for name, space in spaces.items() if space.network == network}
    if result.index.networks == (network,) and row.way.startswith("layer"):
        over_frames = sources.params.features.over_frames
        return {layer: FeatureMap(layer, "none", over_frames) for layer in result.index.spaces}
    return {}


def _heading(result: Result) -> str:
    words = result.name.split("-")
    return " ".join(words[1:] if isinstance(result.row, JointRow) else words[2:])


def _judged(
    space: FeatureMap | None, true: Sequence[FeatureMap], layers: Sequence[str]
) -> tuple[str, Literal["hit", "near", ""]]:
    """Verdict and kind of a chosen space, None of another network. true: the map of each part of the truth"""
    if not true:
        return "", ""
    if space is None:
        return "another network", ""
    if space in true:
        return "the same" if len(true) == 1 else "a part of it", "hit"
    if (space.layer, space.pool) in ((each.layer, each.pool) for each in true):
        return f"the same, but {OVER_FRAMES[space.over_frames]}", "near"
    if space.layer in (each.layer for each in true):
        return "the same layer, pooled otherwise", "near"
    known = [layers.index(each.layer) for each in true if each.layer in layers]
    if space.layer not in layers or not known:
        return "another layer", ""
    away = min(abs(layers.index(space.layer) - number) for number in known)
    return f"{away} layer{'s' * (away > 1)} away", "near" if away == 1 else ""


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

"""Positions of the simulated voxels: the paper's ROIs and the whole brain on the challenge's MNI152 grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinevox.measured.datasets.algonauts2021 import AFFINE, VOLUME

MIN_GREY = 0.5

# Centre in the right hemisphere and reach along x, y, z, in MNI152 millimetres. The order is that of placing:
# where two overlap, the smaller one, or the one with the narrower definition, goes first.
PLACES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "FFA": ((41, -52, -19), (6, 10, 5)),
    "PPA": ((26, -44, -10), (6, 11, 6)),
    "V4": ((29, -79, -13), (8, 7, 5)),
    "EBA": ((48, -70, 6), (6, 8, 9)),
    "STS": ((55, -44, 9), (6, 14, 7)),
    "V1": ((8, -86, 3), (6, 12, 6)),
    "V2": ((13, -93, 6), (8, 8, 14)),
    "V3": ((23, -91, 8), (9, 8, 14)),
    "LOC": ((41, -76, -2), (10, 11, 14)),
}
NEAR = 25.0  # mm; the whole-brain voxels thin out over this distance from the ROIs
PATCH = 2.5  # voxels; smoothness of the patches they form


@dataclass(frozen=True)
class Anatomy:
    """Voxels of one subject.

    mask: VOLUME, the whole-brain voxels
    rois: for each whole-brain voxel, in C order of the volume, the index of its ROI in PLACES, -1 for none
    nearest: the same for the ROI whose centre is nearest; distance: to that centre, in mm
    """

    mask: NDArray[np.bool_]
    rois: NDArray[np.int8]
    nearest: NDArray[np.int8]
    distance: NDArray[np.float32]

    def columns(self, roi: str) -> NDArray[np.intp]:
        """Positions of an ROI's voxels among the whole-brain voxels, in Fortran order of the volume."""
        inside = np.flatnonzero(self.rois == list(PLACES).index(roi))
        i, j, k = np.unravel_index(np.flatnonzero(self.mask)[inside], VOLUME)
        return inside[np.lexsort((i, j, k))]


def place(counts: Mapping[str, int], whole: int, rng: np.random.Generator) -> Anatomy:
    """Lay out a subject: compact ROIs in the grey matter of both hemispheres, patches of cortex around them.

    counts: ROI -> voxels; whole: voxels of the whole brain, those of the ROIs included

    Raises
    ------
    ValueError
        The grey matter has fewer voxels than asked for.
    """
    grey, millimetres = _grey_matter()
    if whole > len(grey) or whole < sum(counts.values()):
        raise ValueError(f"{whole} voxels for {sum(counts.values())} in ROIs and {len(grey)} in the grey matter")
    side = np.where(millimetres[:, :1] > 0, 1.0, -1.0)
    mirrored = millimetres * np.hstack([side, np.ones((len(side), 2))])
    rois = np.full(len(grey), -1, dtype=np.int8)
    for index, (roi, (centre, reach)) in enumerate(PLACES.items()):
        centred = (mirrored - centre - rng.normal(0, 1.5, 3)) / reach
        away = np.where(rois < 0, np.linalg.norm(centred, axis=1), np.inf)
        halves = (counts[roi] + 1) // 2, counts[roi] // 2
        for hemisphere, n in zip((1.0, -1.0), halves):
            reachable = np.where(side[:, 0] == hemisphere, away, np.inf)
            rois[np.argsort(reachable, kind="stable")[:n]] = index
    gaps = np.linalg.norm(mirrored[:, None] - np.array([centre for centre, _ in PLACES.values()]), axis=2)
    nearest, distance = gaps.argmin(axis=1).astype(np.int8), gaps.min(axis=1).astype(np.float32)
    field = ndimage.gaussian_filter(rng.standard_normal(VOLUME), PATCH).ravel()[grey]
    rank = field / field.std() - distance / NEAR
    rank[rois >= 0] = np.inf
    chosen = np.sort(np.argsort(-rank, kind="stable")[:whole])
    mask = np.zeros(VOLUME, dtype=bool)
    mask.ravel()[grey[chosen]] = True
    return Anatomy(mask, rois[chosen], nearest[chosen], distance[chosen])


@cache
def _grey_matter() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """C-order positions of the grid's grey-matter voxels, ascending, and where they lie in mm, (n, 3)."""
    from nilearn.datasets import load_mni152_gm_template

    template = load_mni152_gm_template(resolution=1)
    grid = np.array(AFFINE)
    onto = np.linalg.inv(template.affine) @ grid
    smooth = ndimage.gaussian_filter(np.asarray(template.dataobj, dtype=np.float32), 1.0)  # against aliasing
    density = ndimage.affine_transform(smooth, onto[:3, :3], onto[:3, 3], VOLUME, order=1)
    grey = np.flatnonzero(density > MIN_GREY)
    indices = np.column_stack(np.unravel_index(grey, VOLUME))
    return grey, indices @ grid[:3, :3].T + grid[:3, 3]

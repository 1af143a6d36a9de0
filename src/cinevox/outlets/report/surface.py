"""The cortical surface: a volume projected to fsaverage5 and drawn from the side, from the midline and from below.

Meshes and sulci are those in nilearn's own package. Each triangle is split in four, so that a vertex stands for about
a millimetre and a half, less than a voxel, and the edges of the known area are not those of the mesh.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.glass import ColourScale, colour_bar

Floats = NDArray[np.floating]

# fsaverage lies in MNI305; to MNI152, surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems
TO_MNI152 = np.array(
    [[0.9975, -0.0073, 0.0176, -0.0429], [0.0146, 1.0009, -0.0024, 1.5496], [-0.0130, -0.0093, 0.9971, 1.1840]]
)
DEPTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # from the pial surface to the white matter
LEAST_KNOWN = 0.1  # share of a vertex' samples that must lie in voxels with a value
HEMISPHERES = {"left": -1.0, "right": 1.0}  # and the sign of x outwards
VIEWS = ("lateral", "medial", "ventral")


@dataclass(frozen=True)
class Hemisphere:
    """One half of fsaverage5, split finer.

    pial, white, inflated: (n_vertices, 3) in mm, the first two in MNI152; depth: (n_vertices,), of the sulci
    """

    faces: NDArray[np.integer]
    pial: Floats
    white: Floats
    inflated: Floats
    depth: Floats


def hemispheres() -> dict[str, Hemisphere]:
    """Both halves, from the files that nilearn ships."""
    from nilearn import datasets

    meshes = datasets.load_fsaverage("fsaverage5")
    sulci = datasets.load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts
    found = {}
    for half in HEMISPHERES:
        parts = {name: meshes[name].parts[half] for name in ("pial", "white_matter", "inflated")}
        faces, ends = split(parts["pial"].faces)
        pial, white, inflated = (finer(part.coordinates, ends) for part in parts.values())
        pial, white = (xyz @ TO_MNI152[:, :3].T + TO_MNI152[:, 3] for xyz in (pial, white))
        found[half] = Hemisphere(faces, pial, white, inflated, finer(np.asarray(sulci[half], float), ends))
    return found


def split(faces: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Each triangle as four: the faces, (4 n_faces, 3), and the ends of the edges that got a vertex, (n_edges, 2)."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    ends, number = np.unique(sides, axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = faces.T, faces.max() + 1 + number.reshape(3, -1)
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return np.concatenate([np.stack(part, axis=1) for part in parts]), ends


def finer(values: Floats, ends: NDArray[np.integer]) -> Floats:
    """Values of vertices (n, ...), and at the middle of each split edge the mean of its ends."""
    return np.concatenate([values, values[ends].mean(axis=1)])


def project(volume: Floats, affine: Floats, half: Hemisphere) -> Floats:
    """The volume at each vertex, (n_vertices,): mean over the depth of the cortex, of the voxels with a value alone.

    Both the values (0 where there is none) and whether there is one are interpolated; their ratio is the mean.
    """
    import nibabel
    from nilearn.surface import InMemoryMesh, vol_to_surf

    known = np.isfinite(volume)
    image = nibabel.Nifti1Image(np.stack([np.where(known, volume, 0), known], axis=-1).astype(np.float32), affine)
    pial, white = (InMemoryMesh(xyz.astype(np.float32), half.faces) for xyz in (half.pial, half.white))
    total, share = vol_to_surf(image, pial, inner_mesh=white, depth=DEPTHS).T
    return np.divide(total, share, out=np.full(len(total), np.nan), where=share >= LEAST_KNOWN)


def picture(volume: Floats, affine: Floats, scale: ColourScale, dpi: int) -> bytes:
    """A PNG: left hemisphere above, right below, three views each; grey without a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        canvas = pyplot.figure(figsize=(10, 5.7), facecolor="white")
        try:
            for line, (name, half) in enumerate(hemispheres().items()):
                shares = (project(volume, affine, half) - scale.low) / (scale.high - scale.low)
                for place, view in enumerate(VIEWS):
                    left, bottom = place / 3, 0.585 - 0.42 * line
                    axes = canvas.add_axes((left + 0.005, bottom, 0.323, 0.4))
                    _draw(axes, half, shares, scale.colours, HEMISPHERES[name], view)
                    canvas.text(left + 1 / 6, bottom, f"{name}, {view}", ha="center", va="center", size=9)
            colour_bar(canvas, scale)
            buffer = io.BytesIO()
            canvas.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        finally:
            pyplot.close(canvas)
    return buffer.getvalue()


def _draw(axes, half: Hemisphere, shares: Floats, scheme: str, outwards: float, view: str) -> None:
    """Triangles that face the viewer, the farthest first; below: the front lies where it does from the side."""
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    towards, up = {
        "lateral": ((outwards, 0, 0), (0, 0, 1)),
        "medial": ((-outwards, 0, 0), (0, 0, 1)),
        "ventral": ((0, 0, -1), (outwards, 0, 0)),
    }[view]
    corners = half.inflated[half.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal @ towards / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    distance = corners.mean(axis=1) @ towards
    seen = np.flatnonzero(facing > 0)
    seen = seen[np.argsort(distance[seen], kind="stable")]
    flat: Any = np.stack([corners[seen] @ np.cross(up, towards), corners[seen] @ up], axis=-1)
    value, depth = (part[half.faces[seen]].mean(axis=1) for part in (shares, half.depth))
    colours = np.repeat(0.8 - 0.16 * np.clip(depth, -1, 1)[:, None], 3, axis=1)
    known = np.isfinite(value)
    colours[known] = colormaps[scheme](np.clip(value[known], 0, 1))[:, :3]
    colours *= 0.62 + 0.38 * facing[seen, None] ** 0.7  # light from the viewer
    axes.add_collection(PolyCollection(flat, facecolors=colours, edgecolors=colours, linewidths=0.25))
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.axis("off")

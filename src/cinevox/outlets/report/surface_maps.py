"""Maps on surfaces: values of vertices as GIFTI files, one for each hemisphere, named as BIDS statistical maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

SIDES = {"L": "CortexLeft", "R": "CortexRight"}


def files(
    stem: str,
    values: NDArray[np.floating],
    places: NDArray[np.integer],
    n_vertices: Mapping[str, int],
    about: Mapping[str, str],
) -> Iterator[tuple[str, bytes]]:
    """File name -> content for each hemisphere that has a unit; NaN at vertices without one.

    stem: of a volume's name (`maps.file_name`); the hemisphere comes after its subject
    values: of the units, (n_units,)
    places: (n_units, 2), hemisphere (0 left, 1 right) and vertex of each; a unit that is no vertex has -1
    n_vertices: of the surface of each hemisphere, L and R
    about: what a reader must know of the values; it travels with the file

    Raises
    ------
    ValueError
        Two units lie on one vertex, or one lies on none of the surface.
    """
    for hemisphere, name in names(stem, places).items():
        mine = places[:, 0] == list(SIDES).index(hemisphere)
        yield name, _gifti(values[mine], places[mine, 1], n_vertices[hemisphere], hemisphere, about)


def names(stem: str, places: NDArray[np.integer]) -> dict[str, str]:
    """Hemisphere -> the name of its file, of those that have a unit; arguments as of `files`."""
    subject, _, rest = stem.rpartition("space-")
    there = {side: f"{subject}hemi-{side}_space-{rest}.func.gii" for side in SIDES}
    return {side: name for number, (side, name) in enumerate(there.items()) if (places[:, 0] == number).any()}


def _gifti(
    values: NDArray[np.floating],
    vertices: NDArray[np.integer],
    n_vertices: int,
    hemisphere: str,
    about: Mapping[str, str],
) -> bytes:
    import nibabel

    if len(np.unique(vertices)) < len(vertices) or vertices.min() < 0 or vertices.max() >= n_vertices:
        raise ValueError(
            f"hemisphere {hemisphere}: {len(vertices)} units on {len(np.unique(vertices))} vertices, "
            f"{vertices.min()} to {vertices.max()}; expected a vertex for each, from 0 to {n_vertices - 1}"
        )
    surface = np.full(n_vertices, np.nan, dtype=np.float32)
    surface[vertices] = values
    told = nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": SIDES[hemisphere]} | dict(about))
    array = nibabel.gifti.GiftiDataArray(surface, "NIFTI_INTENT_ESTIMATE", "NIFTI_TYPE_FLOAT32")
    return bytes(nibabel.gifti.GiftiImage(meta=told, darrays=[array]).to_bytes())

"""Maps of subjects who share no grid: each in its own volume, or on the surface that its vertices are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.datasets import OwnVertices, OwnVoxels
from cinevox.outlets.report import maps, surface_maps
from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import PLAIN
from cinevox.statistics.significance import false_discovery_rate

Places = Mapping[str, OwnVoxels | OwnVertices]


def names(result: Result, places: Places) -> list[tuple[str, dict[str, str]]]:
    """List the subjects with file name -> what it shows, as `maps.names`."""
    found: dict[str, dict[str, str]] = {}
    for subject, statistic, stem in _stems(result, places):
        own, word = places[subject], maps.WORDS[statistic]
        files = {f"{stem}.nii.gz": word}
        if isinstance(own, OwnVertices):
            files = {name: f"{word} {side}" for side, name in surface_maps.names(stem, own.places).items()}
        found.setdefault(subject, {}).update(files)
    return list(found.items())


def files(result: Result, places: Places, about: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Every map of a row of the full track, and the JSON beside it. about: what a reader must know of the values"""
    columns = {own.subjects[0]: where for own, where in result.index.columns.by_subject}
    for subject, statistic, stem in _stems(result, places):
        own, values = places[subject], _values(result, statistic)[columns[subject]].astype(np.float32)
        told = f"{maps.WORDS[statistic]}, {subject}, {result.split} {result.stimuli}"
        if isinstance(own, OwnVertices):
            described = maps.sidecar(told, about, own.space)
            made = dict(surface_maps.files(stem, values, own.places, own.n_vertices, described))
        else:
            volume = np.full(own.grid.shape, np.nan, dtype=np.float32)
            volume[tuple(own.indices.T)] = values
            found = maps.BrainMap(stem, told, volume, is_p=statistic == "q")
            described = maps.sidecar(told, about, own.grid.space)
            made = {f"{stem}.nii.gz": maps.nifti(found, np.array(own.grid.affine), about, own.grid.space)}
        for name, content in made.items():
            yield name, content
            yield f"{name.removesuffix('.nii.gz').removesuffix('.func.gii')}.json", maps.as_json(described)


def _stems(result: Result, places: Places) -> Iterator[tuple[str, str, str]]:
    """Each subject with a place, each statistic, and the name of that map without its ending."""
    statistics = dict.fromkeys((maps.SCORES[PLAIN][0], maps.SCORES[result.measure][0], "q"))
    for subject, label in maps.labels(result.index.columns.subjects).items():
        if subject in places:
            own = places[subject]
            space = own.space if isinstance(own, OwnVertices) else own.grid.space
            yield from ((subject, name, maps.file_name(space, name, label)) for name in statistics)


def _values(result: Result, statistic: str) -> NDArray[np.floating]:
    """Of all voxels, (n_voxels,)."""
    if statistic == "q":
        q = np.empty(result.index.columns.n_voxels)
        for _, where in result.index.columns.by_subject:
            q[where] = false_discovery_rate(result.voxels[f"{result.split}.p"][where])
        return q
    plain = statistic == maps.SCORES[PLAIN][0]
    return np.asarray(result.voxels[f"{result.split}.correlation"]) if plain else result.voxel_scores(result.split)

"""The brain section: one row of the full track in pictures, and where every such row's maps lie."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cinevox.measured.datasets import OwnVertices
from cinevox.outlets.report import glass, maps, own_maps, surface
from cinevox.outlets.report.sources import BrainMasks, Sources
from cinevox.scoring.row_results import Result

FOLDER = "maps"  # beside the page
LARGE, SMALL = 130, 60  # dots per inch


@dataclass(frozen=True)
class MapLine:
    """One row of the table of maps. picture: a small one, of the rows that are not drawn large; who -> file -> word."""

    result: Result
    picture: str | None
    files: list[tuple[str, dict[str, str]]]


def map_files(sources: Sources) -> Iterator[tuple[str, bytes]]:
    """Every map of every row of the full track and its sidecar: their paths in the report's folder, and the files."""
    for result in sources.of_track("full"):
        provenance = _provenance(sources, result)
        if sources.anatomy is None:
            found_at = own_maps.files(result, sources.places, provenance)
            yield from ((f"{FOLDER}/{result.name}/{name}", content) for name, content in found_at)
            continue
        for found in maps.of_row(result, sources.anatomy, sources.params.scores.seed):
            content = maps.nifti(found, sources.anatomy.affine, provenance, sources.anatomy.space)
            beside = maps.sidecar(found.description, provenance, sources.anatomy.space)
            yield f"{FOLDER}/{result.name}/{found.name}.nii.gz", content
            yield f"{FOLDER}/{result.name}/{found.name}.json", maps.as_json(beside)


def section(sources: Sources) -> dict[str, object] | None:
    """The page's section about the brain; None unless params.report.brain_row is a row of the full track."""
    rows, anatomy = sources.of_track("full"), sources.anatomy
    row = next((result for result in rows if result.name == sources.params.report.brain_row), None)
    if row is None or (anatomy is None and not sources.places):
        return None
    n_subjects = len(row.index.columns.subjects)
    pictures = _pictures(anatomy, row, rows) if anatomy is not None and anatomy.is_common else {}
    large = pictures.pop(row.name, None)
    return {
        "row": row,
        "space": ", ".join(_spaces(sources)),
        "picture": None if large is None else large[0],
        "surface": None if large is None else large[1],
        "subjects": _by_subject(row),
        "folder": FOLDER,
        "maps": [
            MapLine(
                result,
                pictures[result.name][1] if result.name in pictures else None,
                own_maps.names(result, sources.places)
                if anatomy is None
                else maps.names(result.index.columns.subjects, result.measure, anatomy.space),
            )
            for result in rows
        ],
        "n_subjects": n_subjects,
        "least_subjects": maps.least_subjects(n_subjects),
        "smallest_p": maps.smallest_p(n_subjects),
    }


def _pictures(anatomy: BrainMasks, row: Result, rows: Sequence[Result]) -> dict[str, tuple[str, str]]:
    """Row -> its pictures of the brain and of its surface on one scale; all but `row` have a small surface alone."""
    means = {result.name: _mean(anatomy, result) for result in rows}
    scale = glass.scores_up_to(glass.top_of(list(means.values())), row.measure)
    small = {
        name: ("", _inline(surface.picture(mean, anatomy.affine, scale, SMALL)))
        for name, mean in means.items()
        if name != row.name
    }
    seen_through = _inline(glass.picture(means[row.name], anatomy.affine, scale))
    return {row.name: (seen_through, _inline(surface.picture(means[row.name], anatomy.affine, scale, LARGE)))} | small


def _spaces(sources: Sources) -> list[str]:
    """The spaces that voxels or vertices lie in."""
    if sources.anatomy is not None:
        return [sources.anatomy.space]
    every = (own.space if isinstance(own, OwnVertices) else own.grid.space for own in sources.places.values())
    return list(dict.fromkeys(every))


def _mean(anatomy: BrainMasks, result: Result) -> maps.Volume:
    scores = result.voxel_scores(result.split)
    return maps.mean(maps.stacked(anatomy, result.index.columns, scores))


def _by_subject(result: Result) -> dict[str, float]:
    """Subject -> mean over its scored voxels."""
    scores = result.voxel_scores(result.split)
    return {
        own.subjects[0]: float(np.nanmean(scores[where])) if np.isfinite(scores[where]).any() else float("nan")
        for own, where in result.index.columns.by_subject
    }


def _provenance(sources: Sources, result: Result) -> dict[str, str]:
    """A map that lies about alone still says what it is of, and whether it is a result."""
    found = {
        "row": result.name,
        "data": sources.dataset,
        "weights": result.outcome.origin.weights,
        "params": sources.params_hash,
    }
    cautions = " ".join(caution.sentence for caution in result.cautions)
    return found | ({"cautions": cautions} if cautions else {})


def _inline(picture: bytes) -> str:
    return base64.b64encode(picture).decode()

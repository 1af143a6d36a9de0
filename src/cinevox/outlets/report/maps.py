"""Maps: a full row's scores as volumes on the data set's grid, per subject and over subjects, as NIfTI files."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Columns
from cinevox.measured.voxel_positions import to_volume
from cinevox.outlets.report.sources import BrainMasks
from cinevox.scoring.row_results import Result
from cinevox.statistics.significance import MOST_FLIPS, false_discovery_rate, sign_flip_test

Volume = NDArray[np.float32]

ENDS = {"": "score", "-q": "q"}  # of the names of a subject's files -> what they hold
GROUP = {
    "group-mean": "mean",
    "group-mean-n": "subjects in the mean",
    "group-t": "t",
    "group-t-n": "subjects in t",
    "group-p": "p",
}


@dataclass(frozen=True)
class BrainMap:
    """One volume. values: (x, y, z), NaN where nothing is known; is_p: they are p or q, not estimates."""

    name: str
    description: str
    values: Volume
    is_p: bool = False


def names(who: tuple[str, ...], measure: str) -> list[tuple[str, dict[str, str]]]:
    """List the owners of a row's maps, each with file name -> what it shows; first subjects, then any group."""
    words = {end: measure if word == "score" else word for end, word in ENDS.items()}
    each = [(subject, {f"{subject}{end}.nii.gz": word for end, word in words.items()}) for subject in who]
    group = ("group", {f"{name}.nii.gz": word for name, word in GROUP.items()})
    return [*each, group] if len(who) > 1 else each


def stacked(anatomy: BrainMasks, columns: Columns, values: NDArray[np.floating]) -> Volume:
    """Whole-brain values (n_voxels,) as one volume for each subject, (n_subjects, x, y, z); NaN outside its mask."""
    parts = [
        to_volume(values[where].astype(np.float32), anatomy.masks[own.subjects[0]]) for own, where in columns.by_subject
    ]
    return np.stack(parts)


def mean(volumes: Volume) -> Volume:
    """Mean over the subjects that have a value there, (x, y, z); NaN where none has."""
    count = np.isfinite(volumes).sum(axis=0)
    total = np.nansum(volumes, axis=0, dtype=np.float64)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0).astype(np.float32)


def least_subjects(n_subjects: int) -> int:
    """A place is tested over subjects where all but a third of them have a voxel, and three at least if there are."""
    return max(min(3, n_subjects), n_subjects - n_subjects // 3)


def smallest_p(n_subjects: int) -> float:
    """Return the smallest p that so many subjects allow: one of the 2^n sign flips (or of those drawn) is no flip."""
    return 1 / min(2**n_subjects, MOST_FLIPS + 1)


def of_row(result: Result, anatomy: BrainMasks, seed: int) -> Iterator[BrainMap]:
    """Every map of a row of the full track, on the clips that count for it."""
    columns, split = result.index.columns, result.split
    who = [own.subjects[0] for own, _ in columns.by_subject]
    scores = stacked(anatomy, columns, result.voxel_scores(split))
    q = np.empty(columns.n_voxels)
    for _, where in columns.by_subject:
        q[where] = false_discovery_rate(result.voxels[f"{split}.p"][where])
    for name, score, chance in zip(who, scores, stacked(anatomy, columns, q)):
        yield BrainMap(name, f"{result.measure}, {name}, {split} clips", score)
        yield BrainMap(f"{name}-q", f"q of r > 0 (false discovery rate), {name}, {split} clips", chance, is_p=True)
    if len(who) < 2:
        return
    yield BrainMap("group-mean", f"{result.measure}, mean over subjects, {split} clips", mean(scores))
    yield BrainMap("group-mean-n", f"subjects with a {result.measure}", _counted(scores))
    yield from _tested(stacked(anatomy, columns, result.voxels[f"{split}.correlation"]), split, seed)


def _tested(correlation: Volume, split: str, seed: int) -> Iterator[BrainMap]:
    """Mean r over subjects against 0: t, its family-wise p by flipped signs, and over how many subjects."""
    n_subjects = len(correlation)
    count = np.isfinite(correlation).sum(axis=0)
    places = count >= least_subjects(n_subjects)
    found = sign_flip_test(correlation[:, places], np.random.default_rng(seed))
    within = f"{split} clips, over {least_subjects(n_subjects)} to {n_subjects} subjects"
    yield BrainMap("group-t", f"t of mean plain r > 0, {within}", to_volume(found.t.astype(np.float32), places))
    yield BrainMap("group-t-n", "subjects in t", _counted(np.where(places, correlation, np.nan)))
    p = to_volume(found.p_familywise.astype(np.float32), places)
    yield BrainMap("group-p", f"family-wise p of t (flipped signs), {within}", p, is_p=True)


def _counted(volumes: Volume) -> Volume:
    count = np.isfinite(volumes).sum(axis=0).astype(np.float32)
    return np.where(count > 0, count, np.float32(np.nan))


def nifti(found: BrainMap, affine: NDArray[np.floating], provenance: Mapping[str, str]) -> bytes:
    """A NIfTI-1 file, gzipped; the same bytes for the same map.

    affine: voxel indices to MNI152 millimetres, (4, 4), without shear
    provenance: what a reader must know of the values; it travels with the file as a comment
    """
    import nibabel

    image = nibabel.Nifti1Image(np.asarray(found.values, dtype=np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code="mni")
    image.set_sform(affine, code="mni")
    image.header.set_intent("p value" if found.is_p else "estimate", name=found.name[:15])
    image.header["descrip"] = found.description.encode("ascii", "replace")[:79]
    lines = [found.description, *(f"{word}: {value}" for word, value in provenance.items())]
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", "\n".join(lines).encode()))
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)

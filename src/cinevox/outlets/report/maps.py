"""Maps: a full row's scores as volumes on the data set's grid, per subject and over subjects, as NIfTI files."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinevox.measured.datasets import is_template
from cinevox.measured.responses import Columns
from cinevox.measured.voxel_positions import to_volume
from cinevox.outlets.report.sources import BrainMasks
from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import NORMALIZED, PLAIN, Measure
from cinevox.statistics.significance import MOST_FLIPS, false_discovery_rate, sign_flip_test

Volume = NDArray[np.float32]

SUFFIX = "statmap"
SCORES: dict[Measure, tuple[str, str]] = {PLAIN: ("r", "plain r"), NORMALIZED: ("r_desc-normalized", NORMALIZED)}
WORDS = dict(SCORES.values()) | {"q": "q"}  # what follows stat- in the names of a subject's files -> what they hold
GROUP = {  # what follows stat- in the names of the files over subjects -> what they hold
    "mean": "mean",
    "mean_desc-count": "subjects in the mean",
    "t": "t",
    "t_desc-count": "subjects in t",
    "p": "p",
}


@dataclass(frozen=True)
class BrainMap:
    """One volume. values: (x, y, z), NaN where nothing is known; is_p: they are p or q, not estimates."""

    name: str
    description: str
    values: Volume
    is_p: bool = False


def labels(subjects: Sequence[str]) -> dict[str, str]:
    """Subject -> its label in BIDS, letters and digits alone: 01 of sub01 and of sub-01, numbers where these clash."""
    short = [re.sub(r"[^0-9A-Za-z]", "", re.sub(r"^sub-?(?=.)", "", subject)) for subject in subjects]
    if len({label.lower() for label in short}) < len(short) or not all(short):
        short = [f"{number:02d}" for number in range(1, len(subjects) + 1)]
    return dict(zip(subjects, short))


def file_name(space: str, statistic: str, label: str | None = None) -> str:
    """The name of a statistical map as BIDS has it, without its ending.

    space: of the volume; statistic: what follows stat-; label: of the subject, None over subjects
    """
    entities = [*([f"sub-{label}"] if label else []), f"space-{re.sub(r'[^0-9A-Za-z]', '', space)}"]
    return "_".join([*entities, f"stat-{statistic}", SUFFIX])


def names(who: Sequence[str], measure: Measure, space: str) -> list[tuple[str, dict[str, str]]]:
    """List the owners of a row's maps, each with file name -> what it shows; first subjects, then any group."""
    shown = dict.fromkeys((SCORES[PLAIN][0], SCORES[measure][0], "q"))
    each = [
        (subject, {f"{file_name(space, statistic, label)}.nii.gz": WORDS[statistic] for statistic in shown})
        for subject, label in labels(who).items()
    ]
    group = ("group", {f"{file_name(space, statistic)}.nii.gz": word for statistic, word in GROUP.items()})
    return [*each, group] if len(who) > 1 and is_template(space) else each


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
    """Every map of a row of the full track, on the stimuli that count for it; over subjects if they share a space."""
    columns, split, where_on = result.index.columns, result.split, f"{result.split} {result.stimuli}"
    known = labels([own.subjects[0] for own, _ in columns.by_subject])
    q = np.empty(columns.n_voxels)
    for _, where in columns.by_subject:
        q[where] = false_discovery_rate(result.voxels[f"{split}.p"][where])
    r, chance = (stacked(anatomy, columns, values) for values in (result.voxels[f"{split}.correlation"], q))
    scores = {PLAIN: r, result.measure: stacked(anatomy, columns, result.voxel_scores(split))}
    for number, (subject, label) in enumerate(known.items()):
        for measure, volumes in scores.items():
            name = file_name(anatomy.space, SCORES[measure][0], label)
            yield BrainMap(name, f"{measure}, {subject}, {where_on}", volumes[number])
        name = file_name(anatomy.space, "q", label)
        yield BrainMap(name, f"q of r > 0 (false discovery rate), {subject}, {where_on}", chance[number], is_p=True)
    if len(known) < 2 or not anatomy.is_common:
        return
    name = file_name(anatomy.space, "mean")
    yield BrainMap(name, f"{result.measure}, mean over subjects, {where_on}", mean(scores[result.measure]))
    name = file_name(anatomy.space, "mean_desc-count")
    yield BrainMap(name, f"subjects with a {result.measure}", _counted(scores[result.measure]))
    yield from _tested(r, where_on, anatomy.space, seed)


def _tested(correlation: Volume, where_on: str, space: str, seed: int) -> Iterator[BrainMap]:
    """Mean r over subjects against 0: t, its family-wise p by flipped signs, and over how many subjects."""
    n_subjects = len(correlation)
    count = np.isfinite(correlation).sum(axis=0)
    places = count >= least_subjects(n_subjects)
    found = sign_flip_test(correlation[:, places], np.random.default_rng(seed))
    within = f"{where_on}, over {least_subjects(n_subjects)} to {n_subjects} subjects"
    yield BrainMap(
        file_name(space, "t"), f"t of mean plain r > 0, {within}", to_volume(found.t.astype(np.float32), places)
    )
    yield BrainMap(file_name(space, "t_desc-count"), "subjects in t", _counted(np.where(places, correlation, np.nan)))
    p = to_volume(found.p_familywise.astype(np.float32), places)
    yield BrainMap(file_name(space, "p"), f"family-wise p of t (flipped signs), {within}", p, is_p=True)


def _counted(volumes: Volume) -> Volume:
    count = np.isfinite(volumes).sum(axis=0).astype(np.float32)
    return np.where(count > 0, count, np.float32(np.nan))


def nifti(found: BrainMap, affine: NDArray[np.floating], provenance: Mapping[str, str], space: str = "MNI152") -> bytes:
    """A NIfTI-1 file, gzipped; the same bytes for the same map.

    affine: voxel indices to millimetres of `space`, (4, 4), without shear
    provenance: what a reader must know of the values; it travels with the file as a comment
    """
    import nibabel

    image = nibabel.Nifti1Image(np.asarray(found.values, dtype=np.float32), affine)
    image.header.set_xyzt_units("mm")
    code = "mni" if is_template(space) else "aligned"
    image.set_qform(affine, code=code)
    image.set_sform(affine, code=code)
    short = found.name.rpartition("stat-")[2].removesuffix(f"_{SUFFIX}")
    image.header.set_intent("p value" if found.is_p else "estimate", name=short[:15])
    image.header["descrip"] = found.description.encode("ascii", "replace")[:79]
    lines = [found.description, *(f"{word}: {value}" for word, value in provenance.items())]
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", "\n".join(lines).encode()))
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def sidecar(description: str, provenance: Mapping[str, str], space: str) -> dict[str, str]:
    """The content of the JSON beside a map: its description and space, and what a reader must know of the values."""
    told = {word.capitalize(): value for word, value in provenance.items()}
    return {"Description": description, "SpatialReference": space} | told


def as_json(content: Mapping[str, str]) -> bytes:
    """The JSON beside a map, as it is written."""
    return json.dumps(content, indent=2).encode()

"""Inspection of a folder: tables with one row per file, computed by numpy and PyAV.

Nothing here judges; the suites in `expectations/` do. Workers import this module, so it imports little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io, links
from cinevox.measured import voxel_positions
from cinevox.measured.datasets import Part, StudyData, blocks_of, is_trial_data, stimuli_of
from cinevox.measured.voxel_blocks import voxel_blocks
from cinevox.project import params as settings
from cinevox.project import plugins
from cinevox.project.params import WHOLE_BRAIN, Track
from cinevox.statistics import metrics
from cinevox.statistics.trials import present
from cinevox.stimuli.videos import printable, require_file
from cinevox.stimuli.videos.frame_times import LENGTH_TOLERANCE
from cinevox.stimuli.videos.reading import reading
from cinevox.validation import consistency, repetitions
from cinevox.validation.consistency import Inspected, Row
from cinevox.validation.split_halves import SplitHalves

OUTLYING = 4


def tables(dataset: StudyData, wanted: settings.Dataset) -> dict[str, list[Row]]:
    """Every file that `wanted` asks for: suite -> one row per file; a suite without files is left out."""
    asked = [
        (part, track, subject, roi)
        for part in ("train", "test")
        for track in wanted.tracks
        if part == "train" or dataset.has_test_responses(track)
        for subject, roi in blocks_of(dataset, wanted, track)
    ]
    inspected: dict[tuple, Inspected] = dict(
        zip(asked, Parallel()(delayed(_inspect)(dataset, *key, wanted) for key in asked))
    )
    clips = _clip_rows([stimulus.file for stimulus in stimuli_of(dataset) if stimulus.file], wanted.folder)
    train = {key: found for key, found in inspected.items() if key[0] == "train"}
    for subject in wanted.subjects if dataset.places_rois else ():
        _place(train, subject, wanted.rois)
    spec = plugins.load("datasets", wanted.name)
    if is_trial_data(dataset):  # whose tables say which trials belong to which stimuli
        clips = _without_order(clips)
        consistency.mark_copies(inspected, rois_may_share=True)
    else:
        clips = consistency.compare(clips, inspected, spec)
    found = {
        "clips": clips,
        "train_responses": [each.row for each in train.values()],
        "masks": [each.mask for each in train.values() if each.mask is not None],
        "test_responses": [each.row for key, each in inspected.items() if key[0] == "test"],
    }
    return {name: rows for name, rows in found.items() if rows}


def _clip_rows(clips: Sequence[Path], folder: Path) -> list[Row]:
    rows: list[Row] = Parallel()(delayed(_clip)(path, folder) for path in clips)
    for before, row in zip([None, *rows], rows):
        number, last = row["number"], before and before["number"]
        row["step"] = 1 if before is None else None if number is None or last is None else number - last
    for row in rows:
        row["name_form"] = re.sub("[0-9]", "0", Path(row["name"]).stem)
        if "width" in row:
            row["size"] = f"{row['width']} x {row['height']}"
    common = {f"{name}_commonest": _commonest(rows, name) for name in ("fps", "size")}
    form, forms = _commonest(rows, "name_form"), [row["name_form"] for row in rows]
    common["name_form_commonest"] = form if forms.count(form) > len(forms) / 2 else None  # else names are free
    others = _unlike_others([row.get("seconds") for row in rows])
    return [row | common | {"seconds_unlike_others": odd} for row, odd in zip(rows, others)]


def _without_order(clips: list[Row]) -> list[Row]:
    """Clips whose names say nothing of the order of responses, and so may have any form."""
    return [row | {"name_form_commonest": None} for row in clips]


def _commonest(rows: Sequence[Row], name: str) -> Any:
    values = [row[name] for row in rows if row.get(name) is not None]
    return max(sorted(set(values)), key=values.count) if values else None


def lengths(rows: Sequence[Row]) -> tuple[float, ...]:
    """Seconds of every clip that could be opened, in order; 0 of a still image."""
    return tuple(row["seconds"] or 0.0 for row in rows if "seconds" in row)


def _unlike_others(seconds: Sequence[float | None]) -> list[float | None]:
    """The lengths that lie further from the median than the others do; None for every other clip.

    That is by more than a tenth of the median (LENGTH_TOLERANCE) and than OUTLYING times the median distance from it.
    """
    known = [length for length in seconds if length is not None]
    if not known:
        return [None] * len(seconds)
    middle = float(np.median(known))
    usual = max(LENGTH_TOLERANCE * middle, OUTLYING * float(np.median(np.abs(np.subtract(known, middle)))))
    return [None if length is None or abs(length - middle) <= usual else length for length in seconds]


def _clip(path: Path, folder: Path) -> Row:
    """Describe a clip by its container, and count the frames that are shown; only the first one is decoded."""
    number = re.match(r"(\d{4,})(_|\.)", path.name)
    row: Row = {
        "file": printable(path.relative_to(folder)), "name": printable(Path(path.name)), "fault": None,
        "number": int(number[1]) if number else None,
    }  # fmt: skip
    try:
        require_file(path)
        with reading(links.inside(path, folder)) as source:
            look = source.look()
    except FileError as error:
        return row | {"fault": str(error).removeprefix(f"{printable(path)}: ")}
    except OSError as error:
        return row | {"fault": error.strerror or type(error).__name__}
    width, height = map(round, look.shown)
    return row | {
        "width": width,
        "height": height,
        "n_frames": look.moments.n,
        "n_frames_announced": look.n_indexed or look.moments.n,
        "fps": None if look.fps is None else round(look.fps, 3),
        "seconds": round(look.moments.seconds, 3) or None,
        "unlike_shown": "; ".join(look.notes) or None,
    }


def _inspect(
    dataset: StudyData, part: Part, track: Track, subject: str, roi: str, wanted: settings.Dataset
) -> Inspected:
    path = dataset.file(part, track, subject, roi)
    name = path.relative_to(wanted.folder).as_posix()
    row: Row = {
        "file": f"{name} {roi}" if is_trial_data(dataset) else name,  # which has all ROIs
        "subject": subject,
        "track": track,
        "roi": roi,
        "fault": None,
    }
    try:
        arrays = dataset.arrays(part, track, subject, roi)
    except FileError as error:
        return Inspected(row | {"fault": str(error).removeprefix(f"{path}: ")})
    unequal = is_trial_data(dataset)
    told, prints, keys = _described(arrays[part], unequal or wanted.missing_repetitions == "skip", unequal)
    row |= told
    row["n_duplicates"] = len(prints) - len(np.unique(prints)) if arrays[part].size else 0
    found = Inspected(row, prints=prints, keys=keys)
    if roi != WHOLE_BRAIN or part == "test":
        return found
    stored = arrays.get("voxel_mask")
    if stored is None and not dataset.places_rois:
        return found
    mask = _mask(row["file"], stored, len(prints))
    if stored is None or mask["n_ones"] != len(prints):
        return replace(found, mask=mask)
    return replace(found, mask=mask, ranks=voxel_positions.fortran_ranks(np.asarray(stored == 1)))


def _described(
    stored: NDArray[Any], may_be_missing: bool, unequal: bool = False
) -> tuple[Row, NDArray[np.uint64], NDArray[np.uint64]]:
    """Describe a file's responses, in the float32 that the steps use; also returns prints of its voxels and trials.

    may_be_missing: whether a trial that is NaN in every voxel is declared to be missing
    unequal: whether stimuli may have different numbers of repetitions, so that nothing is missing
    """
    n_stimuli, n_repetitions, n_voxels = stored.shape
    row: Row = {
        "dtype": stored.dtype.name, "n_stimuli": n_stimuli, "n_repetitions": n_repetitions, "n_voxels": n_voxels,
    }  # fmt: skip
    # A trials table may hold 16-bit numbers; its trials were looked at in all units together (`copies`).
    min_voxels = repetitions.MIN_COARSE if unequal else repetitions.MIN_VOXELS
    trials = repetitions.Trials(stored, _there(stored))
    there, passed, halves = trials.there, repetitions.Passed(trials), SplitHalves()
    prints, constant, moments = np.zeros(n_voxels, dtype=np.uint64), np.zeros(n_voxels, dtype=bool), []
    row["n_not_finite"] = -int(np.count_nonzero(~there)) * n_voxels
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest there are
        for where, values in voxel_blocks(stored) if stored.size else ():
            prints[where] = voxel_positions.fingerprints(values)
            row["n_not_finite"] += int(values.size - np.count_nonzero(np.isfinite(values)))
            values = trials.finite(values)
            measured = values.reshape(-1, values.shape[2]) if there.all() else values[there]
            constant[where] = metrics.is_constant(measured)
            moments.append((measured.size, measured.mean(dtype=np.float64), measured.var(dtype=np.float64)))
            passed.add(values, ~constant[where])
            halves.add(values)
        if not stored.size:
            return row, prints, passed.keys(trials, min_voxels)
        if not unequal:
            row |= _missing(there, may_be_missing)
        elif np.count_nonzero(there.sum(axis=1) > 1) < 2:
            row["n_repetitions"] = 1  # of which there is no noise ceiling
        row["n_constant"] = int(np.count_nonzero(constant))
        if constant.all():
            row["fault"] = "no voxel varies in float32, in which a number under 1e-45 is 0"
        made_up = repetitions.faults(trials, passed, min_voxels)
        row |= halves.row()
        if n_noiseless := row.pop("n_noiseless", 0):
            made_up["noiseless"] = f"{n_noiseless:,} of {n_voxels:,} voxels answer every repetition alike"
        row["made_up"] = "; ".join(f"{name}: {told}" for name, told in made_up.items() if told) or None
        row["sd"] = _sd(np.array(moments))
    return row, prints, passed.keys(trials, min_voxels)


def _there(stored: NDArray[Any]) -> NDArray[np.bool_]:
    """The trials that are not NaN in every voxel, (n_stimuli, n_repetitions)."""
    there = present(stored)
    if not stored.shape[2]:
        return np.ones_like(there)
    for trial in np.argwhere(~there):
        there[tuple(trial)] = not np.isnan(stored[tuple(trial)]).all()
        io.forget(stored)
    return there


def _sd(moments: NDArray[np.float64]) -> float:
    """Standard deviation of parts together, to four digits. moments: number, mean and variance of each, (n_parts, 3)"""
    n, mean, variance = moments.T
    share = n / n.sum()
    return float(f"{np.sqrt(share @ (variance + np.square(mean - share @ mean))):.4g}")


def _missing(there: NDArray[np.bool_], may_be_missing: bool) -> Row:
    """The trials that are not there, as an error where that is not declared or leaves nothing to work with."""
    told = repetitions.named(~there)
    if not told:
        return {}
    without, repeated = np.asarray(~there.any(axis=1)), np.count_nonzero(there.sum(axis=1) > 1)
    if without.any():
        return {"missing": f"{told}; {repetitions.named_stimuli(without)} have no other"}
    if there.shape[1] > 1 and repeated < 2:
        return {"missing": f"{told}; only {repeated} of {len(there):,} stimuli have two others, for a noise ceiling"}
    return {"missing_declared" if may_be_missing else "missing": told}


def scale(rows: Sequence[Row]) -> dict[str, float]:
    """`<track>/<subject>/<roi>` -> standard deviation of those single-trial responses."""
    return {f"{row['track']}/{row['subject']}/{row['roi']}": row["sd"] for row in rows if row.get("sd")}


def _mask(file: str, mask: NDArray[Any] | None, n_voxels: int) -> Row:
    if mask is None:
        return {"file": file, "fault": "there is no voxel_mask in it"}
    ones = int(np.count_nonzero(mask == 1))
    return {
        "file": file,
        "fault": None,
        "shape": " x ".join(map(str, mask.shape)),
        "n_ones": ones,
        "n_other": int(mask.size - ones - np.count_nonzero(mask == 0)),
        "n_voxels": n_voxels,
    }


def _place(train: dict[tuple, Inspected], subject: str, rois: Sequence[str]) -> None:
    """Into the rows of a subject's ROIs: how their columns stand in the whole brain, where both are there."""
    brain = train.get(("train", "full", subject, WHOLE_BRAIN))
    if brain is None or brain.prints is None or not len(brain.prints):
        return
    files = [train.get(("train", "mini", subject, roi)) for roi in rois]
    places = [
        (found, voxel_positions.locate(found.prints, brain.prints))
        for found in files
        if found and found.prints is not None
    ]
    inside = np.concatenate([np.unique(where[where >= 0]) for _, where in places] or [np.empty(0, np.intp)])
    owners = np.bincount(inside, minlength=len(brain.prints))
    for found, where in places:
        known = where[where >= 0]
        found.row["n_outside"] = int(np.count_nonzero(where < 0))
        found.row["n_shared"] = int(np.count_nonzero(owners[known] > 1))
        if brain.ranks is not None:
            found.row["n_unordered"] = int(np.count_nonzero(np.diff(brain.ranks[known]) < 0))

"""What validation knows of a folder: tables with one row per file, computed by numpy and PyAV.

Nothing here judges; the suites in `expectations/` do. Workers import this module, so it imports little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox import io, metrics, videos, volume
from cinevox import params as settings
from cinevox.datasets import Dataset, Part
from cinevox.errors import FileError
from cinevox.params import WHOLE_BRAIN, Track

Row = dict[str, Any]
MIN_STIMULI = 12  # under which z says nothing: it is at most sqrt(n_stimuli - 1)


@dataclass(frozen=True)
class Inspected:
    """A row of a response file; its columns' fingerprints and, of a whole brain, their Fortran ranks."""

    row: Row
    mask: Row | None = None
    prints: NDArray[np.uint64] | None = None
    ranks: NDArray[np.intp] | None = None


def tables(dataset: Dataset, wanted: settings.Dataset) -> dict[str, list[Row]]:
    """Every file that `wanted` asks for: suite -> one row per file; a suite without files is left out."""
    asked = [
        (part, track, subject, roi)
        for part in ("train", "test")
        for track in wanted.tracks
        if part == "train" or dataset.has_test_responses(track)
        for subject in wanted.subjects
        for roi in wanted.track_rois(track)
    ]
    inspected: dict[tuple, Inspected] = dict(
        zip(asked, Parallel()(delayed(_inspect)(dataset, *key, wanted.folder) for key in asked))
    )
    clips = _clip_rows(dataset.clips, wanted.folder)
    train = {key: found for key, found in inspected.items() if key[0] == "train"}
    for subject in wanted.subjects if dataset.places_rois else ():
        _place(train, subject, wanted.rois)
    _count(inspected, len(clips))
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
    seconds = [row["seconds"] for row in rows if row.get("seconds")]
    middle = float(np.median(seconds)) if seconds else None
    for row in rows:
        row["name_form"] = re.sub("[0-9]", "0", Path(row["name"]).stem)
        if "width" in row:
            row["size"] = f"{row['width']} x {row['height']}"
        if middle and row.get("seconds"):
            row["times_as_long"] = round(max(row["seconds"] / middle, middle / row["seconds"]), 3)
    common = {f"{name}_commonest": _commonest(rows, name) for name in ("fps", "size")}
    form, forms = _commonest(rows, "name_form"), [row["name_form"] for row in rows]
    common["name_form_commonest"] = form if forms.count(form) > len(forms) / 2 else None  # else names are free
    return [row | common for row in rows]


def _commonest(rows: Sequence[Row], name: str) -> Any:
    values = [row[name] for row in rows if name in row]
    return max(sorted(set(values)), key=values.count) if values else None


def _clip(path: Path, folder: Path) -> Row:
    """What a clip's container says, and how many frames it holds; nothing is decoded."""
    number = re.match(r"(\d{4,})(_|\.)", path.name)
    row: Row = {"file": path.relative_to(folder).as_posix(), "name": path.name, "fault": None}
    row["number"] = int(number[1]) if number else None
    try:
        with videos.opened(io.inside(path, folder)) as container:
            if not container.streams.video:
                return row | {"fault": "holds no video"}
            stream = container.streams.video[0]
            n_frames = sum(packet.size > 0 for packet in container.demux(stream))
            fps = float(stream.average_rate or 0)
            return row | {
                "width": stream.width,
                "height": stream.height,
                "n_frames": n_frames,
                "n_frames_announced": stream.frames or n_frames,
                "fps": round(fps, 3),
                "seconds": round(n_frames / fps, 3) if fps else None,
            }
    except FileError as error:
        return row | {"fault": str(error).removeprefix(f"{path}: ")}
    except (av.FFmpegError, OSError) as error:
        return row | {"fault": error.strerror or type(error).__name__}


def _inspect(dataset: Dataset, part: Part, track: Track, subject: str, roi: str, folder: Path) -> Inspected:
    path = dataset.file(part, track, subject, roi)
    row: Row = {
        "file": path.relative_to(folder).as_posix(), "subject": subject, "track": track, "roi": roi, "fault": None,
    }  # fmt: skip
    try:
        arrays = dataset.arrays(part, track, subject, roi)
    except FileError as error:
        return Inspected(row | {"fault": str(error).removeprefix(f"{path}: ")})
    values = arrays[part]
    prints = volume.fingerprints(values)
    row |= _described(values) | {"n_duplicates": len(prints) - len(np.unique(prints))}
    if roi != WHOLE_BRAIN or part == "test":
        return Inspected(row, prints=prints)
    stored = arrays.get("voxel_mask")
    if stored is None and not dataset.places_rois:
        return Inspected(row, prints=prints)
    mask = _mask(row["file"], stored, len(prints))
    if stored is None or mask["n_ones"] != len(prints):
        return Inspected(row, mask, prints)
    return Inspected(row, mask, prints, volume.fortran_ranks(np.asarray(stored == 1)))


def _described(values: NDArray[Any]) -> Row:
    n_stimuli, n_repetitions, n_voxels = values.shape
    row: Row = {
        "dtype": values.dtype.name,
        "n_stimuli": n_stimuli,
        "n_repetitions": n_repetitions,
        "n_voxels": n_voxels,
        "n_not_finite": int(values.size - np.count_nonzero(np.isfinite(values))),
    }
    if not values.size:
        return row
    if row["n_not_finite"]:
        values = np.where(np.isfinite(values), values, 0)
    row["n_constant"] = int(np.count_nonzero(metrics.is_constant(values.reshape(-1, n_voxels))))
    if n_repetitions > 1 and n_stimuli > 1:
        first, second = np.split(values, [n_repetitions // 2], axis=1)
        halves = first.mean(axis=1), second.mean(axis=1)
        row["split_half"] = round(float(metrics.correlation_score(*halves).mean()), 4)
        if n_stimuli >= MIN_STIMULI:
            row["split_half_z"] = round(_agreement(*halves), 2)
    row["sd"] = float(f"{values.std(dtype=np.float64):.4g}")
    return row


def _agreement(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """How far the mean split-half r lies from what clips in any order would give, in standard deviations.

    With z-scored halves A, B, (n_stimuli, n_voxels), the mean r of an order pi is sum_i G[i, pi(i)] with
    G = A B' / (n_stimuli n_voxels). Over all orders its mean is 0 and its variance sum_ij G_ij^2 / (n_stimuli - 1),
    so no order needs to be drawn, and voxels may depend on each other.

    Reference: Hoeffding 1951, "A combinatorial central limit theorem".
    """
    n_stimuli, standard = len(first), []
    for half in (first, second):
        centred = half - half.mean(axis=0)
        spread = centred.std(axis=0)
        standard.append(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))
    gram = standard[0] @ standard[1].T
    spread = float(np.sqrt(np.square(gram, dtype=np.float64).sum() / (n_stimuli - 1)))
    return float(np.trace(gram)) / spread if spread else 0.0


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
        (found, volume.locate(found.prints, brain.prints)) for found in files if found and found.prints is not None
    ]
    inside = np.concatenate([np.unique(where[where >= 0]) for _, where in places] or [np.empty(0, np.intp)])
    owners = np.bincount(inside, minlength=len(brain.prints))
    for found, where in places:
        known = where[where >= 0]
        found.row["n_outside"] = int(np.count_nonzero(where < 0))
        found.row["n_shared"] = int(np.count_nonzero(owners[known] > 1))
        if brain.ranks is not None:
            found.row["n_unordered"] = int(np.count_nonzero(np.diff(brain.ranks[known]) < 0))


def _count(inspected: dict[tuple, Inspected], n_clips: int) -> None:
    """Into every row: how many stimuli and voxels the other files let one expect."""
    counts = [each.row["n_stimuli"] for key, each in inspected.items() if key[0] == "train" and "n_stimuli" in each.row]
    n_train = max(sorted(set(counts)), key=counts.count) if counts else None
    repetitions = _commonest([each.row for key, each in inspected.items() if key[0] == "train"], "n_repetitions")
    for (part, *rest), each in inspected.items():
        each.row["n_clips"] = n_clips
        each.row["n_repetitions_commonest"] = repetitions
        shown = [other.row.get("n_repetitions", 0) for key, other in inspected.items() if key[0] == part]
        each.row["n_repetitions_least"] = 2 if max(shown) > 1 else 1
        if n_train is not None:
            each.row["n_stimuli_expected"] = n_train if part == "train" else n_clips - n_train
        if part == "test":
            each.row["n_voxels_expected"] = inspected["train", *rest].row.get("n_voxels")

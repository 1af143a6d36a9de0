"""All that is wrong with a submission, found at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError
from cinevox.measured.cohorts import NO_CHALLENGE
from cinevox.measured.datasets import StudyData, is_trial_data, stimuli_of
from cinevox.measured.responses import Block, Columns
from cinevox.outlets.submission import archive
from cinevox.project import params
from cinevox.project.params import Track
from cinevox.statistics.metrics import is_constant


class SubmissionError(FileError):
    """The submission would not be taken; the message lists every fault."""


@dataclass(frozen=True)
class ExpectedPredictions:
    """The content that a submission must have: for each block of `columns`, float32 (n_clips, n_voxels)."""

    track: Track
    n_clips: int
    columns: Columns

    def __post_init__(self) -> None:
        if self.n_clips < 2:
            raise SubmissionError(f"the data set has {self.n_clips} test clips; without them there is no submission")

    @property
    def title(self) -> str:
        """In one line."""
        columns = self.columns
        return (
            f"{self.track} track, {', '.join(columns.rois)} of {len(columns.subjects)} subjects, "
            f"{columns.n_voxels:,} voxels, {self.n_clips} clips"
        )

    @property
    def limit(self) -> int:
        """Bytes that no honest submission needs: four times its size in float64, and a little."""
        return 4 * 8 * self.n_clips * self.columns.n_voxels + 1_000_000


class Fault(NamedTuple):
    """where: `V1 sub01`, `V1`, or the file; what: what was found, what is expected, the cure."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def expected(dataset: StudyData, settings: params.Dataset, track: Track) -> ExpectedPredictions:
    """Find what the data set's files ask for: test clips, and the voxels of the parameters' subjects and ROIs.

    Raises
    ------
    InputError
        The study is a trials table, which the challenge knows nothing of.
    FileError
        A response file is missing or broken, or they do not agree on the number of training clips.
    """
    if is_trial_data(dataset):
        raise InputError(f"{settings.folder}: {NO_CHALLENGE}; `cinevox scores` shows the scores of its rows")
    shapes = {block: dataset.arrays("train", track, *block)["train"].shape for block in settings.blocks(track)}
    if len({shape[0] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{subject} {roi} {shape[0]}" for (subject, roi), shape in shapes.items())
        raise FileError(
            f"{settings.folder}: responses to different numbers of training clips: {told}; see `cinevox validate`"
        )
    n_train = next(shape[0] for shape in shapes.values())
    columns = Columns(tuple(Block(*block, shape[2]) for block, shape in shapes.items()))
    return ExpectedPredictions(track, len(stimuli_of(dataset)) - n_train, columns)


def read(
    path: Path, dataset: StudyData, settings: params.Dataset, track: Track | None = None
) -> tuple[archive.Content, ExpectedPredictions]:
    """The predictions in a zip without a fault, and what was expected of it; its track is found out if not given.

    Raises
    ------
    InputError
        There is no such file, or nothing says which track it is for.
    SubmissionError
        There are faults; the message has them all.
    """
    known = track or archive.track_of(path)
    if known is None:
        raise InputError(f"{path}: neither its name nor what is in it says which track; add --track mini or full")
    wanted = expected(dataset, settings, known)
    return check(path, wanted), wanted


def find(path: Path, wanted: ExpectedPredictions) -> tuple[archive.Content | None, list[Fault]]:
    """The predictions in a zip (None if there are none to be had), and its faults: none, and it can be handed in.

    Raises
    ------
    FileError
        There is no such file.
    """
    if not path.is_file():
        raise FileError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    content, faults = archive.unpack(path, wanted.track, wanted.limit)
    found = [Fault(path.name, what) for what in faults]
    if content is not None:
        found += content_faults(content, wanted)
    return content, found


def check(path: Path, wanted: ExpectedPredictions) -> archive.Content:
    """The predictions in a zip without a fault.

    Raises
    ------
    SubmissionError
        There are faults; the message has them all.
    """
    content, faults = find(path, wanted)
    refuse(str(path), faults, wanted)
    return content or {}


def refuse(source: str, faults: Sequence[Fault], wanted: ExpectedPredictions) -> None:
    """Nothing, if there are no faults.

    Raises
    ------
    SubmissionError
        All of them, those alike in one line; `source` names what has them.
    """
    if faults:
        lines = list(grouped(faults, len(wanted.columns.blocks)))
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        if len(lines) < len(faults):
            count += ", those alike in one line"
        raise SubmissionError("\n  ".join([f"{source}: {count}", *lines]))


def grouped(faults: Sequence[Fault], n_blocks: int) -> Iterator[str]:
    """One line for each different fault, with all places that have it."""
    places: dict[str, list[str]] = {}
    for fault in faults:
        places.setdefault(fault.what, []).append(fault.where)
    for what, where in places.items():
        yield f"{f'all {n_blocks} arrays' if 1 < n_blocks == len(where) else ', '.join(where)}: {what}"


def content_faults(content: Any, wanted: ExpectedPredictions) -> list[Fault]:
    """Find all faults of the predictions: keys, shapes, types, values."""
    if not isinstance(content, dict):
        return [Fault(archive.member(wanted.track), f"holds a {type(content).__name__}, expected a dict of ROIs")]
    rois = list(wanted.columns.rois)
    found = [Fault(roi, f"missing; expected {', '.join(rois)}") for roi in rois if roi not in content]
    found += [
        Fault(str(key)[:40], f"no ROI of the {wanted.track} track (dataset.rois); expected {', '.join(rois)}")
        for key in content
        if key not in rois
    ]
    for roi in rois:
        if roi not in content:
            continue
        if isinstance(content[roi], dict):
            found += _roi_faults(roi, content[roi], wanted)
        else:
            found.append(Fault(roi, f"holds a {_kind(content[roi])}, expected a dict: subject -> array"))
    return found


def _roi_faults(roi: str, blocks: Mapping[Any, Any], wanted: ExpectedPredictions) -> Iterator[Fault]:
    sizes = {block.subject: block.n_voxels for block in wanted.columns.blocks if block.roi == roi}
    listed = ", ".join(sizes)
    for key in blocks:
        if key not in sizes:
            yield Fault(f"{roi} {str(key)[:40]}", f"no subject of this data (dataset.subjects); expected {listed}")
    for subject, n_voxels in sizes.items():
        where = f"{roi} {subject}"
        if subject not in blocks:
            yield Fault(where, f"missing; expected float32 ({wanted.n_clips} clips, {n_voxels} voxels)")
        elif not isinstance(blocks[subject], np.ndarray):
            yield Fault(where, f"holds a {_kind(blocks[subject])}, expected an array")
        else:
            for what in array_faults(blocks[subject], (wanted.n_clips, n_voxels)):
                yield Fault(where, what)


def array_faults(array: NDArray[Any], shape: tuple[int, int]) -> Iterator[str]:
    """Find all faults of the predictions of one ROI of one subject; `shape`: (n_clips, n_voxels)."""
    if array.dtype.newbyteorder("=") != np.float32:
        yield f"{array.dtype}, expected float32; cast it with .astype('float32')"
    if array.shape != shape:
        cure = "; transpose it with .T" if array.shape == shape[::-1] else ""
        yield f"shape {array.shape}, expected {shape} (n_test_clips, n_voxels){cure}"
    if array.dtype.kind not in "biuf":
        return
    for name, hits in (("NaN", np.isnan(array)), ("infinite", np.isinf(array))):
        if count := int(hits.sum()):
            yield f"{count:,} of {array.size:,} values are {name}; every voxel needs a number for every clip"
    if array.ndim != 2 or len(array) != shape[0]:
        return
    known = np.isfinite(array).all(axis=0)
    if count := int(is_constant(array[:, known]).sum()):
        yield (
            f"{count} of {array.shape[1]} voxels are predicted the same for every clip; a constant has no correlation, "
            "and the scorer's mean would be NaN; predict such voxels by their region's mean"
        )


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__

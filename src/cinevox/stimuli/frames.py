"""Frames: a fixed number of small images from every clip, in one array.

Every frame of a clip is decoded in order and counted, because what a container announces can be wrong; of the
n decoded ones, frames floor(i (n - 1) / (k - 1)), i = 0..k-1, are taken, as the challenge's devkit does. Where frames
do not follow each other evenly, those that are shown at evenly spread moments are taken (`videos.frame_times`). Each is
what a player shows: turned or mirrored as the file asks for, its pixels made square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from cinevox.errors import FileError, InputError
from cinevox.files import disk, io
from cinevox.stimuli.videos import Limits
from cinevox.stimuli.videos.frame_times import FrameTimes, frame_indices
from cinevox.stimuli.videos.reading import reading

Progress = Callable[[Iterable, int, str], Iterable]
Resize = Literal["direct", "crop"]

CLIPS_PER_TASK = 8


class FramesError(InputError):
    """Clips can't be decoded; the message lists every one of them."""


@dataclass(frozen=True)
class Clip:
    """A clip's file as it was found.

    fps: on average; 0 where it has none, as pictures
    indices: of the frames that were taken, among the decoded ones
    seconds: how long it is shown; None of a still image, and where the file does not say
    notes: in what way the frames differ from what a viewer sees, a clause each
    """

    name: str
    fps: float
    n_decoded: int
    indices: tuple[int, ...]
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def resized(
    image: Image.Image, size: int, resize: Resize, shown: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """One frame as uint8 (size, size, 3), antialiased bilinear (PIL's).

    direct: straight to size x size, whatever the aspect ratio, as the devkit does
    crop: shorter side to round(size * 256 / 224), then the middle size x size

    shown: width and height with square pixels, where the image's own are not
    """
    if resize == "direct":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    shown = shown or image.size
    scale = round(size * 256 / 224) / min(shown)
    width, height = round(shown[0] * scale), round(shown[1] * scale)
    left, top = (width - size) // 2, (height - size) // 2
    larger = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(larger.crop((left, top, left + size, top + size)))


def read_clip(
    path: Path, count: int, size: int, resize: Resize, limits: Limits | None = None
) -> tuple[NDArray[np.uint8], Clip]:
    """Frames of one clip, (count, size, size, 3), RGB, and what was found in the file.

    Memory doesn't grow with the clip's length: the announced number of frames says which ones to keep, and
    where decoding finds that others are the right ones, the clip is decoded once more.

    limits: of a clip from a stranger

    Raises
    ------
    FramesError
        No such file, no video in it, damaged, cut off, without a single frame, or beyond the limits.
    """
    try:
        found, frames = _decode(path, count, size, resize, None, limits)
        wanted = found.moments.indices(count)
        if not np.array_equal(wanted, found.taken):
            found, frames = _decode(path, count, size, resize, wanted, limits)
    except FileError as error:
        raise FramesError(str(error)) from None
    seconds = round(found.moments.seconds, 6) or None
    return frames, Clip(path.name, found.fps, found.moments.n, tuple(wanted.tolist()), seconds, found.notes)


def write(
    clips: Sequence[Path],
    count: int,
    size: int,
    resize: Resize,
    folder: Path,
    progress: Progress = lambda items, _total, _label: items,
    names: Sequence[str] | None = None,
) -> None:
    """Frames of every clip into `folder`: `frames.npy`, uint8 (n_clips, count, size, size, 3), and `clips.json`.

    progress: passes tasks through, given their number and a label; names: of the clips, those of their files if None

    Raises
    ------
    FramesError
        Clips that can't be decoded, all of them in one message. Then nothing is written.
    DiskFullError
        There is no room for the frames; it is seen before any clip is read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "frames.npy.part"
    disk.allocate({partial: ((len(clips), count, size, size, 3), np.uint8)})
    starts = range(0, len(clips), CLIPS_PER_TASK)
    tasks = (delayed(_write_task)(clips[start : start + CLIPS_PER_TASK], start, partial, resize) for start in starts)
    found: list[Clip] = []
    faults: list[str] = []
    for read, bad in progress(Parallel(return_as="generator")(tasks), len(starts), f"{count} frames a clip"):
        found += read
        faults += bad
    if faults:
        partial.unlink()
        raise FramesError(
            f"{len(faults)} of {len(clips)} clips can't be decoded; fetch them again, or convert them to H.264 mp4\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    partial.replace(folder / "frames.npy")
    named = found if names is None else [replace(clip, name=name) for clip, name in zip(found, names)]
    io.write_json(folder / "clips.json", [asdict(clip) for clip in named])


def write_names(names: Sequence[str], folder: Path) -> None:
    """`clips.json` of stimuli that are not all on this disk: their names and no frames, nor those of before."""
    (folder / "frames.npy").unlink(missing_ok=True)
    io.write_json(folder / "clips.json", [{"name": name} for name in names])


def _write_task(clips: Sequence[Path], start: int, partial: Path, resize: Resize) -> tuple[list[Clip], list[str]]:
    target = np.load(partial, mmap_mode="r+", allow_pickle=False)
    _, count, size = target.shape[:3]
    found, faults = [], []
    for row, path in enumerate(clips, start):
        try:
            target[row], clip = read_clip(path, count, size, resize)
            found.append(clip)
        except FramesError as error:
            faults.append(str(error))
    target.flush()
    return found, faults


@dataclass(frozen=True)
class _Decoded:
    """The result of decoding a clip. taken: the frames that were kept"""

    fps: float
    moments: FrameTimes
    taken: NDArray[np.intp]
    notes: tuple[str, ...]


def _decode(
    path: Path, count: int, size: int, resize: Resize, taken: NDArray[np.intp] | None, limits: Limits | None
) -> tuple[_Decoded, NDArray[np.uint8]]:
    """Decode a whole clip and keep these frames, (count, size, size, 3), zeros behind the end; None: as announced"""
    frames = np.zeros((count, size, size, 3), dtype=np.uint8)
    starts: list[int | None] = []
    notes: dict[str, None] = {}
    last, n_corrupt = 0, 0
    with reading(path, limits) as source:
        if taken is None:
            taken = frame_indices(max(1, source.n_announced), count)
        for frame in source.frames():
            if limits is not None and len(starts) == limits.frames:
                raise FileError(f"{path}: more than {limits.frames:,} frames; cut it")
            slots = np.flatnonzero(taken == len(starts))
            if len(slots):
                frames[slots] = resized(frame.image(), size, resize, frame.shown)
            starts.append(frame.start)
            last = frame.duration
            n_corrupt += frame.is_corrupt
            notes |= dict.fromkeys(frame.notes)
        fps, moments = source.fps, FrameTimes(starts, last, source.unit)
    if not starts:
        raise FileError(f"{path}: not a single frame in it")
    if n_corrupt:
        raise FileError(f"{path}: {n_corrupt} of {len(starts)} frames are damaged")
    return _Decoded(fps, moments, taken, tuple(notes)), frames

"""Frames: a fixed number of small images from every clip, in one array.

Every frame of a clip is decoded in order and counted, because what a container announces can be wrong; of the
n decoded ones, frames floor(i (n - 1) / (k - 1)), i = 0..k-1, are taken, as the challenge's devkit does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from cinevox import disk, io, videos
from cinevox.errors import FileError, InputError
from cinevox.videos import Limits

Progress = Callable[[Iterable, int, str], Iterable]
Resize = Literal["direct", "crop"]

CLIPS_PER_TASK = 8
MAX_LOST_SECONDS = 0.25  # how much of the announced length may be missing at the end; rounding takes 0.03


class FramesError(InputError):
    """Clips can't be decoded; the message lists every one of them."""


@dataclass(frozen=True)
class Clip:
    """What was found in one file. indices: of the frames that were taken, among the decoded ones."""

    name: str
    fps: float
    n_decoded: int
    indices: tuple[int, ...]


def frame_indices(n_decoded: int, count: int) -> NDArray[np.intp]:
    """floor(linspace(0, n_decoded - 1, count)): evenly spread, first and last included; (count,).

    With count 1 it is the first frame. Where n_decoded < count, frames are repeated, in order.
    """
    return np.floor(np.linspace(0, n_decoded - 1, count)).astype(np.intp)


def resized(image: Image.Image, size: int, resize: Resize) -> NDArray[np.uint8]:
    """One frame as uint8 (size, size, 3), antialiased bilinear (PIL's).

    direct: straight to size x size, whatever the aspect ratio, as the devkit does
    crop: shorter side to round(size * 256 / 224), then the middle size x size
    """
    if resize == "direct":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    scale = round(size * 256 / 224) / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - size) // 2, (height - size) // 2
    larger = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(larger.crop((left, top, left + size, top + size)))


def read_clip(
    path: Path, count: int, size: int, resize: Resize, limits: Limits | None = None
) -> tuple[NDArray[np.uint8], Clip]:
    """Frames of one clip, (count, size, size, 3), RGB, and what was found in the file.

    Memory doesn't grow with the clip's length: the announced number of frames says which ones to keep, and
    where decoding finds another number, the clip is decoded once more.

    limits: of a clip from a stranger

    Raises
    ------
    FramesError
        No such file, no video in it, damaged, cut off, without a single frame, or beyond the limits.
    """
    fps, n_decoded, indices, frames = _decode(path, count, size, resize, None, limits)
    if not np.array_equal(indices, frame_indices(n_decoded, count)):
        fps, n_decoded, indices, frames = _decode(path, count, size, resize, n_decoded, limits)
    return frames, Clip(path.name, fps, n_decoded, tuple(indices.tolist()))


def write(
    clips: Sequence[Path],
    count: int,
    size: int,
    resize: Resize,
    folder: Path,
    progress: Progress = lambda items, _total, _label: items,
) -> None:
    """Frames of every clip into `folder`: `frames.npy`, uint8 (n_clips, count, size, size, 3), and `clips.json`.

    progress: passes tasks through, given their number and a label

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
    io.write_json(folder / "clips.json", [asdict(clip) for clip in found])


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


def _announced(container: av.container.InputContainer) -> tuple[float, int]:
    """Frames per second and number of frames, as the container has it (0 where it does not say)."""
    stream = container.streams.video[0]
    rate = stream.average_rate or Fraction(0)
    return float(rate), stream.frames or round(_announced_seconds(container) * rate)


def _announced_seconds(container: av.container.InputContainer) -> Fraction:
    """Length of the video stream; of the container only where nothing else could be longer."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return Fraction(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return Fraction(0)


def _decode(
    path: Path, count: int, size: int, resize: Resize, expected: int | None, limits: Limits | None
) -> tuple[float, int, NDArray[np.intp], NDArray[np.uint8]]:
    """Frames per second, number of frames, and the frames taken: which, and as images (zeros behind the end).

    expected: number of frames to spread the taken ones over; None: as announced
    """
    frames = np.zeros((count, size, size, 3), dtype=np.uint8)
    to_rgb = VideoReformatter()  # one for all frames: preparing the conversion takes longer than doing it
    n_decoded, n_corrupt, times = 0, 0, []
    with _opened(path, limits) as container:
        fps, announced = _announced(container)
        if limits is not None and container.streams.video[0].frames > limits.frames:
            raise FramesError(f"{path}: more than {limits.frames:,} frames announced ({announced:,}); cut it")
        indices = frame_indices(max(1, announced if expected is None else expected), count)
        try:
            for frame in container.decode(container.streams.video[0]):
                if limits is not None:
                    _refuse(path, limits, frame.width, frame.height, container)
                slots = np.flatnonzero(indices == n_decoded)
                if len(slots):
                    frames[slots] = resized(to_rgb.reformat(frame, format="rgb24").to_image(), size, resize)
                n_decoded += 1
                if limits is not None and n_decoded > limits.frames:
                    raise FramesError(f"{path}: more than {limits.frames:,} frames; cut it")
                n_corrupt += frame.is_corrupt
                if frame.pts is not None:
                    times.append((frame.pts, frame.pts + (frame.duration or 0)))
        except av.FFmpegError as error:
            raise FramesError(f"{path}: damaged after {n_decoded} frames ({error.strerror})") from None
        seconds = _announced_seconds(container)
        unit = container.streams.video[0].time_base or Fraction(0)
    if n_decoded == 0:
        raise FramesError(f"{path}: not a single frame in it")
    if n_corrupt:
        raise FramesError(f"{path}: {n_corrupt} of {n_decoded} frames are damaged")
    end = (max(stop for _, stop in times) - times[0][0]) * unit if times else Fraction(0)
    if seconds - end > MAX_LOST_SECONDS and end > 0:
        raise FramesError(
            f"{path}: cut off: {n_decoded} frames end at {float(end):.2f} s of {float(seconds):.2f} s announced"
        )
    return fps, n_decoded, indices, frames


def _refuse(path: Path, limits: Limits, width: int, height: int, container: av.container.InputContainer) -> None:
    try:
        limits.refuse_frame(path, width, height)
    except FileError as error:
        container.close()
        raise FramesError(str(error)) from None


def _opened(path: Path, limits: Limits | None) -> av.container.InputContainer:
    if not path.is_file():
        raise FramesError(f"{path}: no such file")
    try:
        if limits is not None:
            limits.refuse_file(path)
        container = videos.opened(path)
    except FileError as error:
        raise FramesError(str(error)) from None
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise FramesError(f"{path}: no video in it, but {kinds}")
    codec = container.streams.video[0].codec_context
    codec.thread_count = 1
    if limits is not None:
        _refuse(path, limits, codec.width, codec.height, container)
        # what a later frame announces; a codec pads it, and what it shows is looked at when it is there
        codec.options = {"max_pixels": str(int(1.25e6 * limits.megapixels))}
    return container

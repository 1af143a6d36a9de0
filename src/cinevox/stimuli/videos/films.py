"""Videos: what FFmpeg reads, frame by frame, each as a player shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from cinevox.errors import FileError
from cinevox.stimuli.videos import Limits
from cinevox.stimuli.videos.frame import ClipProperties, Frame, on_white
from cinevox.stimuli.videos.frame_times import FrameTimes
from cinevox.stimuli.videos.views import ROTATED, View, ViewError, stretch_of, turn_of

MAX_LOST_SECONDS = 0.25  # how much of the announced length may be missing at the end; rounding takes 0.03
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


@dataclass(frozen=True)
class Film:
    """The video in a container. to_rgb: one for all frames: preparing the conversion takes longer than doing it"""

    path: Path
    container: InputContainer
    stream: VideoStream
    limits: Limits | None
    to_rgb: VideoReformatter

    @property
    def fps(self) -> float:
        """Frames per second on average; 0 where the container does not say."""
        return float(self.stream.average_rate or 0)

    @property
    def unit(self) -> Fraction:
        """The unit of time stamps, in seconds."""
        return self.stream.time_base or Fraction(0)

    @property
    def n_indexed(self) -> int:
        """The number of frames shown by the index, without those that an edit list hides; 0 if there is no index."""
        if self.stream.frames and self.container.format.name in ("mp4", "mov"):
            return sum(not entry.is_discard for entry in self.stream.index_entries)
        return self.stream.frames

    @property
    def n_announced(self) -> int:
        """About how many frames there are; 0 where nothing says so."""
        start = (self.stream.start_time or 0) * self.unit
        rate = self.stream.average_rate or Fraction(0)
        return self.n_indexed or max(0, round((self.announced_end - start) * rate))

    @property
    def announced_end(self) -> Fraction:
        """When the last frame ends, in seconds; 0 where nothing says so of this stream.

        Matroska has no length of a stream but tags, and its own length is that of whatever lasts longest; both are
        ends, except in the tags that mkvmerge writes.
        """
        start = (self.stream.start_time or 0) * self.unit
        told = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", self.stream.metadata.get("DURATION", "").strip())
        if told is not None:
            length = 3600 * int(told[1]) + 60 * int(told[2]) + Fraction(told[3])
            return length + (start if "_STATISTICS_WRITING_APP" in self.stream.metadata else 0)
        if self.stream.duration is not None:
            return start + self.stream.duration * self.unit
        if self.container.duration is not None and len(self.container.streams) == 1:
            return Fraction(self.container.duration, av.time_base)
        return Fraction(0)

    def frames(self) -> Iterator[Frame]:
        """Every frame in the order in which they are shown.

        Raises
        ------
        FileError
            Damaged, cut off, larger than the limits, or shown in a way that isn't taken.
        """
        n_decoded, end = 0, Fraction(0)
        try:
            for decoded in self.container.decode(self.stream):
                yield self._shown(decoded)
                n_decoded += 1
                if decoded.pts is not None:
                    end = max(end, (decoded.pts + (decoded.duration or 0)) * self.unit)
        except av.FFmpegError as error:
            raise FileError(f"{self.path}: damaged after {n_decoded} frames ({error.strerror})") from None
        self._require(n_decoded, end)

    def _require(self, n_frames: int, end: Fraction) -> None:
        if self.announced_end - end > MAX_LOST_SECONDS and end > 0:
            raise FileError(
                f"{self.path}: cut off: {n_frames} frames end at {float(end):.2f} s of "
                f"{float(self.announced_end):.2f} s announced"
            )

    def look(self) -> ClipProperties:
        """Describe the clip without decoding more than one frame.

        Raises
        ------
        FileError
            The first frame can't be decoded, or the file is cut off.
        """
        first, packets = None, []
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and not packet.is_discard:
                    packets.append((packet.pts, packet.duration or 0))
                if first is None:
                    first = next((self._shown(decoded) for decoded in packet.decode()), None)
        except av.FFmpegError as error:
            raise FileError(f"{self.path}: damaged ({error.strerror})") from None
        if not self.n_indexed:  # else validation compares the numbers of frames, which is finer
            ends = [start + length for start, length in packets if start is not None]
            self._require(len(packets), max(ends, default=0) * self.unit)
        packets.sort(key=lambda packet: (packet[0] is not None, packet[0] or 0))
        return ClipProperties(
            first.shown if first else (self.stream.width, self.stream.height),
            FrameTimes([start for start, _ in packets], packets[-1][1] if packets else 0, self.unit),
            self.n_indexed, self.fps, first.notes if first else (),
        )  # fmt: skip

    def _shown(self, decoded: VideoFrame) -> Frame:
        if self.limits is not None:
            self.limits.refuse_frame(self.path, decoded.width, decoded.height)
        try:
            view = View(turn_of(_matrix(decoded)), stretch_of(self.stream.sample_aspect_ratio))
        except ViewError as error:
            raise FileError(f"{self.path}: {error}; convert it to an upright H.264 mp4 with square pixels") from None
        shown = view.size(decoded.width, decoded.height)
        if self.limits is not None:
            self.limits.refuse_frame(self.path, *map(round, shown))
        return Frame(
            partial(self._image, decoded, view), shown, decoded.pts, decoded.duration or 0, decoded.is_corrupt,
            self._notes(decoded),
        )  # fmt: skip

    def _image(self, decoded: VideoFrame, view: View) -> Image.Image:
        has_alpha = any(component.is_alpha for component in decoded.format.components)
        try:
            converted = self.to_rgb.reformat(decoded, format="rgba" if has_alpha else "rgb24")
        except av.FFmpegError as error:
            raise FileError(
                f"{self.path}: colours that can't be converted to RGB ({error.strerror}); convert it to H.264 mp4"
            ) from None
        return view.upright(on_white(Image.fromarray(converted.to_ndarray())) if has_alpha else converted.to_image())

    def _notes(self, decoded: VideoFrame) -> tuple[str, ...]:
        """List the ways in which a viewer would see the frame differently."""
        said = {
            "its colours are HDR and are taken as if they were not, paler than a player shows them": (
                decoded.color_trc in HDR
            ),
            "it is interlaced: each frame holds two moments, line by line": decoded.interlaced_frame,
            "its transparency can't be read": self.stream.metadata.get("alpha_mode") == "1",
        }
        return tuple(note for note, holds in said.items() if holds)


@contextmanager
def film(path: Path, container: InputContainer, limits: Limits | None) -> Iterator[Film]:
    """Find the film in a container, and close it afterwards. Pictures that stand in it for a title are no film.

    Raises
    ------
    FileError
        There is none, or it is larger than the limits.
    """
    with container:
        films = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
        if not films:
            raise FileError(f"{path}: no video in it, but {_kinds(container)}")
        best = container.streams.best("video")
        stream = next((film for film in films if best is not None and film.index == best.index), films[0])
        codec = stream.codec_context
        codec.thread_count = 1
        if limits is not None:
            if stream.frames > limits.frames:
                raise FileError(f"{path}: more than {limits.frames:,} frames announced ({stream.frames:,}); cut it")
            limits.refuse_frame(path, codec.width, codec.height)
            # what a later frame announces; a codec pads it, and what it shows is looked at when it is there
            codec.options = {"max_pixels": str(int(1.25e6 * limits.megapixels))}
        yield Film(path, container, stream, limits, VideoReformatter())


def _matrix(decoded: VideoFrame) -> bytes | None:
    try:
        known: Any = decoded.side_data
        return bytes(known["DISPLAYMATRIX"])
    except KeyError:
        return None
    except ValueError:  # PyAV names none of a frame's data where it doesn't know the kind of one
        return ROTATED.get(decoded.rotation % 360)


def _kinds(container: InputContainer) -> str:
    kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
    return " and ".join([*kinds, *(["an attached picture"] if container.streams.video else [])]) or "nothing"

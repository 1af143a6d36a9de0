"""Opening a clip: as what its name says, whatever it begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from cinevox.errors import FileError

READERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
ASPECT = 8
_FOREIGN = {
    b"#EXTM3U": "a playlist, which names other files",
    b"ffconcat": "a playlist, which names other files",
    b"RIFF": "an AVI or WAV file",
    b"\x1aE\xdf\xa3": "a Matroska or WebM file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "compressed with gzip",
    b"PK": "a zip archive",
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
    b"<": "a web page or XML, as a failed download leaves it",
}


@dataclass(frozen=True)
class Limits:
    """What clips from a stranger may ask for: a file of a few kilobytes can announce frames of gigabytes.

    megabytes: of a file, and of all files that are given together; megapixels: of a frame, which is at most ASPECT
        times as long as wide; frames: decoded
    memory: MB that decoding may take; seconds: that decoding all that are given together may take
    """

    megabytes: float
    megapixels: float
    frames: int
    memory: float = 800
    seconds: float = 30

    def refuse_file(self, path: Path) -> None:
        """
        Raises
        ------
        FileError
            The file is larger.
        """
        if (size := path.stat().st_size) > self.megabytes * 1e6:
            raise FileError(f"{path}: {size / 1e6:.1f} MB; at most {self.megabytes:g} MB are taken")

    def refuse_frame(self, path: Path, width: int, height: int) -> None:
        """
        Raises
        ------
        FileError
            The frame is larger, or a strip: scaled to a given width, that becomes a frame of any size.
        """
        if width * height > self.megapixels * 1e6:
            raise FileError(f"{path}: {width} x {height}; at most {self.megapixels:g} megapixels are taken")
        if max(width, height) > ASPECT * min(width, height):
            raise FileError(f"{path}: {width} x {height}; a frame may be {ASPECT} times as long as wide")


def opened(path: Path) -> av.container.InputContainer:
    """Open a clip with the reader that its extension names, and no other.

    Left to guess, FFmpeg takes any file by its content: a text named .mp4 can be a playlist of other files, which
    it then reads.

    Raises
    ------
    FileError
        Missing, not what its name says, or cut off before its index.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(f"{path}: a clip's name ends in one of {', '.join(READERS)}; convert it to H.264 mp4")
    try:
        return av.open(str(path), format=reader, options={"protocol_whitelist": "file"})
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except (av.FFmpegError, OSError) as error:
        what = _foreign(path)
        found = (
            f"it is {what}, and its name ends in {path.suffix}"
            if what
            else f"no video ({error.strerror or type(error).__name__})"
        )
        raise FileError(f"{path}: {found}; fetch it again, or convert it to H.264 mp4") from None


def _foreign(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
    except OSError:
        return ""
    return next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), "")


def write_example(path: Path, n_frames: int = 15, size: int = 64) -> None:
    """A made-up clip of half a second, a square that moves over grey: the same frames every time, of nobody's data."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for number in range(n_frames):
            image = np.full((size, size, 3), 128, dtype=np.uint8)
            image[size // 3 : size // 3 * 2, 2 * number : 2 * number + size // 4] = (230, 180, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())

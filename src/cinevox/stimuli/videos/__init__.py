"""Clips: files that are opened as what their name says, whatever they begin with, and the frames in them.

`reading.reading` opens any of them, a video (`films`) or a picture (`stills`).
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from cinevox.errors import FileError
from cinevox.stimuli.videos.whole import announced_bytes

READERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
STILLS = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
}  # fmt: skip
SUFFIXES = (*READERS, *STILLS)
ASPECT = 8
_FOREIGN = {  # how a file begins -> what it is, and the names that say so
    rb"#EXTM3U": ("a playlist, which names other files", ()),
    rb"ffconcat": ("a playlist, which names other files", ()),
    rb"RIFF....WEBP": ("a WebP image", (".webp",)),
    rb"RIFF": ("an AVI or WAV file", (".avi",)),
    rb"....ftyp(heic|heix|mif1|avif)": ("a HEIC or AVIF image", ()),
    rb"....ftyp": ("an MP4 or QuickTime file", (".mp4", ".m4v", ".mov")),
    rb"\x1aE\xdf\xa3": ("a Matroska or WebM file", (".mkv", ".webm")),
    rb"\x89PNG": ("a PNG image", (".png", ".apng")),
    rb"\xff\xd8\xff": ("a JPEG image", (".jpg", ".jpeg")),
    rb"GIF8": ("a GIF image", (".gif",)),
    rb"\x00\x05\x16\x07": ("what macOS notes about another file, not the clip itself", ()),
    rb"\x1f\x8b": ("compressed with gzip", ()),
    rb"PK": ("a zip archive", ()),
    rb"version https://git-lfs": ("a Git LFS pointer: run `git lfs pull`", ()),
    rb"<": ("a web page or XML, as a failed download leaves it", ()),
}


@dataclass(frozen=True)
class Limits:
    """Limits to what clips from a stranger may ask for: a file of a few kilobytes can announce frames of gigabytes.

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


def require_file(path: Path) -> None:
    """
    Raises
    ------
    FileError
        No such file, or its name is no text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise FileError(f"{printable(path)}: its name is no UTF-8, as old archives leave it; rename it") from None
    if any(unicodedata.category(letter) == "Cc" for letter in path.name):
        raise FileError(f"{printable(path)}: its name has control characters; rename it")
    if not path.is_file():
        raise FileError(f"{path}: no such file")


def printable(path: Path) -> str:
    """The path on one line of text, whatever is in its name."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) == "Cc" else letter for letter in text
    )


def opened(path: Path) -> av.container.InputContainer:
    """Open a video with the reader that its extension names, and no other.

    Left to guess, FFmpeg takes any file by its content: a text named .mp4 can be a playlist of other files, which
    it then reads.

    Raises
    ------
    FileError
        Missing, not what its name says, or cut off.
    """
    require_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(f"{path}: a clip's name ends in one of {', '.join(SUFFIXES)}; convert it to H.264 mp4")
    announced, there = announced_bytes(path, reader), path.stat().st_size
    try:
        container = av.open(str(path), format=reader, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        if announced <= there:
            raise unreadable(path, f"no video ({error.strerror or type(error).__name__})") from None
    else:
        if announced <= there:
            return container
        container.close()
    raise FileError(f"{path}: cut off: {there:,} of {announced:,} bytes are there; fetch it again")


def unreadable(path: Path, found: str) -> FileError:
    """The error about a file that is not what its name says."""
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
    except OSError:
        start = b""
    what, names = next((is_it for begin, is_it in _FOREIGN.items() if re.match(begin, start, re.DOTALL)), ("", ()))
    if what and path.suffix.lower() not in names:
        found = f"it is {what}, and its name ends in {path.suffix}"
    kind = "PNG" if path.suffix.lower() in STILLS else "H.264 mp4"
    return FileError(f"{path}: {found}; fetch it again, or convert it to {kind}")


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

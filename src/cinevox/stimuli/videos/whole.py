"""Whether a file is as long as it says at its beginning; what is behind a cut can't be told from what was there."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

MOST_BOXES = 10_000  # looked at: a file of boxes without content would take as long as it likes
_SEGMENT = 0x18538067


def announced_bytes(path: Path, reader: str) -> int:
    """Return how many bytes the file must have to hold what it announces; 0 where it does not say.

    reader: FFmpeg's, of the container: mp4 and mov (the box with the frames), matroska (the segment), avi (its list)
    """
    with path.open("rb") as stream:
        if reader in ("mp4", "mov"):
            return _boxes(stream, path.stat().st_size)
        return {"matroska": _segment, "avi": _riff}[reader](stream)


def _boxes(stream: BinaryIO, size: int) -> int:
    """The end of the box `mdat` that reaches beyond the file, if there is one."""
    at = 0
    for _ in range(MOST_BOXES):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            return 0
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file
            return 0
        at += length
        if at > size:
            return at if kind == b"mdat" else 0
    return 0


def _segment(stream: BinaryIO) -> int:
    """The end of the segment, which holds everything behind the header."""
    head = _element(stream)
    if head is None:
        return 0
    stream.seek(head[1], 1)
    segment = _element(stream)
    if segment is None or segment[0] != _SEGMENT or segment[1] < 0:
        return 0
    return stream.tell() + segment[1]


def _element(stream: BinaryIO) -> tuple[int, int] | None:
    """Identifier and length (-1: not known) of the EBML element that begins here."""
    name = _number(stream, keep_marker=True)
    length = _number(stream, keep_marker=False)
    return None if name is None or length is None else (name, length)


def _number(stream: BinaryIO, keep_marker: bool) -> int | None:
    first = stream.read(1)
    if not first or not first[0]:
        return None
    n_bytes = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(n_bytes - 1), "big")
    if keep_marker:
        return value
    value &= (1 << 7 * n_bytes) - 1
    return -1 if value == (1 << 7 * n_bytes) - 1 else value


def _riff(stream: BinaryIO) -> int:
    head = stream.read(12)
    length = int.from_bytes(head[4:8], "little")
    return 8 + length if head[:4] == b"RIFF" and 0 < length < (1 << 32) - 1 else 0

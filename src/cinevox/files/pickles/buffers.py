"""Large payloads: left in their file, or decoded piece by piece."""

from __future__ import annotations

import codecs
import mmap
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

LARGE = 2**20  # bytes; longer array data can stay in the file, and longer text is decoded in pieces of this size


class Latin1:
    """Text that a file holds to have it encoded: already the bytes that it stands for."""

    def __init__(self, data: bytearray | memoryview) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)


def mapped(stream: BinaryIO) -> memoryview:
    """The whole of a file, read-only, without reading it."""
    return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def latin1_of(pieces: Iterable[bytearray], to_file: bool) -> Latin1:
    """UTF-8 in pieces as latin1, in memory or over a temporary file that has no name."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    encoded = (decoder.decode(piece).encode("latin1") for piece in pieces)
    if not to_file:
        found = bytearray()
        for piece in encoded:
            found += piece
    else:
        with tempfile.TemporaryFile() as stream:
            stream.writelines(encoded)
            stream.flush()
            data = mapped(stream)
    decoder.decode(b"", final=True)  # fails if it ended in the middle of a character
    return Latin1(data if to_file else found)

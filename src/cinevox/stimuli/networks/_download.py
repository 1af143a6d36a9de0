"""Fetching one published file: whole and verified, or not at all.

torch.hub.download_url_to_file takes a file that was cut off for a whole one where no checksum is published, and waits
for a silent server without end. pooch wants whole checksums, and what is published is their first eight digits.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from cinevox.errors import InputError
from cinevox.stimuli.networks import WeightsSource

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20


class DownloadError(InputError):
    """A download failed or brought something else; nothing is left under the final name."""


def sha256_of(path: Path) -> str:
    """Checksum of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(source: WeightsSource, path: Path) -> None:
    """Fetch `source` to `path` through a `.part` file beside it, which is renamed once size and checksum fit.

    Where no checksum is published, the one found now is recorded beside the file, as `<file>.sha256`.

    Raises
    ------
    DownloadError
        No connection, cut off, or a checksum other than published; names address, file and cure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial_name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    partial = Path(partial_name)
    cure = f"Run again with a connection, or fetch the file elsewhere and put it at {path}"
    try:
        with os.fdopen(handle, "wb") as out:
            sha256, received, announced = _receive(source.url, out)
        if announced is not None and received != announced:
            raise DownloadError(f"{source.url}: cut off after {received} of {announced} bytes. {cure}")
        if not sha256.startswith(source.sha256_prefix):
            raise DownloadError(
                f"{source.url}: sha256 {sha256[:16]}..., expected {source.sha256_prefix}...: "
                f"not the published file. {cure}"
            )
        if not source.sha256_prefix:
            path.with_name(path.name + ".sha256").write_text(sha256 + "\n")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DownloadError(f"{source.url}: cannot be fetched ({error}). {cure}") from None
    finally:
        partial.unlink(missing_ok=True)


def _receive(url: str, out: BinaryIO) -> tuple[str, int, int | None]:
    checksum, received = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        length = answer.headers.get("Content-Length")
        while block := answer.read(BLOCK):
            out.write(block)
            checksum.update(block)
            received += len(block)
    return checksum.hexdigest(), received, None if length is None else int(length)

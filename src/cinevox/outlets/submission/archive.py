"""The zip of a submission: one pickle, {ROI: {subject: float32 (n_test_clips, n_voxels)}}, and nothing around it."""

from __future__ import annotations

import hashlib
import io as streams
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.files.pickles.reader import Reader
from cinevox.files.pickles.values import Refused
from cinevox.measured.responses import Columns
from cinevox.project.params import Track

TRACKS: tuple[Track, ...] = ("mini", "full")
Content = Mapping[str, Mapping[str, NDArray[Any]]]
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can name
_LISTED = 10


def member(track: Track) -> str:
    """The pickle's name; the archive is called alike."""
    return f"{track}_track.pkl"


def content(predicted: NDArray[np.float32], columns: Columns) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The dict that is submitted: ROI -> subject -> (n_clips, n_voxels)."""
    found: dict[str, dict[str, NDArray[np.float32]]] = {roi: {} for roi in columns.rois}
    for block, where in zip(columns.blocks, columns.slices):
        found[block.roi][block.subject] = np.ascontiguousarray(predicted[:, where])
    return found


def pack(path: Path, track: Track, predictions: Content) -> str:
    """Write the zip, the same bytes for the same predictions, and return its sha256.

    The pickle opens with any Python 3 and with numpy before 2 and after. Nothing is compressed: float32 noise loses
    a tenth, and every version of zlib would write other bytes.
    """
    info = zipfile.ZipInfo(member(track), _EPOCH)
    info.create_system, info.external_attr = 3, 0o644 << 16
    partial = io.folder(path.parent) / f"{path.name}.part"
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / member(track)
        io.write_pickle(plain, {roi: dict(blocks) for roi, blocks in predictions.items()}, protocol=3)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(info, plain.read_bytes())
    partial.replace(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pack_nothing(path: Path) -> None:
    """Write a zip without a member, where there is nothing to predict: no check takes it for a submission."""
    with zipfile.ZipFile(io.folder(path.parent) / path.name, "w"):
        pass


def track_of(path: Path) -> Track | None:
    """Find the track that a submission is for: by the pickle in it, else by its own name; None if neither says."""
    if not path.is_file():
        raise FileError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    names: list[str] = []
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            names = []
    for candidates in ({name.replace("\\", "/").rpartition("/")[2] for name in names}, {f"{path.stem}.pkl"}):
        found = [track for track in TRACKS if member(track) in candidates]
        if len(found) == 1:
            return found[0]
    return None


def unpack(path: Path, track: Track, limit: int) -> tuple[Any, list[str]]:
    """Return what the pickle holds (None if it cannot be read) and what is wrong with the zip around it.

    Nothing is written to the disk, nothing in the pickle is run, and no more than `limit` bytes are unpacked.
    """
    if path.stat().st_size > limit:
        return None, [f"the file has {path.stat().st_size:,} bytes, more than {limit:,}; not opened"]
    if not zipfile.is_zipfile(path):
        return None, [f"this is no zip archive; put {member(track)} into one: zip {track}_track.zip {member(track)}"]
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            faults = list(_name_faults(path, track, members))
            pickles = [
                info for info in members if info.orig_filename.endswith(".pkl") and "__MACOSX" not in info.filename
            ]
            exact = [info for info in pickles if info.orig_filename == member(track)]
            readable = exact[:1] or (pickles if len(pickles) == 1 else [])
            if not readable:
                return None, faults
            found, more = _read(archive, readable[0], limit)
            return found, faults + more
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return None, [f"the zip archive is damaged: {error}"]


def _name_faults(path: Path, track: Track, members: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Yield the faults of the names: the archive's own, and those in it."""
    others = {f"{other}_track" for other in TRACKS if other != track}
    if path.stem in others:
        yield f"the archive is called {path.name} and is of the {track} track; expected {track}_track.zip"
    wanted = member(track)
    names = [info.orig_filename for info in members]
    if not names:
        yield f"the archive is empty; expected {wanted}"
    elif wanted not in names:
        yield f"the archive has no {wanted} at its top; it holds {_listed(names)}"
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{name[:80]!r} is in the archive {count} times; expected once"
    outside = [name for name in names if _leads_outside(name)]
    if outside:
        yield f"{_listed(outside)} would be unpacked outside of the folder; names must be plain"
    nested = [name for name in names if ("/" in name or "\\" in name) and name not in outside]
    if nested:
        yield f"{_listed(nested)}: in a folder; the archive must be flat (zip -j, without __MACOSX)"
    extra = [name for name in names if name != wanted and name not in nested and name not in outside]
    if extra and (wanted in names or len(extra) > 1):
        yield f"{_listed(extra)}: besides {wanted} there must be nothing"


def _leads_outside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or parts[0].endswith(":") or "\0" in name


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name[:80]) for name in names[:_LISTED]) + more


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> tuple[Any, list[str]]:
    name = f"{info.orig_filename[:80]!r}"
    if info.flag_bits & 1:
        return None, [f"{name} is encrypted; zip it without a password"]
    if info.file_size > limit:
        return None, [f"{name} says it unpacks to {info.file_size:,} bytes, more than {limit:,}; not unpacked"]
    try:
        with archive.open(info) as stream:
            raw = stream.read(limit)
    except Exception as error:  # zipfile and its decompressors raise many kinds
        return None, [f"{name} cannot be unpacked: {error}"]
    try:
        return Reader(streams.BytesIO(raw), len(raw)).load(), []
    except Refused as refusal:
        return None, [
            f"{name} is refused: {refusal}; nothing in it was run. Save {{ROI: {{subject: array}}}} with "
            "pickle.dump, nothing but dicts and float32 arrays"
        ]

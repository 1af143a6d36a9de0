"""Archives in parts, unfinished files and web pages in the place of archives: all that downloading leaves in a folder.

The standard library has nothing for these.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from cinevox.files.file_kinds import kind_of

NOTHING = "nothing of it was unpacked."
AGAIN = f"Download the archive again from where it was published; {NOTHING}"

_DRIVE = re.compile(r"(?P<whole>.+)-\d{8}T\d{6}Z(-\d+)?-(?P<number>\d{3})")  # Google Drive's names
_PART = re.compile(r"(?P<whole>.+)-(?P<number>\d{3})")
_OTHERS = {
    (".crdownload", ".part", ".download"): "an unfinished download",
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"): "unpack it yourself (`tar xf`)",
    (".7z",): "unpack it yourself (`7z x`)",
    (".rar",): "unpack it yourself (`unrar x`)",
}


def groups(tops: Mapping[Path, Collection[str]]) -> dict[str, list[Path]]:
    """Name -> the archives that are unpacked together: one by itself, or the parts of a download.

    Parts are called NAME-001.zip, NAME-002.zip, ..., with or without Google Drive's time in the name; without it they
    have one and the same folder at their top.

    tops: archive -> what is at its top
    """
    found: dict[tuple[str, ...], list[Path]] = {}
    for path, names in tops.items():
        part = _DRIVE.fullmatch(path.stem) or (_PART.fullmatch(path.stem) if len(names) == 1 else None)
        same = () if _DRIVE.fullmatch(path.stem) else tuple(names)
        found.setdefault((part["whole"], *same) if part else (path.stem,), []).append(path)
    return {key[0] if len(paths) > 1 else paths[0].stem: paths for key, paths in found.items()}


def part_faults(name: str, files: Mapping[Path, Collection[str]]) -> Iterator[str]:
    """Parts of a download that are missing, or hold the same file. files: part -> names in it"""
    if len(files) < 2:
        return
    there = {int(path.stem[-3:]) for path in files}
    missing = [f"{number:03d}" for number in range(1, max(there)) if number not in there]
    if missing:
        first = min(files)
        yield f"{first}: part {', '.join(missing)} of {name} is not there. Download it, too; nothing was unpacked."
    owners: dict[str, Path] = {}
    for path, names in files.items():
        if twice := sorted(owners.keys() & set(names)):
            other = owners[twice[0]].name
            yield f"{path}: holds {twice[0][:80]!r}, and {other} holds it too. Remove one of the two; {NOTHING}"
        owners |= dict.fromkeys(names, path)


def others(folder: Path) -> str:
    """Files of a folder that are no zip archives and may hold the data, and what to do with them; "" of none."""
    found = [
        f"; {path.name}: {what}"
        for path in sorted(folder.iterdir())
        for extensions, what in _OTHERS.items()
        if path.name.lower().endswith(extensions)
    ]
    return "".join(found)


def unreadable(path: Path, error: Exception) -> str:
    """Why a file named .zip cannot be opened as an archive, and the cure."""
    if any(path.parent.glob(f"{path.stem}.z[0-9][0-9]")):
        whole = path.with_name(f"{path.stem}-whole.zip")
        cure = f"`zip -s 0 '{path}' --out '{whole}'` puts them together; then take the parts out of the folder"
        return f"{path}: the last of several parts ({path.stem}.z01, ...). {cure}; {NOTHING}"
    try:
        kind = kind_of(path)
    except OSError:
        kind = ""
    if "zip archive" in kind or not kind:
        return f"{path}: not a whole zip archive ({error}): it was cut off, or is something else. {AGAIN}"
    if "web page" in kind:
        cure = (
            "Such a page asks to log in or to confirm: open the link in a browser and download the archive from there"
        )
        return f"{path}: not a whole zip archive: {kind}. {cure}; {NOTHING}"
    return f"{path}: not a whole zip archive: {kind}; {NOTHING}"

"""Zip archives as downloaded, unpacked beside themselves: everything or nothing, and nothing outside the folder."""

from __future__ import annotations

import re
import shutil
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cinevox.errors import FileError

PARTIAL = ".cinevox-unpack.part"
MAX_MEMBERS = 100_000
CHUNK = 1 << 20
_REGULAR = (0, stat.S_IFREG, stat.S_IFDIR)
_IGNORED = ("__MACOSX", ".DS_Store")
AGAIN = "Download the archive again from where it was published; nothing of it was unpacked."


@dataclass(frozen=True)
class Unpacked:
    """What an archive became: folders or files beside it."""

    archive: Path
    made: tuple[Path, ...]
    n_files: int
    n_bytes: int


def unpack(folder: Path, max_bytes: int) -> list[Unpacked]:
    """Unpack every zip archive of a folder into it.

    An archive with one folder at its top becomes that folder, any other becomes a folder called like the archive.
    Members are written to a hidden folder first, which takes its names when all archives are unpacked; it is removed
    if anything fails. The archives stay.

    max_bytes: that one archive may unpack to

    Raises
    ------
    FileError
        There is no archive, or one is not fit to be unpacked; one paragraph for each says archive, member and cure.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; name the one that holds the archives")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".zip" and path.is_file())
    if not paths:
        raise FileError(f"{folder}: no .zip in it; put the archives there as downloaded")
    _refuse([fault for path in paths for fault in _faults(path, max_bytes)])
    partial = folder / PARTIAL
    _clear(partial)  # of a run that was killed
    try:
        found = [_extract(path, partial / str(number)) for number, path in enumerate(paths)]
        return _move(folder, paths, partial, found)
    finally:
        _clear(partial)


def _clear(partial: Path) -> None:
    if partial.is_symlink() or partial.is_file():
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise FileError("\n\n".join(faults))


def _faults(path: Path, max_bytes: int) -> Iterator[str]:
    """What is wrong with an archive by its directory: the first fault of every kind, each with its cure."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield f"{path}: not a whole zip archive ({error}): it was cut off, or is something else. {AGAIN}"
        return
    wanted = [member for member in members if not _ignored(member)]
    if not wanted:
        yield f"{path}: the archive is empty. {AGAIN}"
    if len(members) > MAX_MEMBERS:
        yield f"{path}: {len(members):,} members, more than {MAX_MEMBERS:,}. {AGAIN}"
        return
    checks = (
        (_leads_outside, "has a name that leads out of the folder, or that no file should have"),
        (_is_special, "is a link or a device, and only files and folders are unpacked"),
        (lambda member: bool(member.flag_bits & 1), "is encrypted; unpack it yourself with its password"),
    )
    for is_wrong, what in checks:
        wrong = [member for member in members if is_wrong(member)]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            yield f"{path}: member {_name(wrong[0])}{more} {what}. {AGAIN}"
    taken = [_name(member) for member in wanted if any(map(_obeyed, _parts(member)))]
    if taken or _obeyed(path.stem):
        yield (
            f"{path}: {f'member {taken[0]}' if taken else 'its own name'} would be taken for a part of git or DVC, and "
            "they run what is written in those. Data have no such part: ask whoever made the archive for one without "
            f"it{'' if taken else ', or rename it'}; nothing of it was unpacked."
        )
    twice = _twice(wanted)
    if twice:
        yield f"{path}: member {twice[:80]!r} is there twice, or as a file and a folder. {AGAIN}"
    yield from _size_faults(path, wanted, max_bytes)


def _size_faults(path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> Iterator[str]:
    total, packed = sum(member.file_size for member in members), sum(member.compress_size for member in members)
    if packed > path.stat().st_size:
        size = path.stat().st_size
        yield f"{path}: its members overlap ({packed:,} bytes in a file of {size:,}), as in a zip bomb. {AGAIN}"
    if total > max_bytes:
        largest = max(members, key=lambda member: member.file_size)
        yield (
            f"{path}: unpacks to {total:,} bytes, more than {max_bytes:,} (the largest member, {_name(largest)}, "
            f"to {largest.file_size:,}). If that is right, allow more with --max-gigabytes; nothing of it was unpacked."
        )
        return
    free = shutil.disk_usage(path.parent).free
    if total > free:
        yield f"{path}: needs {total:,} bytes, and {free:,} are free on the disk. Make room; nothing was unpacked."


def _extract(path: Path, target: Path) -> Unpacked:
    """Unpack one archive into a folder that is not there yet."""
    target.mkdir(parents=True)
    n_files = n_bytes = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if _ignored(member):
                continue
            where = target.joinpath(*_parts(member))
            try:
                (where if member.is_dir() else where.parent).mkdir(parents=True, exist_ok=True)
                if not member.is_dir():
                    n_files, n_bytes = n_files + 1, n_bytes + _write(path, archive, member, where)
            except OSError as error:
                told = f"{path}: member {_name(member)} cannot be written ({error.strerror or error})"
                raise FileError(f"{told}; nothing was unpacked") from None
    return Unpacked(path, (), n_files, n_bytes)


def _write(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: Path) -> int:
    """Write one member and return its size, which is the one announced or the archive is refused."""
    written = 0
    try:
        with archive.open(member) as source, where.open("xb") as sink:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > member.file_size:
                    break
                sink.write(chunk)
    except OSError:
        raise
    except Exception as error:  # zipfile and its decompressors raise many kinds
        raise FileError(f"{path}: member {_name(member)} cannot be unpacked ({error}). {AGAIN}") from None
    if written != member.file_size:
        raise FileError(
            f"{path}: member {_name(member)} unpacks to {'more' if written > member.file_size else 'less'} than the "
            f"{member.file_size:,} bytes it announces. {AGAIN}"
        )
    return written


def _move(folder: Path, paths: list[Path], partial: Path, found: list[Unpacked]) -> list[Unpacked]:
    """Give everything its name at last; if one cannot have it, none has."""
    moves: list[tuple[Path, Path, int]] = []
    for number, path in enumerate(paths):
        top = sorted((partial / str(number)).iterdir())
        alone = len(top) == 1 and top[0].is_dir()
        source = top[0] if alone else partial / str(number)
        moves.append((source, folder / (source.name if alone else path.stem), number))
    counts = Counter(target for _, target, _ in moves)
    taken = {target: "another archive becomes too" for target, count in counts.items() if count > 1}
    taken |= {target: "is there already" for target in counts if target.exists() or target.is_symlink()}
    _refuse(
        [
            f"{paths[number]}: would become {target}, which {taken[target]}. Remove one of them and run this again; "
            "nothing was unpacked."
            for _, target, number in moves
            if target in taken
        ]
    )
    done: list[tuple[Path, Path]] = []
    try:
        for source, target, _ in moves:
            source.rename(target)
            done.append((source, target))
    except OSError as error:
        for source, target in reversed(done):
            target.rename(source)
        raise FileError(f"{folder}: what was unpacked cannot be put in its place ({error}); nothing was left") from None
    return [Unpacked(each.archive, (target,), each.n_files, each.n_bytes) for each, (_, target, _) in zip(found, moves)]


def _parts(member: zipfile.ZipInfo) -> list[str]:
    return [part for part in member.filename.split("/") if part]


def _name(member: zipfile.ZipInfo) -> str:
    return repr(member.orig_filename[:80])


def _ignored(member: zipfile.ZipInfo) -> bool:
    return any(part in _IGNORED for part in _parts(member))


def _leads_outside(member: zipfile.ZipInfo) -> bool:
    name = member.orig_filename
    parts = name.rstrip("/").split("/")
    return "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") or not part.isprintable() for part in parts)


def _obeyed(part: str) -> bool:
    """Whether a file system, or git on one, takes a part of a path for `.git`, `.dvc` or `.dvcignore`.

    Some ignore case, characters that can't be seen, dots and spaces at the end, or what follows a colon; and on some
    a file has a second, short name.
    """
    seen = "".join(sign for sign in part if unicodedata.category(sign) != "Cf").partition(":")[0].rstrip(". ")
    return re.fullmatch(r"\.(git|dvc|dvcignore)|(git|dvc|dvcign)~\d+", seen.casefold()) is not None


def _is_special(member: zipfile.ZipInfo) -> bool:
    return stat.S_IFMT(member.external_attr >> 16) not in _REGULAR


def _twice(members: list[zipfile.ZipInfo]) -> str:
    """A name that cannot be written: twice there (letters' case aside), or below a file. "" if there is none."""
    files = Counter("/".join(_parts(member)).casefold() for member in members if not member.is_dir())
    folders = {"/".join(_parts(member)).casefold() for member in members if member.is_dir()}
    for member in members:
        parts = _parts(member)
        folders |= {"/".join(parts[:depth]).casefold() for depth in range(1, len(parts))}
    return next((name for name, count in files.items() if count > 1 or name in folders), "")

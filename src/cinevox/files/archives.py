"""Zip archives as downloaded, unpacked beside themselves: everything or nothing, and nothing outside the folder.

zipfile reads and writes the members. By itself it would put `../x` under another name, take a link for a file, write
over what is there, and leave half of an archive behind.
"""

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
from cinevox.files.downloads import AGAIN, NOTHING, groups, others, part_faults, unreadable

PARTIAL = ".cinevox-unpack.part"
MAX_MEMBERS = 100_000
_REGULAR = (0, stat.S_IFREG, stat.S_IFDIR)
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_METHODS = {9: "Deflate64, as Windows does for large files", 93: "Zstandard", 98: "PPMd", 99: "encryption (AES)"}


@dataclass(frozen=True)
class Unpacked:
    """The result of unpacking an archive: folders or files beside it."""

    archive: Path
    made: tuple[Path, ...]
    n_files: int
    n_bytes: int


def unpack(folder: Path, max_bytes: int) -> list[Unpacked]:
    """Unpack every zip archive of a folder into it.

    An archive with one folder at its top becomes that folder, any other becomes a folder called like the archive. The
    parts of a download, NAME-001.zip, NAME-002.zip, ..., are unpacked into one. A leading "./", a "/" for the archive
    itself and backslashes are read as other programs mean them; what macOS and Windows keep beside files is left out.
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
        raise FileError(f"{folder}: no .zip in it; put the archives there as downloaded{others(folder)}")
    _refuse([fault for path in paths for fault in _faults(path, max_bytes)])
    files = {path: _files(path) for path in paths}
    together = groups({path: {name.split("/")[0] for name in names} for path, names in files.items()})
    _refuse([fault for name, parts in together.items() for fault in part_faults(name, {p: files[p] for p in parts})])
    partial = folder / PARTIAL
    _clear(partial)  # of a run that was killed
    try:
        numbers = {path: number for number, parts in enumerate(together.values()) for path in parts}
        found = [_extract(path, partial / str(numbers[path])) for path in paths]
        return _move(folder, together, partial, found)
    finally:
        _clear(partial)


def _files(path: Path) -> list[str]:
    """The files that an archive becomes."""
    with zipfile.ZipFile(path) as archive:
        return ["/".join(_parts(m)) for m in archive.infolist() if not _is_folder(m) and not _ignored(m)]


def _clear(partial: Path) -> None:
    if partial.is_symlink() or partial.is_file():
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise FileError("\n\n".join(faults))


def _faults(path: Path, max_bytes: int) -> Iterator[str]:
    """Yield the faults that an archive's directory shows: the first one of every kind, each with its cure."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield unreadable(path, error)
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
    )
    for is_wrong, what in checks:
        if wrong := [member for member in members if is_wrong(member)]:
            yield f"{path}: member {_first(wrong)} {what}. {AGAIN}"
    taken = [member for member in wanted if any(map(_obeyed, _parts(member)))]
    if taken or _obeyed(path.stem):
        what = f"member {_first(taken)}" if taken else "its own name"
        yield (
            f"{path}: {what} would be taken for a part of git or DVC, and they run what is written in those. Data have "
            f"no such part: ask whoever made it for one without{'' if taken else ', or rename it'}; {NOTHING}"
        )
    if locked := [member for member in wanted if member.flag_bits & 1]:
        yield f"{path}: member {_first(locked)} is encrypted; unpack it yourself with its password; {NOTHING}"
    elif odd := [member for member in wanted if member.compress_type not in (0, 8, 12, 14)]:
        method = _METHODS.get(odd[0].compress_type, f"method {odd[0].compress_type}")
        yield (
            f"{path}: member {_first(odd)} is compressed with {method}, which Python cannot read. Unpack it yourself, "
            f"`unzip '{path}' -d '{path.parent}'` or with 7-Zip (`7z x`), and take it out of the folder; {NOTHING}"
        )
    twice = _twice(wanted)
    if twice:
        yield (
            f"{path}: member {twice[:80]!r} is there twice, or as a file and a folder (capitals aside). Unpack it "
            f"yourself, see which one is right, and take the archive out of the folder; {NOTHING}"
        )
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
    """Unpack one archive into a folder that is not there yet, or holds other parts of it."""
    target.mkdir(parents=True, exist_ok=True)
    sizes = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if _ignored(member):
                continue
            member.filename = "/".join(_parts(member)) + "/" * _is_folder(member)
            try:
                written = Path(archive.extract(member, target))
            except OSError as error:
                told = f"{path}: member {_name(member)} cannot be written ({error.strerror or error})"
                raise FileError(f"{told}; nothing was unpacked") from None
            except Exception as error:  # zipfile and its decompressors raise many kinds
                raise FileError(f"{path}: member {_name(member)} cannot be unpacked ({error}). {AGAIN}") from None
            if not _is_folder(member):
                sizes.append(written.stat().st_size)
                if sizes[-1] != member.file_size:
                    raise FileError(
                        f"{path}: member {_name(member)} unpacks to {sizes[-1]:,} bytes, and announces "
                        f"{member.file_size:,}. {AGAIN}"
                    )
    return Unpacked(path, (), len(sizes), sum(sizes))


def _move(folder: Path, together: dict[str, list[Path]], partial: Path, found: list[Unpacked]) -> list[Unpacked]:
    """Give everything its name at last; if one cannot have it, none has."""
    moves: list[tuple[Path, Path, list[Path]]] = []
    for number, (name, paths) in enumerate(together.items()):
        top = sorted((partial / str(number)).iterdir())
        alone = len(top) == 1 and top[0].is_dir() and not any(map(_is_rooted, paths))
        source = top[0] if alone else partial / str(number)
        moves.append((source, folder / (source.name if alone else name), paths))
    counts = Counter(target for _, target, _ in moves)
    taken = {target: "another archive becomes too" for target, count in counts.items() if count > 1}
    taken |= {target: "is there already" for target in counts if target.exists() or target.is_symlink()}
    _refuse([_taken(paths[0], target, taken[target]) for _, target, paths in moves if target in taken])
    done: list[tuple[Path, Path]] = []
    try:
        for source, target, _ in moves:
            source.rename(target)
            done.append((source, target))
    except OSError as error:
        for source, target in reversed(done):
            target.rename(source)
        raise FileError(f"{folder}: what was unpacked cannot be put in its place ({error}); nothing was left") from None
    targets = {path: target for _, target, paths in moves for path in paths}
    return [Unpacked(each.archive, (targets[each.archive],), each.n_files, each.n_bytes) for each in found]


def _is_rooted(path: Path) -> bool:
    """Whether an archive names the folder that it was made of, "/", as Dropbox does: what is below is in that."""
    with zipfile.ZipFile(path) as archive:
        return any(not _path(member) for member in archive.infolist())


def _taken(path: Path, target: Path, why: str) -> str:
    parts = " If they are parts of one download, name them NAME-001.zip, NAME-002.zip, ..., to have them put together."
    cure = f"Remove one of them and run this again; nothing was unpacked.{parts if 'another' in why else ''}"
    return f"{path}: would become {target}, which {why}. {cure}"


def _path(member: zipfile.ZipInfo) -> str:
    """A member's name with the separators of a path, without what names the archive itself."""
    return re.sub(r"^(\./)+|^/$|^\.$", "", member.orig_filename.replace("\\", "/"))


def _parts(member: zipfile.ZipInfo) -> list[str]:
    return [part for part in _path(member).split("/") if part]


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return not _path(member) or _path(member).endswith("/")


def _first(members: list[zipfile.ZipInfo]) -> str:
    return _name(members[0]) + (f" (and {len(members) - 1} more)" if len(members) > 1 else "")


def _name(member: zipfile.ZipInfo) -> str:
    return repr(member.orig_filename[:80])


def _ignored(member: zipfile.ZipInfo) -> bool:
    return not _parts(member) or any(part in _IGNORED or part.startswith("._") for part in _parts(member))


def _leads_outside(member: zipfile.ZipInfo) -> bool:
    path = _path(member)
    if not path:
        return False
    parts = path.removesuffix("/").split("/")
    return bool(re.match("[A-Za-z]:", path)) or any(part in ("", ".", "..") or _is_control(part) for part in parts)


def _is_control(part: str) -> bool:
    """Whether a name holds control characters or line breaks; spaces and marks of any kind are letters like others."""
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in part)


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
    """A name that cannot be written: twice there (as `_folded`), or below a file. "" if there is none."""
    files = Counter(_folded(_parts(member)) for member in members if not _is_folder(member))
    folders = {_folded(_parts(member)) for member in members if _is_folder(member)}
    for member in members:
        parts = _parts(member)
        folders |= {_folded(parts[:depth]) for depth in range(1, len(parts))}
    return next((name for name, count in files.items() if count > 1 or name in folders), "")


def _folded(parts: list[str]) -> str:
    """A path as file systems compare it that know neither capitals nor two ways to write an accent."""
    return unicodedata.normalize("NFC", "/".join(parts)).casefold()

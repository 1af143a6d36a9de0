"""Links among data: followed where they lead to a store of files, refused where they lead anywhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cinevox.errors import FileError


def inside(path: Path, folder: Path) -> Path:
    """The path, if it leads to a file in that folder, also through links.

    A link may lead out of it into a store that names files by their content, as the caches of DVC (`cache.type
    symlink`) and git-annex do, and where every file beside it is a link too: that is a link to a folder, file by file.
    A single one among files, which a stranger's data may hold, may not.

    Raises
    ------
    FileError
        A link leads out of the folder, or to nothing.
    """
    target = path.resolve()
    if path.is_symlink() and not target.exists():
        raise FileError(
            f"{path}: a link to {target}, which is not there; fetch it from where the data are kept (`dvc pull`, "
            "`git annex get`, `datalad get`), or put the file itself in its place"
        )
    if not target.is_relative_to(folder.resolve()) and not (_is_stored(target) or _are_links(path.parent)):
        raise FileError(f"{path}: a link out of {folder}, to {target}; put the file itself in its place")
    return path


def _is_stored(target: Path) -> bool:
    """Whether a file's name and folders are those that DVC's cache or git-annex give by the content."""
    of_dvc = re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{30}", f"{target.parent.name}/{target.name}") is not None
    return of_dvc or "annex/objects/" in target.as_posix()


def _are_links(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return all(each.is_symlink() or each.is_dir() for each in entries if not each.name.startswith("."))

"""The identity of a result: the code's commit, the parameters' hash, the data's hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinevox.project import git
from cinevox.project.params import Params, Section, text
from cinevox.project.paths import Paths

MADE_BY_RUNS = (":!metrics", ":!dvc.lock", ":!gate", ":!report")  # tracked, and no code


@dataclass(frozen=True)
class Commit:
    """The code's version. `dirty`: files that git tracks differ from it (what runs write does not count)."""

    sha: str
    date: str
    dirty: bool


def commit(root: Path) -> Commit | None:
    """The commit checked out at `root`; None outside git, and without the program."""
    sha, _, date = git.answer(root, "show", "--no-patch", "--format=%H %cs", "HEAD").strip().partition(" ")
    if not sha:
        return None
    changed = git.answer(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *MADE_BY_RUNS)
    return Commit(sha, date, bool(changed))


def read_lock(paths: Paths) -> Mapping[str, Any]:
    """The stages of dvc.lock, name -> entry; empty where DVC has run nothing.

    Raises
    ------
    FileError
        It can't be read, such as after a merge with conflicts.
    """
    if not paths.lock.is_file():
        return {}
    stages: Mapping[str, Any] = (text.read_file(paths.lock) or {}).get("stages", {})
    return stages


def data_hash(stages: Mapping[str, Any], folder: Path) -> str:
    """DVC's md5 of the data set's folder, or a hash of all that dvc.lock knows inside it; `unknown` without.

    What validation read counts: while a run is going on, the entries of later stages are of the run before.
    """
    name = folder.as_posix()
    known = {
        entry["path"]: entry["md5"]
        for _, stage in sorted(stages.items(), key=lambda item: item[0] == "validation")
        for entry in (*stage.get("deps", ()), *stage.get("outs", ()))
        if entry["path"] == name or entry["path"].startswith(name + "/")
    }
    if not known:
        return "unknown"
    return str(known[name]).removesuffix(".dir") if name in known else digest(sorted(known.items()))[:32]


def digest(content: Any) -> str:
    """SHA-256 of a parsed document, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def params_hash(params: Params, sections: Sequence[str]) -> str:
    """Hash of these sections of the parameters."""
    return digest({name: plain(getattr(params, name)) for name in sections})


def plain(section: Any) -> Any:
    """A section of the parameters, or several by name, as JSON has it."""
    if isinstance(section, Mapping):
        return {name: plain(value) for name, value in section.items()}
    return section.model_dump(mode="json") if isinstance(section, Section) else section

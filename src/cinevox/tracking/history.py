"""What git and DVC know of a run: the experiment it was made in, and the revisions that hold its result.

A result is held by a revision whose `tracking/synced.json` has the result's key: DVC keeps that file with every
experiment, also where no stage had to run, and a commit keeps it as any other file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cinevox import git, io
from cinevox.paths import Paths
from cinevox.tracking.connection import without_login

EXPERIMENT = "dvc.exp."  # begins the tag that names an experiment; its value is the baseline
REFS = re.compile(r"refs/exps/[0-9a-f]{2}/(?P<baseline>[0-9a-f]{38})/(?P<name>.+)")


@dataclass(frozen=True)
class Revision:
    """A commit that holds a result. `experiment`: its name among DVC's experiments; None for a plain commit."""

    sha: str
    experiment: str | None

    @property
    def cure(self) -> str:
        """What brings the result back."""
        if self.experiment is not None:
            return f"dvc exp apply {self.experiment}"
        return f"git checkout {self.sha[:10]} && dvc checkout"


def experiment_tag() -> dict[str, str]:
    """Inside `dvc exp run`: the tag of the experiment that is running; else nothing."""
    name = os.environ.get("DVC_EXP_NAME")
    return {tag_of(name): os.environ.get("DVC_EXP_BASELINE_REV", "unknown")} if name else {}


def tag_of(experiment: str) -> str:
    """The tag's name, with the characters that MLflow takes."""
    return EXPERIMENT + re.sub(r"[^\w\-. :/]", "_", experiment)


def experiments(root: Path) -> list[Revision]:
    """DVC's experiments in this repository."""
    lines = _git(root, "for-each-ref", "refs/exps", "--format=%(objectname) %(refname)").splitlines()
    found = ((sha, REFS.fullmatch(ref)) for sha, _, ref in (line.partition(" ") for line in lines))
    return [Revision(sha, match["name"]) for sha, match in found if match]


def keys_at(paths: Paths, revision: str) -> Mapping[str, str]:
    """Row -> key of what a revision holds; empty where it is no revision, or was never synced."""
    text = _git(paths.root, "show", f"{revision}:./{_synced(paths)}")
    rows: Mapping[str, str] = json.loads(text)["rows"] if text else {}
    return rows


def keys_here(paths: Paths) -> Mapping[str, str]:
    """The same of the workspace."""
    file = paths.tracking / "synced.json"
    rows: Mapping[str, str] = io.read_json(file)["rows"] if file.is_file() else {}
    return rows


def holders(paths: Paths, key: str) -> list[Revision]:
    """Experiments, then commits (the newest first), that hold the result with this key."""
    named = {found.sha: found for found in experiments(paths.root)}
    pattern, file = f"-S{key}", _synced(paths)
    touched = _git(paths.root, "log", "HEAD", "--branches", "--tags", "--format=%H", pattern, "--", file).split()
    return [
        named.get(sha, Revision(sha, None)) for sha in _holding(paths, key, dict.fromkeys([*named, *touched]).keys())
    ]


def _holding(paths: Paths, key: str, revisions: Iterable[str]) -> list[str]:
    """Those whose file has the key: `git log -S` also finds the commit that took it away."""
    known = list(revisions)
    if not known:
        return []
    lines = _git(paths.root, "grep", "-l", "-F", "-e", key, *known, "--", _synced(paths)).splitlines()
    holding = {line.partition(":")[0] for line in lines}
    return [sha for sha in known if sha in holding]


def remote(root: Path) -> str | None:
    """Address of the git remote `origin`, without a password; of http no user either, who may be a token."""
    address = _git(root, "remote", "get-url", "origin").strip()
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return without_login(address)
    if parts.password is not None:
        address = address.replace(f":{parts.password}@", "@")
    return address or None


def _synced(paths: Paths) -> str:
    return (paths.tracking / "synced.json").relative_to(paths.root).as_posix()


def _git(root: Path, *words: str) -> str:
    """What git answers; nothing where it can't."""
    return git.answer(root, *words)

"""What git and DVC know of a run: the experiment it was made in, and the revisions that hold its result.

A result is held by a revision whose dvc.lock has the result's key: DVC keeps that file with every experiment, and a
commit keeps it as any other file, whether or not the result was synced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cinevox.outlets.tracking.connection import without_login
from cinevox.project import dvc_lock, git
from cinevox.project.paths import Paths

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
        return f"git checkout {self.sha[:10]} && dvc checkout --allow-missing"


def experiment_tag() -> dict[str, str]:
    """Inside `dvc exp run`: the tag of the experiment that is running; else nothing."""
    name = os.environ.get("DVC_EXP_NAME")
    return {tag_of(name): os.environ.get("DVC_EXP_BASELINE_REV", "unknown")} if name else {}


def tag_of(experiment: str) -> str:
    """The tag's name, with the characters that MLflow takes."""
    return EXPERIMENT + re.sub(r"[^\w\-. :/]", "_", experiment)


def experiments(root: Path) -> list[Revision]:
    """DVC's experiments in this repository."""
    lines = git.answer(root, "for-each-ref", "refs/exps", "--format=%(objectname) %(refname)").splitlines()
    found = ((sha, REFS.fullmatch(ref)) for sha, _, ref in (line.partition(" ") for line in lines))
    return [Revision(sha, match["name"]) for sha, match in found if match]


def keys_at(paths: Paths, revision: str) -> Mapping[str, str]:
    """Row -> key of what a revision holds; empty where it is no revision, or DVC has run nothing there."""
    return next(iter(_keys(paths, [revision]).values()), {})


def keys_here(paths: Paths) -> Mapping[str, str]:
    """The same of the workspace."""
    return dvc_lock.keys(dvc_lock.ends(paths.lock.read_text())) if paths.lock.is_file() else {}


def holders(paths: Paths, key: str) -> list[Revision]:
    """Experiments that hold the result with this key, then the commits that brought it (the newest first)."""
    named = {found.sha: found for found in experiments(paths.root)}
    touched = git.answer(
        paths.root, "log", "--parents", "--format=%H %P", "HEAD", "--branches", "--tags", "--", f"./{paths.lock.name}"
    )
    commits = {sha: parents for sha, *parents in map(str.split, touched.splitlines())}
    found = _keys(paths, [*named, *commits])
    holding = {sha for sha, keys in found.items() if key in keys.values()}
    brought = [sha for sha, parents in commits.items() if sha in holding and not holding.intersection(parents)]
    return [*(revision for sha, revision in named.items() if sha in holding), *(Revision(s, None) for s in brought)]


def _keys(paths: Paths, revisions: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Revision -> its keys, of those that have a dvc.lock; each version of it is read once."""
    asked = "".join(f"{revision}:./{paths.lock.name}\n" for revision in revisions)
    answer = git.run(paths.root, "cat-file", "--batch", asked=asked).stdout
    found: dict[str, Mapping[str, str]] = {}
    known: dict[bytes, Mapping[str, str]] = {}
    at = 0
    for revision in revisions if answer else ():
        end = answer.index(b"\n", at)
        words = answer[at:end].split()
        at = end + 1
        if len(words) == 3 and words[1] == b"blob":
            blob, size = words[0], int(words[2])
            if blob not in known:
                known[blob] = dvc_lock.keys(dvc_lock.ends(answer[at : at + size].decode()))
            found[revision] = known[blob]
            at += size + 1
    return found


def remote(root: Path) -> str | None:
    """Address of the git remote `origin`, without a password; of http no user either, who may be a token."""
    address = git.answer(root, "remote", "get-url", "origin").strip()
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return without_login(address)
    if parts.password is not None:
        address = address.replace(f":{parts.password}@", "@")
    return address or None

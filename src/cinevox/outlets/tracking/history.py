"""Revisions that hold a result: commits and DVC's experiments whose dvc.lock has the result's key.

DVC keeps that file with every experiment, and a commit as any other file, whether or not the result was synced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cinevox.project import dvc_lock, git
from cinevox.project.paths import Paths

EXPERIMENT = "dvc.exp."  # begins the tag that names an experiment; its value is the baseline
_keys = cache(lambda text: dvc_lock.keys(dvc_lock.ends(text)))


@dataclass(frozen=True)
class Revision:
    """A commit that holds a result. `experiment`: its name among DVC's experiments; None for a plain commit."""

    sha: str
    experiment: str | None

    @property
    def cure(self) -> str:
        """The command that brings the result back."""
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
    """DVC's experiments in this repository: refs/exps/<two digits>/<baseline>/<name>."""
    lines = git.answer(root, "for-each-ref", "refs/exps/??/**", "--format=%(objectname) %(refname)").splitlines()
    return [Revision(line.split()[0], line.split("/", 4)[4]) for line in lines]


def keys_at(paths: Paths, revision: str) -> Mapping[str, str]:
    """Row -> key of what a revision holds; empty where it is no revision, or DVC has run nothing there."""
    return _keys(git.answer(paths.root, "cat-file", "blob", f"{revision}:./{paths.lock.name}"))


def keys_here(paths: Paths) -> Mapping[str, str]:
    """The same of the workspace."""
    return _keys(paths.lock.read_text()) if paths.lock.is_file() else {}


def revisions(paths: Paths) -> list[tuple[Revision, set[str]]]:
    """DVC's experiments and the keys that they hold, then commits (the newest first) and the keys that they brought."""
    words = ("log", "--parents", "--format=%H %P", "HEAD", "--branches", "--tags", "--", f"./{paths.lock.name}")
    commits = {sha: parents for sha, *parents in map(str.split, git.answer(paths.root, *words).splitlines())}
    held = {sha: set(keys_at(paths, sha).values()) for sha in commits}
    named = [(found, set(keys_at(paths, found.sha).values())) for found in experiments(paths.root)]
    return named + [
        (Revision(sha, None), held[sha].difference(*(held.get(parent, ()) for parent in parents)))
        for sha, parents in commits.items()
    ]

"""The data set behind a run, as MLflow shows one: name, digest, source, profile."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from cinevox.outlets.tracking.connection import without_login
from cinevox.project import git
from cinevox.project.params import Dataset
from cinevox.scoring.origin import Origin

DIGEST_LENGTH = 36  # the most that MLflow stores


def describe(root: Path, dataset: Dataset, md5: str, origin: Origin) -> dict[str, str]:
    """The fields of `mlflow.entities.Dataset` for the data set of a result.

    The source is its path and md5, as DVC knows them, and the git repository that says so (`remote`); the profile how
    many clips, subjects and voxels there were.

    md5: DVC's, of the data set's folder; origin: what the result recorded of its data
    """
    source = {"path": dataset.folder.as_posix(), "md5": md5} | ({"remote": found} if (found := remote(root)) else {})
    n_clips = {"train": origin.n_train_clips, "test": origin.n_test_clips}
    profile = {"n_clips": n_clips, "subjects": origin.subjects.split(), "n_voxels": dict(origin.n_voxels)}
    return {
        "name": dataset.name,
        "digest": md5[:DIGEST_LENGTH],
        "source_type": "dvc",
        "source": json.dumps(source),
        "profile": json.dumps(profile),
    }


def remote(root: Path) -> str:
    """Address of the git remote `origin`, without a password; of http no user either, who may be a token."""
    address = git.answer(root, "remote", "get-url", "origin").strip()
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return without_login(address)
    return address.replace(f":{parts.password}@", "@")

"""The data set behind a run, as MLflow shows one: name, digest, source, profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinevox.outlets.tracking import history
from cinevox.project.params import Dataset
from cinevox.scoring.origin import Origin

DIGEST_LENGTH = 36  # the most that MLflow stores


@dataclass(frozen=True)
class Data:
    """A data set, as far as a row was made from it.

    digest: DVC's md5 of its folder
    source: `path` and `md5` as DVC knows them, and `remote`, the git repository that says so
    profile: how many clips, subjects and voxels there are, as the result recorded it
    """

    name: str
    digest: str
    source: Mapping[str, str]
    profile: Mapping[str, Any]


def describe(root: Path, dataset: Dataset, md5: str, origin: Origin | None) -> Data:
    """The data set of a result. origin: what the result recorded of it"""
    source = {"path": dataset.folder.as_posix(), "md5": md5, "remote": history.remote(root)}
    profile = {}
    if origin is not None:
        n_clips = {"train": origin.n_train_clips, "test": origin.n_test_clips}
        profile = {"n_clips": n_clips, "subjects": origin.subjects.split(), "n_voxels": dict(origin.n_voxels)}
    known = {name: value for name, value in source.items() if value is not None}
    return Data(dataset.name, md5[:DIGEST_LENGTH], known, profile)

"""The data set behind a track's runs, as MLflow shows one: name, digest, source, profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cinevox.files import io
from cinevox.measured.responses import Columns
from cinevox.outlets.tracking import history
from cinevox.project.params import Dataset, Track
from cinevox.project.paths import Paths

DIGEST_LENGTH = 36  # the most that MLflow stores


@dataclass(frozen=True)
class Data:
    """One track of a data set.

    digest: DVC's md5 of its folder
    source: `path` and `md5` as DVC knows them, and `remote`, the git repository that says so
    profile: how many clips, subjects, voxels and repetitions there are
    """

    name: str
    digest: str
    source: Mapping[str, str]
    profile: Mapping[str, Any]


def describe(paths: Paths, dataset: Dataset, track: Track, md5: str) -> Data:
    """What ceiling and validation know of a track's responses.

    Raises
    ------
    FileError
        The track's ceiling is missing or broken.
    """
    known = io.read_json(paths.ceiling(track) / "index.json")
    columns, clips = Columns.from_json(known["columns"]), paths.validation / "clips.json"
    counts = io.read_json(clips) if clips.is_file() else None
    n_train = counts and counts["n_train_clips"]
    profile = {
        "n_clips": counts and {"train": n_train, "test": counts["n_clips"] - n_train},
        "n_repetitions": {{"validation": "train"}.get(split, split): n for split, n in known["n_repetitions"].items()},
        "subjects": list(columns.subjects),
        "n_voxels": columns.n_voxels,
        "n_voxels_by_roi": {
            roi: sum(block.n_voxels for block in columns.blocks if block.roi == roi) for roi in columns.rois
        },
    }
    source = {"path": dataset.folder.as_posix(), "md5": md5, "remote": history.remote(paths.root)}
    return Data(dataset.name, md5[:DIGEST_LENGTH], {name: value for name, value in source.items() if value}, profile)

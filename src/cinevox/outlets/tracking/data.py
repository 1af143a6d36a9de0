"""The data set behind a track's runs, as MLflow shows one: name, digest, source, schema, profile."""

from __future__ import annotations

import json
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
    shapes: part (train, test) -> (n_clips, n_repetitions, n_voxels), -1 where nothing says
    """

    name: str
    digest: str
    source: Mapping[str, str]
    profile: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, int, int]]

    def schema(self) -> str:
        """As MLflow's interface reads it: one tensor for each part."""
        tensors = [
            {"name": part, "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": list(shape)}}
            for part, shape in self.shapes.items()
        ]
        return json.dumps({"mlflow_tensorspec": {"features": json.dumps(tensors), "targets": None}})


def describe(paths: Paths, dataset: Dataset, track: Track, md5: str) -> Data:
    """What ceiling and validation know of a track's responses.

    Raises
    ------
    FileError
        The track's ceiling is missing or broken.
    """
    known = io.read_json(paths.ceiling(track) / "index.json")
    columns = Columns.from_json(known["columns"])
    clips = paths.validation / "clips.json"
    counts = io.read_json(clips) if clips.is_file() else {}
    n_train = counts.get("n_train_clips", -1)
    n_clips = {"train": n_train, "test": counts["n_clips"] - n_train if counts else -1}
    repetitions = {{"validation": "train"}.get(split, split): n for split, n in known["n_repetitions"].items()}
    by_roi = {roi: sum(block.n_voxels for block in columns.blocks if block.roi == roi) for roi in columns.rois}
    profile = {
        "n_clips": {part: n for part, n in n_clips.items() if n >= 0},
        "n_repetitions": repetitions,
        "subjects": list(columns.subjects),
        "n_voxels": columns.n_voxels,
        "n_voxels_by_roi": by_roi,
    }
    source = {"path": dataset.folder.as_posix(), "md5": md5}
    if (remote := history.remote(paths.root)) is not None:
        source["remote"] = remote
    shapes = {part: (n_clips[part], n, columns.n_voxels) for part, n in repetitions.items()}
    return Data(dataset.name, md5[:DIGEST_LENGTH], source, profile, shapes)

"""Predicted responses on disk: what fits and transfer networks write and scores read, in one format.

A folder per row: `index.json`, and one float32 array (n_clips, n_voxels) per feature space and split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.measured.responses import Columns


@dataclass(frozen=True)
class Index:
    """What a folder of predictions holds.

    spaces: names of the feature spaces, in the order of the network's layers
    clips: split name -> positions of its clips in the list of all clips
    columns: whose voxels the columns are
    provenance: network, weights, regressor, ... for the reader
    diagnostics: space -> what the solver reports of itself
    """

    spaces: tuple[str, ...]
    clips: Mapping[str, NDArray[np.intp]]
    columns: Columns
    provenance: Mapping[str, Any]
    diagnostics: Mapping[str, Any]


def write_index(folder: Path, index: Index) -> None:
    io.write_json(
        folder / "index.json",
        {
            "spaces": index.spaces,
            "clips": dict(index.clips),
            "columns": index.columns.to_json(),
            "provenance": dict(index.provenance),
            "diagnostics": dict(index.diagnostics),
        },
    )


def read_index(folder: Path) -> Index:
    content = io.read_json(folder / "index.json")
    return Index(
        spaces=tuple(content["spaces"]),
        clips={name: np.array(rows, dtype=np.intp) for name, rows in content["clips"].items()},
        columns=Columns.from_json(content["columns"]),
        provenance=content["provenance"],
        diagnostics=content["diagnostics"],
    )


def write(folder: Path, space: str, split: str, predicted: NDArray[np.floating]) -> None:
    io.write_array(folder / split / f"{space}.npy", predicted.astype(np.float32, copy=False))


def read(folder: Path, index: Index, space: str, split: str) -> NDArray[np.float32]:
    """Predictions of one space for the clips of one split, (n_clips, n_voxels), memory-mapped."""
    shape = (len(index.clips[split]), index.columns.n_voxels)
    return io.read_array(folder / split / f"{space}.npy", shape, "n_clips, n_voxels")

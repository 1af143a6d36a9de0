"""Predicted responses on disk: what fits and transfer networks write and scores read, in one format.

A folder per row: `index.json`, and one float32 array (n_clips, n_voxels) per feature space and split. Where subjects
saw different stimuli each cohort has arrays of its own, in a folder of its name. Of a stack of spaces
`mixing_weights.npz` has the mixing weights of every voxel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured.cohorts import Cohort
from cinevox.measured.responses import Columns
from cinevox.project.params import JointRow, Row, row_of

WEIGHTS = "mixing_weights"  # the file of every voxel's, and among the diagnostics their means


@dataclass(frozen=True)
class UsedWeights:
    """The weights that a network had, as the sidecar of its features has them.

    official: whether the file is the one its authors published; non_commercial: None where the licence is not known
    seed: of random weights; unwrapped: what was taken off around the weights in their file, in words
    unverified: whether neither its publisher nor the parameters had a checksum of the file
    """

    policy: str = "unknown"
    source: str | None = None
    sha256: str | None = None
    licence: str | None = None
    official: bool = False
    non_commercial: bool | None = None
    seed: int | None = None
    unwrapped: str = ""
    unverified: bool = False

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Self:
        return cls(**{field.name: recorded[field.name] for field in fields(cls) if field.name in recorded})


@dataclass(frozen=True)
class Scored:
    """The clips that some subjects are scored on: all subjects, or those of one cohort.

    name: of the cohort; "" of the only one
    columns: their voxels; where: these among all columns
    clips: split name -> positions of its clips in the list of all clips
    """

    name: str
    columns: Columns
    where: slice
    clips: Mapping[str, NDArray[np.intp]]


@dataclass(frozen=True)
class Index:
    """The index of a folder of predictions.

    spaces: names of the feature spaces, in the order of the network's layers
    clips: split name -> positions of its clips in the list of all clips; of several cohorts those of any
    columns: whose voxels the columns are, cohort after cohort
    provenance: network, weights, regressor, ... for the reader
    diagnostics: space -> what the solver reports of itself
    by_cohort: of several cohorts: name -> its subjects, and its own clips of each split
    """

    spaces: tuple[str, ...]
    clips: Mapping[str, NDArray[np.intp]]
    columns: Columns
    provenance: Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    by_cohort: Mapping[str, tuple[tuple[str, ...], Mapping[str, NDArray[np.intp]]]] = field(default_factory=dict)

    @cached_property
    def cohorts(self) -> tuple[Scored, ...]:
        """Whose voxels are scored on which clips, in the order of the columns."""
        if not self.by_cohort:
            return (Scored("", self.columns, slice(0, self.columns.n_voxels), self.clips),)
        found, start = [], 0
        for name, (subjects, clips) in self.by_cohort.items():
            own = Columns(tuple(block for block in self.columns.blocks if block.subject in subjects))
            found.append(Scored(name, own, slice(start, start + own.n_voxels), clips))
            start += own.n_voxels
        return tuple(found)

    def only(self, splits: Collection[str]) -> Self:
        """The same with some of the splits."""

        def kept(clips: Mapping[str, NDArray[np.intp]]) -> dict[str, NDArray[np.intp]]:
            return {name: rows for name, rows in clips.items() if name in splits}

        several = {name: (subjects, kept(clips)) for name, (subjects, clips) in self.by_cohort.items()}
        return replace(self, clips=kept(self.clips), by_cohort=several)

    @property
    def row(self) -> Row:
        """The row that they are of, without what the paper reports of it."""
        return row_of(self.provenance)

    @property
    def weights(self) -> dict[str, UsedWeights]:
        """Network -> the weights that it had."""
        return {network: UsedWeights.of(recorded) for network, recorded in self.provenance["weights"].items()}

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that the feature spaces are of."""
        return tuple(self.provenance["weights"])

    @property
    def named(self) -> Mapping[str, Any]:
        """Named feature space -> its definition, as it was; empty for a row with one of the paper's words."""
        return self.provenance.get("named", {})

    @property
    def mixing_weights(self) -> Mapping[str, Mapping[str, float]]:
        """ROI -> feature space, or member of an ensemble -> its mean mixing weight; empty for what mixes nothing."""
        found: Mapping[str, Mapping[str, float]] = self.diagnostics.get(self.spaces[0], {}).get(WEIGHTS, {})
        return found

    def rois_of(self, space: str) -> list[str]:
        """The ROIs that a feature space predicts, as `Columns.of_rois` takes them: none for all.

        They are all, but for a row that gives each ROI spaces of its own: predictions are NaN in the other columns.
        """
        row = self.row
        given = row.given if isinstance(row, JointRow) else {}
        return [roi for roi, name in given.items() if name == space]

    def n_voxels_of(self, space: str) -> int:
        """How many voxels a feature space predicts."""
        return self.columns.of_rois(self.rois_of(space))[0].n_voxels

    @property
    def weights_policy(self) -> str:
        """The policies of the networks' weights, each once: `package`, or `package + random` of several networks."""
        return " + ".join(dict.fromkeys(weights.policy for weights in self.weights.values()))

    @property
    def chosen_on(self) -> str | None:
        """The split that chose something before any feature space was: of transfer networks, the epoch."""
        return self.provenance.get("chosen_on")


def of_cohorts(
    spaces: tuple[str, ...],
    cohorts: Sequence[Cohort],
    clips: Sequence[Mapping[str, NDArray[np.intp]]],
    columns: Columns,
    provenance: Mapping[str, Any],
    diagnostics: Mapping[str, Any],
) -> Index:
    """The index of predictions of one cohort or of several; clips: of each, and what else an index has."""
    joint: dict[str, NDArray[np.intp]] = {}
    for own in clips:
        joint |= {name: np.union1d(joint[name], rows) if name in joint else rows for name, rows in own.items()}
    several = {cohort.name: (cohort.subjects, own) for cohort, own in zip(cohorts, clips) if cohort.name}
    return Index(spaces, joint, columns, provenance, diagnostics, several)


def write_index(folder: Path, index: Index) -> None:
    content = {
        "spaces": index.spaces,
        "clips": dict(index.clips),
        "columns": index.columns.to_json(),
        "provenance": dict(index.provenance),
        "diagnostics": dict(index.diagnostics),
    }
    if index.by_cohort:
        content["by_cohort"] = {name: (subjects, dict(clips)) for name, (subjects, clips) in index.by_cohort.items()}
    io.write_json(folder / "index.json", content)


def read_index(folder: Path) -> Index:
    """Read what `write_index` wrote. Errors: FileError, where it is missing, broken or of another row."""
    file = folder / "index.json"
    content = io.read_json(file)
    try:
        found = Index(
            spaces=tuple(content["spaces"]),
            clips=_positions(content["clips"]),
            columns=Columns.from_json(content["columns"]),
            provenance=dict(content["provenance"]),
            diagnostics=dict(content["diagnostics"]),
            by_cohort={
                name: (tuple(subjects), _positions(clips))
                for name, (subjects, clips) in content.get("by_cohort", {}).items()
            },
        )
        name, _ = found.row.name, found.weights
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FileError(f"{file}: no index of a row's predictions ({told}); delete it and run `dvc repro`") from None
    if name != folder.name:
        raise FileError(f"{file}: it is of the row {name}, expected {folder.name}; delete it and run `dvc repro`")
    if not found.spaces or not found.columns.blocks:
        missing = "columns" if found.spaces else "feature spaces"
        raise FileError(f"{file}: it has no {missing}; delete it and run `dvc repro`")
    return found


def _positions(clips: Mapping[str, Any]) -> dict[str, NDArray[np.intp]]:
    return {name: np.array(rows, dtype=np.intp) for name, rows in clips.items()}


def mean_weights(weights: NDArray[np.floating], names: Sequence[str], columns: Columns) -> dict[str, Any]:
    """The diagnostics of mixing weights, `Index.mixing_weights`: means over subjects of the means over their voxels.

    weights: (n_voxels, n_names)
    """
    of_blocks = np.array([weights[where].mean(axis=0, dtype=np.float64) for where in columns.slices])
    rois = np.array([block.roi for block in columns.blocks])
    means = {roi: dict(zip(names, of_blocks[rois == roi].mean(axis=0).tolist())) for roi in columns.rois}
    return {WEIGHTS: means}


def write_weights(folder: Path, weights: NDArray[np.floating], names: Sequence[str]) -> None:
    """Write every voxel's mixing weights, (n_voxels, n_names), with the names of the spaces that they are of."""
    io.write_arrays(folder / f"{WEIGHTS}.npz", spaces=np.array(names), weights=weights.astype(np.float32, copy=False))


def write(folder: Path, space: str, split: str, predicted: NDArray[np.floating], cohort: str = "") -> None:
    io.write_array(folder / split / cohort / f"{space}.npy", predicted.astype(np.float32, copy=False))


def read(folder: Path, cohort: Scored, space: str, split: str) -> NDArray[np.float32]:
    """Predictions of one space for a cohort's clips of one split, (n_clips, n_voxels), memory-mapped."""
    shape = (len(cohort.clips[split]), cohort.columns.n_voxels)
    return io.read_array(folder / split / cohort.name / f"{space}.npy", shape, "n_clips, n_voxels")

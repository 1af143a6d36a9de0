"""Everything the report is made from, read from the run's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import insilico_truth as truth
from cinevox.measured import response_store
from cinevox.measured.datasets import OwnVertices, OwnVoxels, PlacedData, is_template, open_dataset
from cinevox.measured.responses import Columns
from cinevox.project import dvc_lock, identity, package_versions, plugins
from cinevox.project.params import Params, Row, Track, load
from cinevox.project.paths import Paths
from cinevox.scoring import claims
from cinevox.scoring import row_results as results
from cinevox.scoring.row_results import Result
from cinevox.statistics.metrics import noise_ceilings

SECTIONS = (
    "dataset", "simulation", "splits", "frames", "networks", "features", "reduction", "spaces", "ceiling",
    "regressors", "fits", "bases", "heads", "transfer", "experiments", "scores", "selection", "report",
)  # fmt: skip


@dataclass(frozen=True)
class TrackCeiling:
    """Reliability of every voxel of a track, split -> (n_voxels,), and the highest reachable r made from it.

    A split whose clips were shown once has no reliability, and None for a ceiling.

    intervals: split -> ROI -> low, high of the mean reliability of its voxels; none where they were not asked for
    """

    columns: Columns
    reliability: Mapping[str, NDArray[np.float64]]
    ceiling: Mapping[str, NDArray[np.float64] | None]
    n_repetitions: Mapping[str, int]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackTruth:
    """The simulation's truth about the same voxels.

    generators: (n_voxels,), what each voxel follows, "none" for noise alone
    reliability: split -> (n_voxels,)
    """

    generators: NDArray[np.str_]
    reliability: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class BrainMasks:
    """Masks of the whole-brain voxels: subject -> volume of booleans; `affine` to millimetres of `space` (`Grid`)."""

    masks: Mapping[str, NDArray[np.bool_]]
    affine: NDArray[np.float64]
    space: str = "MNI152"

    @property
    def is_common(self) -> bool:
        """Whether it is a template's space: a place is the same for all subjects, and where the template has it."""
        return is_template(self.space)


@dataclass(frozen=True)
class Sources:
    """All of it.

    in_silico: the data are simulated; `truth` is then known, by track
    paper_rows: those that the paper reports, in this run or not
    left_out: row of the parameters -> why its result is not shown: it is of other data
    changed: row that is shown -> what has changed since it was made, if anything has
    other_versions: versions of packages, in words -> the rows that they made, where others are installed now
    places: subject -> where its whole-brain columns lie, where subjects have no common grid (`anatomy`)
    """

    params: Params
    dataset: str
    licence: str
    in_silico: bool
    results: tuple[Result, ...]
    paper_rows: tuple[Row, ...]
    ceilings: Mapping[Track, TrackCeiling]
    truth: Mapping[Track, TrackTruth]
    anatomy: BrainMasks | None
    validation: Mapping[str, Any] | None
    checks: Mapping[str, Any] | None
    commit: identity.Commit | None
    params_hash: str
    data_hash: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, OwnVoxels | OwnVertices] = field(default_factory=dict)

    @property
    def stimuli(self) -> str:
        """The word for what subjects were shown, `clips` or `stimuli`."""
        return self.results[0].stimuli

    @property
    def beside_the_paper(self) -> bool:
        """Whether the page speaks of the paper and of the challenge (`claims.beside_the_paper`)."""
        return any(claims.beside_the_paper(result.outcome.origin) for result in self.results)

    def of_track(self, track: Track) -> tuple[Result, ...]:
        """The rows of a track, the highest score first."""
        rows = [result for result in self.results if result.row.track == track]
        return tuple(sorted(rows, key=lambda result: -_sortable(result.scores.score)))


def _sortable(score: float | None) -> float:
    return -np.inf if score is None else score


def read(paths: Paths, params: Params) -> Sources:
    """Read the files of every row of the parameters (never a glob: old rows' files may still lie there).

    params: has the sections SECTIONS

    Raises
    ------
    InputError
        Something is missing or broken, or no result is of the present data.
    """
    every = results.read(paths, params.experiments.rows)
    elsewhere = {result.name: claims.other_data(result.outcome.origin, params.dataset, result.row) for result in every}
    left_out = {name: why for name, why in elsewhere.items() if why}
    kept = (result for result in every if result.name not in left_out)
    found = tuple(result.in_order(params.dataset.track_rois(result.row.track)) for result in kept)
    if not found:
        raise InputError(
            f"no result is of the data in {paths.params}: {'; '.join(set(left_out.values()))}; `dvc repro`"
        )
    changed = dvc_lock.other_parameters(paths, identity.read_lock(paths), {r.name: r.row for r in found})
    tracks = tuple(dict.fromkeys(result.row.track for result in found))
    study = response_store.read(paths.conversion("train")).study
    ceilings = {track: _ceiling(paths, params, track) for track in tracks}
    return Sources(
        params=params,
        dataset=study.title,
        licence=plugins.load("datasets", params.dataset.name).at(params.dataset.folder).licence,
        in_silico=study.in_silico,
        results=found,
        paper_rows=_paper_rows(paths, params),
        ceilings=ceilings,
        truth={track: _truth(params, ceilings[track]) for track in tracks}
        if truth.is_simulated(params.dataset.folder)
        else {},
        anatomy=_anatomy(paths, params) if "full" in tracks else None,
        places=_places(params) if "full" in tracks else {},
        validation=_found(paths.validation / "summary.json"),
        checks=_found(paths.checks / "summary.json"),
        commit=identity.commit(paths.root),
        params_hash=identity.params_hash(params, SECTIONS),
        data_hash=identity.data_hash(identity.read_lock(paths), params.dataset.folder),
        left_out=left_out,
        changed={name: what for name, what in changed.items() if what},
        other_versions=package_versions.made_by_others(
            {result.name: result.selection_folder for result in found}, package_versions.installed()
        ),
    )


def _found(summary: Path) -> Mapping[str, Any] | None:
    return io.read_json(summary) if summary.is_file() else None


def _paper_rows(paths: Paths, params: Params) -> tuple[Row, ...]:
    """The rows that params.paper.yaml reports scores of; without that file those of this run."""
    experiments = load(paths.paper_params).experiments if paths.paper_params.is_file() else params.experiments
    return tuple(experiments.rows.values())


def _ceiling(paths: Paths, params: Params, track: Track) -> TrackCeiling:
    index = io.read_json(paths.ceiling(track) / "index.json")
    reliability = io.read_arrays(paths.ceiling(track) / "reliability.npz")
    settings = params.ceiling
    reachable = noise_ceilings(reliability, index["n_repetitions"], settings.policy, settings.min_reliability)
    intervals = {
        split: {roi: (found["low"], found["high"]) for roi, found in means["rois"].items() if found["low"] is not None}
        for split, means in index.get("means", {}).items()
    }
    return TrackCeiling(Columns.from_json(index["columns"]), reliability, reachable, index["n_repetitions"], intervals)


def _truth(params: Params, ceiling: TrackCeiling) -> TrackTruth:
    parts = [truth.read_truth(params.dataset.folder, b.subject, b.roi) for b in ceiling.columns.blocks]
    known = {
        "validation": np.concatenate([part.reliability_train for part in parts]),
        "test": np.concatenate([part.reliability_test for part in parts]),
    }
    return TrackTruth(np.concatenate([part.generators for part in parts]), {s: known[s] for s in ceiling.reliability})


def _anatomy(paths: Paths, params: Params) -> BrainMasks | None:
    grid = open_dataset(params.dataset).grid
    if grid is None:
        return None
    responses = response_store.read(paths.conversion("train"))
    masks = {subject: responses.voxel_mask(subject) for subject in params.dataset.subjects}
    known = {subject: mask for subject, mask in masks.items() if mask is not None}
    if known.keys() != masks.keys():
        return None
    return BrainMasks(known, np.array(grid.affine), grid.space)


def _places(params: Params) -> dict[str, OwnVoxels | OwnVertices]:
    dataset = open_dataset(params.dataset)
    if dataset.grid is not None or not isinstance(dataset, PlacedData):
        return {}
    found = {subject: dataset.own_places(subject) for subject in params.dataset.subjects}
    return {subject: places for subject, places in found.items() if places is not None}

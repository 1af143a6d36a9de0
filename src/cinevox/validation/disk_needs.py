"""Sizes: the bytes that a run will write, known before it starts.

Only large outputs that are not there yet are counted, each by the shape that it will have, so a run needs at least
this much. Scores, models, reports and old versions in DVC's cache come on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from cinevox.files import disk
from cinevox.fitting import feature_spaces
from cinevox.measured.datasets import StudyData, blocks_of, is_trial_data, open_dataset, stimuli_of
from cinevox.project.params import EnsembleRow, JointRow, Params, Track, VoxelwiseRow
from cinevox.project.paths import Paths
from cinevox.simulation.voxels import voxel_counts
from cinevox.stimuli.networks import spec_of
from cinevox.validation import network_checks

if TYPE_CHECKING:
    from cinevox.stimuli.features import Extraction

FLOAT32 = 4


@dataclass(frozen=True)
class StudySize:
    """Numbers that sizes depend on; n_voxels: of each track, all subjects and ROIs together."""

    n_train: int
    n_test: int
    n_repetitions: int
    n_voxels: Mapping[Track, int]


def require_room(paths: Paths, params: Params) -> str:
    """Require enough room on the disk, and say in a sentence what a run will write and what is free.

    Raises
    ------
    DiskFullError
        The disk of data/ has not enough room.
    InputError
        The data set can't be opened, or frames do not fit a network.
    """
    wanted = needed(paths, params, study(paths, params))
    total, there = sum(wanted.values()), disk.free(paths.data)
    parts = ", ".join(f"{step} {disk.size(n_bytes)}" for step, n_bytes in wanted.items() if n_bytes)
    if total > there:
        raise disk.DiskFullError(
            f"{paths.data}: the run writes at least {disk.size(total)} ({parts}), and {disk.size(there)} are free; "
            f"{disk.CURE}, or ask for fewer networks, frames or rows"
        )
    return f"at least {disk.size(total)} to write, {disk.size(there)} free" if total else "nothing large to write"


def study(paths: Paths, params: Params) -> StudySize:
    """The numbers of the data set that params.dataset names, or of the one that will be simulated.

    One response file is opened; how many voxels the others have follows from their size.
    """
    wanted, simulation = params.dataset, params.simulation
    if wanted.folder in map(paths.simulation, simulation.datasets):
        counts = [voxel_counts(simulation, subject) for subject in range(simulation.n_subjects)]
        sizes = {
            track: sum(n[roi] for n in counts for roi in wanted.track_rois(track) if roi in n)
            for track in wanted.tracks
        }
        return StudySize(simulation.n_train, simulation.n_test, simulation.n_train_repetitions, sizes)
    dataset = open_dataset(wanted)
    if is_trial_data(dataset):
        shapes = {
            track: [dataset.shape("train", track, *block) for block in blocks_of(dataset, wanted, track)]
            for track in wanted.tracks
        }
        sizes = {track: sum(n_voxels for *_, n_voxels in found) for track, found in shapes.items()}
        n_repetitions = max(shape[1] for found in shapes.values() for shape in found)
        return StudySize(dataset.n_train, len(dataset.stimuli) - dataset.n_train, n_repetitions, sizes)
    first = (wanted.tracks[0], *blocks_of(dataset, wanted, wanted.tracks[0])[0])
    n_train, n_repetitions, n_voxels = dataset.arrays("train", *first)["train"].shape
    bytes_of_a_voxel = dataset.file("train", *first).stat().st_size / n_voxels
    sizes = {track: round(_stored(dataset, params, track) / bytes_of_a_voxel) for track in wanted.tracks}
    return StudySize(n_train, len(stimuli_of(dataset)) - n_train, n_repetitions, sizes)


def _stored(dataset: StudyData, params: Params, track: Track) -> int:
    """Bytes of the files with a track's training responses; those that are missing are told by validation."""
    files = (dataset.file("train", track, *block) for block in blocks_of(dataset, params.dataset, track))
    return sum(file.stat().st_size for file in files if file.is_file())


def needed(paths: Paths, params: Params, study: StudySize) -> dict[str, int]:
    """Step -> bytes of its outputs that are not there."""
    n_clips = study.n_train + study.n_test
    pixels = 3 * params.frames.size**2
    counts = [count for count in params.frames.counts if not paths.frames(count).is_dir()]
    trials = sum(study.n_voxels.values()) * study.n_train * (study.n_repetitions + 1) * FLOAT32
    return {
        "conversion": 0 if paths.conversion("train").is_dir() else trials,
        "frames": sum(n_clips * count * pixels for count in counts),
        "features": n_clips * sum(_features(paths, params)),
        "bases": n_clips * sum(_bases(paths, params)),
        "fits": sum(_fits(paths, params, study)),
    }


def _features(paths: Paths, params: Params) -> Iterator[int]:
    """Bytes of a clip in every network without features."""
    for name, network in params.networks.items():
        if not paths.features(name).is_dir():
            from cinevox.stimuli import brought_features

            if network.model == brought_features.MODEL:
                yield FLOAT32 * sum(brought_features.layers(name, network).values())
            else:
                yield _of_a_clip(network_checks.extraction(name, params))


def _bases(paths: Paths, params: Params) -> Iterator[int]:
    for name, base in params.bases.items():
        if not paths.base(name).is_dir():
            yield _of_a_clip(network_checks.base_extraction(base, params))


def _of_a_clip(extraction: Extraction) -> int:
    values = sum(prod(extraction.shape(layer, 1)) for layer in extraction.outputs)
    return values * np.dtype(extraction.settings.storage).itemsize


def _fits(paths: Paths, params: Params, study: StudySize) -> Iterator[int]:
    """Bytes of a row's predictions of validation and test clips from every feature space."""
    n_predicted = round(study.n_train * params.splits.validation_fraction) + study.n_test
    of_one = {track: n_predicted * n_voxels * FLOAT32 for track, n_voxels in study.n_voxels.items()}
    for name, row in params.experiments.rows.items():
        if paths.predictions(name).is_dir():
            continue
        if isinstance(row, EnsembleRow):
            yield of_one[row.track]
        elif isinstance(row, JointRow):
            candidates = feature_spaces.joint_candidates(params.spaces_of(row), row.together, row.fixed)
            yield len(candidates) * of_one[row.track]
        elif isinstance(row, VoxelwiseRow):
            layers = spec_of(row.network, params.networks[row.network]).layers
            yield len(feature_spaces.candidates(row.features, layers)) * of_one[row.track]

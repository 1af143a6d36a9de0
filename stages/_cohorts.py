"""Responses and predictions by cohort: of the subjects who saw the same stimuli, see `cinevox.measured.cohorts`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import _splits
from _inputs import Run
from cinevox.fitting import prediction_store
from cinevox.fitting.prediction_store import Index
from cinevox.measured import response_store
from cinevox.measured.cohorts import Cohort


def require_enough(run: Run, cohorts: Iterable[Cohort]) -> None:
    """Require that every cohort saw enough clips of each part, before any training."""
    for cohort in cohorts:
        cohort.partition(_splits.partitions(run)[0], run.params.splits.n_folds)


def measured(run: Run, index: Index, splits: Iterable[str]) -> dict[tuple[str, str], NDArray[np.float32]]:
    """(cohort, split) -> mean responses to the clips that a row predicts, (n_clips, n_voxels)."""
    train, test, track = run.responses("train"), run.responses("test"), index.row.track
    return {
        (cohort.name, split): response_store.measured(train, test, track, cohort.columns, split, cohort.clips[split])
        for cohort in index.cohorts
        for split in splits
    }


def predicted(folder: Path, index: Index, splits: Iterable[str]) -> dict[tuple[str, str, str], NDArray[np.float32]]:
    """(cohort, split, space) -> predictions of a row, (n_clips, n_voxels), memory-mapped."""
    return {
        (cohort.name, split, space): prediction_store.read(folder, cohort, space, split)
        for cohort in index.cohorts
        for split in splits
        for space in index.spaces
    }

"""Splits of this run's clips, by params.splits; not in `_cli`, so that no frame depends on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from _cli import Run
from cinevox.files import io
from cinevox.statistics import splits


def groups(run: Run) -> NDArray[np.intp] | None:
    """Number the group of each training clip, which no split divides; None where every clip is by itself."""
    found = io.read_json(run.paths.validation / "clips.json").get("together")
    return None if found is None else np.array(found, dtype=np.intp)


def split(run: Run) -> splits.Split:
    """The clips that train, validate and test."""
    return splits.split(*run.n_clips(), run.params.splits, groups(run))


def partitions(run: Run) -> tuple[splits.Partition, ...]:
    """Every fit that the splits ask for."""
    return splits.partitions(split(run), run.params.splits, groups(run))

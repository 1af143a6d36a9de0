"""The trials of one subject, understood: the stimulus of each, the units, and blocks of betas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.own_study.arrays import Betas

BLOCK = 2**26  # values of betas in memory at a time


@dataclass(frozen=True)
class Responses:
    """The trials of one subject.

    stimuli: of each trial; sizes: ROI -> number of voxels
    units: a line for each voxel, as units.tsv has it; affine, shape: of the volume, None where nothing says it
    inside: of a volume the voxels that are units; parts: of arrays the ROIs' arrays, in the order of the units
    rows: of parts with repetitions, which (stimulus, repetition) each trial is, flattened
    """

    stimuli: tuple[str, ...]
    sessions: tuple[str, ...]
    runs: tuple[str, ...] | None
    units: pd.DataFrame
    sizes: dict[str, int]
    parts: tuple[Betas, ...]
    rows: NDArray[np.intp]
    inside: NDArray[np.bool_] | None = None
    affine: NDArray[np.float64] | None = None
    sources: tuple[Path, ...] = field(default=())

    @property
    def n_units(self) -> int:
        return len(self.units)

    @property
    def n_blocks(self) -> int:
        return -(-len(self.stimuli) // self._step)

    @property
    def _step(self) -> int:
        width = int(np.prod(self.parts[0].shape[:-1])) if self.inside is not None else self.n_units
        return max(1, BLOCK // max(1, width))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the trials in order, (n_trials, n_units) each."""
        for start in range(0, len(self.stimuli), self._step):
            stop = min(start + self._step, len(self.stimuli))
            if self.inside is not None:
                yield self.parts[0].trials(start, stop)[:, self.inside].astype(np.float32)
                continue
            rows = self.rows[start:stop]
            yield np.concatenate([flat(part)[rows] for part in self.parts], axis=1).astype(np.float32)


def flat(betas: Betas) -> NDArray:
    """Rows of an array with repetitions one after another, (n_stimuli x n_repetitions, n_voxels)."""
    values = betas.values[()] if not isinstance(betas.values, np.ndarray) else betas.values
    return np.asarray(values).reshape(-1, betas.shape[-1])


def counted(stimuli: Sequence[str]) -> list[int]:
    """The number of each trial among those of its stimulus, from 1 on."""
    seen: Counter[str] = Counter()
    numbers = []
    for key in stimuli:
        seen[key] += 1
        numbers.append(seen[key])
    return numbers

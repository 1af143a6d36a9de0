"""Responses: what the voxels of one ROI of one subject did, and how many such blocks stand side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cinevox.statistics.trials import present

Part = Literal["train", "test"]

UNIT_VOXELS = 1024  # at once: bounds the memory


@dataclass(frozen=True)
class Responses:
    """Single-trial responses of one ROI of one subject.

    values: float32, (n_stimuli, n_repetitions, n_voxels); a missing trial is NaN in every voxel
    """

    values: NDArray[np.floating]
    subject: str
    roi: str

    def __post_init__(self) -> None:
        if self.values.ndim != 3:
            raise ValueError(
                f"{self.subject} {self.roi}: responses of shape {self.values.shape}, "
                "expected (n_stimuli, n_repetitions, n_voxels)"
            )

    @property
    def n_voxels(self) -> int:
        return self.values.shape[2]

    def mean(self, dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
        """Mean over the repetitions that were measured, (n_stimuli, n_voxels); NaN of a stimulus without any.

        dtype: of the means; sums are in float64
        """
        there = present(self.values)
        if there.all():
            return self.values.mean(axis=1, dtype=np.float64).astype(dtype)
        total = np.where(there[:, :, None], self.values, 0).sum(axis=1, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return (total / there.sum(axis=1)[:, None]).astype(dtype)


@dataclass(frozen=True)
class Block:
    """The voxels of one ROI of one subject, as consecutive columns of a matrix that holds many."""

    subject: str
    roi: str
    n_voxels: int


@dataclass(frozen=True)
class Columns:
    """The block that each column of a (n_stimuli, n_voxels) matrix belongs to."""

    blocks: tuple[Block, ...]

    @cached_property
    def n_voxels(self) -> int:
        return sum(block.n_voxels for block in self.blocks)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        stops = tuple(accumulate(block.n_voxels for block in self.blocks))
        return tuple(slice(stop - block.n_voxels, stop) for block, stop in zip(self.blocks, stops))

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(block.subject for block in self.blocks))

    @property
    def rois(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(block.roi for block in self.blocks))

    @property
    def by_subject(self) -> list[tuple[Columns, slice]]:
        """Each subject's own columns, which stand together, and where they do."""
        found = []
        for _, group in groupby(zip(self.blocks, self.slices), key=lambda pair: pair[0].subject):
            blocks, slices = zip(*group)
            found.append((Columns(blocks), slice(slices[0].start, slices[-1].stop)))
        return found

    def of_rois(self, rois: Collection[str]) -> tuple[Columns, NDArray[np.bool_]]:
        """The blocks of some ROIs, and which of the columns are theirs, (n_voxels,); all where no ROI is named."""
        kept = [not rois or block.roi in rois for block in self.blocks]
        own = tuple(block for block, inside in zip(self.blocks, kept) if inside)
        return Columns(own), np.repeat(kept, [block.n_voxels for block in self.blocks])

    def units(self, responses: NDArray[np.floating], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """`unit` of each column's block over some rows of responses (n_stimuli, n_voxels); (n_voxels,)."""
        found = np.ones(self.n_voxels)
        for where in self.slices:
            found[where] = unit(responses[rows, where])
        return found

    def to_json(self) -> list[dict[str, str | int]]:
        return [vars(block) for block in self.blocks]

    @classmethod
    def from_json(cls, content: Iterable[dict]) -> Columns:
        return cls(tuple(Block(**block) for block in content))


def unit(responses: NDArray[np.floating]) -> float:
    """The number that stands for the units of responses: the median of the voxels' standard deviations.

    Voxels of one value don't count, nor do those with NaN; without others it is 1. It is a median, as one voxel of wild
    responses would decide a mean of variances for all.

    responses: (n_stimuli, n_voxels), of the stimuli that a model is fitted to
    """
    spreads = [np.empty(0)]
    for start in range(0, responses.shape[1], UNIT_VOXELS):
        part = responses[:, start : start + UNIT_VOXELS]
        low, high = part.min(axis=0), part.max(axis=0)
        varies = (high > low) & np.isfinite(low) & np.isfinite(high)
        spreads.append(part[:, varies].std(axis=0, dtype=np.float64))
    known = np.concatenate(spreads)
    return float(np.median(known)) if known.size else 1.0


def side_by_side(means: Iterable[tuple[str, str, NDArray[np.float32]]]) -> tuple[NDArray[np.float32], Columns]:
    """Mean responses of many blocks as one matrix (n_stimuli, n_voxels), and whose column is whose.

    means: subject, ROI, (n_stimuli, n_voxels)

    Raises
    ------
    ValueError
        They have different numbers of stimuli.
    """
    parts = list(means)
    if len({len(mean) for _, _, mean in parts}) > 1:
        listed = ", ".join(f"{subject} {roi} {len(mean)}" for subject, roi, mean in parts)
        raise ValueError(f"responses to different numbers of stimuli: {listed}")
    columns = Columns(tuple(Block(subject, roi, mean.shape[1]) for subject, roi, mean in parts))
    matrix = np.empty((len(parts[0][2]), columns.n_voxels), dtype=np.float32)
    for (_, _, mean), where in zip(parts, columns.slices):
        matrix[:, where] = mean
    return matrix, columns

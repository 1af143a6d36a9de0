"""Training problems: the inputs and targets of transfer networks, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cinevox.errors import InputError
from cinevox.measured.responses import Block
from cinevox.project.params import Base, Head, Network, Transfer
from cinevox.statistics.metrics import split_half_reliability
from cinevox.statistics.splits import Split
from cinevox.statistics.spreads import MIN_SHARE, least_spread
from cinevox.stimuli import bases
from cinevox.stimuli.networks._extraction import find_device

Floats = NDArray[np.floating]


class TransferError(InputError):
    """Training came to numbers that are not finite, or there is too little to train or validate on."""


@dataclass(frozen=True)
class TrainingProblem:
    """A training problem: everything that the networks of a row share.

    row: its name; sidecar: what the base's activations are, from `bases`
    activations: (n_clips, n_frames, n_features) of the frozen blocks, best memory-mapped
    map_shape: (channels, height, width) that n_features are
    scaling: mean and standard deviation of each activation over training clips and frames, None to leave it as it is
    tuned: the blocks of the base to train too, with their weights; None where all are frozen
    device: a torch device that is there
    """

    row: str
    sidecar: Mapping[str, Any]
    activations: Floats
    map_shape: tuple[int, ...]
    tuned: nn.Module | None
    scaling: tuple[torch.Tensor, torch.Tensor] | None
    split: Split
    head: Head
    settings: Transfer
    device: str


def reliability(trials: Iterable[Floats], settings: Transfer) -> NDArray[np.float64] | None:
    """Reliability of every voxel, if training weighs voxels by it. trials: of each block, as for `Responses`"""
    if settings.voxel_weights != "reliability":
        return None
    return np.concatenate([split_half_reliability(values) for values in trials])


def prepare(
    row: str,
    base: Base,
    network: Network,
    sidecar: Mapping[str, Any],
    activations: Floats,
    split: Split,
    head: Head,
    settings: Transfer,
) -> TrainingProblem:
    """Find the device, load the blocks that are trained too, and fit the scaling on the training clips.

    sidecar: base.json of the base, whose activations are (n_clips, n_frames, n_features)

    Raises
    ------
    InputError
        The device is not there, or the weights are not to be had.
    """
    return TrainingProblem(
        row, sidecar, activations, tuple(sidecar["map_shape"]), bases.tuned_blocks(base, network),
        scaling(activations, split.train) if head.standardize else None,
        split, head, settings, find_device(settings.device),
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One ROI of one subject, at its best epoch.

    predicted: split -> float32 (n_clips, n_voxels), for validation and test clips; in standard deviations of the
        training responses, though correlation as the loss leaves their scale free
    curve: one entry per epoch: `loss` and `train_correlation`, means over the epoch's batches while training, and
        `validation_correlation`; correlations are means over voxels
    best_epoch: from 1; the highest validation correlation, the first of equals
    state: the network's weights
    """

    block: Block
    predicted: dict[str, NDArray[np.float32]]
    curve: tuple[dict[str, float], ...]
    best_epoch: int
    state: dict[str, torch.Tensor]

    @property
    def name(self) -> str:
        return f"{self.block.subject}-{self.block.roi}"

    @property
    def score(self) -> float:
        """Validation correlation of the best epoch."""
        return self.curve[self.best_epoch - 1]["validation_correlation"]


def scaling(activations: Floats, rows: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each activation over these clips and their frames, 2 x (n_features,), float32.

    A few clips at a time, in float64. An activation that varies by less than MIN_SHARE of the base's median (see
    `spreads.least_spread`) gets an infinite standard deviation, so that it is 0 in every clip: training hardly changes
    the weights that were drawn for it, and a clip in which it is active would be predicted by those.
    """
    total, square, n = 0.0, 0.0, len(rows) * activations.shape[1]
    shift = activations[rows[0], 0].astype(np.float64)
    for start in range(0, len(rows), 16):
        part = activations[rows[start : start + 16]].astype(np.float64) - shift
        total, square = total + part.sum(axis=(0, 1)), square + np.einsum("cfn,cfn->n", part, part)
    mean = total / n
    variance = np.maximum(square / n - mean**2, 0)
    spread = np.sqrt(variance)
    varies = variance > 1e-12 * (mean + shift) ** 2
    spread[~varies | (spread < least_spread(spread[varies], MIN_SHARE))] = np.inf
    return torch.from_numpy((mean + shift).astype(np.float32)), torch.from_numpy(spread.astype(np.float32))


def batches(rows: NDArray[np.intp], size: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """The rows in random order, `size` at a time, each batch sorted; one left over joins the last batch."""
    order = rng.permutation(rows)
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    return [np.sort(part) for part in np.split(order, starts[1:])]

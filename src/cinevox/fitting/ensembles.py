"""Ensembles: the predictions of several rows as those of one, weighted for every voxel or pasted into each other.

Members predict in different units: regressors in those of the responses, transfer networks, whose loss is a
correlation, in any. So each member's predictions are scaled first, by one number for every ROI of every subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.fitting.regressors._solvers.stacking import (
    combined,
    residual_products,
    simplex_weights,
    with_block_means,
)
from cinevox.measured.responses import Columns
from cinevox.measured.voxel_positions import fingerprints, locate

Floats = NDArray[np.floating]

# In simulated ROIs of three spaces, with 24 clips: r .417 where voxels mix them, against .355 without a prior and .418
# with shares of the ROI alone; .450, .446 and .418 where each voxel has one. With 300 clips they are nearly equal.
PRIOR = 100.0


@dataclass(frozen=True)
class Combination:
    """prediction_v = offset_v + sum_m share_vm scale_vm p_vm, of the members' predictions p_m.

    shares: (n_voxels, n_members), on the simplex; scales: (n_voxels, n_members); offset: (n_voxels,)
    """

    shares: NDArray[np.float64]
    scales: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, predictions: Sequence[Floats]) -> NDArray[np.float32]:
        """predictions: of each member, (n_clips, n_voxels)."""
        return combined(predictions, self.shares * self.scales) + self.offset.astype(np.float32)


@dataclass(frozen=True)
class Pasted:
    """The predictions of the first member, with those of the second where it predicts the same voxel.

    source: (n_voxels of the first), the column of the second; -1 where it has none
    """

    source: NDArray[np.intp]

    def __call__(self, predictions: Sequence[Floats]) -> NDArray[np.float32]:
        """predictions: of both members, (n_clips, n_voxels) each."""
        whole, part = predictions
        found = np.array(whole, dtype=np.float32)
        there = self.source >= 0
        found[:, there] = part[:, self.source[there]]
        return found


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Combination | Pasted:
    """The one whose fields these are."""
    return Pasted(**arrays) if "source" in arrays else Combination(**arrays)


def side_by_side(parts: Sequence[Combination | Pasted], starts: Sequence[int]) -> Combination | Pasted:
    """The combination of all voxels, from those of each cohort.

    starts: the first column of each cohort among those of the last member
    """
    pasted = [
        part.source + np.where(part.source < 0, 0, at) for part, at in zip(parts, starts) if isinstance(part, Pasted)
    ]
    if pasted:
        return Pasted(np.concatenate(pasted))
    combined = [part for part in parts if isinstance(part, Combination)]
    return Combination(*(np.concatenate([getattr(part, f.name) for part in combined]) for f in fields(Combination)))


def mean(predicted: Sequence[Floats], columns: Columns) -> Combination:
    """The mean of the members' predictions, each brought to their mean spread.

    With s_mb the root of the mean variance of member m's predictions of the voxels of block b (an ROI of a subject),
    and s_b the mean of those over the members whose predictions vary there,

        scale_mb = s_b / s_mb, share = 1 / n_members,

    and the offset keeps the mean over members of their mean predictions. A voxel that a member predicts with little
    confidence, by a small spread beside the ROI's others, counts as little in it as it did in the member.

    predicted: of each member, (n_clips, n_voxels), of clips that are in no fit; no response to them is looked at
    """
    return _combination(predicted, _even_scales(predicted, columns), np.full(len(predicted), 1 / len(predicted)))


def stack(predicted: Sequence[Floats], measured: Floats, columns: Columns) -> Combination:
    """The members' predictions weighted for every voxel, by weights of the smallest squared error.

    Predictions and responses are centred. The scale of a member is the least-squares slope of the responses on its
    predictions, over all voxels v of a block (an ROI of a subject) together,

        scale_mb = max(0, sum_v cov(y_v, p_mv) / sum_v var(p_mv)),

    or that of `mean` in a block where no member has a positive one. The shares are

        argmin w' T_v w over w >= 0, sum w = 1,

    T_v of the members' residuals by `stacking.with_block_means`: a voxel's own errors on a few clips say little, so
    those of its block stand beside them, as if of PRIOR clips.

    predicted: of each member, (n_clips, n_voxels), of clips that are in no fit; measured: responses to them. Scores on
    these clips flatter the combination.

    Raises
    ------
    InputError
        Responses or predictions are not finite.
    """
    scales = _slopes(predicted, measured, columns)
    scales = np.where((scales > 0).any(axis=0), scales, _even_scales(predicted, columns))
    centred = [(p - p.mean(axis=0)) * scale.astype(np.float32) for p, scale in zip(predicted, scales)]
    products = residual_products(measured - measured.mean(axis=0), centred)
    shares = simplex_weights(with_block_means(products, columns.slices, worth=PRIOR / len(measured)))
    return _combination(predicted, scales, shares, measured.mean(axis=0, dtype=np.float64))


def paste(whole: Columns, part: Columns, trials: Mapping[tuple[str, str], Floats]) -> Pasted:
    """Locate the voxels of a mini-track row in the whole brain, where their responses are the same.

    A voxel of several ROIs is taken from the first of them.

    trials: (subject, ROI) -> responses, (n_stimuli, n_repetitions, n_voxels), of all blocks of both

    Raises
    ------
    InputError
        The rows are of different subjects, or no voxel of a subject is found.
    """
    if whole.subjects != part.subjects:
        raise InputError(
            f"the rows are of different subjects: {' '.join(whole.subjects)} and {' '.join(part.subjects)}; "
            "run `dvc repro` for both"
        )
    source, nowhere = np.full(whole.n_voxels, -1, dtype=np.intp), []
    for (own, inside), (parts, columns) in zip(whole.by_subject, part.by_subject):
        (brain,) = own.blocks
        among = fingerprints(trials[brain.subject, brain.roi])
        for block, where in reversed([*zip(parts.blocks, parts.slices)]):  # so that the first one stays
            found = locate(fingerprints(trials[block.subject, block.roi]), among)
            known = found >= 0
            source[inside.start + found[known]] = columns.start + where.start + np.flatnonzero(known)
        nowhere += [] if (source[inside] >= 0).any() else [brain.subject]
    if nowhere:
        raise InputError(
            f"no voxel of an ROI of {', '.join(nowhere)} is found in the whole brain: none has the same responses in "
            "both tracks, so nothing says where to paste; take the row out of experiments.ensembles"
        )
    return Pasted(source)


def _combination(
    predicted: Sequence[Floats],
    scales: NDArray[np.float64],
    shares: NDArray[np.float64],
    level: NDArray[np.float64] | None = None,
) -> Combination:
    """level: the mean of the combined predictions, (n_voxels,); None: the mean of the members' means."""
    means = np.stack([p.mean(axis=0, dtype=np.float64) for p in predicted], axis=1)
    shares, scales = np.broadcast_to(shares, means.shape), np.ascontiguousarray(scales.T)
    found = (shares * scales * means).sum(axis=1)
    return Combination(shares, scales, (means.mean(axis=1) if level is None else level) - found)


def _even_scales(predicted: Sequence[Floats], columns: Columns) -> NDArray[np.float64]:
    """Scales that bring members to one spread in every block; (n_members, n_voxels)."""
    spreads = np.sqrt([_by_block(p.var(axis=0, dtype=np.float64), columns) for p in predicted])
    varies = spreads > 0
    common = spreads.sum(axis=0) / np.maximum(varies.sum(axis=0), 1)
    return np.divide(common, spreads, out=np.ones_like(spreads), where=varies)


def _slopes(predicted: Sequence[Floats], measured: Floats, columns: Columns) -> NDArray[np.float64]:
    """Least-squares slopes of the responses on each member's predictions, at least 0; (n_members, n_voxels)."""
    Y, found = measured - measured.mean(axis=0), []
    for p in predicted:
        product = _by_block(np.einsum("nv,nv->v", Y, p - p.mean(axis=0), dtype=np.float64), columns)
        square = len(p) * _by_block(p.var(axis=0, dtype=np.float64), columns)
        found.append(np.divide(product, square, out=np.zeros_like(product), where=square > 0))
    return np.maximum(found, 0.0)


def _by_block(values: Floats, columns: Columns) -> NDArray[np.float64]:
    """Mean over each block's voxels, at every one of them, (n_voxels,)."""
    found = np.empty(len(values))
    for where in columns.slices:
        found[where] = values[where].mean()
    return found

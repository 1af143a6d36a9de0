"""The losses that training minimises."""

from __future__ import annotations

import torch


def correlation_loss(
    predicted: torch.Tensor, measured: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """1 - sum_v w_v r_v / sum_v w_v, r_v Pearson's over the clips of a batch.

    A voxel whose measured or predicted responses do not vary over the batch has r = 0 and no gradient. In a batch of
    one clip that is every voxel: the loss is 1 and nothing is learned (`batches` never makes one).

    predicted, measured: (n_clips, n_voxels); weights: (n_voxels,), not negative, None for equal ones
    """
    p, m = predicted - predicted.mean(dim=0), measured - measured.mean(dim=0)
    pp, mm, pm = (p * p).sum(dim=0), (m * m).sum(dim=0), (p * m).sum(dim=0)
    still = (pp <= 1e-12 * (predicted * predicted).sum(dim=0)) | (mm <= 1e-12 * (measured * measured).sum(dim=0))
    scale = torch.sqrt(torch.where(still, 1.0, pp)) * torch.sqrt(torch.where(still, 1.0, mm))
    r = torch.where(still, 0.0, pm) / scale
    return 1 - (r.mean() if weights is None else (weights * r).sum() / weights.sum())

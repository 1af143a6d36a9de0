"""Transfer networks: one for each ROI of each subject, trained to predict all its voxels from the clip's frames.

The activations of the base's frozen blocks are given, so an epoch is only the heads' work. ROIs of one subject are
trained side by side on the same batches, which are read once; each has its own weights, optimiser and randomness, so
its numbers are those of training it alone, whatever the number of workers and however often a run was killed.
"""

from cinevox.fitting.transfer.checkpoints import keep_weights, read_checkpoint, write_checkpoint
from cinevox.fitting.transfer.curves import curves, diagnostics
from cinevox.fitting.transfer.epochs import predict
from cinevox.fitting.transfer.losses import correlation_loss
from cinevox.fitting.transfer.problem import (
    Trained,
    TrainingProblem,
    TransferError,
    batches,
    prepare,
    reliability,
    scaling,
)
from cinevox.fitting.transfer.training import groups, n_ticks, train

__all__ = [
    "Trained",
    "TrainingProblem",
    "TransferError",
    "batches",
    "correlation_loss",
    "curves",
    "diagnostics",
    "groups",
    "keep_weights",
    "n_ticks",
    "predict",
    "prepare",
    "read_checkpoint",
    "reliability",
    "scaling",
    "train",
    "write_checkpoint",
]  # fmt: skip

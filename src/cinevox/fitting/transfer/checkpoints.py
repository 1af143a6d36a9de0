"""Trained weights in files of tensors and plain values."""

from __future__ import annotations

from pathlib import Path

import torch

from cinevox.files import io
from cinevox.fitting.transfer.heads import RoiNetwork
from cinevox.fitting.transfer.problem import Trained, TrainingProblem, TransferError
from cinevox.fitting.transfer.training import replace_file
from cinevox.project.params import Base, Head
from cinevox.stimuli import bases
from cinevox.stimuli.networks._checkpoints import why_unreadable


def keep_weights(folder: Path, base: Base, problem: TrainingProblem, found: Trained, best: float) -> float:
    """Write a network's weights to `<subject>-<roi>.pt` if the settings ask for it; of the best one, drop the others.

    best: the highest validation correlation before; returns the highest so far
    """
    policy = problem.settings.keep_weights
    if policy == "all" or (policy == "best" and found.score > best):
        for other in folder.glob("*.pt") if policy == "best" else ():
            other.unlink()
        write_checkpoint(folder / f"{found.name}.pt", base, problem, found)
    return max(best, found.score)


def write_checkpoint(path: Path, base: Base, problem: TrainingProblem, trained: Trained) -> None:
    """A network at its best epoch, as tensors and plain values: `torch.load(path, weights_only=True)` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = trained.block
    content = {
        "row": problem.row,
        "base": base.model_dump(),
        "head": problem.head.model_dump(),
        "map_shape": problem.map_shape,
        "subject": block.subject,
        "roi": block.roi,
        "n_voxels": block.n_voxels,
        "best_epoch": trained.best_epoch,
        "state": trained.state,
    }
    replace_file(path, content)


def read_checkpoint(path: Path) -> RoiNetwork:
    """The network of a checkpoint, to be given the base's activations (n_clips, n_frames, n_features).

    Raises
    ------
    TransferError
        The file is no checkpoint of a transfer network; nothing in it was run.
    """
    try:
        io.refuse_bomb(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        base, head = Base.model_validate(found["base"]), Head.model_validate(found["head"])
        scaling = (found["state"]["mean"], found["state"]["spread"]) if head.standardize else None
        tuned = bases.tuned_blocks(base, None)
        network = RoiNetwork(tuple(found["map_shape"]), found["n_voxels"], head, tuned, scaling, 0)
        network.load_state_dict(found["state"])
    except Exception as error:  # a broken file raises almost anything
        raise TransferError(
            f"{path} is no checkpoint of a transfer network ({why_unreadable(error)}); nothing in it was run. "
            "Delete it and run `dvc repro`, or point to another file"
        ) from None
    return network.eval()

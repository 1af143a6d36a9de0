"""Networks in training: how one begins, an epoch of several side by side, and what comes out of one."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cinevox.fitting.transfer.heads import RoiNetwork
from cinevox.fitting.transfer.losses import correlation_loss
from cinevox.fitting.transfer.problem import Floats, TrainingProblem, TransferError, batches
from cinevox.measured.responses import Block
from cinevox.project.params import Transfer
from cinevox.statistics.metrics import correlation_score


@dataclass
class Member:
    """A network in training."""

    block: Block
    measured: torch.Tensor  # (n_train_clips, n_voxels), standardised on the training clips
    weights: torch.Tensor | None
    network: RoiNetwork
    optimizer: torch.optim.Optimizer
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)

    def is_done(self, settings: Transfer) -> bool:
        waited = len(self.curve) - self.best_epoch
        return len(self.curve) == settings.n_epochs or (settings.patience is not None and waited >= settings.patience)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.network.head.between.generator.get_state(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "curve": self.curve,
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.network.head.between.generator.set_state(state["random"].cpu())
        self.best, self.best_epoch, self.curve = state["best"], state["best_epoch"], list(state["curve"])


def begin(problem: TrainingProblem, block: Block, measured: Floats, weights: Floats | None) -> Member:
    """A network as it is before the first epoch, drawn with a seed of its own.

    measured: (n_train_clips, n_voxels), of this block; weights: (n_voxels,), not negative, None for equal ones
    """
    fitted = measured[problem.split.train].astype(np.float64)
    spread = fitted.std(axis=0)
    target = (measured - fitted.mean(axis=0)) / np.where(spread > 0, spread, 1)
    seed = zlib.crc32(f"{block.subject} {block.roi} {problem.settings.seed}".encode())
    tuned = copy.deepcopy(problem.tuned)
    network = RoiNetwork(problem.map_shape, block.n_voxels, problem.head, tuned, problem.scaling, seed, problem.device)
    usable = weights is not None and weights.any()
    return Member(
        block,
        torch.from_numpy(target.astype(np.float32)).to(problem.device),
        torch.from_numpy(np.asarray(weights, dtype=np.float32)).to(problem.device) if usable else None,
        network,
        torch.optim.Adam(network.parameters(), lr=problem.settings.learning_rate, fused=problem.device != "mps"),
    )


def run_epoch(problem: TrainingProblem, members: Sequence[Member], epoch: int) -> None:
    """One pass over the training clips, then the validation correlation; every member's curve grows by an entry.

    Raises
    ------
    TransferError
        A loss is not finite; names subject, ROI and epoch.
    """
    settings = problem.settings
    rng = np.random.default_rng([settings.seed, epoch])
    losses: list[list[tuple[float, float]]] = [[] for _ in members]
    for rows in batches(problem.split.train, settings.batch_clips, rng):
        values = _read(problem, rows)
        for member, seen in zip(members, losses):
            seen.append(_step(problem, member, values, rows))
    for member, seen in zip(members, losses):
        loss, correlation = (float(value) for value in np.mean(seen, axis=0))
        if not math.isfinite(loss):
            raise TransferError(
                f"{problem.row}, {member.block.subject} {member.block.roi}: the loss is {loss} in epoch {epoch + 1}; "
                f"lower transfer.learning_rate ({settings.learning_rate:g}), or set transfer.compute to float32"
            )
        measured = member.measured[problem.split.validation].cpu().numpy()
        predicted = _predict(problem, member.network, problem.split.validation)
        score = float(correlation_score(measured, predicted).mean())
        member.curve.append({"loss": loss, "train_correlation": correlation, "validation_correlation": score})
        if not member.best or score > member.curve[member.best_epoch - 1]["validation_correlation"]:
            member.best = {name: value.clone() for name, value in member.network.state_dict().items()}
            member.best_epoch = len(member.curve)


def _step(
    problem: TrainingProblem, member: Member, values: torch.Tensor, rows: NDArray[np.intp]
) -> tuple[float, float]:
    """One step of one network; its loss, and the mean correlation of the batch."""
    member.network.train()
    member.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(problem.device, torch.bfloat16, enabled=problem.settings.compute == "bfloat16"):
        predicted = member.network(values).float()
    measured = member.measured[rows]
    loss = correlation_loss(predicted, measured, member.weights)
    correlation = 1 - (loss if member.weights is None else correlation_loss(predicted.detach(), measured)).item()
    if problem.settings.mse_weight > 0:
        error = ((predicted - measured) ** 2).mean(dim=0)
        weights = torch.ones_like(error) if member.weights is None else member.weights
        loss = loss + problem.settings.mse_weight * (weights * error).sum() / weights.sum()
    loss.backward()
    member.optimizer.step()
    return loss.item(), correlation


def _predict(problem: TrainingProblem, network: RoiNetwork, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    size, settings = problem.settings.batch_clips, problem.settings
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return np.concatenate(
        [predict(network, problem.activations[group], settings.compute, problem.device) for group in groups]
    )


def predict(network: RoiNetwork, activations: Floats, compute: str, device: str) -> NDArray[np.float32]:
    """Responses of one ROI, (n_clips, n_voxels), from a base's activations (n_clips, n_frames, n_features).

    compute: float32 or bfloat16; device: where the network is
    """
    network.eval()
    values = torch.from_numpy(np.asarray(activations)).to(device).float()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=compute == "bfloat16"):
        predicted: NDArray[np.float32] = network(values).float().cpu().numpy()
    return predicted


def _read(problem: TrainingProblem, rows: NDArray[np.intp]) -> torch.Tensor:
    return torch.from_numpy(problem.activations[rows]).to(problem.device).float()


def outcome(problem: TrainingProblem, member: Member) -> dict[str, Any]:
    """A network at its best epoch, as tensors and plain values."""
    member.network.load_state_dict(member.best)
    names = [name for name in ("validation", "test") if len(problem.split[name])]
    predicted = {name: _predict(problem, member.network, problem.split[name]) for name in names}
    return {
        "predicted": {name: torch.from_numpy(values) for name, values in predicted.items()},
        "curve": member.curve,
        "best_epoch": member.best_epoch,
        "state": {name: value.cpu() for name, value in member.best.items()},
    }

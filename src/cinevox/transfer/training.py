"""Training, group by group, from wherever the last run was stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.heads import RoiNetwork
from cinevox.metrics import correlation_score
from cinevox.networks._activations import one_thread
from cinevox.params import Transfer
from cinevox.responses import Block, Columns
from cinevox.transfer.losses import correlation_loss
from cinevox.transfer.problem import Floats, Problem, Trained, TransferError, batches


def train(
    problem: Problem,
    measured: Floats,
    reliability: Floats | None,
    columns: Columns,
    unfinished: Path,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Trained]:
    """Train every block's network on the training clips; yields them in the order of the blocks.

    Workers take a subject's next `rois_at_once` ROIs in turn, one CPU thread each; on a GPU one group after another.
    After each epoch a group's state goes to a file under `unfinished`, from which a killed run goes on: four times
    the weights of its networks while it trains, the weights when it is done, nothing when the row is done.

    measured: (n_train_clips, n_voxels), mean responses to the training set's clips (training and validation)
    reliability: (n_voxels,) of the training clips' responses, with `voxel_weights: reliability`; negative counts as 0
    tick: called after every epoch of every group, from any thread; `n_ticks` times in all

    Raises
    ------
    TransferError
        A loss is not finite; names subject, ROI and epoch. Other groups' epochs stay and are not done again.
    """
    folder = unfinished / f"{problem.row}-{_digest(problem, measured, reliability)}"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = []
    for group in groups(columns, problem.settings.rois_at_once):
        where = slice(group[0][1].start, group[-1][1].stop)
        weights = None if reliability is None else np.clip(reliability[where], 0, None)
        blocks = [block for block, _ in group]
        path = folder / f"{blocks[0].subject}-{blocks[0].roi}.pt"
        tasks.append(delayed(_train_group)(problem, blocks, measured[:, where], weights, path, tick))
    workers = None if problem.device == "cpu" else 1
    for trained in Parallel(n_jobs=workers, backend="threading", return_as="generator")(tasks):
        yield from trained
    for leftover in unfinished.glob(f"{problem.row}-*"):
        shutil.rmtree(leftover)


def groups(columns: Columns, size: int) -> list[list[tuple[Block, slice]]]:
    """A subject's ROIs, so many together as are trained at once, with their columns."""
    found: list[list[tuple[Block, slice]]] = []
    for block, where in zip(columns.blocks, columns.slices):
        if not found or len(found[-1]) == size or found[-1][0][0].subject != block.subject:
            found.append([])
        found[-1].append((block, where))
    return found


def n_ticks(columns: Columns, settings: Transfer) -> int:
    """How often `train` calls `tick` where nothing stops early."""
    return settings.n_epochs * len(groups(columns, settings.rois_at_once))


@dataclass
class _Member:
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


def _train_group(
    problem: Problem,
    blocks: Sequence[Block],
    measured: Floats,
    weights: Floats | None,
    path: Path,
    tick: Callable[[], object],
) -> list[Trained]:
    kept = torch.load(path, map_location=problem.device, weights_only=True) if path.exists() else None
    if kept is not None and "finished" in kept:
        return [_finished(block, content) for block, content in zip(blocks, kept["finished"])]
    members, start = [], 0
    for block in blocks:
        own = slice(start, start + block.n_voxels)
        members.append(_member(problem, block, measured[:, own], None if weights is None else weights[own]))
        start = own.stop
    for member, state in zip(members, kept["training"] if kept is not None else ()):
        member.take_up(state)
    with one_thread():
        for epoch in range(max(len(member.curve) for member in members), problem.settings.n_epochs):
            active = [member for member in members if not member.is_done(problem.settings)]
            if not active:
                break
            _run_epoch(problem, active, epoch)
            replace_file(path, {"training": [member.state() for member in members]})
            tick()
        content = [_outcome(problem, member) for member in members]
    replace_file(path, {"finished": content})  # a fourth of the state, which is no longer needed
    return [_finished(block, found) for block, found in zip(blocks, content)]


def _member(problem: Problem, block: Block, measured: Floats, weights: Floats | None) -> _Member:
    fitted = measured[problem.split.train].astype(np.float64)
    spread = fitted.std(axis=0)
    target = (measured - fitted.mean(axis=0)) / np.where(spread > 0, spread, 1)
    seed = zlib.crc32(f"{block.subject} {block.roi} {problem.settings.seed}".encode())
    tuned = copy.deepcopy(problem.tuned)
    network = RoiNetwork(problem.map_shape, block.n_voxels, problem.head, tuned, problem.scaling, seed, problem.device)
    usable = weights is not None and weights.any()
    return _Member(
        block,
        torch.from_numpy(target.astype(np.float32)).to(problem.device),
        torch.from_numpy(np.asarray(weights, dtype=np.float32)).to(problem.device) if usable else None,
        network,
        torch.optim.Adam(network.parameters(), lr=problem.settings.learning_rate, fused=problem.device != "mps"),
    )


def _run_epoch(problem: Problem, members: Sequence[_Member], epoch: int) -> None:
    """One pass over the training clips, then the validation correlation; every member's curve grows by an entry."""
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


def _step(problem: Problem, member: _Member, values: torch.Tensor, rows: NDArray[np.intp]) -> tuple[float, float]:
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


def _predict(problem: Problem, network: RoiNetwork, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), problem.settings.batch_clips):
            values = _read(problem, rows[start : start + problem.settings.batch_clips])
            with torch.autocast(problem.device, torch.bfloat16, enabled=problem.settings.compute == "bfloat16"):
                parts.append(network(values).float().cpu().numpy())
    return np.concatenate(parts)


def _read(problem: Problem, rows: NDArray[np.intp]) -> torch.Tensor:
    return torch.from_numpy(problem.activations[rows]).to(problem.device).float()


def _outcome(problem: Problem, member: _Member) -> dict[str, Any]:
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


def _finished(block: Block, content: Mapping[str, Any]) -> Trained:
    predicted = {name: values.cpu().numpy() for name, values in content["predicted"].items()}
    state = {name: value.cpu() for name, value in content["state"].items()}
    return Trained(block, predicted, tuple(content["curve"]), content["best_epoch"], state)


def replace_file(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    torch.save(content, partial := path.with_suffix(".partial"))
    partial.replace(path)


def _digest(problem: Problem, measured: Floats, reliability: Floats | None) -> str:
    """Names everything that the numbers depend on, for taking up unfinished work."""
    inputs = {
        "sidecar": dict(problem.sidecar),
        "head": problem.head.model_dump(),
        "settings": problem.settings.model_dump(),
        "device": problem.device,
        "torch": torch.__version__,
    }
    checksum = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode())
    parts = [problem.split.train, problem.split.validation, measured, reliability, problem.activations]
    for array in (part for part in parts if part is not None):
        for start in range(0, len(array), 64):
            checksum.update(np.ascontiguousarray(array[start : start + 64]).data)
    return checksum.hexdigest()[:16]

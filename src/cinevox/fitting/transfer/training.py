"""Training, group by group, from wherever the last run was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

from cinevox.files import io
from cinevox.fitting.transfer.epochs import begin, outcome, run_epoch
from cinevox.fitting.transfer.problem import Floats, Trained, TrainingProblem
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Transfer
from cinevox.stimuli.networks._activations import one_thread


def train(
    problem: TrainingProblem,
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
    """Count how often `train` calls `tick` where nothing stops early."""
    return settings.n_epochs * len(groups(columns, settings.rois_at_once))


def _train_group(
    problem: TrainingProblem,
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
        members.append(begin(problem, block, measured[:, own], None if weights is None else weights[own]))
        start = own.stop
    for member, state in zip(members, kept["training"] if kept is not None else ()):
        member.take_up(state)
    with one_thread():
        for epoch in range(max(len(member.curve) for member in members), problem.settings.n_epochs):
            active = [member for member in members if not member.is_done(problem.settings)]
            if not active:
                break
            run_epoch(problem, active, epoch)
            replace_file(path, {"training": [member.state() for member in members]})
            tick()
        content = [outcome(problem, member) for member in members]
    replace_file(path, {"finished": content})  # a fourth of the state, which is no longer needed
    return [_finished(block, found) for block, found in zip(blocks, content)]


def _finished(block: Block, content: Mapping[str, Any]) -> Trained:
    predicted = {name: values.cpu().numpy() for name, values in content["predicted"].items()}
    state = {name: value.cpu() for name, value in content["state"].items()}
    return Trained(block, predicted, tuple(content["curve"]), content["best_epoch"], state)


def replace_file(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    with io.whole(path) as stream:
        torch.save(content, stream)


def _digest(problem: TrainingProblem, measured: Floats, reliability: Floats | None) -> str:
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

"""An epoch of transfer networks beside the plain way: decode and run the base for every ROI, in every epoch.

The paper's heads at their full size, 16 frames of every clip, nine ROIs of one subject; random weights.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as stages/_cli.py sets it; here everyone has it

import joblib
import numpy as np
import torch

from _harness import Case, Contender, Measured, main
from cinevox.fitting import transfer
from cinevox.fitting.transfer import training
from cinevox.fitting.transfer.heads import RoiNetwork
from cinevox.measured.responses import Block, Columns
from cinevox.project import params
from cinevox.project.params import MINI_ROIS, Network, RoiwiseRow, Splits
from cinevox.simulation import make_clip
from cinevox.statistics.splits import split
from cinevox.stimuli import bases, features, frames
from cinevox.stimuli.networks import _activations, _loading

CORES = joblib.cpu_count()
N_FRAMES, N_VOXELS = 16, 150
ROOT = Path(__file__).parents[1]
WEIGHTS = Network(weights="random", file=None, sha256=None, n_frames=N_FRAMES, seed=0)
SPLITS = Splits(scheme="random", validation_fraction=0.1, n_folds=3, n_outer_folds=None, seed=0)
COLUMNS = Columns(tuple(Block("sub01", roi, N_VOXELS) for roi in MINI_ROIS))


def plain(
    clips: list[Path], settings: params.Params, row: RoiwiseRow, problem: transfer.TrainingProblem, measured: np.ndarray
) -> Contender:
    """One ROI's epoch as people write it: frames from the video, base and head in one pass, all cores in torch."""
    base = settings.bases[row.base]
    extraction = bases.prepare(base, WEIGHTS, settings.features, (N_FRAMES, 224, 224, 3))
    module = _loading.load(row.network, extraction.spec, extraction.weights)
    reader = _activations.ActivationReader(module, extraction.layers, extraction.spec, settings.features, "cpu")
    network = RoiNetwork(problem.map_shape, N_VOXELS, problem.head, None, problem.scaling, 0)
    optimizer = torch.optim.Adam(network.parameters(), lr=problem.settings.learning_rate)
    target = torch.from_numpy(measured[:, :N_VOXELS])

    def activations(rows: np.ndarray) -> torch.Tensor:
        seen = [frames.read_clip(clips[row], N_FRAMES, 224, "direct")[0] for row in rows]
        parts = [
            _activations.take(module, extraction.layers, reader._images(clip[None]))[extraction.layers[0]]
            for clip in seen
        ]
        return torch.stack([part.flatten(1) for part in parts]).clone()

    def run() -> None:
        torch.set_num_threads(CORES)
        network.train()
        for rows in transfer.batches(problem.split.train, problem.settings.batch_clips, np.random.default_rng(0)):
            optimizer.zero_grad()
            transfer.correlation_loss(network(activations(rows)), target[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            network.eval()(activations(problem.split.validation))
        torch.set_num_threads(1)

    share = 1 / len(MINI_ROIS)
    return Contender(f"decode, base and head for one ROI, {CORES} torch threads", run, share=share, repeats=2)


def case(name: str, row: RoiwiseRow, settings: params.Params, clips: list[Path], folder: Path) -> Case:
    base = settings.bases[row.base]
    pixels = np.array([frames.read_clip(clip, N_FRAMES, 224, "direct")[0] for clip in clips])
    extraction = bases.prepare(base, WEIGHTS, settings.features, pixels.shape[1:])
    with joblib.parallel_config(backend="threading", n_jobs=CORES):
        (kept,) = features.extract(extraction, pixels).values()
    np.save(folder / "kept.npy", kept)
    settings_now = settings.transfer.model_copy(update={"n_epochs": 1, "device": "cpu"})
    problem = transfer.TrainingProblem(
        name, {}, np.load(folder / "kept.npy", mmap_mode="r"), extraction.frame_shapes[extraction.layers[0]],
        None, None,
        split(len(clips), 0, SPLITS), settings.heads[row.regressor], settings_now, "cpu",
    )  # fmt: skip
    measured = np.random.default_rng(0).standard_normal((len(clips), COLUMNS.n_voxels)).astype(np.float32)

    def run(problem: transfer.TrainingProblem) -> Measured:
        """From the beginning of the first group's epoch to the end of the last one's."""
        times: list[float] = []

        def timed(*arguments: object, run_epoch: Callable[..., None] = training.run_epoch) -> None:
            times.append(time.perf_counter())
            run_epoch(*arguments)
            times.append(time.perf_counter())

        epoch, state = (
            mock.patch.object(training, "run_epoch", timed),
            mock.patch.object(training, "replace_file", lambda path, state: None),
        )
        with epoch, state, joblib.parallel_config(backend="threading", n_jobs=CORES):
            list(transfer.train(problem, measured, None, COLUMNS, folder / "unfinished"))
        return Measured(max(times) - min(times), peak_mb=None, result=None)

    fast = replace(problem, settings=settings_now.model_copy(update={"compute": "bfloat16"}))
    ours, coarse = (
        Contender(name, partial(run, made), repeats=2)
        for name, made in (("cinevox", problem), ("cinevox, compute: bfloat16", fast))
    )
    rivals = [plain(clips, settings, row, problem, measured), coarse]
    title = f"{name}, nine ROIs, {len(clips)} clips, one epoch"
    return Case(title, ours, rivals, target="20", n_items=1, unit="epochs")


def cases(quick: bool, folder: Path) -> Iterator[Case]:
    settings = params.load(ROOT / "params.paper.yaml")
    clips = [folder / make_clip(folder, 0, index).name for index in range(12 if quick else 36)]
    for name, row in settings.experiments.roiwise.items():
        yield case(name, row, settings, clips, folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(
            "transfer",
            lambda quick: cases(quick, Path(temporary)),
            note="An epoch trains on 90 % of the clips and validates on the others. Not timed: building networks, "
            "keeping the base's activations (once for all rows, subjects and ROIs), and, of ours, the state written "
            "for going on after a kill.",
        )

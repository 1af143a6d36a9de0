"""A small study from video files to an encoding model, with a network that is drawn at random: for their tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import layout
from cinevox.encoding import build
from cinevox.encoding.about import About, FrameSettings, MadeFrom, Region, Source, StoredGrid
from cinevox.encoding.model import EncodingModel, Voxelwise
from cinevox.fitting import feature_spaces, refit
from cinevox.fitting.fits import Method
from cinevox.measured.responses import Block, Columns
from cinevox.project import plugins
from cinevox.project.params import Features, Network, Reduction, Transfer
from cinevox.stimuli import features
from cinevox.stimuli.frames import read_clip
from regression_problems import OPTIONS

N_TRAIN, N_TEST, SIZE, COUNT = 12, 3, 64, 2
LAYERS = ("features.3", "features.6", "classifier.3")
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 4), Block("sub02", "V1", 3), Block("sub02", "V2", 2)))
REDUCTION = Reduction(n_components=4, standardize=True, min_spread=0.05, normalize=True)
NETWORK = Network(weights="random", file=None, sha256=None, n_frames=COUNT, seed=0)
FEATURES = Features(
    over_frames="mean", batch_size=8, device="cpu", compute="float32", storage="float16", memory_format="channels_last"
)
GRID = StoredGrid(shape=(4, 5, 6), affine=((2, 0, 0, -10), (0, 2, 0, -90), (0, 0, 2, 0), (0, 0, 0, 1)))


@dataclass(frozen=True)
class Study:
    """clips: files, the test clips last; features: layer -> (n_clips, n_features); measured: of the training clips"""

    clips: list[Path]
    extraction: features.Extraction
    features: dict[str, np.ndarray]
    measured: np.ndarray


def study(folder: Path, over_frames: str = "mean") -> Study:
    clips = [folder / f"{number:04d}.mp4" for number in range(N_TRAIN + N_TEST)]
    for number, path in enumerate(clips):
        layout.write_clip(path, n_frames=6, fps=12, size=32, noise=True, seed=number)
    frames = np.stack([read_clip(path, COUNT, SIZE, "direct")[0] for path in clips])
    settings = FEATURES.model_copy(update={"over_frames": over_frames})
    extraction = features.prepare("squeezenet", NETWORK, settings, frames.shape[1:], LAYERS)
    measured = np.random.default_rng(1).standard_normal((N_TRAIN, COLUMNS.n_voxels)).astype(np.float32)
    return Study(clips, extraction, features.extract(extraction, frames), measured)


def method(regressor: str) -> Method:
    return Method(plugins.load("regressors", regressor), OPTIONS[regressor], 3, 5)


def refitted(made: Study, word: str, regressor: str, keep: bool = False) -> refit.Refitted:
    """As the submission is made, and the stage encoding."""
    return refit.refit(
        feature_spaces.candidates(word, LAYERS), chosen_of(word), made.features, made.measured, COLUMNS,
        {} if "raw" in word else dict.fromkeys(made.features, REDUCTION),
        method(regressor), lambda items, _total, _label: items, keep=keep,
    )  # fmt: skip


def chosen_of(word: str) -> np.ndarray:
    """Two of the candidates in turn, voxel by voxel; `all` has one."""
    n = len(feature_spaces.candidates(word, LAYERS))
    return (np.arange(COLUMNS.n_voxels) % 2 * (n - 1)).astype(np.int16)


def encoding(made: Study, word: str = "layer", regressor: str = "ridge") -> EncodingModel:
    found = refitted(made, word, regressor, keep=True)
    model = build.voxelwise(found)
    return EncodingModel(about(made, model, word, regressor, found.predicted), model, voxels())


def voxels() -> dict[str, np.ndarray]:
    n = COLUMNS.n_voxels
    q = np.where(np.arange(n) % 3 == 0, 0.5, 0.01).astype(np.float32)
    values = np.linspace(0.1, 0.5, n).astype(np.float32)
    place = np.concatenate([40 + 2 * np.arange(7), 40 + 2 * np.arange(5)]).astype(np.int32)
    return {"correlation": values, "normalized": 2 * values, "q": q, "place": place}


def about(made: Study, model: Voxelwise, word: str, regressor: str, predicted: np.ndarray) -> About:
    sidecar = made.extraction.to_json()
    return About(
        row=f"mini-squeezenet-{word}-{regressor}", track="mini", features=word, regressor=regressor,
        source=Source(
            network="squeezenet", title=sidecar["title"], settings=NETWORK, weights=sidecar["weights"],
            frames=FrameSettings(count=COUNT, size=SIZE, resize="direct"), features=made.extraction.settings, base=None,
            inputs=model.inputs(sidecar),
        ),
        regions=[
            Region(
                **vars(block), n_scored=block.n_voxels, normalized_correlation=0.6, correlation=0.3, ceiling=0.5,
                low=float(np.percentile(predicted[:, where].mean(axis=1), 5)), median=0.0, high=1.0,
            )
            for block, where in zip(COLUMNS.blocks, COLUMNS.slices)
        ],
        split="test", measure="normalized correlation", chosen_here=False, usual="test", n_usual=len(predicted),
        fitted_on=["train", "validation"], n_clips=N_TRAIN, seconds=(0.5, 0.5),
        chosen={"V1": {"x": 1.0}, "V2": {"x": 1.0}},
        units="made up", dataset="Made up", in_silico=True, restricted=True, grid=GRID,
        made=MadeFrom(commit=None, dirty=False, params_hash="0" * 64, data_hash="unknown"),
    )  # fmt: skip


def params_of_transfer(**changes) -> Transfer:
    values = {
        "n_epochs": 1, "batch_clips": 2, "learning_rate": 0.1, "mse_weight": 0.0, "voxel_weights": "equal",
        "patience": None, "rois_at_once": 1, "compute": "float32", "device": "cpu", "keep_weights": "best", "seed": 0,
    }  # fmt: skip
    return Transfer(**values | changes)

"""A small study from video files to an encoding model, with networks that are drawn at random: for their tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import layout
from cinevox.encoding import build, description
from cinevox.encoding.about import About, MadeFrom, Region, StoredGrid
from cinevox.encoding.model import EncodingModel
from cinevox.fitting import feature_spaces, refit
from cinevox.fitting.method import Method
from cinevox.measured.responses import Block, Columns
from cinevox.project import plugins
from cinevox.project.params import (
    FeatureMap,
    Features,
    FeatureSpace,
    Fields,
    JointRow,
    Network,
    Reduction,
    Transfer,
    VoxelwiseRow,
)
from cinevox.stimuli import features
from cinevox.stimuli.frames import read_clip
from cinevox.stimuli.named_spaces import pca_of
from regression_problems import OPTIONS

N_TRAIN, N_TEST, SIZE, COUNT = 12, 3, 64, 2
LAYERS = ("features.3", "features.6", "classifier.3")
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 4), Block("sub02", "V1", 3), Block("sub02", "V2", 2)))
REDUCTION = Reduction(n_components=4, standardize=True, min_spread=0.05, normalize=True)
NETWORK = Network(weights="random", file=None, sha256=None, n_frames=COUNT, seed=0)
NETWORKS = {  # of the joint study: of images, and of video with other frames
    "squeezenet": NETWORK,
    "r3d_18": Network(weights="random", file=None, sha256=None, n_frames=4, seed=0),
}
OWN_FIELDS = Fields(kind="avg", fields=(((0, 6), (4, 11)), ((2, 8),)))
SPACES = {
    "pooled": FeatureSpace("squeezenet", "features.6", "max2", "mean", standardize=True, n_components=None),
    "film": FeatureSpace("r3d_18", "stem", "max2", "max", standardize=False, n_components=None),
    "components": FeatureSpace("squeezenet", "features.3", OWN_FIELDS, "max", standardize=True, n_components=4),
}
FEATURES = Features(
    over_frames="mean", batch_size=8, device="cpu", compute="float32", storage="float16", memory_format="channels_last"
)
GRID = StoredGrid(shape=(4, 5, 6), affine=((2, 0, 0, -10), (0, 2, 0, -90), (0, 0, 2, 0), (0, 0, 0, 1)))


@dataclass(frozen=True)
class Study:
    """clips: files, the test clips last; features: space -> (n_clips, n_features); measured: of the training clips

    maps: space -> its network, and what it is made from; named: the spaces of a joint study
    """

    clips: list[Path]
    extractions: dict[str, features.Extraction]
    features: dict[str, np.ndarray]
    maps: dict[str, tuple[str, FeatureMap]]
    measured: np.ndarray
    named: Mapping[str, FeatureSpace] = field(default_factory=dict)

    def candidates(self, word: str) -> tuple[feature_spaces.Candidate, ...]:
        """word: of the paper, or `together` of the named spaces"""
        if self.named:
            return feature_spaces.joint_candidates(self.named, word)
        return feature_spaces.candidates(word, LAYERS)

    def reductions(self, word: str) -> dict[str, Reduction]:
        if self.named:
            found = {name: pca_of(space, REDUCTION) for name, space in self.named.items()}
            return {name: pca for name, pca in found.items() if pca is not None}
        return {} if "raw" in word else dict.fromkeys(self.features, REDUCTION)

    def row(self, word: str, regressor: str) -> VoxelwiseRow | JointRow:
        if self.named:
            own = {"label": "two", "spaces": list(self.named), "together": word}
            return JointRow(track="mini", regressor=regressor, reported=None, **own)
        return VoxelwiseRow(track="mini", network="squeezenet", features=word, regressor=regressor, reported=None)


def study(folder: Path, over_frames: str = "mean") -> Study:
    clips = _clips(folder)
    settings = FEATURES.model_copy(update={"over_frames": over_frames})
    extraction = features.prepare("squeezenet", NETWORK, settings, (COUNT, SIZE, SIZE, 3), LAYERS)
    found = features.extract(extraction, _frames(clips, COUNT))
    maps = {layer: ("squeezenet", FeatureMap(layer, "none", over_frames)) for layer in LAYERS}
    return Study(clips, {"squeezenet": extraction}, found, maps, _measured())


def joint_study(folder: Path) -> Study:
    """Named spaces of two networks, one of which sees clips, and more frames than the other."""
    clips, extractions, found = _clips(folder), {}, {}
    for name, network in NETWORKS.items():
        own = {space: one.map for space, one in SPACES.items() if one.network == name}
        shape = (network.n_frames, SIZE, SIZE, 3)
        extractions[name] = features.prepare(name, network, FEATURES, shape, (), tuple(own.values()))
        given = features.extract(extractions[name], _frames(clips, network.n_frames))
        found |= {space: given[one.name] for space, one in own.items()}
    maps = {name: (space.network, space.map) for name, space in SPACES.items()}
    return Study(clips, extractions, found, maps, _measured(), SPACES)


def _clips(folder: Path) -> list[Path]:
    clips = [folder / f"{number:04d}.mp4" for number in range(N_TRAIN + N_TEST)]
    for number, path in enumerate(clips):
        layout.write_clip(path, n_frames=6, fps=12, size=32, noise=True, seed=number)
    return clips


def _frames(clips: list[Path], count: int) -> np.ndarray:
    return np.stack([read_clip(path, count, SIZE, "direct")[0] for path in clips])


def _measured() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N_TRAIN, COLUMNS.n_voxels)).astype(np.float32)


def method(regressor: str) -> Method:
    return Method(plugins.load("regressors", regressor), OPTIONS[regressor], 3, 5)


def refitted(made: Study, word: str, regressor: str, keep: bool = False) -> refit.Refitted:
    """As the submission is made, and the stage encoding."""
    return refit.refit(
        made.candidates(word), chosen_of(made, word), made.features, len(made.measured),
        [refit.Measured(made.measured, COLUMNS)], made.reductions(word),
        method(regressor), lambda items, _total, _label: items, keep=keep,
    )  # fmt: skip


def chosen_of(made: Study, word: str) -> np.ndarray:
    """Two of the candidates in turn, voxel by voxel; some words have one."""
    n = len(made.candidates(word))
    return (np.arange(COLUMNS.n_voxels) % 2 * (n - 1)).astype(np.int16)


def encoding(made: Study, word: str = "layer", regressor: str = "ridge") -> EncodingModel:
    found = refitted(made, word, regressor, keep=True)
    return EncodingModel(about(made, found, word, regressor), build.voxelwise(found), voxels())


def voxels() -> dict[str, np.ndarray]:
    n = COLUMNS.n_voxels
    q = np.where(np.arange(n) % 3 == 0, 0.5, 0.01).astype(np.float32)
    values = np.linspace(0.1, 0.5, n).astype(np.float32)
    place = np.concatenate([40 + 2 * np.arange(7), 40 + 2 * np.arange(5)]).astype(np.int32)
    return {"correlation": values, "normalized": 2 * values, "q": q, "place": place}


def about(made: Study, found: refit.Refitted, word: str, regressor: str) -> About:
    row, (predicted,) = made.row(word, regressor), found.predicted
    [settings] = {extraction.settings for extraction in made.extractions.values()}
    params = SimpleNamespace(networks=NETWORKS, frames=SimpleNamespace(resize="direct"), features=settings)
    sidecars = {network: extraction.to_json() for network, extraction in made.extractions.items()}
    inputs = description.inputs_of_spaces(found.features, made.maps)
    return About(
        row=row.name, track="mini", features=word, regressor=regressor,
        sources=description.sources(params, row, sidecars, inputs),
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

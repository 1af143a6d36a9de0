"""Extraction of features beside the bare forward pass, which is the limit, and the challenge's devkit's way.

Frames lie in a file, networks have random weights and are built before the clock starts, for everyone.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as stages/_cli.py sets it; here everyone has it

import joblib
import numpy as np
import torch
from joblib import Parallel, delayed

from _harness import Case, Contender, main
from cinevox.project import plugins
from cinevox.project.params import FeatureMap, Features, Network
from cinevox.stimuli import features
from cinevox.stimuli.networks import _activations, _loading

N_FRAMES, SIZE = 16, 224
CORES = joblib.cpu_count()
POOL = "max5"
SETTINGS = Features(
    over_frames="mean", batch_size=N_FRAMES, device="cpu", compute="float32", storage="float16",
    memory_format="channels_last",
)  # fmt: skip
# Clips by what one costs, 16 where nothing is said; a real run has 1,102, over which a start is nothing.
CHEAP = ("alexnet", "efficientnet_lite0", "resnet18", "squeezenet")
COSTLY = ("vgg16", "vgg16_bn", "vgg19", "vonenet_alexnet", "vonenet_resnet50")
N_CLIPS = dict.fromkeys(CHEAP, 24) | dict.fromkeys(COSTLY, 4)
QUICK = ("alexnet", "nasnet_mobile", "resnet18", "squeezenet")


def one_pass(module: torch.nn.Module, batch: torch.Tensor) -> None:
    with _activations.one_thread(), torch.inference_mode():
        module(batch)


def bare(module: torch.nn.Module, images: torch.Tensor, repeats: int) -> Contender:
    """The same batches, normalised beforehand, through the module in a thread per core; nothing is kept.

    The last layer of every network here is its class scores, so that the whole network is needed.
    """
    tensors = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    batches = images.split(N_FRAMES)
    modules = [copy.deepcopy(module, dict(tensors)) for _ in batches]

    def run() -> None:
        Parallel(n_jobs=CORES, backend="threading")(delayed(one_pass)(*task) for task in zip(modules, batches))

    return Contender(f"the bare forward pass, {CORES} threads of one", run, repeats=repeats)


def devkit(module: torch.nn.Module, extraction: features.Extraction, frames: np.ndarray, folder: Path) -> Contender:
    """Frame by frame through the network, all layers to numpy, mean over the clip, one file per clip and layer."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (extraction.spec.mean, extraction.spec.std))
    module = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    outputs: dict[str, np.ndarray] = {}
    for layer in extraction.layers:
        module.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: outputs.update({layer: output.numpy().ravel()})
        )
    folder.mkdir()

    def run() -> Path:
        torch.set_num_threads(CORES)
        gathered: dict[str, list[np.ndarray]] = {layer: [] for layer in extraction.layers}
        for frame in frames[0]:
            image = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float().div(255)
            with torch.no_grad():
                module(image.sub(mean).div(std))
            for layer, values in outputs.items():
                gathered[layer].append(values.copy())
        for layer, rows in gathered.items():
            np.save(folder / f"{layer}.npy", np.mean(rows, axis=0))
        torch.set_num_threads(1)
        return folder

    name = f"the devkit's way: frame by frame, {CORES} torch threads"
    return Contender(name, run, share=1 / len(frames), repeats=1)


def agreement(mine: Path, theirs: Path | None) -> str:
    """Largest difference over the largest activation, worst layer; ours is stored as float16."""
    if theirs is None:
        return ""
    worst = 0.0
    for path in mine.glob("*.npy"):
        stored, saved = np.load(path, mmap_mode="r")[0].astype(np.float32), np.load(theirs / path.name)
        worst = max(worst, float(np.abs(stored - saved).max() / np.abs(saved).max()))
    return f"features {worst:.0e}"


def pooled(extraction: features.Extraction) -> features.Extraction:
    """The class scores as they are, so that the whole network is needed, and every map on a grid of POOL."""
    *layers, last = extraction.layers
    side = int(POOL.removeprefix("max"))
    large = [name for name in layers if len(s := extraction.frame_shapes[name]) == 3 and min(s[1:]) >= side]
    return dataclasses.replace(extraction, layers=(last,), maps=tuple(FeatureMap(name, POOL, "max") for name in large))


def case(network: str, frames: np.ndarray, folder: Path, is_pooled: bool = False) -> Case:
    asked = Network(weights="random", file=None, sha256=None, n_frames=N_FRAMES, seed=0)
    extraction = features.prepare(network, asked, SETTINGS, frames.shape[1:])
    if is_pooled:
        extraction = pooled(extraction)
    module = _loading.load(network, extraction.spec, extraction.weights)
    reader = _activations.ActivationReader(module, {}, extraction.spec, SETTINGS, "cpu")
    images = torch.cat([reader._images(clip[None]) for clip in frames])
    clips = [str(number) for number in range(len(frames))]
    out, repeats = folder / network, 3 if is_pooled else 2

    def run() -> Path:
        built = mock.patch.object(_loading, "load", return_value=module)
        frames_per_task = N_FRAMES if len(frames) <= 4 else features.FRAMES_PER_TASK  # work for every thread
        small = mock.patch.object(features, "FRAMES_PER_TASK", frames_per_task)
        with built, small, joblib.parallel_config(backend="threading", n_jobs=CORES):
            features.write(extraction, frames, clips, out, folder / "unfinished")
        return out

    rivals = [bare(module, images, repeats)]
    if not is_pooled:
        rivals.append(devkit(module, extraction, frames, folder / f"{network}-devkit"))
    title = f"{network}, {f'every map {POOL}, ' * is_pooled}{len(frames)} clips of {N_FRAMES} frames"
    return Case(
        title,
        Contender("cinevox", run, repeats=repeats),
        rivals,
        agreement,
        "bare 0.9" if is_pooled else "bare 0.9, devkit 2",
        n_items=len(frames),
        unit="clips",
    )


def frames_file(path: Path, n_clips: int) -> np.ndarray:
    """Smooth noise, uint8; mapped, as the frames of a run are."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n_clips, N_FRAMES, SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
    np.save(path, coarse.repeat(8, axis=2).repeat(8, axis=3))
    frames: np.ndarray = np.load(path, mmap_mode="r")
    return frames


def cases(quick: bool, folder: Path) -> Iterator[Case]:
    """One after another, so that only one network is in memory."""
    frames = frames_file(folder / "frames.npy", max(N_CLIPS.values()))
    networks = [name for name in plugins.names("networks") if plugins.load("networks", name).n_frames is None]
    for network in QUICK if quick else networks:
        yield case(network, frames[: 2 if quick else N_CLIPS.get(network, 16)], folder)


def pooled_cases(quick: bool, folder: Path) -> Iterator[Case]:
    frames = frames_file(folder / "frames.npy", max(N_CLIPS.values()))
    for network in QUICK:
        yield case(network, frames[: 2 if quick else N_CLIPS.get(network, 16)], folder, is_pooled=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        note = "Networks have random weights and are built beforehand; a clip is a batch."
        if "--pooled" in sys.argv:
            sys.argv.remove("--pooled")
            main("features_pooled", lambda quick: pooled_cases(quick, Path(temporary)), note=note)
        else:
            main("features", lambda quick: cases(quick, Path(temporary)), note=note)

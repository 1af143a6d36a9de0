"""Simulation: a data set in the format of the Algonauts 2021 challenge whose truth is known.

Clips are dead-leaves scenes with moving objects; voxels listen to Gabor or motion energy, to a network's
layers or to the scenes' latents, with independent noise in every trial and the reliabilities of the real data.
What every voxel listens to, its noise-free signal and its true reliability are written beside the data.

Clips depend on (seed, clip) and subjects on (seed, subject) alone, so they can be made in any order.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured.datasets.algonauts2021 import MASK, TEST_FOLDER, TRACK_FOLDERS
from cinevox.measured.insilico_truth import FILE, TRUTH, signals
from cinevox.project import plugins
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Features, Network, Simulation
from cinevox.simulation import generators, scenes, voxels
from cinevox.simulation.anatomy import place
from cinevox.stimuli import frames

CLIP, SUBJECT = range(2)  # the first word of a spawn key

CLIPS = "AlgonautsVideos268_All_30fpsmax"
RESPONSES = "participants_data_v2021"

EXTRACTION = Features(
    over_frames="mean",
    batch_size=16,
    device="cpu",
    compute="float32",
    storage="float32",
    memory_format="channels_last",
)


@dataclass(frozen=True)
class SimulatedClip:
    """A clip that was written: its file's name, its latents and its pooled energies."""

    name: str
    scene: scenes.Scene
    energies: Mapping[str, NDArray[np.float32]]


def make_clip(folder: Path, seed: int, index: int) -> SimulatedClip:
    """Draw, film and write one clip as `NNNN_insilico-<category>.mp4`; index 0 is clip 0001."""
    latents, picture = _streams(seed, (CLIP, index), 2)
    scene = scenes.draw_scene(latents)
    name = f"{index + 1:04d}_insilico-{scene.category}.mp4"
    pairs = generators.paired_frames(scene.n_frames, scene.fps)
    seen = dict.fromkeys(pairs.ravel().tolist(), np.empty(0, dtype=np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    scenes.encode(folder / name, _watched(scenes.render(scene, picture), seen), scene.fps)
    return SimulatedClip(name, scene, generators.energies(np.array([[seen[a], seen[b]] for a, b in pairs.tolist()])))


def needed_layers(settings: Simulation, layers: Sequence[str]) -> tuple[str, ...]:
    """The network's layers if any voxel listens to one of them (each is then needed), else none.

    Raises
    ------
    InputError
        A generator is neither a property of the clips nor a layer of the network.
    """
    asked = set(settings.generators.values()) - set(generators.CLIP_GENERATORS)
    if unknown := sorted(asked - set(layers)):
        raise InputError(
            f"simulation.generators: {', '.join(unknown)} is neither one of {', '.join(generators.CLIP_GENERATORS)} "
            f"nor a layer of {settings.network} ({', '.join(layers)})"
        )
    return tuple(layers) if asked else ()


def driving_components(
    settings: Simulation, clips: Sequence[SimulatedClip], grams: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[np.float64]]:
    """The components of every generator in use, name -> (n_clips, at most n_latents), in order of the ROIs.

    grams: layer -> `layer_gram`, of all layers of the network; empty where no voxel listens to a layer
    """
    found: dict[str, NDArray[np.float64]] = {}
    features = generators.scene_features([clip.scene for clip in clips])
    for name in dict.fromkeys(settings.generators[roi] for roi in MINI_ROIS):
        if name in grams:
            found[name] = generators.own_components(name, grams, settings.n_leading, settings.n_latents)
        else:
            of_clips = features[name] if name in features else np.array([clip.energies[name] for clip in clips])
            found[name] = generators.components(generators.gram(of_clips), settings.n_latents)
    return found


def layer_grams(
    settings: Simulation, layers: Sequence[str], clips: Sequence[Path], scratch: Path, progress: frames.Progress
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Gram matrix of every layer over the clips, (n_clips, n_clips), and the provenance of the weights.

    The clips are read from their files, as an analysis reads them, and pass the network in full precision on
    the CPU whatever an analysis does: the truth does not depend on how it is looked for.

    scratch: a folder for intermediate arrays, removed in the end

    Raises
    ------
    InputError
        The network, its weights or a layer are not there.
    """
    from cinevox.stimuli import features

    spec = plugins.load("networks", settings.network)
    weights = Network(weights=settings.weights, file=None, sha256=None, n_frames=settings.n_frames, seed=settings.seed)
    shape = (settings.n_frames, spec.input_size, spec.input_size, 3)
    extraction = features.prepare(settings.network, weights, EXTRACTION, shape, layers)
    frames.write(clips, settings.n_frames, spec.input_size, "direct", scratch, progress)
    images = io.read_array(scratch / "frames.npy")
    with warnings.catch_warnings():  # loky renews the workers that grew when they loaded torch; nothing is lost
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        features.write(extraction, images, [path.name for path in clips], scratch, scratch / "unfinished", progress)
    found = Parallel()(delayed(generators.gram)(io.read_array(scratch / f"{layer}.npy")) for layer in layers)
    shutil.rmtree(scratch)
    return dict(zip(layers, found)), extraction.weights.to_json()


def write_subject(
    folder: Path, settings: Simulation, subject: int, components: Mapping[str, NDArray[np.floating]]
) -> None:
    """Responses and truth of one subject (0 is sub01); one subject's whole brain is in memory at a time.

    Training responses go where the challenge has them, test responses into a tree of their own. The mini
    track's voxels are voxels of the whole brain, with the same values; its columns are in Fortran order of
    the volume, those of the whole brain in C order.
    """
    where, what, train, test = _streams(settings.seed, (SUBJECT, subject), 4)
    counts = voxels.voxel_counts(settings, subject)
    anatomy = place({roi: counts[roi] for roi in MINI_ROIS}, counts[WHOLE_BRAIN], where)
    drawn = voxels.draw_voxels(settings, anatomy, components, what)
    signal = signals(drawn.generator, drawn.weights, components)
    name = f"sub{subject + 1:02d}"
    columns = {roi: anatomy.columns(roi) for roi in MINI_ROIS}
    reliability = {}
    for part, clips, n_repetitions, noise in (
        ("train", slice(settings.n_train), settings.n_train_repetitions, train),
        ("test", slice(settings.n_train, None), settings.n_test_repetitions, test),
    ):
        reliability[f"reliability_{part}"] = voxels.reliability(signal[clips], drawn.noise, n_repetitions)
        values = voxels.trials(signal[clips], drawn.noise, n_repetitions, noise)
        tree = folder / (RESPONSES if part == "train" else TEST_FOLDER)
        for roi, chosen in columns.items():
            io.write_pickle(tree / TRACK_FOLDERS["mini"] / name / f"{roi}.pkl", {part: values[:, :, chosen]})
        mask = {MASK: anatomy.mask.astype(np.float64)} if part == "train" else {}
        io.write_pickle(tree / TRACK_FOLDERS["full"] / name / f"{WHOLE_BRAIN}.pkl", {part: values, **mask})
        del values  # before the next ones are drawn
    io.write_arrays(
        folder / TRUTH / f"{name}.npz",
        generator=drawn.generator,
        weights=drawn.weights,
        noise=drawn.noise,
        **reliability,
        **{f"columns_{roi}": chosen for roi, chosen in columns.items()},
    )


def write_truth(
    folder: Path,
    settings: Simulation,
    clips: Sequence[SimulatedClip],
    components: Mapping[str, NDArray[np.floating]],
    weights: Mapping[str, Any],
) -> None:
    """What holds for all subjects: `truth.json`, `latents.csv` (a line per clip), `components.npz`."""
    table = {roi: dict(zip(("mean", "mean_root"), pair)) for roi, pair in voxels.RELIABILITY.items()}
    formulas = {
        "signal": "components of the voxel's generator (components.npz) @ its weights (subXX.npz)",
        "trial": "signal + noise * N(0, 1), independent over clips, repetitions and voxels",
        "reliability": "v / (v + noise^2 / n_repetitions), v the variance of the signal over the clips",
        "distribution": "v / (v + noise^2 / 10) over all clips: 0 for a share s of voxels, else ~ Beta with "
        "E[R] = mean / (1 - s) and Var(sqrt R) = mean - mean_root^2",
    }
    content = {
        "generators": list(components),
        "simulation": settings.model_dump(mode="json"),
        "weights": dict(weights),
        "formulas": formulas,
        "reliability": table,
    }
    io.write_json(folder / TRUTH / FILE, content)
    io.write_arrays(folder / TRUTH / "components.npz", **components)
    rows = [{"clip": clip.name, **asdict(clip.scene)} for clip in clips]
    pd.DataFrame(rows).to_csv(folder / TRUTH / "latents.csv", index=False)


def _watched(film: Iterable[NDArray[np.uint8]], seen: dict[int, NDArray[np.float32]]) -> Iterator[NDArray[np.uint8]]:
    for index, frame in enumerate(film):
        if index in seen:
            seen[index] = generators.grey(frame)
        yield frame


def _streams(seed: int, key: tuple[int, int], n: int) -> list[np.random.Generator]:
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed, spawn_key=key).spawn(n)]

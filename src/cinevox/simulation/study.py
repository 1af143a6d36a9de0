"""Studies: clips, and subjects whose responses are made from what the clips and a network show.

Clips and subjects depend on the seed and their number alone, so they can be made in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.files import io
from cinevox.measured.datasets.algonauts2021 import MASK, TEST_FOLDER, TRACK_FOLDERS
from cinevox.measured.insilico_truth import FILE, TRUTH, signals
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Simulation
from cinevox.project.params.generators import is_pooled
from cinevox.simulation import generators, scenes, voxels
from cinevox.simulation.anatomy import place
from cinevox.simulation.listening import Heard

CLIP, SUBJECT = range(2)  # the first word of a spawn key

CLIPS = "AlgonautsVideos268_All_30fpsmax"
RESPONSES = "participants_data_v2021"

POOLED = (
    "; in a pooled map those of the voxel's field (fields in subXX.npz: row * k + column), which are its channels "
    "(channels, a line for each field; -1 for none) in their own units; the sum where a generator has several parts"
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
    name = _name(index, scene)
    pairs = generators.paired_frames(scene.n_frames, scene.fps)
    seen = dict.fromkeys(pairs.ravel().tolist(), np.empty(0, dtype=np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    scenes.encode(folder / name, _watched(scenes.render(scene, picture), seen), scene.fps)
    return SimulatedClip(name, scene, generators.energies(np.array([[seen[a], seen[b]] for a, b in pairs.tolist()])))


def clip_names(settings: Simulation) -> list[str]:
    """The names of the files of all clips, whether they were written or not."""
    numbers = range(settings.n_train + settings.n_test)
    return [_name(n, scenes.draw_scene(_streams(settings.seed, (CLIP, n), 2)[0])) for n in numbers]


def _name(index: int, scene: scenes.Scene) -> str:
    return f"{index + 1:04d}_insilico-{scene.category}.mp4"


def driving_components(
    settings: Simulation, clips: Sequence[SimulatedClip], heard: Heard
) -> dict[str, NDArray[np.floating]]:
    """The components of every part of a generator in use, in the order of `Simulation.parts`.

    part -> (n_clips, at most n_latents), or of a pooled map (n_clips, n_fields, at most n_latents)
    """
    found: dict[str, NDArray[np.floating]] = {}
    features = generators.scene_features([clip.scene for clip in clips])
    for name in settings.parts:
        if name in heard.grams:
            found[name] = generators.own_components(name, heard.grams, settings.n_leading, settings.n_latents)
        elif name in heard.fields:
            found[name] = heard.fields[name]
        else:
            of_clips = features[name] if name in features else np.array([clip.energies[name] for clip in clips])
            found[name] = generators.components(generators.gram(of_clips), settings.n_latents)
    return found


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
    signal = signals(settings.driving, drawn.generator, drawn.weights, drawn.fields, components)
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
    pooled = {"fields": drawn.fields} if any(map(is_pooled, settings.parts)) else {}
    io.write_arrays(
        folder / TRUTH / f"{name}.npz",
        generator=drawn.generator,
        weights=drawn.weights,
        **pooled,
        noise=drawn.noise,
        **reliability,
        **{f"columns_{roi}": chosen for roi, chosen in columns.items()},
    )


def write_truth(
    folder: Path,
    settings: Simulation,
    clips: Sequence[SimulatedClip],
    components: Mapping[str, NDArray[np.floating]],
    heard: Heard,
) -> None:
    """Write what holds for all subjects: `truth.json`, `latents.csv` (a line per clip), `components.npz`."""
    table = {roi: dict(zip(("mean", "mean_root"), pair)) for roi, pair in voxels.RELIABILITY.items()}
    formulas = {
        "signal": "components of the voxel's generator (components.npz) @ its weights (subXX.npz)",
        "trial": "signal + noise * N(0, 1), independent over clips, repetitions and voxels",
        "reliability": "v / (v + noise^2 / n_repetitions), v the variance of the signal over the clips",
        "distribution": "v / (v + noise^2 / 10) over all clips: 0 for a share s of voxels, else ~ Beta with "
        "E[R] = mean / (1 - s) and Var(sqrt R) = mean - mean_root^2",
    }
    content = {
        "generators": list(settings.driving),
        "simulation": settings.model_dump(mode="json", exclude_none=True),
        "weights": dict(heard.weights),
        "formulas": formulas,
        "reliability": table,
    }
    if heard.channels:
        content["channels"] = {part: channels.tolist() for part, channels in heard.channels.items()}
        formulas["signal"] += POOLED
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

"""One small study, and the stages from conversion to the gate run on it in this process.

Features are drawn, and responses are made from known layers, in the layout of the challenge; everything that a test
reads of results was written by the stages' own code. A test takes the study as it is, a part of it (subjects, ROIs,
rows), or a variant of it (other noise, clips shown once, no responses to the test clips).
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

import layout
from _inputs import Run
from cinevox import parallel
from cinevox.files import io
from cinevox.measured.responses import Block, Columns
from cinevox.outlets.gate import Verdict, judge, read_current, write_baseline
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.project.source_code import SourceCode
from cinevox.project.stage_instances import instances
from conftest import ROOT

NETWORK, UNTRAINED = "efficientnet_lite0", "alexnet"  # the features of the second are the first's, with noise
ROW, TRANSFER = f"mini-{NETWORK}-layer-ridge", f"mini-{NETWORK}-frozen-fully_connected_1024"
LAYERS = ("layer_1", "layer_2", "layer_3", "layer_4", "layer_5")
DRIVEN_BY = dict(zip(params.MINI_ROIS, (0, 0, 1, 1, 2, 3, 3, 2, 4))) | {params.WHOLE_BRAIN: 2}  # the number of a layer
SUBJECTS, ROIS = ("sub01", "sub02", "sub03"), ("V1", "LOC", "FFA")
SIZES = {"LOC": 60, "V4": 12, params.WHOLE_BRAIN: 300}  # voxels; of every other ROI 25
N_TRAIN, N_TEST, N_FEATURES, N_LATENTS = 240, 60, 60, 12
NOISE = 2.0  # of a single response; that of the signal of most voxels is about 1
ALIKE = 0.6  # of what a layer is made of, the share that the layer before has too


def columns_of(track: str, subjects: Sequence[str] = SUBJECTS, rois: Sequence[str] = params.MINI_ROIS) -> Columns:
    rois = rois if track == "mini" else (params.WHOLE_BRAIN,)
    return Columns(tuple(Block(subject, roi, SIZES.get(roi, 25)) for subject in subjects for roi in rois))


class SmallRun:
    """A folder with features, and responses to their clips; `run` takes it through the stages.

    responses: seed of the noise of the responses; what drives the voxels and the features are always the same
    rows: those of experiments; subjects, rois: the part of the study that is measured
    transfer: whether there is a row of transfer networks, too
    n_test: how many test clips there are; test: whether there are responses to them
    n_repetitions: of a training clip, and of a test clip
    """

    def __init__(
        self,
        root: Path,
        responses: int = 0,
        transfer: bool = False,
        *,
        rows: Sequence[str] = (ROW,),
        subjects: Sequence[str] = SUBJECTS[:2],
        rois: Sequence[str] = ROIS,
        n_test: int = N_TEST,
        test: bool = True,
        n_repetitions: tuple[int, int] = (3, 10),
    ) -> None:
        self.paths, self.document = Paths(root), document((*rows, TRANSFER) if transfer else tuple(rows))
        self.document["dataset"] |= {"subjects": list(subjects), "rois": list(rois)}
        self.n_clips = N_TRAIN + n_test
        latents = _latents()
        projections = np.random.default_rng(2).standard_normal((len(LAYERS), N_LATENTS, N_FEATURES))
        noise = 0.3 * np.random.default_rng(3).standard_normal((len(LAYERS), N_TRAIN + N_TEST, N_FEATURES))
        drawn = latents @ projections + noise
        self.features = {layer: values[: self.n_clips] for layer, values in zip(LAYERS, drawn)}
        folder = root / self.document["dataset"]["folder"]
        for track in self.document["dataset"]["tracks"]:
            for block in columns_of(track, subjects, rois).blocks:
                trials = _trials(latents, block, responses)
                train, test_trials = trials[:N_TRAIN, : n_repetitions[0]], trials[N_TRAIN:, : n_repetitions[1]]
                extra = {"voxel_mask": _mask(block)} if track == "full" else {}
                io.write_pickle(layout.train_file(folder, block.subject, block.roi), {"train": train, **extra})
                if test and n_test:
                    io.write_pickle(layout.test_file(folder, block.subject, block.roi), {"test": test_trials})
        clips = io.folder(folder / layout.CLIPS)
        for number in range(1, self.n_clips + 1):
            (clips / f"{number:04d}_0-1-2-{number}.mp4").touch()

    def run(self, **changes: Any) -> SmallRun:
        """Every stage from conversion to selection, with parts of the stages' modules replaced.

        changes: `stage` -> {name in the script: what stands there instead}
        """
        self.paths.params.write_text(yaml.safe_dump(self.document, sort_keys=False))
        found = params.load(self.paths.params)  # whose folder is relative: to the repository, where nobody is here
        folder = self.paths.root / found.dataset.folder
        self.params = found.model_copy(update={"dataset": found.dataset.model_copy(update={"folder": folder})})
        self._as_validated()
        for instance in instances(self.params, SourceCode({}, {})):  # what is asked of each, without any code
            text = instance.text(SourceCode({}, {}))
            io.write_bytes(self.paths.source_code(instance.stage, instance.instance), text.encode())
        for network in self.params.networks:
            self._extracted(network)
        tracks = [f"ceiling@{track}" for track in self.params.dataset.tracks]
        networks = [f"reduction@{network}" for network in self.params.networks]
        for name in ("conversion@train", "conversion@test", *networks, *tracks):
            self.stage(name, changes)
        for row in self.params.experiments.rows:
            made_by = {"roiwise": "transfer", "ensembles": "ensembles"}
            for step in (made_by.get(self.params.experiments.rows[row].group, "fits"), "scores", "selection"):
                self.stage(f"{step}@{row}", changes)
        return self

    def _as_validated(self) -> None:
        clips = {"n_clips": self.n_clips, "n_train_clips": N_TRAIN, "seconds": [3.0, 3.0]}
        io.write_json(self.paths.validation / "clips.json", clips)
        blocks = [(track, block) for track in self.params.dataset.tracks for block in self.params.dataset.blocks(track)]
        scale = {f"{track}/{subject}/{roi}": float(np.hypot(1, NOISE)) for track, (subject, roi) in blocks}
        io.write_json(self.paths.validation / "scale.json", scale)
        for step in ("validation", "checks"):
            io.write_json(self.paths.metrics(step), {"files": 1, "errors": 0, "warnings": 0})

    def _extracted(self, network: str) -> None:
        """What frames, features and bases would have written of a network."""
        untrained = network == UNTRAINED
        noise = 8.0 * np.random.default_rng(4).standard_normal((len(LAYERS), self.n_clips, N_FEATURES))
        features = {
            layer: values + more if untrained else values for (layer, values), more in zip(self.features.items(), noise)
        }
        source, known = self.paths.features(network), self.params.networks[network]
        for layer, values in features.items():
            io.write_array(source / f"{layer}.npy", values.astype(np.float32))
        weights = {"policy": "random" if untrained else "package", "source": "made up", "licence": "Apache-2.0"}
        weights |= {"sha256": ("0" if untrained else "1") * 64, "official": not untrained}
        sidecar = {"n_frames": known.n_frames, "over_frames": "mean", "dtype": "float32", "weights": weights}
        sidecar |= {"title": "Made up", "frame_size": [224, 224], "images": [[0.5] * 3, [0.5] * 3, 224]}
        sidecar |= {"layers": [{"name": name, "n_features": N_FEATURES} for name in features]}
        whole = {"pool": "none", "over_frames": "mean", "n_features": N_FEATURES}
        sidecar["maps"] = [{"name": name, "layer": name} | whole for name in features if self.params.spaces]
        io.write_json(source / "features.json", sidecar)
        clips = [{"name": f"{number + 1:04d}.mp4"} for number in range(self.n_clips)]
        io.write_json(self.paths.frames(known.n_frames) / "clips.json", clips)
        for name, base in self.params.bases.items():
            if base.network == network:
                frame = np.hstack(list(features.values())).astype(np.float16)
                io.write_array(self.paths.base(name) / "last.npy", np.stack([frame] * base.n_frames, axis=1))
                about = {"layer": "last", "map_shape": [frame.shape[1], 1, 1], "features": sidecar}
                io.write_json(self.paths.base(name) / "base.json", about)

    def stage(self, name: str, changes: dict[str, dict[str, Any]] | None = None) -> None:
        run_stage(name, self.params, self.paths, (changes or {}).get(name.partition("@")[0]))

    def accept(self) -> None:
        """Make the present scores the baseline."""
        write_baseline(self.paths.baseline, read_current(self.paths, self.params))

    def judged(self) -> Verdict:
        return judge(self.paths, self.params)


def run_stage(name: str, settings: params.Params, paths: Paths, changes: dict[str, Any] | None = None) -> None:
    """One stage, `step@instance`, with other things in place of some of its script's names."""
    step, _, instance = name.partition("@")
    script = load(step)
    for what, replacement in (changes or {}).items():
        assert hasattr(script, what), f"{step} has no {what}"
        setattr(script, what, replacement)
    with parallel.context(settings.parallel):
        script.main(Run(step, instance, settings, paths, logging.getLogger(name)))


def run_stages(names: Iterable[str]) -> None:
    """Stages of the project in the working folder, in this process: without the seconds of each one's imports."""
    settings = params.load(Paths().params)
    for name in names:
        run_stage(name, settings, Paths())


def document(rows: Sequence[str]) -> dict[str, Any]:
    """This repository's params.yaml with these rows, and what they need."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    experiments: dict[str, Any] = {"voxelwise": {}, "roiwise": {}, "joint": {}, "ensembles": {}}
    bases: dict[str, Any] = {}
    for name in rows:
        track, network, features, regressor = name.split("-")
        words = {"track": track, "network": network, "features": features, "regressor": regressor, "reported": None}
        transfer = regressor in found["heads"]
        kind = "roiwise" if transfer else "voxelwise"
        experiments[kind][name] = found["experiments"][kind].get(name, words)
        if transfer:
            bases[f"{network}-{features}"] = {"network": network, "features": features, "n_frames": 2}
    networks = dict.fromkeys(name.split("-")[1] for name in rows)
    found |= {"experiments": experiments, "bases": bases}
    found["networks"] = {name: found["networks"][name] for name in found["networks"] if name in networks}
    found["spaces"] = {}
    found["dataset"]["tracks"] = sorted({name.split("-")[0] for name in rows}, reverse=True)
    found["simulation"]["datasets"] = []
    found["reduction"]["n_components"] = 30
    found["scores"] |= {"n_bootstraps": 200, "n_permutations": 20}
    found["transfer"]["n_epochs"] = 10
    found["report"] |= {"brain_row": None, "subject": SUBJECTS[0]}
    found["submission"]["rows"] = {}
    found["encoding"]["rows"] = []
    found["parallel"] = {"backend": "sequential", "n_jobs": 1, "scheduler": None, "jobqueue": None}
    return found


def _latents() -> np.ndarray:
    """Of each layer, (n_layers, n_clips, n_latents); neighbours have much in common."""
    rng, found = np.random.default_rng(1), []
    before = rng.standard_normal((N_TRAIN + N_TEST, N_LATENTS))
    for _ in LAYERS:
        own = rng.standard_normal((N_TRAIN + N_TEST, N_LATENTS))
        before = np.sqrt(ALIKE) * before + np.sqrt(1 - ALIKE) * own
        found.append(before)
    return np.stack(found)


def _seed(block: Block) -> list[int]:
    rois = (*params.MINI_ROIS, params.WHOLE_BRAIN)
    return [SUBJECTS.index(block.subject), rois.index(block.roi)]


def _trials(latents: np.ndarray, block: Block, responses: int) -> np.ndarray:
    """(n_clips, 10, n_voxels). Voxels differ in their signal, every eighth has none, and one answers nothing at all."""
    rng = np.random.default_rng([5, *_seed(block)])
    weights = rng.standard_normal((N_LATENTS, block.n_voxels)) / np.sqrt(N_LATENTS)
    strength = rng.uniform(0.5, 1.3, block.n_voxels)
    strength[::8] = 0
    signal = latents[DRIVEN_BY[block.roi]] @ weights * strength
    noise = np.random.default_rng([6, responses, *_seed(block)]).standard_normal((len(signal), 10, block.n_voxels))
    trials = signal[:, None] + NOISE * noise
    if _seed(block) == [0, 0]:
        trials[..., 3] = 1.0
    return trials.astype(np.float32)


def _mask(block: Block) -> np.ndarray:
    mask = np.zeros(layout.VOLUME, dtype=np.int64)
    mask.flat[np.random.default_rng([7, *_seed(block)]).choice(mask.size, block.n_voxels, replace=False)] = 1
    return mask


def load(step: str) -> ModuleType:
    """A stage's script, as a module of its own: what is replaced in it stays as it is elsewhere."""
    spec = importlib.util.spec_from_file_location(f"stage_{step}", ROOT / "stages" / f"{step}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

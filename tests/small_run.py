"""The stages from features to the gate, run in this process on small responses that known layers are made from."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

import layout
from _inputs import Run
from cinevox import parallel
from cinevox.files import io
from cinevox.outlets.gate import Verdict, judge, limits_of, read_current, write_baseline
from cinevox.project import params
from cinevox.project.paths import Paths
from conftest import ROOT

NETWORK = "efficientnet_lite0"
ROW, TRANSFER = f"mini-{NETWORK}-layer-ridge", f"mini-{NETWORK}-frozen-fully_connected_1024"
LAYERS = ("first", "second", "third", "fourth")
SUBJECTS, ROIS = ("sub01", "sub02"), {"V1": 0, "LOC": 1, "FFA": 3}  # ROI -> the layer that drives it
N_TRAIN, N_TEST, N_FEATURES, N_LATENTS, N_VOXELS = 100, 50, 60, 12, 16
NOISE = 2.0  # of a single response; that of the signal is 1
ALIKE = 0.6  # of what a layer is made of, the share that the layer before has too


def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    found["dataset"] = layout.wanted(Path("dataset"), subjects=list(SUBJECTS), rois=list(ROIS)).model_dump(mode="json")
    found["dataset"]["tracks"] = ["mini"]
    found["experiments"] = {"voxelwise": {ROW: found["experiments"]["voxelwise"][ROW]}, "roiwise": {}}
    found["networks"] = {NETWORK: found["networks"][NETWORK]}
    found["bases"], found["simulation"]["datasets"] = {}, []
    found["reduction"]["n_components"] = 30
    found["scores"] |= {"n_bootstraps": 200, "n_permutations": 20}
    found["report"] |= {"brain_row": None, "subject": SUBJECTS[0]}
    found["submission"]["rows"] = {}
    found["parallel"] = {"backend": "sequential", "n_jobs": 1, "scheduler": None, "jobqueue": None}
    return found


class SmallRun:
    """A folder with features, and responses to their clips; `run` takes it through the stages.

    responses: seed of the noise of the responses; what drives the voxels and the features are always the same
    transfer: whether there is a row of transfer networks, too
    test: whether there are test clips; n_repetitions: of the training clips
    """

    def __init__(
        self, root: Path, responses: int = 0, transfer: bool = False, test: bool = True, n_repetitions: int = 3
    ) -> None:
        self.paths, self.document = Paths(root), document()
        if transfer:
            track, network, features, regressor = TRANSFER.split("-")
            row = {"track": track, "network": network, "features": features, "regressor": regressor, "reported": None}
            self.document["experiments"]["roiwise"] = {TRANSFER: row}
            base = {"network": network, "features": features, "n_frames": 2}
            self.document["bases"] = {f"{network}-{features}": base}
            self.document["transfer"]["n_epochs"] = 10
        truth = np.random.default_rng(1)
        n_clips = N_TRAIN + N_TEST
        latents, before = {}, truth.standard_normal((n_clips, N_LATENTS))
        for layer in LAYERS:
            before = np.sqrt(ALIKE) * before + np.sqrt(1 - ALIKE) * truth.standard_normal((n_clips, N_LATENTS))
            latents[layer] = before
        self.features = {
            layer: values @ truth.standard_normal((N_LATENTS, N_FEATURES))
            + 0.3 * truth.standard_normal((n_clips, N_FEATURES))
            for layer, values in latents.items()
        }
        noise = np.random.default_rng([2, responses])
        for subject in SUBJECTS:
            for roi, number in ROIS.items():
                signal = latents[LAYERS[number]] @ truth.standard_normal((N_LATENTS, N_VOXELS)) / np.sqrt(N_LATENTS)
                trials = signal[:, None] + NOISE * noise.standard_normal((n_clips, 10, N_VOXELS))
                trials = trials.astype(np.float32)
                folder = self.paths.root / "dataset"
                io.write_pickle(layout.train_file(folder, subject, roi), {"train": trials[:N_TRAIN, :n_repetitions]})
                if test:
                    io.write_pickle(layout.test_file(folder, subject, roi), {"test": trials[N_TRAIN:]})
        self.n_clips = n_clips if test else N_TRAIN
        self.features = {layer: values[: self.n_clips] for layer, values in self.features.items()}
        clips = io.folder(self.paths.root / "dataset" / layout.CLIPS)
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
        source = self.paths.features(NETWORK)
        for layer, values in self.features.items():
            io.write_array(source / f"{layer}.npy", values.astype(np.float32))
        sidecar = {"n_frames": 2, "over_frames": "mean", "dtype": "float32", "weights": {"policy": "package"}}
        sidecar |= {"title": "Made up", "frame_size": [224, 224]}
        sidecar |= {"layers": [{"name": name, "n_features": N_FEATURES} for name in LAYERS]}
        io.write_json(source / "features.json", sidecar)
        io.write_json(
            self.paths.validation / "clips.json",
            {"n_clips": self.n_clips, "n_train_clips": N_TRAIN, "seconds": [3.0, 3.0]},
        )
        clips = [{"name": f"{number + 1:04d}.mp4"} for number in range(self.n_clips)]
        io.write_json(self.paths.frames(self.params.networks[NETWORK].n_frames) / "clips.json", clips)
        for base in self.params.bases:
            frame = np.hstack(list(self.features.values())).astype(np.float16)
            io.write_array(self.paths.base(base) / "last.npy", np.stack([frame, frame], axis=1))
            about = {"layer": "last", "map_shape": [frame.shape[1], 1, 1], "features": sidecar}
            io.write_json(self.paths.base(base) / "base.json", about)
        scale = {f"mini/{subject}/{roi}": float(np.hypot(1, NOISE)) for subject in SUBJECTS for roi in ROIS}
        io.write_json(self.paths.validation / "scale.json", scale)
        for step in ("validation", "checks"):
            io.write_json(self.paths.metrics(step), {"files": 1, "errors": 0, "warnings": 0})
        for name in ("conversion@train", "conversion@test", f"reduction@{NETWORK}", "ceiling@mini"):
            self.stage(name, changes)
        for row in self.params.experiments.rows:
            made_by = "transfer" if row == TRANSFER else "fits"
            for step in (made_by, "scores", "selection"):
                self.stage(f"{step}@{row}", changes)
        return self

    def stage(self, name: str, changes: dict[str, dict[str, Any]] | None = None) -> None:
        step, _, instance = name.partition("@")
        script = load(step)
        for what, replacement in (changes or {}).get(step, {}).items():
            setattr(script, what, replacement)
        with parallel.context(self.params.parallel):
            script.main(Run(step, instance, self.params, self.paths, logging.getLogger(name)))

    def accept(self) -> None:
        """Make the present scores the baseline."""
        write_baseline(self.paths.baseline, read_current(self.paths, self.params), limits_of(self.params))

    def judged(self) -> Verdict:
        return judge(self.paths, self.params)


def load(step: str) -> ModuleType:
    """A stage's script, as a module of its own: what is replaced in it stays as it is elsewhere."""
    spec = importlib.util.spec_from_file_location(f"stage_{step}", ROOT / "stages" / f"{step}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""The flow as a user runs it: `dvc repro` on a small in-silico data set in a folder of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flow")]

BIN = Path(sys.executable).parent
SMALL = {
    "dataset": {"subjects": ["sub01", "sub02"]},
    "simulation": {
        "n_subjects": 2,
        "n_train": 60,
        "n_test": 24,
        "voxel_fraction": 0.02,
        "min_voxels": 6,
        "n_frames": 2,
    },
    "frames": {"counts": [2]},
    "reduction": {"n_components": 20},
    "scores": {"n_bootstraps": 100},
    "parallel": {"backend": "sequential", "n_jobs": 1},
}
ROWS = (
    "mini-efficientnet_lite0-layer-ridge",
    "mini-efficientnet_lite0-layer-res",
    "full-efficientnet_lite0-layer-ridge",
)


def small_params():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in SMALL.items():
        document[section] |= changes
    document["networks"] = {"efficientnet_lite0": document["networks"]["efficientnet_lite0"] | {"n_frames": 2}}
    document["experiments"]["voxelwise"] = {
        name: dict(zip(("track", "network", "features", "regressor"), name.split("-"))) | {"reported": None}
        for name in ROWS
    }
    return document


class Repository:
    """A copy of the project, with commands that run in it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(folder / "src"),
        }
        for name in ("stages", "src", "dvc.yaml", ".dvcignore"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        (folder / "data").mkdir()
        self.write(small_params())
        self.run("dvc", "init", "--no-scm", "--quiet")

    def write(self, document):
        (self.folder / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def run(self, *command, code=0):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self, *targets, code=0):
        """Names of the stages that ran, in order."""
        said = self.run("dvc", "repro", *targets, code=code)
        return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")], said

    def would_run(self):
        return {
            line.split("'")[1] for line in self.run("dvc", "repro", "--dry").splitlines() if "Running stage" in line
        }

    def json(self, path):
        return json.loads((self.folder / path).read_text())


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    made = Repository(tmp_path_factory.mktemp("flow"))
    made.ran, _ = made.repro()
    return made


def test_every_stage_runs_once_and_then_nothing_is_left_to_do(repository):
    steps = list(dict.fromkeys(stage.split("@")[0] for stage in repository.ran))
    assert set(steps) == set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert len(repository.ran) == len(set(repository.ran))
    assert repository.would_run() == set()


def test_metrics_hold_the_rows_with_their_rois(repository):
    for row in ROWS:
        metrics = repository.json(f"metrics/{row}.json")
        rois = (
            ["WB"] if row.startswith("full") else yaml.safe_load((ROOT / "params.yaml").read_text())["dataset"]["rois"]
        )
        assert list(metrics["test"]) == ["score", "low", "high", *rois]
        assert metrics["test"]["low"] < metrics["test"]["score"] < metrics["test"]["high"]
        assert "score" in metrics["validation"]


def test_the_scores_can_be_had_again_from_the_predictions(repository):
    """An independent reading of the files: numpy's corrcoef on raw pickles, one voxel after another."""
    import pickle

    row, dataset = ROWS[0], repository.folder / "data/insilico"
    index = repository.json(f"data/fits/{row}/index.json")
    space = index["spaces"][5]
    predicted = np.load(repository.folder / f"data/fits/{row}/test/{space}.npy")
    start, block = 0, index["columns"][0]
    responses = dataset / f"test_responses/mini_track/{block['subject']}/{block['roi']}.pkl"
    measured = pickle.loads(responses.read_bytes(), encoding="latin1")["test"].mean(axis=1)
    expected = [np.corrcoef(measured[:, v], predicted[:, start + v])[0, 1] for v in range(block["n_voxels"])]
    with np.load(repository.folder / f"data/scores/{row}/voxels.npz") as voxels:
        np.testing.assert_allclose(voxels["test.correlation"][5, : block["n_voxels"]], expected, atol=1e-5)
    table = pd.read_csv(repository.folder / f"data/scores/{row}/subjects.csv")
    line = table[(table.space == space) & (table.split == "test") & (table.subject == block["subject"])]
    assert line[line.roi == block["roi"]].correlation.item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_an_edited_row_reruns_that_row_alone(repository):
    document = small_params()
    rows = document["experiments"]["voxelwise"]
    rows[ROWS[0]]["reported"] = 0.5
    repository.write(document)
    ran = {stage for stage in repository.would_run() if "@" in stage}
    repository.write(small_params())
    assert ran == {f"fits@{ROWS[0]}"} | {f"{step}@{ROWS[0]}" for step in ("scores", "selection")}


@pytest.mark.parametrize(
    ("section", "key", "value", "first", "untouched"),
    [
        ("splits", "seed", 1, "reduction@efficientnet_lite0", "features@efficientnet_lite0"),
        ("reduction", "n_components", 7, "reduction@efficientnet_lite0", "ceiling@mini"),
        ("ceiling", "min_reliability", 0.2, f"scores@{ROWS[0]}", f"fits@{ROWS[0]}"),
        ("simulation", "seed", 5, "simulation@insilico", None),
        ("features", "over_frames", "max", "features@efficientnet_lite0", "frames@2"),
    ],
)
def test_a_changed_parameter_reaches_what_depends_on_it(repository, section, key, value, first, untouched):
    document = small_params()
    document[section][key] = value
    repository.write(document)
    would = repository.would_run()
    repository.write(small_params())
    assert first in would
    assert f"selection@{ROWS[0]}" in would
    assert untouched not in would


def test_a_new_network_is_extracted_alone(repository):
    document = small_params()
    document["networks"]["alexnet"] = {"weights": "random", "file": None, "n_frames": 2, "seed": 0}
    repository.write(document)
    would = {stage for stage in repository.would_run() if stage.startswith(("features", "reduction", "fits"))}
    repository.write(small_params())
    assert would == {"features@alexnet", "reduction@alexnet"}


def test_a_fault_in_the_parameters_is_told_before_anything_runs(repository):
    document = small_params()
    document["splits"]["n_folds"] = 0
    repository.write(document)
    ran, said = repository.repro(code=255)
    repository.write(small_params())
    assert "splits.n_folds" in said and "Traceback" not in said
    assert not any(stage.startswith(("features", "fits")) for stage in ran)


def test_a_broken_clip_stops_the_flow_at_validation_and_loses_nothing(repository):
    clip = sorted((repository.folder / "data/insilico/AlgonautsVideos268_All_30fpsmax").glob("*.mp4"))[3]
    whole = clip.read_bytes()
    clip.chmod(0o644)
    clip.unlink()
    clip.write_bytes(whole[: len(whole) // 2])
    try:
        said = repository.run("dvc", "repro", "--single-item", "validation", code=255)
    finally:
        clip.write_bytes(whole)
    assert clip.name in said and "Traceback" not in said
    repository.repro("validation")
    assert repository.would_run() == set()

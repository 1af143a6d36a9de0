"""Two versions of a response pickle, switched by git and DVC: each gives its own metrics, without refitting."""

import json
import shutil

import numpy as np
import pytest
import yaml

import layout
from cinevox.files import io
from cinevox.project.paths import Paths
from conftest import ROOT
from test_guard import Clone

pytestmark = pytest.mark.slow

ROW = "mini-alexnet-layer-ridge"
STEPS = (
    "source_code",
    "conversion",
    "ceiling",
    "fits",
    "scores",
    "selection",
)  # what responses reach; the others are made up


def parameters():
    """One network with random weights, one row, one subject with two ROIs; the folder of `layout`."""
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    found["dataset"] |= {"folder": "data/study", "tracks": ["mini"], "subjects": ["sub01"], "rois": list(layout.ROIS)}
    found["simulation"]["datasets"] = []
    found["networks"], found["spaces"] = {"alexnet": found["networks"]["alexnet"]}, {}
    row = dict(zip(("track", "network", "features", "regressor"), ROW.split("-"))) | {"reported": None}
    found["experiments"] = {"voxelwise": {ROW: row}, "roiwise": {}, "joint": {}, "ensembles": {}}
    found |= {"bases": {}, "parallel": {"backend": "sequential", "n_jobs": 1, "scheduler": None, "jobqueue": None}}
    found["scores"] |= {"n_bootstraps": 20, "n_permutations": 20}
    found["report"] = {"brain_row": None, "subject": "sub01"}
    found["submission"]["rows"], found["encoding"]["rows"] = {}, []
    return found


def make(folder):
    clone = Clone(folder)
    for name in ("stages", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    flow = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {step: flow[step] for step in STEPS}}))
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters(), sort_keys=False))
    shutil.copy(ROOT / ".gitignore", folder)
    layout.make(folder / "data" / "study", videos=False)
    paths, rng = Paths(folder), np.random.default_rng(1)
    components = rng.standard_normal((layout.N_TRAIN + layout.N_TEST, 4)).astype(np.float32)
    io.write_array(paths.reduction("alexnet") / "layer.npy", components)
    reduced = {"layers": {"layer": {"n_components": 4}}, "features": {"weights": {"policy": "random"}}}
    io.write_json(paths.reduction("alexnet") / "reduction.json", reduced)
    sidecar = {"layers": [{"name": "layer"}], "maps": [], "weights": {"policy": "random"}}
    io.write_json(paths.features("alexnet") / "features.json", sidecar)
    io.write_json(paths.validation / "summary.json", {})
    clips = {"n_train_clips": layout.N_TRAIN, "n_clips": layout.N_TRAIN + layout.N_TEST}
    io.write_json(paths.validation / "clips.json", clips)
    return clone


def stages_run(said):
    """But the one that always runs."""
    ran = [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]
    return [stage for stage in ran if stage != "source_code"]


def test_each_version_of_a_pickle_gives_its_own_metrics(tmp_path):
    clone = make(tmp_path / "clone")
    metrics, pickle = (
        clone.folder / f"metrics/{ROW}.json",
        layout.train_file(clone.folder / "data/study", "sub01", "V1"),
    )
    found = {}
    for version in ("first", "second"):
        if version == "second":
            content = io.read_pickle(pickle)["train"]
            pickle.unlink()
            io.write_pickle(pickle, {"train": content + np.random.default_rng(5).standard_normal(content.shape)})
        clone.run("dvc", "add", "--quiet", "data/study")
        ran = stages_run(clone.run("dvc", "repro"))
        expected = {"conversion@train", "conversion@test", "ceiling@mini"} | {f"{step}@{ROW}" for step in STEPS[3:]}
        assert len(ran) == len(expected) and set(ran) == expected
        clone.commit(version)
        found[version] = metrics.read_text()
        shutil.copy(pickle, tmp_path / version)
    assert found["first"] != found["second"]

    clone.run("git", "checkout", "--quiet", "HEAD~1")
    clone.run("dvc", "checkout", "--quiet")
    assert pickle.read_bytes() == (tmp_path / "first").read_bytes() and metrics.read_text() == found["first"]
    assert json.loads(clone.run("dvc", "status", "--json")) == {"source_code": ["always changed"]}
    metrics.unlink()
    assert set(stages_run(clone.run("dvc", "repro"))) <= {f"selection@{ROW}"}  # the metrics anew: nothing is fitted
    assert metrics.read_text() == found["first"]

    clone.run("git", "checkout", "--quiet", "main")
    clone.run("dvc", "checkout", "--quiet")
    assert pickle.read_bytes() == (tmp_path / "second").read_bytes() and metrics.read_text() == found["second"]
    assert stages_run(clone.run("dvc", "repro")) == []

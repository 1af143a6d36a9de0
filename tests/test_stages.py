"""The flow as a user runs it: `dvc repro` on a small in-silico data set in a folder of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import yaml

from cinevox.measured import insilico_truth
from cinevox.measured.response_store import MASK
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.validation import disk_needs
from conftest import ROOT

pytestmark = pytest.mark.slow

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
    "parallel": {"backend": "sequential", "n_jobs": 1, "scheduler": None, "jobqueue": None},
}
ROWS = (
    "mini-efficientnet_lite0-layer-ridge",
    "mini-efficientnet_lite0-layer-res",
    "full-efficientnet_lite0-layer-ridge",
)
TRANSFER = "mini-efficientnet_lite0-frozen-fully_connected_1024"
SPACES = {  # two networks, pooled maps with and without PCA, and several grids of one layer
    "lite": {"network": "efficientnet_lite0", "layer": "blocks.3.2", "pool": ["max3", "avg5"], "over_frames": "max",
             "standardize": False, "n_components": None},
    "displaced": {"network": "displacement", "layer": "displacement", "pool": "none", "over_frames": "mean",
                  "standardize": True, "n_components": None},
    "late": {"network": "efficientnet_lite0", "layer": "blocks.5.3", "pool": "max3", "over_frames": "mean",
             "standardize": True, "n_components": 10},
}  # fmt: skip
STACK = "mini-two-stack-ridge"
JOINT = {
    "mini-grids-each-ridge": ["lite"],
    STACK: ["lite.max3", "displaced", "late"],
    "mini-two-mean-ridge": ["lite.avg5", "late"],
    "mini-two-concat-ridge": ["late", "displaced"],
    "mini-two-banded-banded_ridge": ["late", "displaced"],
}
ENSEMBLE = "mini-both-stack-ensemble"


def small_params():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in SMALL.items():
        document[section] |= changes
    lite = document["networks"]["efficientnet_lite0"] | {"n_frames": 2}
    document["networks"] = {"efficientnet_lite0": lite, "displacement": lite | {"weights": "none"}}
    document["spaces"] = SPACES
    document["bases"] = {
        "efficientnet_lite0-frozen": {"network": "efficientnet_lite0", "features": "frozen", "n_frames": 2}
    }
    rows = {
        name: dict(zip(("track", "network", "features", "regressor"), name.split("-"))) | {"reported": None}
        for name in (*ROWS, TRANSFER)
    }
    document["experiments"] = {
        "voxelwise": {name: rows[name] for name in ROWS},
        "roiwise": {TRANSFER: rows[TRANSFER]},
        "joint": {},
        "ensembles": {},
    }
    for name, spaces in JOINT.items():
        track, label, together, regressor = name.split("-")
        document["experiments"]["joint"][name] = {
            "track": track, "label": label, "spaces": spaces, "together": together, "regressor": regressor,
            "reported": None,
        }  # fmt: skip
    document["experiments"]["ensembles"][ENSEMBLE] = {
        "track": "mini", "label": "both", "rows": [ROWS[0], TRANSFER], "together": "stack", "regressor": "ensemble",
        "reported": None,
    }  # fmt: skip
    document["submission"]["rows"] = {"mini": STACK, "full": ROWS[2]}
    document["encoding"]["rows"] = [STACK, TRANSFER]
    document["transfer"]["keep_weights"] = "all"
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
            "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{ROOT / 'tests/tracer'}",
            "CINEVOX_TRACE": str(folder / "tmp/traces"),
        }
        for name in ("stages", "src", "dvc.yaml", "params.paper.yaml", ".dvcignore"):
            source = ROOT / name
            if source.is_dir():
                # With what is compiled already, of Python and numba, but not what another test is compiling now.
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc.*", "*.tmp.*"))
            else:
                shutil.copy(source, folder / name)
        (folder / "data").mkdir()
        (folder / "tmp/traces").mkdir(parents=True)
        self.write(small_params())
        self.run("dvc", "init", "--no-scm", "--quiet")

    def kept(self):
        """Text of dvc.lock and of what DVC doesn't cache, to go `back` to."""
        files = (self.folder / "dvc.lock", *(self.folder / "metrics").glob("*.json"))
        return {path: path.read_bytes() for path in files}

    def back(self, kept):
        """Parameters and results as they were, the large ones from DVC's cache."""
        self.write(small_params())
        for path, content in kept.items():
            path.write_bytes(content)
        self.run("dvc", "checkout", "--force", "--quiet")  # also over what a stage that failed left

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

    def would_run(self, *targets):
        return set(self.in_order(*targets))

    def in_order(self, *targets):
        """Stages that `dvc repro` would run first, by the parameters and the code of now."""
        self.run("dvc", "repro", "--single-item", "source_code")
        said = self.run("dvc", "repro", "--dry", *targets).splitlines()
        names = dict.fromkeys(line.split("'")[1] for line in said if "Running stage" in line)
        return [name for name in names if name != "source_code"]

    def lock(self, stage):
        """Dependencies of a stage, as DVC noted them."""
        entry = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"][stage]
        return {dependency["path"] for dependency in entry.get("deps", ())}

    def json(self, path):
        return json.loads((self.folder / path).read_text())


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    made = Repository(tmp_path_factory.mktemp("flow"))
    made.ran, _ = made.repro()
    made.traces = [made.json(path) for path in (made.folder / "tmp/traces").iterdir()]
    made.stages = yaml.safe_load((made.folder / "dvc.lock").read_text())["stages"]
    return made


def test_every_stage_runs_once_and_then_nothing_is_left_to_do(repository):
    steps = list(dict.fromkeys(stage.split("@")[0] for stage in repository.ran))
    handed_in = {"submission-ensembles"}  # none here, but below
    assert set(steps) == set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]) - handed_in
    assert len(repository.ran) == len(set(repository.ran))
    assert repository.would_run() == set()


def inside(path, folders):
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def test_what_a_stage_reads_is_what_it_depends_on(repository):
    """By the files that its process opened under data/ and wherever else stages write."""
    assert {trace["stage"] for trace in repository.traces} == set(repository.stages)
    assert not undeclared(repository.traces, repository.stages)


def undeclared(traces, stages):
    """Stage -> what it read and does not depend on."""
    outputs = {out["path"] for entry in stages.values() for out in entry.get("outs", ())}
    undeclared = {}
    for trace in traces:
        entry = stages[trace["stage"]]
        known = {item["path"] for item in (*entry.get("deps", ()), *entry.get("outs", ()))}
        if found := [path for path in trace["read"] if inside(path, {*outputs, "data"}) and not inside(path, known)]:
            undeclared[trace["stage"]] = found
    return undeclared


def test_what_a_stage_loads_is_what_its_code_is_said_to_be(repository):
    """Where validation asks plug-ins whether they take their options, it writes nothing of them (`instances`)."""
    asked = ("cinevox.fitting", "cinevox.stimuli.networks")
    unknown = {}
    for trace in repository.traces:
        step, _, instance = trace["stage"].partition("@")
        step = step.partition("-")[0]
        if step == "source_code":
            continue
        known = repository.json(Paths().source_code(step, instance))
        modules = {name if name.startswith("cinevox") else f"stages.{name}" for name in trace["modules"]}
        modules -= {name for name in modules if step == "validation" and name.startswith(asked)} | {"stages.__main__"}
        assert {"cinevox.errors", "stages._cli"} <= modules
        if found := modules - set(known):
            unknown[trace["stage"]] = sorted(found)
    assert not unknown


def test_metrics_hold_the_rows_with_their_rois(repository):
    for row in (*ROWS, TRANSFER, ENSEMBLE):
        metrics = repository.json(f"metrics/{row}.json")
        rois = (
            ["WB"] if row.startswith("full") else yaml.safe_load((ROOT / "params.yaml").read_text())["dataset"]["rois"]
        )
        assert list(metrics["test"]) == ["score", "low", "high", "pooled_score", "correlation", *rois]
        assert metrics["test"]["low"] < metrics["test"]["score"] < metrics["test"]["high"]
        assert "score" in metrics["validation"]


def test_the_report_names_the_networks_of_a_row_of_several(repository):
    page = (repository.folder / "report/index.html").read_text()
    assert 'two<span class="sub">stack of efficientnet_lite0 + displacement, ridge' in page
    weights = repository.json(f"data/scores/{STACK}/index.json")["diagnostics"]["stack"]["mixing_weights"]
    [table] = re.findall(rf"<h3>{STACK}</h3>\n<div class=\"scroll\"><table class=\"heat\">.*?</table>", page, re.DOTALL)
    cells = [float(cell) for cell in re.findall(r">(1?\.\d\d)</td>", table)]
    assert cells == pytest.approx([weights[roi][name] for name in JOINT[STACK] for roi in weights], abs=0.006)


def test_the_scores_can_be_had_again_from_the_predictions(repository):
    """An independent reading of the files: numpy's corrcoef on raw pickles, one voxel after another."""
    import pickle

    row, dataset = ROWS[0], repository.folder / "data/insilico"
    index = repository.json(f"data/predictions/{row}/index.json")
    space = index["spaces"][5]
    predicted = np.load(repository.folder / f"data/predictions/{row}/test/{space}.npy")
    start, block = 0, index["columns"][0]
    responses = dataset / f"test_responses/mini_track/{block['subject']}/{block['roi']}.pkl"
    measured = pickle.loads(responses.read_bytes(), encoding="latin1")["test"].mean(axis=1)
    expected = [np.corrcoef(measured[:, v], predicted[:, start + v])[0, 1] for v in range(block["n_voxels"])]
    with np.load(repository.folder / f"data/scores/{row}/voxels.npz") as voxels:
        np.testing.assert_allclose(voxels["test.correlation"][5, : block["n_voxels"]], expected, atol=1e-5)
    table = pd.read_csv(repository.folder / f"data/scores/{row}/subjects.csv")
    line = table[(table.space == space) & (table.split == "test") & (table.subject == block["subject"])]
    assert line[line.roi == block["roi"]].correlation.item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_known_truth_is_found_again(repository):
    """On clips that nothing was fitted to: driven voxels are predicted, silent ones are not, ceilings are right."""
    folder, row = repository.folder / "data/insilico", "mini-efficientnet_lite0-layer-ridge"
    index = repository.json(f"data/predictions/{row}/index.json")
    with np.load(repository.folder / f"data/scores/{row}/voxels.npz") as voxels:
        r = voxels["test.correlation"]
    with np.load(repository.folder / "data/ceiling/mini/reliability.npz") as found:
        reliability = found["test"]
    truths = [insilico_truth.read_truth(folder, block["subject"], block["roi"]) for block in index["columns"]]
    generators = np.concatenate([part.generators for part in truths])
    true = np.concatenate([part.reliability_test for part in truths])
    own = np.array([index["spaces"].index(g) if g in index["spaces"] else -1 for g in generators])
    driven, silent = own >= 0, generators == insilico_truth.NO_SIGNAL
    at_own_layer = r[own[driven], np.flatnonzero(driven)]
    n_clips = len(index["clips"]["test"])
    assert at_own_layer.mean() > 0.1
    assert at_own_layer.mean() > r[:, driven].mean(axis=1).max()  # one layer for all is worse than each its own
    assert abs(r[:, silent].mean()) < 3 / np.sqrt(n_clips * silent.sum() / len(index["spaces"]))
    assert reliability.mean() == pytest.approx(true.mean(), abs=0.08)
    assert np.corrcoef(reliability, true)[0, 1] > 0.6


def test_the_submission_has_no_fault_and_is_the_refit_of_its_row(repository):
    """By scikit-learn, from the layer's features to the first voxels, on training and validation clips together."""
    import io
    import pickle
    import zipfile

    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import StandardScaler

    for track in ("mini", "full"):
        assert f"{track} track" in repository.run("cinevox", "check-submission", f"submission/{track}_track.zip")
        assert "126 splits" in repository.run("cinevox", "score", f"submission/{track}_track.zip")
        about = repository.json(f"submission/{track}_track.json")
        assert about["fitted_on"]["n_clips"] == 60 and about["not_for_the_challenge"] == ["in-silico data"]
    with zipfile.ZipFile(repository.folder / "submission/full_track.zip") as archive:
        predicted = pickle.load(io.BytesIO(archive.read("full_track.pkl")))["WB"]["sub01"]
    (space,) = about["spaces"]["chosen"]["WB"]
    features = np.load(repository.folder / f"data/features/efficientnet_lite0/{space}.npy").astype(np.float64)
    responses = repository.folder / "data/insilico/participants_data_v2021/full_track/sub01/WB.pkl"
    measured = pickle.loads(responses.read_bytes(), encoding="latin1")["train"].mean(axis=1)
    Z = StandardScaler().fit(features[:60]).transform(features)
    X = PCA(20, svd_solver="full").fit(Z[:60]).transform(Z)
    X /= np.sqrt(X[:60].var(axis=0).mean())
    alphas = small_params()["regressors"]["ridge"]["alphas"]
    for voxel in range(5):
        model = RidgeCV(alphas, cv=KFold(3), scoring="neg_mean_squared_error").fit(X[:60], measured[:, voxel])
        np.testing.assert_allclose(predicted[:, voxel], model.predict(X[60:]), atol=1e-4)


def test_an_ensemble_is_handed_in_as_a_row_is(repository):
    document, kept = small_params(), repository.kept()
    document["submission"] |= {"rows": {"full": ROWS[2]}, "ensembles": {"mini": ENSEMBLE}}
    repository.write(document)
    ran, _ = repository.repro("submission-ensembles@mini")
    stages = yaml.safe_load((repository.folder / "dvc.lock").read_text())["stages"]
    traces = [repository.json(path) for path in (repository.folder / "tmp/traces").iterdir()]
    assert "mini track" in repository.run("cinevox", "check-submission", "submission/mini_track.zip")
    about = repository.json("submission/mini_track.json")
    repository.back(kept)
    assert [stage for stage in ran if "@" in stage] == ["submission-ensembles@mini"]
    [own] = [trace for trace in traces if trace["stage"] == "submission-ensembles@mini"]
    assert not undeclared([own], stages) and any("predictions" in path for path in own["read"])
    assert list(about["fitted_on"]["members"]) == [ROWS[0], TRANSFER]
    assert repository.would_run() == set()


def test_the_sizes_of_large_outputs_are_known_beforehand(repository, tmp_path, monkeypatch):
    """Exactly for frames, features and bases; of conversion and fits the arrays without what stands beside them."""
    monkeypatch.chdir(repository.folder)
    settings = params.load(Path("params.yaml"))
    known = disk_needs.needed(Paths(tmp_path), settings, disk_needs.study(Paths(), settings))
    for step in ("frames", "features", "bases"):
        arrays = list(Path("data", step).rglob("*.npy"))
        assert known[step] == sum(np.load(path, mmap_mode="r").nbytes for path in arrays) > 0
    folders = {"conversion": ["conversion/train"], "fits": [f"predictions/{row}" for row in (*ROWS, *JOINT)]}
    for step, own in folders.items():
        arrays = (path for folder in own for path in Path("data", folder).rglob("*.npy") if path.stem != MASK)
        written = sum(np.load(path, mmap_mode="r").nbytes for path in arrays)
        assert known[step] == pytest.approx(written, rel=0.05)
    assert not any(disk_needs.needed(Paths(), settings, disk_needs.study(Paths(), settings)).values())


def test_encoding_models_predict_from_video_files_what_the_flow_predicted(repository):
    """A stack as the submission has it (but voxels that it filled), transfer networks as they did in training."""
    import io
    import pickle
    import zipfile

    clips = sorted((repository.folder / "data/insilico/AlgonautsVideos268_All_30fpsmax").iterdir())[60:66]
    with zipfile.ZipFile(repository.folder / "submission/mini_track.zip") as archive:
        submitted = pickle.load(io.BytesIO(archive.read("mini_track.pkl")))
    trained = np.load(repository.folder / f"data/predictions/{TRANSFER}/test/frozen.npy")
    for row in (STACK, TRANSFER):
        repository.run("cinevox", "predict", *map(str, clips), "--row", row, "--output", f"tmp/{row}", "--no-pictures")
        voxels = [np.load(repository.folder / f"tmp/{row}/{clip.stem}/voxels.npz") for clip in clips]
        found = {name: np.stack([clip[name] for clip in voxels]) for name in voxels[0]}
        if row == TRANSFER:
            np.testing.assert_allclose(np.hstack(list(found.values())), trained[: len(clips)], atol=1e-4)
            continue
        for name, values in found.items():
            subject, roi = name.split(".")
            varies = np.ptp(values, axis=0) > 0
            assert varies.mean() > 0.5
            expected = submitted[roi][subject][: len(clips), varies]
            np.testing.assert_allclose(values[:, varies], expected, atol=1e-4)


def test_an_edited_row_reruns_that_row_alone(repository):
    """Its regressor's options are edited; the rows of other regressors stay as they are."""
    document, kept = small_params(), repository.kept()
    document["regressors"]["ridge"] |= {"alphas": [3.0, 300.0]}
    repository.write(document)
    would = repository.would_run()
    fitted = {f"fits@{row}" for row in ROWS if row.endswith("-ridge")}
    fitted |= {f"fits-joint@{row}" for row in JOINT if row.endswith("-ridge")}
    read_alphas = {"submission@mini", "submission@full", f"encoding@{STACK}", f"encoding@{TRANSFER}"}
    assert fitted <= {stage for stage in would if "@" in stage} <= fitted | read_alphas

    document = small_params()
    document["regressors"]["res"]["normalize"] = not document["regressors"]["res"]["normalize"]
    repository.write(document)
    ran, _ = repository.repro(f"selection@{ROWS[1]}", f"selection@{ROWS[0]}")
    [other] = [row for row in ROWS if row.endswith("res")]
    repository.back(kept)
    assert {stage for stage in ran if "@" in stage} == {f"{step}@{other}" for step in ("fits", "scores", "selection")}
    assert repository.would_run() == set()


@pytest.mark.parametrize(
    ("space", "changed", "network"),
    [
        ("late", {"n_components": 5}, {"reduction@efficientnet_lite0"}),
        ("lite", {"pool": ["max2", "avg5"]}, {"features@efficientnet_lite0"}),
        ("displaced", {"standardize": False}, set()),
    ],
)
def test_an_edited_space_reruns_its_network_and_its_rows(repository, space, changed, network):
    """Of the network no more than it has to: a PCA extracts nothing again. Other rows follow where it wrote anew."""
    document = small_params()
    document["spaces"] = SPACES | {space: SPACES[space] | changed}
    for row in document["experiments"]["joint"].values():
        row["spaces"] = [
            name.replace("lite.max3", "lite.max2") if "pool" in changed else name for name in row["spaces"]
        ]
    repository.write(document)
    would = repository.would_run()
    repository.write(small_params())
    edited = {space, f"{space}.max3"}  # of lite, the second grid stays as it is
    own = {f"fits-joint@{row}" for row, spaces in JOINT.items() if edited & {*spaces}}
    if f"fits-joint@{STACK}" in own:
        own |= {f"encoding@{STACK}", "submission@mini"}
    renamed = {"gate"} if "pool" in changed else set()  # it looks at what rows are made of
    assert would == network | own | renamed | {"checks", "report", "tracking"}


def test_the_reported_score_of_a_row_refits_nothing(repository):
    document = small_params()
    document["experiments"]["voxelwise"][ROWS[0]]["reported"] = 0.5
    repository.write(document)
    would = repository.would_run()
    repository.write(small_params())
    assert would == {"checks", "report", "tracking", "gate"}


@pytest.mark.parametrize(
    ("section", "key", "value", "first", "untouched"),
    [
        ("splits", "seed", 1, {"reduction@efficientnet_lite0", f"fits@{ROWS[0]}"}, "features@efficientnet_lite0"),
        ("reduction", "n_components", 7, {"reduction@efficientnet_lite0"}, "ceiling@mini"),
        ("ceiling", "min_reliability", 0.2, {f"scores@{row}" for row in ROWS}, f"fits@{ROWS[0]}"),
        ("simulation", "seed", 5, {"simulation@insilico"}, "features@efficientnet_lite0"),
        ("features", "over_frames", "max", {"features@efficientnet_lite0"}, "frames@2"),
        ("dataset", "subjects", ["sub02"], {"validation", "conversion@train", f"fits@{ROWS[0]}"}, "frames@2"),
    ],
)
def test_a_changed_parameter_reaches_what_reads_it(repository, section, key, value, first, untouched):
    """What lies further down follows when these write something new: dependencies are tested in test_pipeline."""
    document = small_params()
    document[section][key] = value
    repository.write(document)
    would = repository.would_run()
    repository.write(small_params())
    assert first <= would
    assert untouched not in would


@pytest.mark.parametrize(
    ("file", "noticed"),
    [
        ("participants_data_v2021/mini_track/sub01/V1.pkl", {"validation", "conversion@train", "conversion@test"}),
        ("test_responses/mini_track/sub01/V1.pkl", {"validation", "conversion@test"}),
    ],
)
def test_a_changed_response_file_is_converted_again(repository, file, noticed):
    """As with real data: a folder that no stage makes."""
    document, path = small_params(), repository.folder / "data/insilico" / file
    document["simulation"]["datasets"] = []
    repository.write(document)
    whole = path.read_bytes()
    assert not repository.would_run() & {"validation", "conversion@train", "conversion@test"}
    path.chmod(0o644)
    path.unlink()
    path.write_bytes(whole[:-4] + b"0000")
    try:
        would = repository.would_run()
    finally:
        path.unlink()
        path.write_bytes(whole)
        repository.write(small_params())
    assert noticed <= would and ("conversion@train" in would) == ("conversion@train" in noticed)
    assert repository.would_run() == set()


def test_test_responses_reach_no_stage_before_the_scores(repository):
    """By what DVC noted: neither fits nor transfer networks nor the submission's refit depend on them."""
    stages = yaml.safe_load((repository.folder / "dvc.lock").read_text())["stages"]
    readers = {name for name in stages if "data/conversion/test" in repository.lock(name)}
    assert {name.split("@")[0].partition("-")[0] for name in readers} == {"ceiling", "scores", "selection"}
    whole = {name for name in stages if "data/insilico" in repository.lock(name)}
    assert whole == {"validation", "conversion@test", "report"}


def test_other_training_clips_reach_the_reduction(repository):
    """The same clips, another border between training and test: what was fitted on training clips is fitted anew."""
    assert "data/validation/clips.json" in repository.lock("reduction@efficientnet_lite0")
    lengths = []
    for path in sorted((repository.folder / "data/insilico/AlgonautsVideos268_All_30fpsmax").iterdir())[:60]:
        with av.open(str(path)) as container:
            lengths.append(round(float(container.streams.video[0].frames / container.streams.video[0].average_rate), 3))
    expected = {"n_clips": 84, "n_train_clips": 60, "seconds": [min(lengths), max(lengths)]}
    assert repository.json("data/validation/clips.json") == expected


@contextmanager
def with_other(path, content):
    """A file of the repository, changed for a while; what DVC links to its cache is replaced, not written into."""
    before = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(before)


def test_another_test_clip_reaches_what_is_handed_in_and_kept(repository):
    """By the last row alone of what was made of the clips: nothing else may need to change, such as a score."""
    with ExitStack() as others:
        for file in ("features/efficientnet_lite0/blocks.3.2.npy", f"predictions/{TRANSFER}/test/frozen.npy"):
            values, stream = np.load(repository.folder / "data" / file), BytesIO()
            values[-1] += 1
            np.save(stream, values)
            others.enter_context(with_other(repository.folder / "data" / file, stream.getvalue()))
        would = repository.would_run()
    assert {"submission@mini", "submission@full", f"encoding@{STACK}", f"encoding@{TRANSFER}"} <= would


def test_an_edit_of_code_reruns_what_can_load_it(repository):
    """A comment nothing, a helper what has it, also if a single stage is asked for, a solver its rows."""
    package = repository.folder / "src/cinevox"
    reduction, solver = package / "stimuli/reduction.py", package / "fitting/regressors/_solvers/least_squares.py"
    with with_other(reduction, b"# A comment.\n" + reduction.read_bytes().replace(b"    return ", b"    return  ")):
        assert repository.repro()[0] == ["source_code"]
    with with_other(reduction, reduction.read_bytes() + b"\nADDED = 1\n"):
        ran, _ = repository.repro("reduction@efficientnet_lite0")
        assert ran == ["source_code", "reduction@efficientnet_lite0"]
    similarity = package / "fitting/regressors/res.py"
    with with_other(similarity, similarity.read_bytes() + b"\nADDED = 1\n"):
        assert repository.would_run() == {f"fits@{ROWS[1]}", "report", "reduction@efficientnet_lite0"}
    with with_other(solver, solver.read_bytes() + b"\nADDED = 1\n"):  # no row has it
        assert repository.would_run() == {"report", "reduction@efficientnet_lite0"}
    assert repository.repro("reduction@efficientnet_lite0")[0] == ["source_code"]  # the other is in DVC's cache


def test_a_new_network_is_extracted_alone(repository):
    document = small_params()
    document["networks"]["alexnet"] = {"weights": "random", "file": None, "sha256": None, "n_frames": 2, "seed": 0}
    repository.write(document)
    would = repository.in_order("features@efficientnet_lite0", "features@alexnet")
    repository.write(small_params())
    assert [stage for stage in would if "@" in stage] == ["features@alexnet"]


def test_an_edited_array_that_the_user_brought_reaches_a_row_that_is_asked_for_alone(repository):
    """DVC knows nothing of its file; one value of it is changed, and its size is not."""
    document, kept = small_params(), repository.kept()
    document["networks"]["mine"] = {
        "weights": "none", "model": "array", "file": "tmp/mine.npz", "sha256": None, "n_frames": 2, "seed": 0,
    }  # fmt: skip
    repository.write(document)
    clips = sorted(
        path.stem for path in (repository.folder / "data/insilico/AlgonautsVideos268_All_30fpsmax").iterdir()
    )
    values = np.random.default_rng(0).standard_normal((len(clips), 24))
    would = []
    for edited in (0, 1):
        values[-1, -1] += edited
        np.savez(repository.folder / "tmp/mine.npz", ids=clips, words=values)
        if not edited:
            for stage in ("source_code", "features@mine", "reduction@mine"):
                repository.repro("--single-item", stage)
            (repository.folder / "tmp/mine.npz").touch()  # which is no edit
        would.append("features@mine" in repository.in_order(f"selection-joint@{STACK}"))
    repository.back(kept)
    assert would == [False, True]


def test_a_fault_in_the_parameters_is_told_before_anything_runs(repository):
    document, kept = small_params(), repository.kept()
    document["splits"]["n_folds"] = 0
    repository.write(document)
    ran, said = repository.repro(code=255)
    repository.back(kept)  # with what DVC took away before it ran the stage
    assert "splits.n_folds" in said and "Traceback" not in said
    assert not any(stage.startswith(("features", "fits")) for stage in ran)


ON_A_CLUSTER = """
import runpy, sys
from cinevox import parallel
parallel.FEW = 0  # this small run has too little to do for workers: here they do it all the same
sys.path.insert(0, "stages")
for row in sys.argv[1:]:
    for stage in ("fits", "scores", "selection"):
        sys.argv = [f"stages/{stage}.py", row]
        runpy.run_path(sys.argv[0], run_name="__main__")
"""


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_fits_of_a_row_on_a_cluster_of_processes_come_to_the_same_files(repository, tmp_path, monkeypatch):
    """The stages as scripts; the workers are other processes, which did all fits and scores."""
    from distributed import LocalCluster
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Counting(SchedulerPlugin):
        done = 0

        def transition(self, key, start, finish, *args, **kwargs):
            self.done += (start, finish) == ("processing", "memory")

    root, before, counting = tmp_path / "root", Path.cwd(), Counting()
    shutil.copytree(repository.folder, root, ignore=shutil.ignore_patterns(".dvc", "insilico", "frames"))
    for row in ROWS:
        for folder in (f"predictions/{row}", f"scores/{row}", f"selection/{row}"):
            shutil.rmtree(root / "data" / folder)
        (root / f"metrics/{row}.json").unlink()
    monkeypatch.setenv("PYTHONPATH", repository.environment["PYTHONPATH"])
    monkeypatch.chdir(root)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
    ) as cluster:
        cluster.scheduler.add_plugin(counting)
        settings = {"backend": "dask", "n_jobs": 1, "scheduler": cluster.scheduler_address, "jobqueue": None}
        (root / "params.yaml").write_text(yaml.safe_dump(small_params() | {"parallel": settings}, sort_keys=False))
        command = [sys.executable, "-c", ON_A_CLUSTER, *ROWS]
        subprocess.run(command, cwd=root, env=repository.environment, capture_output=True, check=True)
    monkeypatch.chdir(before)
    n_spaces = len(repository.json(f"data/predictions/{ROWS[0]}/index.json")["spaces"])
    assert counting.done >= 2 * len(ROWS) * n_spaces
    for row in ROWS:
        assert (root / f"metrics/{row}.json").read_bytes() == (repository.folder / f"metrics/{row}.json").read_bytes()
        for folder in (f"data/predictions/{row}", f"data/scores/{row}", f"data/selection/{row}"):
            assert contents(root / folder) == contents(repository.folder / folder)


def test_a_broken_clip_stops_the_flow_at_validation_and_loses_nothing(repository):
    clip = sorted((repository.folder / "data/insilico/AlgonautsVideos268_All_30fpsmax").glob("*.mp4"))[3]
    whole, kept = clip.read_bytes(), repository.kept()
    clip.chmod(0o644)
    clip.unlink()
    clip.write_bytes(whole[: len(whole) // 2])
    try:
        said = repository.run("dvc", "repro", "--single-item", "validation", code=255)
    finally:
        clip.write_bytes(whole)
    assert clip.name in said and "Traceback" not in said
    repository.back(kept)
    assert repository.would_run() == set()

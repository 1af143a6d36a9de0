"""From an experiment to its runs and back, with real experiments of DVC's in a small repository."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

import finished_run
import mlflow_warnings
from cinevox import cli
from cinevox.errors import InputError
from cinevox.outlets import tracking
from cinevox.outlets.tracking import history, writing
from cinevox.project import dvc_lock, identity
from cinevox.project.paths import Paths
from conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    *mlflow_warnings.IGNORED,
]
ROW = finished_run.ROWS[1]
STEP = {
    "cmd": "echo ${scores.n_bootstraps} > NAME-${item}",
    "params": ["scores.n_bootstraps"],
    "deps": ["data/source_code/scores/code.json"],
    "outs": ["NAME-${item}"],
}


class Study:
    """A git repository with made-up results, whose key follows `scores.n_bootstraps`."""

    def __init__(self, root: Path):
        self.root, self.paths = root, Paths(root)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.settings = finished_run.make(root)
        shutil.copytree(ROOT / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        stages = {
            name: {"foreach": [ROW], "do": yaml.safe_load(yaml.dump(STEP).replace("NAME", name))}
            for name in ("scores", "selection")
        }
        stages["tracking"] = {
            "cmd": "python stages/tracking.py",
            "deps": ["params.yaml", *(f"{name}-{ROW}" for name in ("scores", "selection"))],
        }
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        shutil.copy(ROOT / ".gitignore", root / ".gitignore")
        shutil.copy(ROOT / ".dvcignore", root / ".dvcignore")
        (root / "data/source_code/scores").mkdir(parents=True, exist_ok=True)
        (root / "data/source_code/scores/code.json").write_text("{}")
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        self.commit("base")

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def cinevox(self, *words):
        """A command in this process, which has MLflow already; what it says."""
        with contextlib.chdir(self.root), contextlib.redirect_stdout(StringIO()) as said:
            assert cli.main(words) == 0
        return said.getvalue()

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "HEAD").strip()

    def experiment(self, name, *options):
        self.run("dvc", "exp", "run", "--name", name, *options)

    def find(self, word):
        """Of the row whose key follows the parameter."""
        uri = f"sqlite:///{self.root / 'mlflow.db'}"
        found = tracking.find(self.paths, self.settings.tracking.model_copy(update={"uri": uri}), word)
        return [item for item in found if item.row == ROW]


@pytest.fixture(scope="module")
def study(tmp_path_factory, new_record):
    """Three experiments: in the workspace, in DVC's own folder, and one that changes no result of the row."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        made = Study(tmp_path_factory.mktemp("study"))
        new_record(made.root)
        made.experiment("first", "--set-param", "scores.n_bootstraps=51")
        made.experiment("apart", "--temp", "--set-param", "scores.n_bootstraps=52")
        made.experiment("again", "--set-param", "gate.absolute=0.03")
        made.experiment("alone", "--set-param", "scores.n_bootstraps=53", f"selection@{ROW}", f"scores@{ROW}")
        made.run("dvc", "exp", "apply", "again")
        yield made


def test_experiments_keep_the_keys_of_their_runs_and_runs_the_names_of_their_experiments(study):
    names = {found.experiment: found.sha for found in history.experiments(study.root)}
    assert set(names) == {"first", "apart", "again", "alone"}
    keys = {name: history.keys_at(study.paths, sha)[ROW] for name, sha in names.items()}
    assert keys["first"] == keys["again"] != keys["apart"]
    client = MlflowClient(tracking_uri=f"sqlite:///{study.root / 'mlflow.db'}")  # what ran apart wrote here, too
    experiment = client.get_experiment_by_name("cinevox-mini").experiment_id
    baseline = study.run("git", "rev-parse", "HEAD").strip()
    for names, key in (({"first", "again"}, keys["first"]), ({"apart"}, keys["apart"])):
        [run] = client.search_runs([experiment], f"tags.`{writing.KEY}` = '{key}'")
        tags = {tag: value for tag, value in run.data.tags.items() if tag.startswith(history.EXPERIMENT)}
        assert tags == {f"dvc.exp.{name}": baseline for name in names}
        assert run.data.tags["superseded"] == "false"
    found = client.search_runs([experiment], "tags.\"dvc.exp.apart\" LIKE '%' and tags.row = '" + ROW + "'")
    assert {run.data.tags["level"] for run in found} == {"row"}
    assert str(study.root / "mlartifacts") in found[0].info.artifact_uri


def test_each_is_found_from_the_other(study):
    [apart] = study.find("apart")
    assert [(found.experiment, found.cure) for found in apart.revisions] == [("apart", "dvc exp apply apart")]
    assert not apart.here
    sha = next(found.sha for found in history.experiments(study.root) if found.experiment == "apart")
    assert study.find(sha[:8]) == study.find(apart.run[:8]) == [apart] and not apart.superseded
    [first] = study.find("first")
    assert {found.experiment for found in first.revisions} == {"first", "again"} and first.here
    assert {found.run for found in study.find(ROW)} == {first.run, apart.run}
    with pytest.raises(InputError, match="nothing is named 'elsewhere'"):
        study.find("elsewhere")


def test_an_experiment_with_one_row_alone_holds_its_result_synced_or_not(study):
    sha = {found.experiment: found.sha for found in history.experiments(study.root)}["alone"]
    key = history.keys_at(study.paths, sha)[ROW]
    assert key not in history.keys_here(study.paths).values()
    assert [found.experiment for found, keys in history.revisions(study.paths) if key in keys] == ["alone"]
    with pytest.raises(InputError, match="nothing is named 'alone'"):
        study.find("alone")


def test_code_is_compared_as_dvc_has_it(study):
    made, path = dvc_lock.made(identity.read_lock(study.paths), ROW), "data/source_code/scores/code.json"
    content = (study.root / path).read_bytes()
    assert made.code == {path: hashlib.md5(content).hexdigest()} and made.broken is None


def test_a_commit_that_holds_a_result_brings_it_back(study):
    sha = study.commit("kept")
    study.run("dvc", "exp", "remove", "first", "again", "alone")
    [found] = [item for item in study.find(ROW) if item.here]
    assert [(held.sha, held.cure) for held in found.revisions] == [
        (sha, f"git checkout {sha[:10]} && dvc checkout --allow-missing")
    ]
    assert study.find(sha) == [found]
    said = study.cinevox("find", found.run[:12])
    assert (
        f"held by      {sha[:10]}: git checkout {sha[:10]} && dvc checkout --allow-missing" in said
        and "this workspace" in said
    )

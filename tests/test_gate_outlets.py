"""The gate as it is called: the command, the stage and MLflow's entry point find the same."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import finished_run
from _cli import Run
from cinevox import cli
from cinevox.files import io
from cinevox.outlets import gate
from cinevox.outlets.gate import tables
from cinevox.project.paths import Paths
from conftest import ROOT
from small_run import load

BIN = Path(sys.executable).parent
ROW = finished_run.ROWS[1]


@pytest.fixture
def project(tmp_path):
    """A run with its baseline, and what MLflow needs of the project."""
    params, paths = finished_run.make(tmp_path), Paths(tmp_path)
    gate.write_baseline(paths.baseline, gate.read_current(paths, params))
    shutil.copy(ROOT / "MLproject", tmp_path)
    return paths, params


def fall(paths, by):
    finished_run.scored(paths, ROW, "V2", -by)


def command(folder, *words):
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'runs.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("by", [0.0, 0.9])
def test_the_stage_writes_what_the_command_says(project, monkeypatch, by):
    paths, params = project
    fall(paths, by)
    verdict = gate.judge(paths, params)
    load("gate").main(Run("gate", "", params, paths, logging.getLogger("gate")))
    written = io.read_json(paths.gate / "verdict.json")
    assert written["failed"] == verdict.failed == bool(by)
    assert [line["verdict"] for line in written["lines"]] == [line.verdict for line in verdict.lines]
    assert (paths.gate / "verdict.md").read_text() == tables.to_markdown(verdict)


def test_the_stage_stops_no_run_where_nothing_can_be_compared(project):
    paths, params = project
    paths.baseline.unlink()
    load("gate").main(Run("gate", "", params, paths, logging.getLogger("gate")))
    assert io.read_json(paths.gate / "verdict.json")["failed"] is None
    assert (paths.gate / "verdict.md").read_text().startswith("**Not compared: ")


@pytest.mark.slow
def test_mlflows_entry_point_agrees_with_the_command(project, monkeypatch, capsys):
    paths, _ = project
    monkeypatch.chdir(paths.root)
    for by, code in ((0.0, 0), (0.9, 1)):
        fall(paths, by)
        assert cli.main(["gate"]) == code
        sentence = capsys.readouterr().out.rstrip().splitlines()[-1]
        assert sentence.startswith("Failed" if code else "Passed")
        run = command(paths.root, "mlflow", "run", ".", "-e", "gate", "--env-manager", "local")
        assert run.returncode == code and sentence in run.stdout


@pytest.mark.slow
def test_mlflows_entry_point_runs_nothing_for_a_row_that_is_not_there(project):
    """DVC runs the whole flow where a pattern matches nothing; a folder without a flow would say so here."""
    paths, _ = project
    shutil.copy(ROOT / "params.paper.yaml", paths.root)
    run = command(paths.root, "mlflow", "run", ".", "-e", "row", "-P", "row=nope", "--env-manager", "local")
    said = run.stdout + run.stderr
    assert run.returncode and f"no row 'nope' in experiments; expected one of {finished_run.ROWS[0]}" in said
    assert "dvc.yaml" not in said and "DVC repository" not in said

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


def test_the_command_needs_a_baseline_and_then_catches_a_drop(project, monkeypatch, capsys):
    paths, params = project
    monkeypatch.chdir(paths.root)
    for file in (paths.baseline, paths.baseline.with_suffix(".npz")):
        file.unlink()
    assert cli.main(["gate"]) == 2
    assert "cinevox gate --update" in capsys.readouterr().err
    assert cli.main(["gate", "--update"]) == 0
    assert cli.main(["gate", "--markdown", "verdict.md"]) == 0
    capsys.readouterr()
    assert cli.main(["gate", "--markdown", "params.yaml/verdict.md"]) == 2  # 1 would say that something fell
    assert "cinevox gate: params.yaml: can't be read or written (" in capsys.readouterr().err
    fall(paths, 0.9)
    assert cli.main(["gate", "--against", ""]) == 1
    said = capsys.readouterr().out
    assert said.split("\n\n")[0].splitlines()[-1].split()[-1] == "regressed"  # failures last, where one looks
    assert said.rstrip().splitlines()[-1].startswith("Failed against metrics/baseline.json: 1 regressed")
    assert (paths.root / "verdict.md").read_text().startswith("**Passed against metrics/baseline.json")
    assert cli.main(["gate", "--against", "no-such-revision"]) == 2
    assert cli.main(["gate", "--update", "--against", "HEAD"]) == 2
    paths.metrics(ROW).unlink()
    assert cli.main(["gate"]) == 1
    assert cli.main(["gate", "--update"]) == 2
    assert f"no metrics of {ROW}; `dvc repro` makes them" in capsys.readouterr().err


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

"""The console command, as a user types it."""

import shutil
import subprocess
import sys

import pytest
import yaml

from cinevox import cli, io, params, plugins
from cinevox.networks._weights import status
from conftest import ROOT


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the parameters of this run and of the paper, and nothing run yet."""
    for name in ("params.yaml", "params.paper.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "package"), [("networks", "networks"), ("regressors", "regressors"), ("weights", "networks")]
)
def test_every_plugin_has_its_line(project, capsys, command, package):
    assert cli.main([command]) == 0
    said = capsys.readouterr().out
    for name in plugins.names(f"cinevox.{package}"):
        assert f"\n{name} " in said


@pytest.mark.parametrize("terminal", [False, True])
def test_paths_and_addresses_stand_on_one_line_to_be_copied(project, capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    cli.main(["weights"])
    said = capsys.readouterr().out
    for entry in status(params.load(project / "params.yaml").networks):
        assert entry.file in said and entry.url in said


def test_every_help_has_its_sentences_and_paragraphs(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        said = capsys.readouterr().out.split("\n\n")
        assert said[1].endswith(".") and not said[1].endswith("..")
    with pytest.raises(SystemExit):
        cli.main(["cluster", "--help"])
    said = [" ".join(paragraph.split()) for paragraph in capsys.readouterr().out.split("\n\n")]
    assert said[1].endswith("or while a command runs.") and said[2].startswith("Stages then find it by themselves. All")


def test_weights_say_policy_source_and_licence(project, capsys):
    cli.main(["weights"])
    said = " ".join(capsys.readouterr().out.split())
    assert "efficientnet_lite0 package valid" in said
    assert "alexnet random random" in said
    assert "non-commercial" in said


def test_rows_of_this_run_and_of_the_paper(project, capsys):
    cli.main(["rows"])
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("mini-squeezenet-layer-lasso "))
    assert line.split()[1:] == ["0.499", "yes", "yes"]
    assert "full-vgg19-layer-res" in said


def test_one_row_by_name_and_no_other(project, capsys):
    assert cli.main(["rows", "mini-squeezenet-layer-lasso"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    for name in ("nope", "full-vgg19-layer-res"):  # the paper has the second, this run has neither
        assert cli.main(["rows", name]) == 2
        said = capsys.readouterr().err
        assert f"params.yaml: no row {name!r} in experiments; expected one of mini-alexnet-layer-" in said


def test_scores_show_what_was_run_and_name_what_was_not(project, capsys):
    rows = list(yaml.safe_load((project / "params.yaml").read_text())["experiments"]["voxelwise"])
    block = {"score": 0.4567, "low": 0.4, "high": 0.5, "V1": 0.3, "PPA": None}
    io.write_json(project / f"metrics/{rows[0]}.json", {"test": block, "validation": {"score": 0.5}})
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "0.457" in said and "0.400 to 0.500" in said
    assert "Random weights, so no result: alexnet" in said
    assert "not comparable with reported scores" in said
    assert f"Not run yet: {rows[1]}" in said


def test_scores_warn_by_what_made_them_and_not_by_todays_parameters(project, capsys):
    """As in a fresh clone after `make paper`: there are the metrics and dvc.lock, and neither data nor a report."""
    shutil.copy(ROOT / "dvc.lock", project)
    shutil.copytree(ROOT / "metrics", project / "metrics")
    shutil.copy(project / "params.paper.yaml", project / "params.yaml")
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "Random weights, so no result: alexnet, resnet18_ssl, squeezenet.\n" in said
    assert "In-silico responses, so not comparable with reported scores.\n" in said
    assert "Committed metrics: " in said and "index.html" not in said
    io.write_json(project / "data/selection/mini-squeezenet-layer-lasso/selection.json", {})
    io.write_bytes(project / "report/index.html", b"")
    lock = (project / "dvc.lock").read_text().replace("name: insilico", "name: algonauts2021")
    (project / "dvc.lock").write_text(lock.replace("weights: random", "weights: pretrained"))
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "so no" not in said and "Committed metrics" not in said and "report/index.html  the report" in said


def test_a_faulty_parameter_ends_in_a_message(project, capsys):
    (project / "params.yaml").write_text("seed: 1\n")
    assert cli.main(["scores"]) == 2
    assert "cinevox scores: params.yaml: " in capsys.readouterr().err


def test_ready_names_all_that_a_run_would_miss(project, capsys):
    assert cli.main(["ready"]) == 0
    assert "rows, nothing missing" in capsys.readouterr().out
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["regressors"] |= {"laso": {}, "ridge": {"alpha": 1.0}}
    content["dataset"] |= {"name": "algonauts2021", "folder": "data/algonauts2021"}
    io.write_bytes(project / "params.yaml", yaml.safe_dump(content).encode())
    assert cli.main(["ready"]) == 2
    said = capsys.readouterr().err
    assert "params.yaml: plug-ins that cannot be used" in said
    assert "regressors: there is no 'laso'; there are banded_ridge" in said
    assert "regressors.ridge: does not know alpha and needs alphas" in said
    assert "data/algonauts2021: no such folder; unpack the challenge's archive" in said
    io.write_bytes(project / "data/algonauts2021.dvc", b"outs: []")
    assert cli.main(["ready"]) == 2
    assert "`dvc pull data/algonauts2021.dvc` brings it" in capsys.readouterr().err
    content["dataset"]["name"] = "algonauts"
    io.write_bytes(project / "params.yaml", yaml.safe_dump(content).encode())
    assert cli.main(["ready"]) == 2
    assert capsys.readouterr().err.count("datasets: there is no 'algonauts'") == 1


def test_ready_says_which_rows_are_least_squares_under_another_name(project, capsys):
    assert cli.main(["ready"]) == 0
    assert "note:" not in capsys.readouterr().out
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["reduction"]["normalize"] = True
    row = {"track": "mini", "network": "alexnet", "reported": None}
    more = [row | {"features": word, "regressor": name} for word, name in (("layer", "best"), ("all", "ridge"))]
    content["experiments"]["voxelwise"] |= {f"mini-alexnet-{r['features']}-{r['regressor']}": r for r in more}
    io.write_bytes(project / "params.yaml", yaml.safe_dump(content).encode())
    assert cli.main(["ready"]) == 0
    _, *notes = capsys.readouterr().out.splitlines()
    rows = "full-efficientnet_lite0-layer-ridge, mini-alexnet-layer-best, mini-efficientnet_lite0-layer-ridge"
    assert [note.partition(": ridge on one layer")[0] for note in notes] == [f"note: {rows}"]
    assert "Set reduction.normalize to false" in notes[0]


def test_a_place_that_cannot_be_written_ends_in_a_message(project, capsys):
    (project / "file").write_text("no folder")
    assert cli.main(["smoke", "file/folder"]) == 2
    assert "cinevox smoke: file/folder: can't be read or written (Not a directory)" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(project):
    command = [sys.executable, "-c", "import sys; input(); from cinevox import cli; sys.exit(cli.main(['rows']))"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode


def test_the_gate_needs_a_baseline_and_then_catches_a_drop(project, capsys):
    groups = yaml.safe_load((project / "params.yaml").read_text())["experiments"].values()
    rows = [row for group in groups for row in group]
    block = {"score": 0.5, "low": 0.49, "high": 0.51, "V1": 0.5}
    for row in rows:
        io.write_json(project / f"metrics/{row}.json", {"test": block})
    assert cli.main(["gate"]) == 2
    assert "cinevox gate --update" in capsys.readouterr().err
    assert cli.main(["gate", "--update"]) == 0
    assert cli.main(["gate", "--markdown", "verdict.md"]) == 0
    capsys.readouterr()
    assert cli.main(["gate", "--markdown", "params.yaml/verdict.md"]) == 2  # 1 would say that something fell
    assert "cinevox gate: params.yaml: can't be read or written (" in capsys.readouterr().err
    io.write_json(project / f"metrics/{rows[0]}.json", {"test": block | {"V1": 0.3}})
    capsys.readouterr()
    assert cli.main(["gate", "--against", ""]) == 1
    said = capsys.readouterr().out
    assert said.split("\n\n")[0].splitlines()[-1].split()[-1] == "regressed"  # failures last, where one looks
    assert said.rstrip().splitlines()[-1].startswith("Failed against metrics/baseline.json: 1 regressed")
    assert (project / "verdict.md").read_text().startswith("**Passed against metrics/baseline.json")
    assert cli.main(["gate", "--against", "no-such-revision"]) == 2
    (project / f"metrics/{rows[0]}.json").unlink()
    assert cli.main(["gate"]) == 1
    assert cli.main(["gate", "--update"]) == 2
    assert f"no metrics of {rows[0]}; `dvc repro` makes them" in capsys.readouterr().err

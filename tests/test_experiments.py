"""Experiments: what DVC does to the parameters is undone, and a copy of the repository runs its own package."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import finished_run
from cinevox import cli
from cinevox.cli import experiments
from cinevox.errors import InputError
from cinevox.outlets import report
from cinevox.project import params
from cinevox.project.params import text
from cinevox.project.paths import Paths
from cinevox.scoring import origin as provenance
from cinevox.scoring import row_results
from conftest import ROOT

FILES = ("params.yaml", "params.paper.yaml")


@pytest.mark.parametrize("name", FILES)
def test_the_same_values_leave_the_text_alone(name):
    written = (ROOT / name).read_text()
    assert text.rewritten(written, text.read(written)) == written


@pytest.mark.parametrize(("form", "values"), [FILES, FILES[::-1]])
def test_the_values_of_one_file_fit_into_the_form_of_the_other(form, values):
    wanted = text.read((ROOT / values).read_text())
    assert text.read(text.rewritten((ROOT / form).read_text(), wanted)) == wanted


def lines_that_differ(before, after):
    before, after = before.splitlines(), after.splitlines()
    return [line for line in after if line not in before], [line for line in before if line not in after]


@pytest.mark.parametrize(
    ("override", "new", "gone"),
    [
        (
            "reduction.n_components=50",
            ["  n_components: 50"],
            ["  n_components: 100"],
        ),
        (
            "transfer.learning_rate=1e-5",
            ["  learning_rate: 1e-05         # of Adam"],
            ["  learning_rate: 1.0e-3        # of Adam"],
        ),
        (
            "dataset.rois=[V1,V2]",
            ["  rois: [V1, V2]                                    # the mini track; the full track is WB"],
            ["  rois: [V1, V2, V3, V4, LOC, EBA, FFA, STS, PPA]   # the mini track; the full track is WB"],
        ),
        ("~regressors.linear", [], ["  linear: {}"]),
        ("+regressors.omp.extra=2", ["  omp: {max_features: 10, extra: 2} # features at most in a voxel's model"],
         ["  omp: {max_features: 10}      # features at most in a voxel's model"]),
        ("~regressors.omp.max_features", ["  omp: {}                      # features at most in a voxel's model"],
         ["  omp: {max_features: 10}      # features at most in a voxel's model"]),
        (
            "+experiments.voxelwise.mini-alexnet-layer-res={track: mini, network: alexnet}",
            ["    mini-alexnet-layer-res: {track: mini, network: alexnet}"],
            [],
        ),
    ],
)  # fmt: skip
def test_what_dvc_rewrites_comes_back_as_one_line(tmp_path, override, new, gone):
    """`dvc exp run -S` writes through `apply_overrides`: its own form of the whole file."""
    written = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(written)
    apply_overrides(tmp_path / "params.yaml", [override])
    dvcs = (tmp_path / "params.yaml").read_text()
    tidy = text.rewritten(written, text.read(dvcs))
    assert len(lines_that_differ(written, dvcs)[0]) > 20
    assert lines_that_differ(written, tidy) == (new, gone)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("aeY1.:#-, '\"{[\n", max_size=5)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
mappings = st.dictionaries(st.sampled_from(["a", "b", "c"]), values | st.dictionaries(st.just("d"), values), min_size=1)


@given(before=mappings, after=mappings)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_any_values_fit_into_a_text_and_are_read_back(before, after):
    for flow in (False, None):
        written = yaml.safe_dump(before, default_flow_style=flow)
        found = text.read(text.rewritten(written, after))
        assert json.dumps(found, sort_keys=True) == json.dumps(after, sort_keys=True)  # 1, 1.0 and true are not equal


@pytest.mark.parametrize("number", ["1e-05", "-2E+3", "3.e-7"])
def test_numbers_are_read_as_dvc_writes_them(number):
    assert text.read(f"a: {number}") == {"a": float(number)}
    assert text.read("a: 1e") == {"a": "1e"}


def test_an_empty_value_gets_one():
    assert text.rewritten("a:\n  b:\n  c: 1\n", {"a": {"b": 3, "c": 1}}) == "a:\n  b: 3\n  c: 1\n"


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Paths, "params", tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("<<<<<<< HEAD\na: [1\n")
    monkeypatch.setattr("cinevox.cli.experiments._answer", lambda *_: "a: 1\n")
    assert cli.main(["tidy"]) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert (tmp_path / "params.yaml").read_text().startswith("<<<<<<<")


COMMENTED = """\
a:  # on a
  # above b
  b: 1  # on b

  # above c
  c: 2  # on c

# above e
e: 3
"""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": {"c": 2}, "e": 3}, COMMENTED.replace("  b: 1  # on b\n", "")),
        ({"a": {"b": 1}, "e": 3}, COMMENTED.replace("  c: 2  # on c\n", "")),
        ({"a": {"b": 1, "c": 2, "d": 0}, "e": 3}, COMMENTED.replace("# on c\n", "# on c\n  d: 0\n")),
        ({"a": {"b": 1, "c": [4]}, "e": 3}, COMMENTED.replace("c: 2  #", "c: [4] #")),
        ({"a": 5, "e": 3}, "a: 5 # on a\n  # above b\n\n# above e\ne: 3\n"),
    ],
)
def test_a_comment_stays_where_it_stands_when_its_neighbours_come_and_go(values, expected):
    assert text.rewritten(COMMENTED, values) == expected


def test_words_and_digits_are_read_and_kept_as_dvc_has_them():
    written = "a: 5.369855646611021e+16\nb: yes\nc: 010\nd: null\ne: ~\nf: 'x'\n"
    values = text.read(written)
    assert (
        values
        == {"a": 5.369855646611021e16, "b": "yes", "c": 10, "d": None, "e": None, "f": "x"}
        == parse_yaml(written, "params.yaml")
    )
    assert text.rewritten(written, values | {"g": 1}) == written + "g: 1\n"


def test_what_is_no_mapping_is_refused():
    with pytest.raises(InputError, match="no YAML mapping"):
        text.rewritten("- 1\n", {"a": 1})


ROW = "mini-efficientnet_lite1-layer-lasso"
SCRIPT = f"""
from pathlib import Path

from joblib import Parallel, delayed

from _cli import Run, stage
import cinevox
from cinevox import only_here
from cinevox.files import io


def main(run: Run) -> None:
    answers = Parallel()(delayed(only_here.answer)(Path(cinevox.__file__)) for _ in range(2))
    score = run.params.reduction.n_components / 1000 * sum(answers) / 2
    io.write_json(run.paths.metrics("{ROW}"), {{"test": {{"score": score, "V1": 0.5}}, "validation": {{"score": 0.9}}}})


if __name__ == "__main__":
    stage(main, "reduction")
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git and DVC repository with this one's parameters and package, a module only of its own, and one stage."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages").mkdir()
    shutil.copy(ROOT / "stages/_cli.py", tmp_path / "stages")
    (tmp_path / "stages/scores.py").write_text(SCRIPT)
    (tmp_path / "src/cinevox/only_here.py").write_text("def answer(_):\n    return 1\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    metrics = [{f"metrics/{ROW}.json": {"cache": False}}]
    flow = {"scores": {"cmd": "python stages/scores.py", "params": ["reduction"], "metrics": metrics}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": flow}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return tmp_path


def run(command):
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_copy_of_the_repository_runs_its_own_package_in_workers_too(repository):
    (repository / "src/cinevox/only_here.py").write_text("def answer(path):\n    return str(path).startswith('/')\n")
    run("python stages/scores.py")
    metrics = json.loads((repository / f"metrics/{ROW}.json").read_text())
    assert (
        metrics["test"]["score"]
        == text.read((repository / "params.yaml").read_text())["reduction"]["n_components"] / 1000
    )


def test_every_script_takes_the_package_from_the_path_that_cli_sets():
    """Of its own or by another helper, before anything of the package is imported; `source_code` needs no helper."""
    for script in (ROOT / "stages").glob("*.py"):
        lines = script.read_text().splitlines()
        own = [line for line in lines if re.match(r"sys\.path|(from|import) (cinevox|_[a-z])", line)]
        assert "cinevox" not in own[0], script


def test_a_score_that_other_parameters_made_is_not_the_experiments(repository, capsys, monkeypatch):
    """As after an experiment of one row: dvc.lock has the others as they were before, and DVC shows their scores."""
    stale, own, remade = "mini-alexnet-layer-res", ROW, "mini-alexnet-layer-ridge"
    made = {"params": {"params.yaml": {"reduction.n_components": 50}}, "outs": [{"path": "data/x", "md5": "new"}]}
    old = {"params": {"params.yaml": {"reduction.n_components": 100}}}
    stages = {"reduction": made, f"scores@{own}": {"deps": [{"path": "data/x", "md5": "new"}]}, f"scores@{stale}": old}
    stages[f"scores@{remade}"] = {"deps": [{"path": "data/x", "md5": "old"}]}
    (repository / "params.yaml").write_text("reduction: {n_components: 50}\n")
    (repository / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    for command in ("git init -q -b main", "git add -A", "git -c user.name=a -c user.email=a@b commit -qm few"):
        run(command)
    few = experiments._Experiment("few", "HEAD", "", {}, dict.fromkeys((own, stale, remade, "by_hand"), 0.5))
    (repository / "dvc.lock").unlink()
    many = experiments._Experiment("workspace", "workspace", "", {}, {own: 0.25})
    monkeypatch.setattr(experiments, "_found", lambda *_: iter([few, many]))
    assert cli.main(["experiments"]) == 0
    said = capsys.readouterr().out
    lines = {words[0]: words[1:] for words in map(str.split, said.splitlines()) if words}
    assert lines[own] == ["0.500", "0.250", "(-0.250)"]
    assert lines[stale] == lines[remade] == ["–", "–"] and lines["by_hand"] == ["0.500", "–"]
    assert "–: not run with the parameters of that column." in said


def test_scores_of_other_data_have_no_change_and_marks_stay(repository, capsys, monkeypatch):
    ours = {"dataset": "insilico", "title": "In-silico", "in_silico": True, "subjects": "sub01", "n_train_clips": 9}
    ours |= {"n_test_clips": 5, "n_voxels": {"V1": 3}, "weights": "random", "official": False}
    simulated = provenance.Origin(**ours)
    measured = replace(simulated, dataset="mystudy", title="Mine", in_silico=False, weights="file")
    more = replace(measured, n_voxels={"V1": 4})
    found = [
        experiments._Experiment(name, "workspace", "", {}, {ROW: score}, {ROW: origin})
        for name, score, origin in (("base", 0.5, simulated), ("same", 0.6, simulated), ("mine", 0.9, measured))
    ]
    monkeypatch.setattr(experiments, "_own", lambda column: column)
    monkeypatch.setattr(experiments, "_found", lambda *_: iter([found[0], *found]))
    assert cli.main(["experiments"]) == 0
    said = capsys.readouterr().out
    assert f"{ROW} 0.500 0.600 (+0.100) 0.900 †" in " ".join(said.split())
    assert "†: of other data than base's score, so no change is given.\n" in said
    assert (
        f"Random weights, so no result: {ROW}.\n" in said
        and "In-silico data, so not comparable with reported scores: base, same.\n" in said
    )
    assert experiments._other_data(found[2], replace(found[2], origins={ROW: more}), ROW)


@pytest.mark.slow
def test_a_queued_experiment_from_run_to_tidy(repository, capsys):
    for command in ("git init -q -b main", "git config user.name a", "git config user.email a@b", "dvc init -q",
                    "dvc repro -q", "git add -A", "git commit -qm base"):  # fmt: skip
        run(command)
    (repository / "src/cinevox/only_here.py").write_text("def answer(_):\n    return 2\n")  # the experiment's own code
    run("dvc exp run --queue -n doubled -S reduction.n_components=50")
    assert cli.main(["experiments"]) == 0
    assert "queued" in capsys.readouterr().out
    run("git checkout -q src")
    run("dvc exp run --run-all")

    assert cli.main(["experiments"]) == 0
    said = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()}
    assert said["main"] == ["doubled"]
    assert said["reduction.n_components"] == ["100", "50"]
    assert said[ROW] == ["0.100", "0.100"]  # of its own code: fifty components, twice the score
    assert cli.main(["experiments", "--metric", "V1"]) == 0
    assert f"{ROW} 0.500 0.500" in " ".join(capsys.readouterr().out.split())

    assert cli.main(["experiments", "--metric", "V9"]) == 2
    assert "--metric V9" in capsys.readouterr().err

    # Another commit: its experiments are those of the one checked out; --all has the others too, and no plain commits
    run("git commit -q --allow-empty -m plain")
    run("git commit -q --allow-empty -m later")
    run("dvc exp run -q -n later -S reduction.n_components=20")
    run("git checkout -q .")
    for options, names in (([], ["later"]), (["--all"], ["later", "doubled"]), (["--all", "--last", "1"], ["later"])):
        assert cli.main(["experiments", *options]) == 0
        assert capsys.readouterr().out.split("\n")[0].split() == ["main", *names]
    run("git reset -q --hard HEAD~1")
    run("dvc exp run --queue -n waiting -S reduction.n_components=10")
    run("git reset -q --hard HEAD~1")
    assert cli.main(["experiments", "--all"]) == 0
    head = capsys.readouterr().out.split("\n")[:2]  # the second line has their states
    assert set(" ".join(head).split()) == {"main", "doubled", "later", "waiting", "queued"}

    run("dvc exp apply doubled")
    assert cli.main(["tidy"]) == 0
    assert "1 file changed, 1 insertion(+), 1 deletion(-)" in capsys.readouterr().out
    assert params.load(repository / "params.yaml").reduction.n_components == 50


def fields(part):
    """Every field that a Vega-Lite template draws."""
    if isinstance(part, dict):
        yield from [part["field"]] if "field" in part else []
        yield from (field for value in part.values() for field in fields(value))
    elif isinstance(part, list):
        yield from (field for value in part for field in fields(value))


def test_plots_have_a_template_whose_fields_are_columns_and_lie_in_a_cached_output(tmp_path):
    """Else `dvc plots diff` shows an empty drawing, or nothing of the other revision."""
    flow = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    made = finished_run.make(tmp_path, transfer=True)
    tables = report.plots(row_results.read(Paths(tmp_path), made.experiments.rows))
    plots = {name: plot for entry in flow["plots"] if isinstance(entry, dict) for name, plot in entry.items()}
    assert len(plots) == len(tables)
    for plot in plots.values():
        (file,) = plot["y"]
        drawn = json.loads((ROOT / f".dvc/plots/{plot['template']}.json").read_text())
        columns = {plot["x"][file], plot["y"][file], *fields(drawn)} - {"rev"}
        assert columns <= set(tables[Path(file).stem].columns)
    assert "report" in flow["stages"]["report"]["outs"]

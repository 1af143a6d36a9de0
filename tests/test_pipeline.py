"""dvc.yaml, params.yaml, paths.py and the stage scripts agree.

DVC reruns what it sees change. So every parameter section that a script reads must stand in dvc.yaml; a stage that
lists less would keep stale results. Of code see test_source_code.
"""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from cinevox.project import params
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.project.source_code import SourceCode
from cinevox.project.stage_instances import instances
from conftest import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
STAGES = sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])  # scores, scores-roiwise, ...


@cache
def flow():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script(stage):
    return ROOT / "stages" / f"{stage.partition('-')[0]}.py"


def body(stage):
    entry = flow()[stage]
    return entry.get("do", entry)


def names(entries):
    """Plain strings of a list of outs or deps, which may be mappings with options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outputs(stage):
    return names(body(stage).get("outs", [])) + names(body(stage).get("metrics", []))


def declared_sections(stage):
    """Arguments of the script's `stage(main, ...)` call."""
    tree = ast.parse(script(stage).read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "stage"]
    homes = {a.name: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    found = set()
    for argument in call.args[1:]:
        if isinstance(argument, ast.Starred):  # stage(main, *report.SECTIONS) or stage(main, *SECTIONS)
            first, *_ = words = ast.unparse(argument.value).split(".")
            value = importlib.import_module(homes[first])
            for word in words:
                value = getattr(value, word)
            found |= set(value)
        else:
            found.add(argument.value)
    return found


def test_every_script_is_a_stage_and_every_stage_a_script():
    assert sorted({script(stage).stem for stage in STAGES}) == SCRIPTS


@pytest.mark.parametrize("step", ["scores", "selection"])
def test_transfer_networks_are_scored_as_fits_are(step):
    assert body(f"{step}-roiwise") == body(f"{step}-joint") == body(step)
    groups = [flow()[name]["foreach"] for name in (step, f"{step}-roiwise", f"{step}-joint")]
    assert groups == [f"${{experiments.{group}}}" for group in ("voxelwise", "roiwise", "joint")]
    rows = params.load(ROOT / "params.yaml").experiments.rows.values()
    assert {row.instance(step).partition("@")[0] for row in rows} == {step, f"{step}-roiwise", f"{step}-joint"}
    apart = yaml.safe_load(yaml.safe_dump(body(f"{step}-ensembles")).replace("data/ensembles/", "data/"))
    assert apart == body(step) and flow()[f"{step}-ensembles"]["foreach"] == "${experiments.ensembles}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_runs_the_script_of_that_name(stage):
    command = body(stage)["cmd"]
    assert re.fullmatch(rf"python stages/{script(stage).name}( \$\{{(key|item)\}})?", command)
    assert ("foreach" in flow()[stage]) == ("${" in command)


@pytest.mark.parametrize("stage", STAGES)
def test_the_sections_a_script_reads_are_the_ones_dvc_watches(stage):
    entries = body(stage).get("params", [])
    if stage == "source_code":  # it runs in any case
        return
    if entries == [{"params.yaml": None}]:  # it shows them all
        return
    watched = {name.split(".")[0] for name in entries}
    assert watched <= set(Params.model_fields)
    assert declared_sections(stage) - {"parallel"} == watched


def resolved(foreach, document):
    """Keys of what a stage goes through: `${a.b}` of the parameters, or what stands in dvc.yaml."""
    if isinstance(foreach, str):
        for name in foreach.removeprefix("${").removesuffix("}").split("."):
            document = document[name]
        return [str(key) for key in document]
    return [str(key) for key in foreach]


def test_dvc_watches_the_code_of_every_instance_and_lists_no_sources():
    for stage in set(STAGES) - {"source_code"}:
        instance = re.search(r"\$\{(key|item)\}", body(stage)["cmd"])
        dependencies = names(body(stage)["deps"])
        path = Paths().source_code(script(stage).stem, instance[0] if instance else "").as_posix()
        assert [path] == [found for found in dependencies if found.startswith("data/source_code")], stage
        assert not [found for found in dependencies if found.startswith(("src", "stages"))], stage
    assert body("source_code")["always_changed"] and "deps" not in body("source_code")


@pytest.mark.parametrize("file", ["params.yaml", "params.paper.yaml"])
def test_the_instances_of_every_stage_are_those_of_dvc(file):
    document = yaml.safe_load((ROOT / file).read_text())
    expected = set()
    for stage in set(STAGES) - {"source_code"}:
        keys = resolved(flow()[stage]["foreach"], document) if "foreach" in flow()[stage] else [""]
        expected |= {(script(stage).stem, key) for key in keys}
    found = [(i.stage, i.instance) for i in instances(params.load(ROOT / file), SourceCode.of(ROOT))]
    assert set(found) == expected and len(found) == len(expected)


def test_outputs_lie_where_paths_says():
    paths = Paths()
    expected = {
        "source_code": [Path("data/source_code"), paths.versions],
        "simulation": [paths.simulation("KEY")],
        "validation": [
            *(paths.validation / name for name in ("clips.json", "summary.json", "scale.json", "data_docs")),
            paths.metrics("validation"),
        ],
        "conversion": [paths.conversion("KEY")],
        "frames": [paths.frames("KEY")],
        "features": [paths.features("KEY")],
        "reduction": [paths.reduction("KEY")],
        "ceiling": [paths.ceiling("KEY")],
        "fits": [paths.predictions("KEY")],
        "bases": [paths.base("KEY")],
        "transfer": [paths.predictions("KEY")],
        "scores": [paths.scores("KEY")],
        "selection": [paths.selection("KEY"), paths.metrics("KEY")],
        "checks": [paths.checks / "summary.json", paths.checks / "data_docs", paths.metrics("checks")],
        "report": [paths.report],
        "submission": [paths.submission("KEY"), paths.submission("KEY").with_suffix(".json")],
        "encoding": [paths.encoding("KEY")],
        "tracking": [],
        "gate": [paths.gate],
    }
    expected |= {
        f"{step}-{group}": expected[step] for step in ("scores", "selection") for group in ("roiwise", "joint")
    }
    expected["fits-joint"], expected["submission-ensembles"] = expected["fits"], expected["submission"]
    expected |= {
        "ensembles": [paths.predictions("KEY-ensemble")],
        "scores-ensembles": [paths.scores("KEY-ensemble")],
        "selection-ensembles": [paths.selection("KEY-ensemble"), paths.metrics("KEY")],
    }
    found = {stage: [re.sub(r"\$\{(key|item)\}", "KEY", out) for out in outputs(stage)] for stage in flow()}
    plain = {stage: [path.as_posix().replace("-ensemble", "") for path in own] for stage, own in expected.items()}
    assert found == plain


@pytest.mark.parametrize("stage", STAGES)
def test_another_version_is_checked_out_whole(stage):
    """What lies in data/ and is not cached would be of the version before, and its stage would run again."""
    for out in body(stage).get("outs", []):
        assert (
            isinstance(out, str) or not next(iter(out)).startswith("data/") or "cache" not in next(iter(out.values()))
        )


def test_copies_of_clips_are_bound_to_the_remote_of_the_parameters():
    """What shows the clips or copies the responses: `dvc push` may not take that of restricted data anywhere."""
    for stage in ("conversion", "frames", "features", "bases", "encoding"):
        assert [next(iter(out.values())) for out in body(stage)["outs"]] == [{"remote": "${storage.remote}"}]


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_somebodys_outputs_or_in_the_repository(stage):
    made = {re.sub(r"\$\{.*?\}", "KEY", out) for other in flow() for out in outputs(other)}
    for path in names(body(stage).get("deps", [])):
        plain = re.sub(r"(\$\{.*?\}-?)+", "KEY", path).replace("data/conversion/train", "data/conversion/KEY")
        plain = plain.replace("data/conversion/test", "data/conversion/KEY")
        if plain.startswith("data/source_code/"):
            continue
        shared = ("metrics", "data/scores", "data/selection", "data/ceiling", "data/frames", "data/features")
        shared += ("data/predictions", "data/bases", "data/reduction", "data/ensembles")
        if plain.startswith("KEY") or plain in shared:
            continue  # the data set's own folder, or a folder that several instances share
        if plain.startswith("report/"):
            plain = "report"
        if plain.startswith(("data/", "metrics/", "report")):
            assert plain in made, f"{stage} depends on {path}, which no stage makes"
        elif "KEY" not in plain:
            assert (ROOT / plain).exists(), f"{stage} depends on {path}, which is not there"


def test_test_responses_are_read_where_scores_are_made_and_nowhere_else():
    """The ceiling is half of a normalized score. The data set itself is read by what looks at it first."""
    readers = {stage for stage in STAGES if "data/conversion/test" in names(body(stage).get("deps", []))}
    of_rows = {
        f"{step}{group}" for step in ("scores", "selection") for group in ("", "-roiwise", "-joint", "-ensembles")
    }
    assert readers == {"ceiling"} | of_rows
    whole = {stage for stage in STAGES if "${dataset.folder}" in names(body(stage).get("deps", []))}
    assert whole == {"validation", "report"}
    folder = "${dataset.folder}"
    assert flow()["conversion"]["foreach"] == {"train": f"{folder}/${{dataset.responses}}", "test": folder}
    scripts = {path.stem: path.read_text() for path in (ROOT / "stages").glob("[a-z]*.py")}
    opens = {name for name, text in scripts.items() if "open_dataset" in text or "check_folder" in text}
    assert opens == {"validation", "conversion", "frames"}


@pytest.mark.parametrize("stage", SCRIPTS)
def test_stage_scripts_stay_thin(stage):
    assert len((ROOT / "stages" / f"{stage}.py").read_text().splitlines()) <= 60


def test_the_lock_has_hashes_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "--index-url" not in lock and "--find-links" not in lock and "://" not in lock
    pinned = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    assert len(pinned) > 100
    assert all(line.endswith("\\") for line in pinned)

"""What dvc.lock says of a row: with what it was made, whatever the workspace holds by now."""

import json
import shutil
from importlib import metadata

import pytest
import yaml

import finished_run
from cinevox import cli
from cinevox.files import io
from cinevox.outlets import tracking
from cinevox.project import dvc_lock, identity, package_versions, params
from cinevox.project.paths import Paths

ROW = finished_run.ROWS[1]


def entry(deps=(), outs=(), **params):
    return {
        "cmd": "true",
        "deps": [{"path": path, "md5": md5} for path, md5 in dict(deps).items()],
        "params": {"params.yaml": params},
        "outs": [{"path": path, "md5": md5} for path, md5 in dict(outs).items()],
    }


@pytest.fixture
def run(tmp_path):
    """A made-up run with a dvc.lock, as its results were made with its params.yaml."""
    finished_run.make(tmp_path)
    document = yaml.safe_load((tmp_path / "params.yaml").read_text())
    scores, selection = f"data/scores/{ROW}", f"data/selection/{ROW}"
    words = {f"experiments.voxelwise.{ROW}.regressor": "ridge"}
    stages = {
        "validation": entry({}, {"data/checked": "a"}, networks=document["networks"], scores={"seed": 77}),
        f"fits@{ROW}": entry(
            {"data/checked": "a", f"data/source_code/fits/{ROW}.json": "c0de"}, {f"data/predictions/{ROW}": "b"},
            **words, reduction=document["reduction"],
        ),
        f"scores@{ROW}": entry({f"data/predictions/{ROW}/x": "b2", f"data/predictions/{ROW}": "b"}, {scores: "c"},
                               scores=document["scores"]),
        f"selection@{ROW}": entry({scores: "c"}, {selection: "d"}, scores=document["scores"]),
        "report": entry({"data/selection": "e"}, {"report": "f"}, report={"subject": "none of this"}),
    }  # fmt: skip
    write(tmp_path, stages)
    return Paths(tmp_path), stages


def write(root, stages):
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))


def edited(paths, **changes):
    """The parameters after an edit that no run has followed."""
    document = yaml.safe_load(paths.params.read_text())
    for name, value in changes.items():
        section, _, leaf = name.partition("__")
        document[section][leaf] = value
    paths.params.write_text(yaml.safe_dump(document, sort_keys=False))


def recorded(paths):
    from cinevox.project import params

    return {record.name: record for record in tracking.gather(paths, params.load(paths.params))}


def reasons(paths):
    from cinevox.project import params

    return tracking.left_out(paths, params.load(paths.params))


def test_a_result_is_recorded_with_the_parameters_that_made_it(run):
    paths, _ = run
    before = recorded(paths)
    edited(paths, reduction__n_components=7, scores__n_permutations=30, gate__absolute=0.5)
    after = recorded(paths)
    assert after[ROW].params == before[ROW].params and after[ROW].key == before[ROW].key
    assert after[ROW].tags == before[ROW].tags and after[ROW].params["reduction.n_components"] != "7"
    assert [child.params for child in after[ROW].children] == [child.params for child in before[ROW].children]
    other = finished_run.ROWS[2]  # DVC did not run this one: nothing else is known than what stands there
    assert after[other].params["reduction.n_components"] == "7"
    assert after[other].tags["params_hash"] != before[other].tags["params_hash"]


def test_versions_that_made_a_row_are_a_tag_of_it(run, monkeypatch):
    paths, _ = run
    monkeypatch.setattr(metadata, "version", lambda name: f"1.0 of {name}")
    package_versions.record(paths.selection(ROW), f"selection@{ROW}", [])
    tags = {name: record.tags["versions"] for name, record in recorded(paths).items()}
    assert "numpy 1.0 of numpy" in tags.pop(ROW) and not any("1.0 of" in versions for versions in tags.values())
    (paths.selection(ROW) / package_versions.FILE).unlink()
    assert recorded(paths)[ROW].tags["versions"] == "not recorded"


def test_the_nearest_stage_speaks_first_and_others_stages_do_not_speak(run):
    paths, stages = run
    made = dvc_lock.made(stages, ROW)
    assert made.params["scores.seed"] == stages[f"scores@{ROW}"]["params"]["params.yaml"]["scores"]["seed"] != 77
    assert not any(name.startswith("report") for name in made.params)
    path = f"data/source_code/fits/{ROW}.json"
    assert made.broken is None and made.code == {path: "c0de"}
    assert not dvc_lock.changed(made.code, {path: "c0de", "data/source_code/report.json": "other"})
    assert dvc_lock.changed(made.code, {path: "other"}) == dvc_lock.changed(made.code, {}) == [f"fits@{ROW}"]


def test_rows_without_a_result_of_their_own_are_left_out_with_the_reason(run):
    paths, stages = run
    assert reasons(paths) == {}
    write(paths.root, stages | {f"fits@{ROW}": stages[f"fits@{ROW}"] | {"outs": [
        {"path": f"data/predictions/{ROW}", "md5": "newer"}]}})  # fmt: skip
    assert reasons(paths) == {ROW: f"data/predictions/{ROW} was made again, and what follows from it was not"}
    write(paths.root, stages)
    edited(paths, dataset__name="algonauts2021")
    why = "made from In-silico data (insilico), and dataset.name is algonauts2021 now"
    assert reasons(paths) == dict.fromkeys(
        finished_run.ROWS, why
    )  # by the results themselves: this lock has no such name
    edited(paths, dataset__name="insilico", dataset__subjects=["sub02"])
    assert set(reasons(paths).values()) == {"made from sub01 sub02 sub03, and dataset.subjects is sub02 now"}
    edited(paths, dataset__subjects=list(finished_run.SUBJECTS))
    other = entry(**{f"experiments.voxelwise.{ROW}.regressor": "lasso"})
    write(paths.root, stages | {f"scores@{ROW}": other})
    assert reasons(paths) == {ROW: "params.yaml has another regressor now"}
    write(paths.root, stages | {f"scores@{ROW}": entry(dataset={"name": "bold_moments"})})
    assert reasons(paths) == {ROW: "params.yaml has another dataset.name now"}
    (paths.selection(ROW) / "selection.json").unlink()
    assert reasons(paths) == {ROW: "not run yet"}


def test_what_else_changed_since_a_row_was_made(run):
    """Only what its scores follow from: not another network's weights, not where the report or the gate look."""
    paths, stages = run
    rows = params.load(paths.params).experiments.rows
    assert dvc_lock.other_parameters(paths, stages, rows) == dict.fromkeys(rows, ())
    document = yaml.safe_load(paths.params.read_text())
    document["networks"]["alexnet"]["seed"] = 5
    document["reduction"]["n_components"] = 7
    paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
    assert dvc_lock.other_parameters(paths, stages, {ROW: rows[ROW]}) == {ROW: ("reduction.n_components",)}
    assert dvc_lock.other_parameters(paths, {}, {ROW: rows[ROW]}) == {ROW: ()}
    stages[f"fits@{ROW}"]["outs"][0]["md5"] = "newer"
    assert dvc_lock.other_parameters(paths, stages, {ROW: rows[ROW]}) == {
        ROW: ("reduction.n_components", f"data/predictions/{ROW}")
    }


SPACE = {"layer": "layer_1", "pool": "none", "over_frames": "mean", "standardize": True, "n_components": 5}
SPACES = {"early": SPACE | {"network": "efficientnet_lite0"}, "late": SPACE | {"network": "alexnet", "pool": "max2"}}
JOINT = {"track": "mini", "label": "two", "spaces": list(SPACES), "together": "concat", "regressor": "ridge"}
JOINT_ROW = "mini-two-concat-ridge"


@pytest.fixture
def joint(run):
    """A row of spaces of two networks, among three, with the results of another row."""
    paths, stages = run
    document = yaml.safe_load(paths.params.read_text())
    document["spaces"], document["experiments"]["joint"] = SPACES, {JOINT_ROW: JOINT | {"reported": None}}
    document["networks"]["squeezenet"] = dict(document["networks"]["alexnet"])
    paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
    for folder in (paths.scores, paths.selection):
        shutil.copytree(folder(ROW), folder(JOINT_ROW))
    index = io.read_json(paths.scores(JOINT_ROW) / "index.json")
    weights = index["provenance"]["weights"]["efficientnet_lite0"]
    used = dict.fromkeys(("efficientnet_lite0", "alexnet"), weights)
    index["provenance"] = JOINT | {"n_components": {}, "weights": used, "named": SPACES}
    io.write_json(paths.scores(JOINT_ROW) / "index.json", index)
    outcome = io.read_json(paths.selection(JOINT_ROW) / "selection.json")
    io.write_json(paths.selection(JOINT_ROW) / "selection.json", outcome | {"row": JOINT_ROW})
    made = {
        "validation": entry({}, {"data/features/all": "a"}, networks=document["networks"]),
        f"fits-joint@{JOINT_ROW}": entry({"data/features": "b"}, {f"data/predictions/{JOINT_ROW}": "c"}),
        f"scores-joint@{JOINT_ROW}": entry({f"data/predictions/{JOINT_ROW}": "c"}, {f"data/scores/{JOINT_ROW}": "d"}),
        f"selection-joint@{JOINT_ROW}": entry({f"data/scores/{JOINT_ROW}": "d"}, {f"data/selection/{JOINT_ROW}": "e"}),
    }
    write(paths.root, stages | made)
    return paths


def test_a_row_of_several_networks_is_recorded_with_those_and_with_its_spaces(joint):
    found = recorded(joint)[JOINT_ROW]
    assert found.params["network"] == "efficientnet_lite0 + alexnet" and found.params["features"] == "concat"
    assert {name: json.loads(found.params[f"spaces.{name}"]) for name in SPACES} == SPACES
    of_networks = {name.split(".")[1] for name in found.params if name.startswith("networks.")}
    assert of_networks == {"efficientnet_lite0", "alexnet"}
    assert "concat of efficientnet_lite0 + alexnet" in found.note
    assert not any(name.startswith("spaces.") for name in recorded(joint)[ROW].params)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["networks"]["squeezenet"].update(seed=5), ()),
        (lambda d: d["networks"]["alexnet"].update(seed=5), ("networks.alexnet.seed",)),
        (lambda d: d["spaces"]["late"].update(pool="max3"), ("spaces.late",)),
        (lambda d: d["spaces"].update(other=SPACES["early"]), ()),
        (lambda d: d["spaces"]["late"].update(network="squeezenet"), ("spaces.late",)),
    ],
)
def test_of_a_row_of_several_networks_its_own_networks_and_spaces_count(joint, change, told):
    document = yaml.safe_load(joint.params.read_text())
    change(document)
    joint.params.write_text(yaml.safe_dump(document, sort_keys=False))
    row, stages = params.load(joint.params).experiments.rows[JOINT_ROW], identity.read_lock(joint)
    assert dvc_lock.other_parameters(joint, stages, {JOINT_ROW: row}) == {JOINT_ROW: told}


def test_the_table_of_scores_marks_a_row_whose_spaces_have_another_meaning_now(joint, capsys, monkeypatch):
    shutil.copy(joint.metrics(ROW), joint.metrics(JOINT_ROW))
    monkeypatch.chdir(joint.root)
    assert cli.main(["scores"]) == 0 and f"{JOINT_ROW}*" not in capsys.readouterr().out
    edited(joint, spaces__late=SPACES["late"] | {"pool": "max3"})
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert f"{JOINT_ROW}*" in said
    assert f"* made with other values or content of spaces.late than there are now: {JOINT_ROW}." in said


def test_keys_of_a_text_are_those_of_all_of_it(run):
    paths, stages = run
    text = paths.lock.read_text()
    assert dvc_lock.keys(dvc_lock.ends(text)) == dvc_lock.keys(stages) and set(dvc_lock.keys(stages)) == {ROW}
    assert dvc_lock.ends("") == dvc_lock.ends("schema: '2.0'\nstages:\n  report:\n    cmd: a\n") == {}
    del stages[f"selection@{ROW}"]
    assert dvc_lock.keys(stages) == {}


def test_numbers_are_read_as_dvc_writes_them(run):
    """`1e-06` is a word to PyYAML."""
    paths, stages = run
    paths.lock.write_text(paths.lock.read_text().replace("seed: 77", "seed: 1e-06"))
    assert identity.read_lock(paths)["validation"]["params"]["params.yaml"]["scores"] == {"seed": 1e-6}


def test_leaves_that_were_not_there_differ():
    then = dvc_lock.Made({"a.x": 1, "a.gone.y": 2}, frozenset({"a"}), {}, None)
    found = dvc_lock.differing(then, {"a": {"x": 1, "new": 3}, "b": 4})
    assert found == {"a.gone.y": 2, "a.new": None}


def test_a_network_that_the_parameters_have_no_more_is_no_source_of_a_row_of_named_spaces():
    """dvc.lock keeps its entry, with the frames of then."""
    row = "mini-two-stack-ridge"
    stages = {
        "frames@2": entry({}, {"data/frames/2": "now"}),
        "features@alexnet": entry({"data/frames/2": "now"}, {"data/features/alexnet": "a"}),
        "features@squeezenet": entry({"data/frames/2": "then"}, {"data/features/squeezenet": "b"}, features={"x": 1}),
        f"fits-joint@{row}": entry({"data/features": "c"}, {f"data/predictions/{row}": "d"}),
        f"scores-joint@{row}": entry({f"data/predictions/{row}": "d"}, {f"data/scores/{row}": "e"}),
        f"selection-joint@{row}": entry({f"data/scores/{row}": "e"}, {f"data/selection/{row}": "f"}),
    }
    assert dvc_lock.made(stages, row).broken == "data/frames/2"
    found = dvc_lock.made(stages, row, ["alexnet"])
    assert found.broken is None and "features.x" not in found.params
    stages["frames@2"] = entry({}, {"data/frames/2": "newer"})
    assert dvc_lock.made(stages, row, ["alexnet"]).broken == "data/frames/2"

"""The console command, as a user types it."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from cinevox import cli, simulation
from cinevox.files import disk, io
from cinevox.project import params, plugins
from cinevox.stimuli.networks._weights import status
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
    for name in plugins.names(package):
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


def test_a_network_has_a_line_for_each_layer_with_the_shape_of_its_output(project, capsys):
    """Of a plug-in of images, of one of videos, of a model of timm by its name, of arrays by the run's own name."""
    np.savez(project / "mine.npz", ids=np.array(["a", "b"]), words=np.zeros((2, 3, 5)))
    edited(project, networks={"mine": ENTRY | {"weights": "none", "file": "mine.npz", "model": "array"}})
    for name, layer, line in (
        ("squeezenet", "features.2", "96 x 54 x 54 279,936"),
        ("r3d_18", "layer3", "256 x 14 x 14 4 50,176"),
        ("timm/vit_tiny_patch16_224", "maps.blocks.3", "192 x 14 x 14 37,632"),
        ("mine", "words", "15"),
    ):
        assert cli.main(["networks", name]) == 0
        lines = lines_of(capsys.readouterr().out)
        assert " ".join(lines[layer]) == line
        if name in plugins.names("networks"):
            assert {*plugins.load("networks", name).layers} <= {*lines}
    assert cli.main(["networks", "nope"]) == 2
    assert "there is no 'nope'; there are alexnet" in capsys.readouterr().err


def test_weights_say_policy_source_and_licence(project, capsys):
    cli.main(["weights"])
    said = " ".join(capsys.readouterr().out.split())
    assert "efficientnet_lite0 package valid" in said
    assert "alexnet random random" in said
    assert "non-commercial" in said


def test_rows_of_this_run_and_of_the_paper(project, capsys):
    cli.main(["rows"])
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("mini-alexnet-layer-sparse_linear "))
    assert line.split()[1:] == ["0.422", "yes", "yes"]
    assert "full-vgg19-layer-res" in said


def test_one_row_by_name_and_no_other(project, capsys):
    assert cli.main(["rows", "mini-efficientnet_lite1-layer-lasso"]) == 0
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
    """As in a fresh clone after `make paper`, of a version without records: there are the metrics and dvc.lock."""
    shutil.copy(ROOT / "dvc.lock", project)
    shutil.copytree(ROOT / "metrics", project / "metrics")
    for file in (project / "metrics").glob("*-*.json"):
        content = io.read_json(file)
        content.pop("origin", None)
        io.write_json(file, content)
    shutil.copy(project / "params.paper.yaml", project / "params.yaml")
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "Random weights, so no result: alexnet.\n" in said
    assert "In-silico data, so not comparable with reported scores.\n" in said
    assert "* made from In-silico data (insilico), and dataset.name is algonauts2021 now: mini-" in said
    assert "Made by an earlier version, which did not record the data" in said and "reported\n" not in said
    assert "Committed metrics: " in said and "index.html" not in said
    io.write_json(project / "data/selection/mini-alexnet-layer-sparse_linear/selection.json", {})
    io.write_bytes(project / "report/index.html", b"")
    lock = (project / "dvc.lock").read_text().replace("name: insilico", "name: algonauts2021")
    (project / "dvc.lock").write_text(lock.replace("weights: random", "weights: pretrained"))
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "so no" not in said and "Committed metrics" not in said and "report/index.html  the report" in said


ORIGIN = {
    "dataset": "algonauts2021", "title": "Algonauts 2021", "in_silico": False, "n_train_clips": 1000,
    "n_test_clips": 102, "n_voxels": ", ".join(f"{roi} 90" for roi in params.MINI_ROIS),
    "weights": "pretrained", "official": True,
    "subjects": " ".join(f"sub{number:02d}" for number in range(1, 11)),
}  # fmt: skip
SIMULATED = ORIGIN | {"dataset": "insilico", "title": "In-silico", "in_silico": True, "subjects": "sub01 sub02"}


def scored(project, rows, split="test"):
    """Metrics of rows. rows: row -> its origin"""
    for row, origin in rows.items():
        block = {"score": 0.4567, "low": 0.4, "high": 0.5, "V1": 0.3}
        io.write_json(project / f"metrics/{row}.json", {split: block, "origin": origin})


def lines_of(said):
    return {words[0]: words[1:] for words in map(str.split, said.splitlines()) if words}


def test_scores_stand_beside_the_papers_only_with_its_data_and_published_weights(project, capsys):
    shutil.copy(project / "params.paper.yaml", project / "params.yaml")
    same, untrained, other, simulated = (
        "mini-resnet18_ssl-layer-lasso", "mini-squeezenet-layer-lasso", "mini-alexnet-layer-sparse_linear",
        "mini-alexnet-frozen-two_lstm",
    )  # fmt: skip
    origins = {same: ORIGIN, untrained: ORIGIN | {"weights": "random", "official": False}}
    origins |= {other: ORIGIN | {"official": False, "weights": "file"}, simulated: SIMULATED}
    scored(project, origins)
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    lines = lines_of(said)
    assert lines["row"][-3:] == ["weights", "data", "reported"]
    assert [lines[row][-1] for row in (same, untrained, other, f"{simulated}*")] == ["0.567", "–", "–", "–"]
    assert "Random weights, so no result: squeezenet.\n" in said
    assert f"In-silico data, so not comparable with reported scores: {simulated}.\n" in said
    assert f"* made from In-silico data (insilico), and dataset.name is algonauts2021 now: {simulated}.\n" in said
    scored(project, {same: ORIGIN}, split="validation")
    assert cli.main(["scores"]) == 0
    assert lines_of(capsys.readouterr().out)["row"][-1] == "data"  # on clips that chose, it stands beside nothing


def test_results_of_another_data_set_stay_marked_whatever_was_run_since(project, capsys):
    """A default run, then one row of another study."""
    document = yaml.safe_load((project / "params.yaml").read_text())
    rows = list(document["experiments"]["voxelwise"])
    document["dataset"] |= {"name": "bold_moments", "subjects": ["sub-01"], "rois": ["V1"]}
    document["report"]["subject"], document["simulation"]["datasets"] = "sub-01", []
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    mine = ORIGIN | {"dataset": "bold_moments", "title": "BOLD Moments", "subjects": "sub-01", "n_voxels": "V1 9"}
    scored(project, dict.fromkeys(rows[1:3], SIMULATED) | {rows[0]: mine | {"weights": "package"}})
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    lines = lines_of(said)
    assert lines[rows[0]][-3:] == ["package", "BOLD", "Moments"] and lines["row"][-1] == "data"
    assert lines[f"{rows[1]}*"][-2:] == ["pretrained", "In-silico"]
    assert f"In-silico data, so not comparable with reported scores: {rows[1]}, {rows[2]}.\n" in said
    assert f"and dataset.name is bold_moments now: {rows[1]}, {rows[2]}.\n" in said


def test_a_faulty_parameter_ends_in_a_message(project, capsys):
    (project / "params.yaml").write_text("seed: 1\n")
    assert cli.main(["scores"]) == 2
    assert "cinevox scores: params.yaml: " in capsys.readouterr().err


def test_ready_names_all_that_a_run_would_miss(project, capsys):
    assert cli.main(["ready"]) == 0
    assert re.search(
        r"rows, nothing missing; at least [0-9.]+ [GM]B to write, [0-9.]+ GB free", capsys.readouterr().out
    )
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


CONFLICT = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.1'\n>>>>>>> branch\n"


def latin1(project):
    raw = (project / "params.yaml").read_bytes()
    (project / "params.yaml").write_bytes(b"# caf\xe9\n" + raw)


def twice(project):
    lines = (project / "params.yaml").read_text().splitlines(keepends=True)
    where = next(k for k, line in enumerate(lines) if "mini-efficientnet_lite1-layer-lasso: {" in line)
    (project / "params.yaml").write_text("".join([*lines[: where + 1], lines[where], *lines[where + 1 :]]))


def restricted(project):
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["dataset"]["name"] = "algonauts2021"  # in the folder where the simulation writes: it will be there
    content["storage"]["remote"] = ""
    (project / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda project: (project / "dvc.lock").write_text("x: 1\n" + CONFLICT), "dvc.lock: line 2: a merge left its"),
        (lambda project: (project / "dvc.yaml").write_text(CONFLICT), "dvc.yaml: line 1: a merge left its conflict"),
        (lambda project: (project / "params.yaml").write_text(CONFLICT), "params.yaml: line 1: a merge left its"),
        (latin1, "params.yaml: line 1: byte 5 (0xe9) is not UTF-8; save the file in UTF-8, or, from Latin-1: iconv"),
        (twice, "mini-efficientnet_lite1-layer-lasso is there twice in the mapping that begins in line "),
        (restricted, "storage.remote is '', and Algonauts 2021 may not be passed on"),
    ],
)
def test_ready_says_in_a_line_what_would_stop_dvc(project, capsys, spoil, said):
    spoil(project)
    assert cli.main(["ready"]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) <= 2


def test_ready_knows_what_a_run_writes_and_what_is_free(project, capsys, monkeypatch):
    monkeypatch.setattr(disk, "free", lambda _: 10**6)
    assert cli.main(["ready"]) == 2
    assert re.search(
        r"data: the run writes at least [0-9.]+ [GM]B \(.*features .*\), and 1.0 MB are free; free some",
        capsys.readouterr().err,
    )


def test_ready_reads_weights_of_ones_own(project, capsys):
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["networks"]["squeezenet"] = content["networks"]["alexnet"] | {"weights": "file", "file": "mine.pth"}
    content["networks"]["alexnet"] |= {"weights": "file", "file": "page.pth"}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    (project / "page.pth").write_text("<html>")
    assert cli.main(["ready"]) == 2
    said = capsys.readouterr().err
    assert "alexnet: page.pth is a web page" in said and "squeezenet: no weights at mine.pth" in said
    spec = plugins.load("networks", "squeezenet")
    torch.save({f"module.{key}": value for key, value in spec.build().state_dict().items()}, project / "mine.pth")
    content["networks"]["alexnet"] |= {"weights": "random", "file": None}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    assert cli.main(["ready"]) == 0


def edited(project, **sections):
    """Parameters with further entries in some of their sections."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in sections.items():
        content[section] |= changes
    (project / "params.yaml").write_text(yaml.safe_dump(content))


ENTRY = {"weights": "pretrained", "file": None, "sha256": None, "n_frames": 2, "seed": 0}
SPACE = {"pool": "none", "over_frames": "mean", "standardize": True, "n_components": None}


def test_ready_looks_for_layers_and_ids_also_where_features_are(project, capsys):
    settings = params.load(project / "params.yaml")
    clips = simulation.clip_names(settings.simulation)
    np.savez(project / "mine.npz", ids=np.array(clips[:-1]), words=np.zeros((len(clips) - 1, 3)))
    for name in (*settings.networks, "mine"):
        io.folder(project / f"data/features/{name}")
    brought = ENTRY | {"weights": "none", "file": "mine.npz", "model": "array"}
    spaces = {"a": SPACE | {"network": "alexnet", "layer": "nope"}, "b": SPACE | {"network": "mine", "layer": "nope"}}
    edited(project, networks={"mine": brought}, spaces=spaces)
    assert cli.main(["ready"]) == 2
    said = capsys.readouterr().err
    assert "spaces.a: alexnet: no layer nope; its own are " in said
    missing = f"params.spaces has the layer nope; it has words\n  1 of 210 clips have no id in it: {clips[-1]}"
    assert f"networks.mine: mine.npz cannot be used as features:\n  {missing}\n" in said
    assert "no layer" not in said.partition("nope;")[2]  # of alexnet the one entry


def test_ready_knows_rows_with_more_features_than_their_regressor_takes(project, capsys):
    rows = yaml.safe_load((ROOT / "params.yaml").read_text())["experiments"]["voxelwise"]
    row = {"track": "mini", "regressor": "lasso", "reported": None}
    more = {"mini-alexnet-layer_raw-lasso": row | {"network": "alexnet", "features": "layer_raw"}}
    joint = {"mini-a-stack-lasso": row | {"label": "a", "together": "stack", "spaces": ["large", "lite1"]}}
    large = {"network": "efficientnet_lite0", "layer": "blocks.3.2", "pool": "avg14", "over_frames": "none"}
    large |= {"standardize": False, "n_components": None}
    edited(project, spaces={"large": large}, experiments={"voxelwise": rows | more, "joint": joint})
    assert cli.main(["ready"]) == 2
    raw, pooled = capsys.readouterr().err.splitlines()
    assert "row mini-alexnet-layer_raw-lasso: Lasso takes at most 10,000 features, and 4 of 8 candidates have" in raw
    assert "Take components: the row's word without _raw, or take a regressor for any number of features: res" in raw
    assert "row mini-a-stack-lasso: " in pooled and "1 of 4 candidates have more: large 31,360. " in pooled
    assert "n_components of the spaces" in pooled and "pool of the spaces" in pooled


def test_ready_says_what_will_be_downloaded(project, capsys, monkeypatch):
    monkeypatch.setenv("CINEVOX_WEIGHTS", str(project / "weights"))
    edited(
        project,
        networks={"squeezenet": ENTRY, "r3d_18": ENTRY},
        simulation={
            "network": "squeezenet",
            "weights": "pretrained",
            "generators": dict.fromkeys(params.MINI_ROIS, "category") | {"V1": "features.12"},
        },
    )
    io.folder(project / "data/features/r3d_18")  # has been there
    assert cli.main(["ready"]) == 0
    _, *notes = capsys.readouterr().out.splitlines()
    source = plugins.load("networks", "squeezenet").source
    told = f"its weights will be downloaded, {source.megabytes:.1f} MB, from {source.url} to {project / 'weights'}/"
    assert [note.partition(source.file_name + " (licence")[0] for note in notes] == [
        f"networks.squeezenet: {told}", f"simulation.network squeezenet: {told}",
    ]  # fmt: skip
    edited(project, networks={"mine": ENTRY | {"model": "timm/vit_tiny_patch16_224"}})  # not at a plain address
    assert cli.main(["ready"]) == 2
    assert "networks.mine.weights is pretrained, and mine has none with a published address" in capsys.readouterr().err


def test_more_subjects_than_are_simulated_are_refused(project, capsys):
    edited(project, simulation={"n_subjects": 2})
    assert cli.main(["ready"]) == 2
    assert "dataset.subjects has sub03, and simulation.n_subjects is 2, which makes sub01 to" in capsys.readouterr().err
    edited(project, simulation={"n_subjects": 2}, dataset={"folder": "data/another"})
    assert cli.main(["rows"]) == 0


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
    reduced = {"layer": "features.2", "pool": "max3", "over_frames": "mean", "standardize": False, "n_components": 9}
    content["spaces"] = {name: reduced | {"network": "alexnet"} for name in ("one", "other")}
    content["spaces"]["map"] = content["spaces"]["one"] | {"n_components": None}
    words = {"track": "mini", "spaces": ["one", "map"], "regressor": "ridge", "reported": None}
    rows = {together: words | {"label": "x", "together": together} for together in ("each", "stack", "concat")}
    rows["lasso"] = rows["each"] | {"regressor": "lasso"}
    content["experiments"]["joint"] = {f"mini-x-{r['together']}-{r['regressor']}": r for r in rows.values()}
    io.write_bytes(project / "params.yaml", yaml.safe_dump(content).encode())
    assert cli.main(["ready"]) == 0
    _, _, note = capsys.readouterr().out.splitlines()
    assert note.startswith("note: mini-x-each-ridge, mini-x-stack-ridge: ridge on one space's components of unit")
    assert note.endswith("or set n_components to null in these spaces: one")


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

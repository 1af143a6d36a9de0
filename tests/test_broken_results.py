"""Results that someone edited, cut off or mixed up: each reader ends in one message, none takes a number from them."""

import json
import shutil
from types import SimpleNamespace

import pytest

import finished_run
from cinevox.cli import experiments, main
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.project.paths import Paths
from cinevox.scoring import outcomes, row_results
from conftest import tells

OTHER, ROW, FULL = finished_run.ROWS
DELETED = object()


@pytest.fixture
def study(tmp_path, monkeypatch):
    params = finished_run.make(tmp_path, transfer=True)
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(paths=Paths(), rows=params.experiments.rows)


def edit(file, *keys, value=DELETED):
    """Replace what stands there in a JSON file, or take it out."""
    document = place = json.loads(file.read_text())
    for key in keys[:-1]:
        place = place[key]
    if value is DELETED:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    file.write_text(json.dumps(document))


def refused(study, *told):
    with pytest.raises(FileError) as error:
        row_results.read(study.paths, study.rows)
    assert tells(str(error.value), *told) and "dvc repro" in str(error.value)


@pytest.mark.parametrize("source", [OTHER, FULL, finished_run.TRANSFER])
def test_the_selection_of_another_row_is_refused(study, source):
    folder = study.paths.selection(ROW)
    shutil.copy(study.paths.selection(source) / outcomes.FILE, folder)
    with pytest.raises(FileError) as error:
        outcomes.read(folder, study.rows[ROW])
    assert tells(str(error.value), f"{ROW}/selection.json", source, "expected", ROW, f"selection@{ROW}")


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (("scores",), {}, "no split"),
        (("scores", "test"), DELETED, "expected test validation"),
        (("scores", "test", "rois", "V1"), DELETED, "scores.test.rois"),
        (("chosen",), {}, "chosen has no ROI"),
        (("chosen", "V1"), {}, "chosen.V1"),
        (("chosen", "V1"), {"layer_99": 1.0}, "layer_99"),
        (("origin", "subjects"), ["sub01"], "subjects is ['sub01']"),
        (("origin", "in_silico"), "no", "in_silico is 'no'"),
        (("origin", "n_train_clips"), "240", "n_train_clips is '240'"),
    ],
)
def test_a_selection_that_is_not_whole_is_refused(study, keys, value, told):
    edit(study.paths.selection(ROW) / outcomes.FILE, *keys, value=value)
    refused(study, f"{ROW}/selection.json", told)


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (("spaces",), [], "no feature spaces"),
        (("columns",), [], "no columns"),
        (("clips", "test"), "x", "no index"),
        (("columns", 0), {"subject": "a"}, "no index"),
        (("provenance",), {}, "no index"),
        (("provenance", "features"), "zz", "no index"),
        (("diagnostics",), 3, "no index"),
        (("provenance", "network"), "alexnet", "expected mini-efficientnet_lite0"),
    ],
)
def test_an_index_that_is_none_of_its_row_is_refused(study, keys, value, told):
    file = study.paths.scores(ROW) / "index.json"
    edit(file, *keys, value=value)
    with pytest.raises(FileError) as error:
        prediction_store.read_index(file.parent)
    assert tells(str(error.value), f"{ROW}/index.json", told, "dvc repro")
    file.write_text("[]")
    refused(study, "index.json", "no index")


@pytest.mark.parametrize("file", ["rois.csv", "subjects.csv"])
def test_score_tables_of_other_scores_are_refused(study, file):
    table = study.paths.scores(finished_run.TRANSFER) / file
    text = table.read_text()
    shutil.copy(study.paths.scores(FULL) / file, table)
    refused(study, file, "expected", f"scores-roiwise@{finished_run.TRANSFER}")
    table.write_text(text.replace("split", "part", 1))
    refused(study, file, "no column split")
    table.write_text("")
    refused(study, finished_run.TRANSFER, f"scores-roiwise@{finished_run.TRANSFER}")


def test_voxels_of_another_row_are_refused(study):
    shutil.copy(study.paths.selection(FULL) / "voxels.npz", study.paths.selection(ROW))
    result = {found.name: found for found in row_results.read(study.paths, study.rows)}[ROW]
    with pytest.raises(FileError) as error:
        result.voxel_scores("test")
    assert tells(str(error.value), f"{ROW}/voxels.npz", ".correlation", "expected", "dvc repro")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("test", "score"), "0.9"),
        (("test", "score"), True),
        (("test", "score"), float("nan")),
        (("test", "score"), DELETED),
        (("test", "low"), [1]),
        (("test", "V1"), {"a": 1}),
        (("test",), {}),
        (("test",), [["score", 0.9]]),
        (("test",), {"plain_r": 1}),
    ],
)
def test_metrics_that_are_no_numbers_end_in_one_message(study, capsys, keys, value):
    file = study.paths.metrics(ROW)
    edit(file, *keys, value=value)
    assert main(["scores"]) == 2
    assert tells(capsys.readouterr().err, f"metrics/{ROW}.json", "expected the metrics of a row", "dvc repro")
    assert main(["gate", "--update"]) == 2


def test_metrics_of_another_row_are_marked(study, capsys):
    assert main(["scores"]) == 0
    assert "not of the selection" not in capsys.readouterr().out
    shutil.copy(study.paths.metrics(OTHER), study.paths.metrics(ROW))
    assert main(["scores"]) == 0
    assert tells(capsys.readouterr().out, f"{ROW}*", "not of the selection", "dvc repro", ROW)


def test_an_experiment_with_broken_metrics_is_marked_and_has_no_score(study):
    metrics = {
        study.paths.metrics(row).as_posix(): {"data": io.read_json(study.paths.metrics(row))} for row in study.rows
    }
    metrics[study.paths.metrics(ROW).as_posix()]["data"]["test"]["score"] = "high"
    experiments_ = {"voxelwise": {ROW: {}, OTHER: {}}}
    data = {"params": {"params.yaml": {"data": {"experiments": experiments_}}}, "metrics": metrics}
    found = experiments._read({"rev": "0" * 40, "name": "mine", "data": data, "error": None}, "score")
    assert found.state == "broken metrics" and found.scores[ROW] is None and found.scores[OTHER] is not None

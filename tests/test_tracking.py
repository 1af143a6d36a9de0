"""Tracking: a store that is a view of the files, repeatable and without a run lost or doubled."""

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import finished_run
import mlflow_warnings
import small_run
from _cli import Run
from cinevox.files import io
from cinevox.outlets import tracking
from cinevox.outlets.tracking import connection, data, store, views, writing
from cinevox.outlets.tracking.connection import resolved
from cinevox.project import identity
from cinevox.project.paths import Paths
from cinevox.scoring import claims, row_results

pytestmark = mlflow_warnings.IGNORED

ROW = finished_run.ROWS[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return Paths(root), finished_run.make(root)


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_record):
    """One store for the module; every test uses experiments of its own."""
    return new_record(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def _no_ambient_store(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


def records(run, experiment, names=None):
    paths, params = run
    update = {"tracking": params.tracking.model_copy(update={"experiment": experiment})}
    return tracking.gather(paths, params.model_copy(update=update), names)


def all_runs(uri, experiment):
    client = MlflowClient(tracking_uri=uri)
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=1000)


@pytest.fixture(scope="module")
def searched(run, uri):
    """Two rows of the mini track that are in the store, to be looked at."""
    tracking.sync(records(run, "searched", finished_run.ROWS[:2]), uri)
    client = MlflowClient(tracking_uri=uri)
    return client, client.get_experiment_by_name("searched-mini").experiment_id


def test_a_sync_creates_a_run_per_row_and_space_and_a_second_one_none(run, uri):
    n_spaces = len(finished_run.LAYERS)
    first = tracking.sync(records(run, "twice"), uri)
    assert first == tracking.Counts(created=3, present=0, superseded=0, runs=3 * (1 + n_spaces))
    assert str(first) == f"3 rows ({first.runs} runs) created, 0 there already, 0 superseded"
    assert tracking.sync(records(run, "twice"), uri) == tracking.Counts(created=0, present=3, superseded=0)
    assert len(all_runs(uri, "twice-mini")) == 2 * (1 + n_spaces)
    assert len(all_runs(uri, "twice-full")) == 1 + n_spaces


def test_metrics_are_those_of_the_files_under_names_a_query_can_use(run, searched):
    client, experiment = searched
    query = "metrics.\"V1.normalized_correlation\" > -1 and tags.level = 'row' and params.regressor = 'ridge'"
    found = client.search_runs([experiment], query)
    selection = json.loads((run[0].selection(ROW) / "selection.json").read_text())["scores"]
    assert len(found) == 1
    metrics = found[0].data.metrics
    assert metrics["score"] == selection["test"]["score"]
    assert metrics["V1.normalized_correlation"] == selection["test"]["rois"]["V1"]["normalized_correlation"]
    assert metrics["validation/score"] == selection["validation"]["score"]
    assert metrics["sub02/FFA.normalized_correlation"] == selection["test"]["subjects"]["sub02"]["rois"]["FFA"]


def test_transfer_networks_bring_their_curves_and_best_weights(tmp_path, uri):
    row = finished_run.TRANSFER
    made = Paths(tmp_path), finished_run.make(tmp_path, transfer=True)
    best = io.read_json(made[0].predictions(row) / "index.json")["diagnostics"]["frozen"]["best_network"]
    weights = made[0].checkpoints(row) / f"{best}.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"tensors")
    ours = records(made, "curves", [row])
    assert ours[0].files["best_network"] == [weights]
    tracking.sync(ours, uri)
    client = MlflowClient(tracking_uri=uri)
    (parent,) = [item for item in all_runs(uri, "curves-mini") if item.data.tags["level"] == "row"]
    mean = np.mean(list(finished_run.curves(made[0], "validation_correlation").values()), axis=0)
    of_ffa = finished_run.curves(made[0], "loss")["FFA"]
    for name, expected in (("epoch/validation_correlation", mean), ("epoch/FFA.loss", of_ffa)):
        history = client.get_metric_history(parent.info.run_id, name)
        assert [point.step for point in history] == [1, 2, 3]
        assert [point.value for point in history] == pytest.approx(expected)
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "best_network")] == [
        f"best_network/{best}.pt"
    ]
    params = parent.data.params
    assert params["heads.two_lstm.sequence"] == "frame" and params["transfer.n_epochs"] == "3"
    assert not any(name.startswith(("regressors.", "reduction.", "heads.three")) for name in params)


def test_a_space_is_a_child_with_its_own_scores_per_roi_and_subject(run, searched):
    client, experiment = searched
    runs = client.search_runs([experiment], "params.regressor = 'ridge'")
    parent = next(item for item in runs if item.data.tags["level"] == "row")
    child = next(item for item in runs if item.info.run_name == "layer_3")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params["space"] == "layer_3"
    result = row_results.read(run[0], {ROW: run[1].experiments.rows[ROW]})[0]
    line = result.table("test").set_index(["space", "roi"]).loc[("layer_3", "LOC")]
    assert child.data.metrics["LOC.normalized_correlation"] == line["normalized_correlation"]
    assert "sub01/LOC.normalized_correlation" in child.data.metrics
    assert "LOC" in child.data.tags["chosen_for"].split()


def test_a_run_says_what_made_it(searched):
    client, experiment = searched
    [parent] = client.search_runs([experiment], "params.regressor = 'ridge' and tags.level = 'row'")
    assert parent.data.tags["weights_policy"] == "package"
    assert parent.data.tags["weights_sha256"] == "1" * 64
    assert parent.data.tags["weights_unverified"] == "none"
    assert re.fullmatch("[0-9a-f]{64}", parent.data.tags["params_hash"])
    assert parent.data.params["networks.efficientnet_lite0.weights"] == "package"
    assert not any(name.startswith("networks.alexnet") for name in parent.data.params)
    assert parent.inputs.dataset_inputs[0].dataset.name == "insilico"


def test_the_papers_score_stands_with_rows_that_it_can_be_compared_with(tmp_path, monkeypatch):
    made = Paths(tmp_path), finished_run.make(tmp_path)
    monkeypatch.setattr(claims, "CHALLENGE", finished_run.CHALLENGE)
    [before] = records(made, "paper", finished_run.ROWS[:1])
    change = {"dataset": "algonauts2021", "title": "Algonauts 2021", "in_silico": False}
    finished_run.recorded(made[0], finished_run.ROWS[0], **change, weights="pretrained", official=True)
    [after] = records(made, "paper", finished_run.ROWS[:1])
    assert "paper.score" not in before.metrics and after.metrics["paper.score"] == 0.42
    assert "The paper reports" not in before.note and "The paper reports 0.420." in after.note
    assert (before.tags["in_silico"], after.tags["in_silico"]) == ("true", "false")
    assert (before.params["data"], after.params["data"]) == ("In-silico", "Algonauts 2021")
    described = [views.experiment_tags(group)["mlflow.note.content"] for group in ([after, before], [after])]
    assert ["In-silico data: " in note for note in described] == [True, False]


def test_a_row_is_tagged_with_what_validation_found(tmp_path):
    made = Paths(tmp_path), finished_run.make(tmp_path)
    made[0].metrics("validation").write_text('{"files": 273, "errors": 0, "warnings": 1}')
    made[0].metrics("checks").write_text('{"files": 9, "errors": 0, "warnings": 2}')
    (record,) = records(made, "tags", [ROW])
    assert (record.tags["validation.files"], record.tags["validation.warnings"]) == ("273", "1")
    assert (record.tags["checks.errors"], record.tags["checks.warnings"]) == ("0", "2")


def test_the_key_follows_dvc_lock_and_a_new_result_supersedes_the_old(run, uri, tmp_path):
    def write_lock(alpha):
        stages = {
            f"{stage}@{ROW}": {"params": {"params.yaml": {"alpha": alpha}}, "deps": [{"path": "x", "md5": "1"}]}
            for stage in ("scores", "selection")
        }
        lock = {"stages": stages | {"simulation@insilico": {"outs": [{"path": "data/insilico", "md5": "abc.dir"}]}}}
        run[0].lock.write_text(yaml.safe_dump(lock))

    try:
        counts = []
        for alpha in (1, 2, 1):
            write_lock(alpha)
            counts.append(tracking.sync(records(run, "newer", [ROW]), uri))
    finally:
        run[0].lock.unlink()
    n_runs = 1 + len(finished_run.LAYERS)
    assert counts == [
        tracking.Counts(1, 0, 0, n_runs),
        tracking.Counts(1, 0, 1, n_runs),
        tracking.Counts(0, 1, 1),  # going back to known parameters makes the old run current again
    ]
    runs = all_runs(uri, "newer-mini")
    assert sorted(item.data.tags["superseded"] for item in runs) == ["false"] * n_runs + ["true"] * n_runs
    assert {item.data.tags["data_hash"] for item in runs} == {"abc"}


def test_what_experiments_came_to_too_is_superseded_and_what_they_alone_came_to_is_not(run, uri, monkeypatch):
    [record] = records(run, "beside", [ROW])

    def sync(key, experiment=None):
        tags = dict(record.tags) | ({f"dvc.exp.{experiment}": "base"} if experiment else {})
        return tracking.sync([dataclasses.replace(record, key=key, tags=tags, children=())], uri)

    sync("one")
    sync("one", "wide")  # an experiment that changed nothing of this row
    sync("apart", "narrow")
    assert sync("two").superseded == 1
    now = {item.data.tags[writing.KEY]: item.data.tags["superseded"] for item in all_runs(uri, "beside-mini")}
    assert now == {"one": "true", "apart": "false", "two": "false"}


def test_a_password_stays_out_of_messages_and_links(run, monkeypatch):
    address = "http://bob:s3cret@127.0.0.1:9"
    told = connection.shown(f"API request to {address}/api failed", address)
    assert "s3cret" not in told and "bob:***@" in told
    assert connection.without_login(address + "/sub") == "http://127.0.0.1:9/sub"


def test_a_database_may_lie_anywhere(run, tmp_path, monkeypatch):
    folder = tmp_path / "a b%20c? ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    [record] = records(run, "anywhere", [ROW])
    assert tracking.sync([record], "sqlite:///mlflow.db").runs == record.n_runs
    assert (folder / "mlflow.db").is_file() and (folder / "mlartifacts").is_dir()


def test_what_mlflow_refuses_is_told_and_leaves_nothing_finished(run, uri):
    [record] = records(run, "refuses", [ROW])
    bad = dataclasses.replace(record.children[0], metrics={"a metric, with a comma": 1.0})
    with pytest.raises(tracking.StoreError, match="a metric, with a comma"):
        tracking.sync([dataclasses.replace(record, children=(bad,))], uri)
    assert not [run for run in all_runs(uri, "refuses-mini") if run.data.tags["level"] == "row" and run.info.end_time]


def test_a_sync_cut_short_is_taken_up_again(run, uri, monkeypatch):
    [record] = records(run, "cut", [ROW])
    n_calls = 0
    log = writing.log

    def dies(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise KeyboardInterrupt
        return log(*arguments)

    monkeypatch.setattr(writing, "log", dies)
    with pytest.raises(KeyboardInterrupt):
        tracking.sync([record], uri)
    monkeypatch.undo()
    assert tracking.sync([record], uri).runs == 1 + len(record.children)
    assert len(all_runs(uri, "cut-mini")) == 1 + len(record.children)


def test_under_mlflow_run_the_projects_run_is_left_alone(run, uri, monkeypatch):
    client = MlflowClient(tracking_uri=uri)
    project = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", project)
    tracking.sync(records(run, "project", [ROW]), uri)
    assert client.get_run(project).data.metrics == {}
    assert len(all_runs(uri, "project-mini")) == 1 + len(finished_run.LAYERS)


def test_the_environment_names_the_store_before_the_parameters(run, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.sync(records(run, "environment", [ROW]), "sqlite:////nowhere/at/all.db")
    assert all_runs(uri, "environment-mini")


def test_an_absent_server_is_said_at_once(run):
    with pytest.raises(tracking.StoreError, match=r"no MLflow server answers at http://me:\*\*\*@127.0.0.1:9"):
        tracking.sync(records(run, "absent", [ROW]), "http://me:secret@127.0.0.1:9")


def test_an_unusable_database_is_no_traceback(run, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(tracking.StoreError, match=r"refuses: .*not a database"):
        tracking.sync(records(run, "refused", [ROW]), f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.mark.parametrize(
    ("address", "driver"),
    [("postgresql://me:secret@db/runs", "psycopg"), ("mysql+pymysql://me:secret@db/x", "pymysql")],
)
def test_a_missing_driver_is_named(run, monkeypatch, address, driver):
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(tracking.StoreError, match=rf"://me:\*\*\*@db/.* refuses: .*; pip install {driver}$"):
        tracking.sync(records(run, "driverless", [ROW]), address)


def test_a_file_that_fails_is_named_and_anything_else_is_the_stores_doing(uri, tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-file"), connection.opened(uri):
        (tmp_path / "no-such-file").read_text()
    for error in (ConnectionResetError(), OSError(28, "No space left on device")):
        with pytest.raises(tracking.StoreError, match="refuses"), connection.opened(uri):
            raise error


def test_a_moved_or_copied_repository_writes_into_its_own_folder(run, tmp_path, new_record):
    """Renamed, copied, moved back, and with somebody else's file where it was before."""
    first, renamed, copied = tmp_path / "first", tmp_path / "re named", tmp_path / "copied"
    n_runs = 1 + len(finished_run.LAYERS)

    def synced(folder):
        uri = f"sqlite:///{folder}/mlflow.db"
        done = tracking.sync(records(run, "moved", [ROW]), uri)
        places = {item.info.artifact_uri for item in all_runs(uri, "moved-mini")}
        assert all(place.startswith(f"{folder.resolve().as_uri()}/mlartifacts/moved-mini/") for place in places)
        assert len(list(folder.glob("mlartifacts/moved-mini/*/artifacts/scores.csv"))) >= 1
        client = MlflowClient(tracking_uri=uri)
        return done.created, sorted(one.name for one in client.search_experiments() if one.name.startswith("moved"))

    new_record(first)
    assert synced(first) == (1, ["moved-mini"])
    first.rename(renamed)
    shutil.copytree(renamed, copied)
    first.write_text("somebody else's place")
    for folder in (renamed, copied):
        assert synced(folder) == (1, ["moved-mini", f"moved-mini of {first} (1)"])
        assert len(all_runs(f"sqlite:///{folder}/mlflow.db", f"moved-mini of {first} (1)")) == n_runs
        assert synced(folder)[0] == 0
    assert first.read_text() == "somebody else's place"
    first.unlink()
    MlflowClient(tracking_uri=f"sqlite:///{renamed}/mlflow.db").delete_experiment("2")
    renamed.rename(first)
    before = [f"moved-mini of {folder} ({number})" for folder, number in ((first, 1), (renamed, 2))]
    assert synced(first.parent / "first/../first") == (1, ["moved-mini", *before])


@pytest.mark.parametrize(
    "error", [NotADirectoryError(20, "Not a directory", "/old/place"), KeyError("a word of MLflow's")]
)
def test_the_stage_ends_well_whatever_happens_to_the_record(run, monkeypatch, caplog, error):
    def failing(*_):
        raise error

    paths, params = run
    script = small_run.load("tracking")
    monkeypatch.setattr(script.tracking, "sync", failing)
    script.main(Run("tracking", "", params, paths, logging.getLogger("tracking")))
    assert f"not synced: {type(error).__name__}: {error}; `make sync`" in caplog.text


def test_the_runs_table_opens_with_metric_columns(searched):
    """MLflow's own words for a table's state; they are looked up in the interface of the installed version."""
    client, number = searched
    experiment = client.get_experiment(number)
    state = json.loads(experiment.tags["mlflow.sharedViewState.default"])
    assert "metrics.`V1.normalized_correlation`" in state["selectedColumns"]
    scripts = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    [main] = scripts.glob("main.*.js")
    text = main.read_text()
    assert all(f'"{word}"' in text for word in ("mlflow.sharedViewState.", "viewStateShareKey", "selectedColumns"))
    assert 'e+".`"+t+"`"' in text  # how a column is named
    chunks = " ".join(path.read_text() for path in scripts.glob("*.chunk.js"))
    assert all(f"{word}:" in chunks for word in ("searchFilter", "orderByKey", "orderByAsc", "columnOrder"))
    shown = client.search_runs([number], state["searchFilter"])
    assert {item.info.run_name for item in shown} == set(finished_run.ROWS[:2])


def test_the_stores_address_is_not_among_the_words_of_the_process(run, uri, monkeypatch):
    """The command becomes MLflow's server, which ends on Ctrl-C with its processes, after it has said where to look."""
    started, said = [], []
    monkeypatch.setattr(views.os, "execve", lambda *words: started.append((len(said), *words)))
    tracking.ui(run[1].tracking.model_copy(update={"uri": uri}), 65535, said.append)
    [(n_said, _, words, env)] = started
    assert n_said == len(said) == 2 and words[1:4] == ["-m", "mlflow", "ui"] and "65535" in words
    assert env["MLFLOW_BACKEND_STORE_URI"] == uri and not any(uri in word for word in words)


def test_an_address_leads_to_the_shared_view():
    assert tracking.address("http://127.0.0.1:5000", "3") == (
        "http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=default"
    )


SEARCHES = {  # as people type them -> names of the runs that answer, among two rows of the mini track
    'metrics."V1.normalized_correlation" > -2 and params.network = "alexnet" and tags.level = \'row\'': {"alexnet"},
    "metrics.`V1.normalized_correlation` > 2": set(),
    "metrics.score > -2 and params.regressor = 'ridge' and tags.level = 'row'": {"efficientnet"},
    "metrics.\"validation/score\" > -2 and tags.level = 'row'": {"alexnet", "efficientnet"},
    "metrics.\"sub01/V1.normalized_correlation\" > -2 and tags.level = 'row'": {"alexnet", "efficientnet"},
    "params.network LIKE 'efficient%' and params.features = 'layer' and tags.level = 'row'": {"efficientnet"},
    "params.\"reduction.n_components\" = '30' and tags.level = 'row'": {"alexnet", "efficientnet"},
    "params.space = 'layer_2' and params.network = 'alexnet'": {"layer_2"},
    "tags.weights_policy = 'random' and tags.level = 'row'": {"alexnet"},
    "tags.reported_split = 'test' and tags.in_silico = 'true' and tags.level = 'row'": {"alexnet", "efficientnet"},
    "tags.row = 'mini-alexnet-layer-sparse_linear' and tags.level = 'row'": {"alexnet"},
    "dataset.name = 'insilico'": {"alexnet", "efficientnet"},
    "dataset.digest = 'unknown' and tags.superseded = 'false'": {"alexnet", "efficientnet"},
    "attributes.run_name LIKE 'mini-alex%'": {"alexnet"},
    'metrics."paper.score" = 0.42': set(),  # in-silico data, random weights
    "params.weights = 'random' and params.data = 'In-silico' and tags.level = 'row'": {"alexnet"},
}


@pytest.mark.parametrize(("query", "names"), SEARCHES.items())
def test_runs_are_found_as_people_search(searched, query, names):
    client, experiment = searched
    found = {item.info.run_name for item in client.search_runs([experiment], query)}
    short = {"mini-alexnet-layer-sparse_linear": "alexnet", "mini-efficientnet_lite0-layer-ridge": "efficientnet"}
    assert {short.get(name, name) for name in found} == names


def test_a_run_is_described_by_its_files_numbers(searched, run):
    client, experiment = searched
    [row] = client.search_runs([experiment], "tags.level = 'row' and params.network = 'alexnet'")
    note = row.data.tags["mlflow.note.content"]
    selection = json.loads((run[0].selection(row.info.run_name) / "selection.json").read_text())
    scores = selection["scores"]["test"]
    assert f"Score {scores['score']:.3f}, interval {scores['low']:.3f} to {scores['high']:.3f}, on the test" in note
    assert "Random weights" in note and "In-silico data**" in note and "paper" not in note
    assert "sparse_linear on layer of alexnet, mini track (9 regions), In-silico data." in note
    chosen = next(iter(selection["chosen"]["LOC"]))
    assert re.search(rf"\| LOC \| {scores['rois']['LOC']['normalized_correlation']:.3f} \|.*\| {chosen} \|", note)
    assert f"`{run[0].scores(row.info.run_name)}`" in note
    described = client.get_experiment(experiment).tags["mlflow.note.content"]
    assert "In-silico" in described and 'metrics."V1.normalized_correlation"' in described


def drawn(made, of=None):
    """Figures of the report, as of the present results unless told otherwise."""
    figures = io.folder(made[0].report / "figures")
    for name in (ROW, "mini-other"):
        (figures / f"layers-{name}.svg").write_text("<svg/>")
    selection = json.loads((made[0].selection(ROW) / "selection.json").read_text())
    io.write_json(made[0].report / "results.json", {ROW: of or identity.digest(selection)})


def test_figures_of_another_result_are_not_attached_and_later_ones_are_added(tmp_path, uri):
    made = Paths(tmp_path), finished_run.make(tmp_path)

    def kept():
        tracking.sync(records(made, "later", [ROW]), uri)
        [row] = [item for item in all_runs(uri, "later-mini") if item.data.tags["level"] == "row"]
        return [file.path for file in MlflowClient(tracking_uri=uri).list_artifacts(row.info.run_id, "figures")]

    assert kept() == []
    drawn(made, of="another result")
    assert kept() == []
    drawn(made)
    assert kept() == kept() == [f"figures/layers-{ROW}.svg"]


def test_a_run_keeps_its_tables_and_the_reports_figures(tmp_path, uri):
    made = Paths(tmp_path), finished_run.make(tmp_path)
    drawn(made)
    tracking.sync(records(made, "kept", [ROW]), uri)
    [row] = [item for item in all_runs(uri, "kept-mini") if item.data.tags["level"] == "row"]
    client = MlflowClient(tracking_uri=uri)
    assert {file.path for file in client.list_artifacts(row.info.run_id)} == {
        "candidates.csv", "figures", "scores.csv",
    }  # fmt: skip
    assert [file.path for file in client.list_artifacts(row.info.run_id, "figures")] == [f"figures/layers-{ROW}.svg"]
    table = pd.read_csv(client.download_artifacts(row.info.run_id, "scores.csv")).set_index(["split", "roi"])
    selection = json.loads((made[0].selection(ROW) / "selection.json").read_text())["scores"]
    for split in ("validation", "test"):
        values = selection[split]["rois"]["V4"]
        assert table.loc[(split, "V4"), "normalized_correlation"] == pytest.approx(values["normalized_correlation"])
    database = Path(uri.removeprefix("sqlite:///"))
    assert list((database.parent / "mlartifacts" / "kept-mini").rglob("scores.csv"))


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://atoken@example.org/lab/study.git", "https://example.org/lab/study.git"),
        ("HTTPS://me:secret@example.org:8443/study", "https://example.org:8443/study"),
        ("git@example.org:lab/study.git", "git@example.org:lab/study.git"),
        ("ssh://git:secret@example.org/study", "ssh://git@example.org/study"),
    ],
)
def test_the_data_sets_source_has_no_login(tmp_path, address, kept):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    assert data.remote(tmp_path) == kept


def test_a_data_set_is_what_dvc_and_validation_know_of_it(tmp_path, uri):
    made = Paths(tmp_path), finished_run.make(tmp_path)
    md5 = "3a3ebcfc1bd6c949f29d59e3f92d3791"
    made[0].lock.write_text(
        yaml.safe_dump({"stages": {"simulation@x": {"outs": [{"path": "data/insilico", "md5": f"{md5}.dir"}]}}})
    )
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    address = "https://me:secret@example.org/lab/study.git"
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    tracking.sync(records(made, "data", [ROW]), uri)
    query = f"dataset.digest = '{md5}'"
    client = MlflowClient(tracking_uri=uri)
    [found] = client.search_runs([client.get_experiment_by_name("data-mini").experiment_id], query)
    [dataset] = [item.dataset for item in found.inputs.dataset_inputs]
    columns = finished_run.columns_of("mini")
    assert json.loads(dataset.source) == {
        "path": "data/insilico", "md5": md5, "remote": "https://example.org/lab/study.git",
    }  # fmt: skip
    profile = json.loads(dataset.profile)
    assert profile["n_clips"] == {"train": 240, "test": 60} and profile["subjects"] == list(finished_run.SUBJECTS)
    assert sum(profile["n_voxels"].values()) == columns.n_voxels and list(profile["n_voxels"]) == list(columns.rois)


def test_calls_stay_within_a_servers_limits():
    calls = []
    client = SimpleNamespace(log_batch=lambda run, metrics, params: calls.append((len(metrics), len(params))))
    params_of = {f"p{number}": "x" for number in range(250)}
    metrics = {f"m{number}": 1.0 for number in range(2900)}
    record = tracking.Record("n", "k", "e", params_of, metrics, {}, curves={"epoch/loss": [1.0, 2.0]})
    writing.log(client, "run", record)
    assert calls == [(900, 100), (900, 100), (900, 50), (202, 0)]


def test_a_removed_row_comes_back_with_a_sync_and_stays_once_if_it_is_restored_too(run, uri):
    ours = records(run, "removed", finished_run.ROWS[:2])
    tracking.sync(ours, uri)
    client = MlflowClient(tracking_uri=uri)
    removed = [item.info.run_id for item in all_runs(uri, "removed-mini") if item.data.tags["row"] == ROW]
    for one in removed:
        client.delete_run(one)
    assert tracking.sync(ours, uri) == tracking.Counts(created=1, present=1, superseded=0, runs=len(removed))
    for one in removed:
        client.restore_run(one)  # from the trash, in MLflow's interface
    assert tracking.sync(ours, uri) == tracking.Counts(created=0, present=2, superseded=0)
    runs = all_runs(uri, "removed-mini")
    assert len(runs) == len({item.data.tags[writing.KEY] for item in runs}) == 2 * len(removed)


@pytest.mark.parametrize("step", [0, 3, len(finished_run.LAYERS)])  # after the row, in the middle, after the last space
def test_of_two_syncs_that_cannot_take_turns_one_run_stays(run, uri, monkeypatch, step):
    """In a sync another one of the same row begins and ends, as on a server: what was begun last is there once."""
    [record] = records(run, f"rivals{step}", [ROW])
    log, rivals, calls = writing.log, [], []

    def beside(*arguments):
        calls.append(arguments)
        log(*arguments)
        if len(calls) == step + 1:
            other = MlflowClient(tracking_uri=uri)
            experiment = other.get_experiment_by_name(record.experiment).experiment_id
            rivals.append(store._add(other, experiment, record))

    monkeypatch.setattr(writing, "log", beside)
    done = tracking.sync([record], uri)
    assert (rivals, done) == ([True], tracking.Counts(present=1))
    runs = all_runs(uri, f"rivals{step}-mini")
    assert len(runs) == len({item.data.tags[writing.KEY] for item in runs}) == record.n_runs
    assert {item.info.status for item in runs} == {"FINISHED"}


def test_all_who_look_keep_the_run_that_was_begun_last_and_leave_what_is_being_written(uri):
    client, now = MlflowClient(tracking_uri=uri), int(time.time() * 1000)
    experiment = client.create_experiment("kept")
    begun = {"half": 10, "first": 20, "last": 30, "beside": 40, "too": 20}  # milliseconds after now
    runs = {
        name: client.create_run(experiment, now + ms, {"level": "row", writing.KEY: "k"}).info.run_id
        for name, ms in begun.items()
    }
    child = client.create_run(experiment, tags={"mlflow.parentRunId": runs["first"]}).info.run_id
    for name in ("first", "last", "too"):
        client.set_terminated(runs[name])

    def of_key():
        return list(writing.search(client, experiment, f"tags.`{writing.KEY}` = 'k'"))

    seen = of_key()
    assert store._kept(client, seen).info.run_id == runs["last"]
    assert store._kept(client, seen).info.run_id == runs["last"]  # who had looked before the others were deleted
    assert {run.info.run_id for run in of_key()} == {runs["last"], runs["beside"]}
    assert client.get_run(child).info.lifecycle_stage == "deleted"
    client.set_terminated(runs["beside"])
    assert store._kept(client, of_key()).info.run_id == runs["beside"] and len(of_key()) == 1


def test_half_a_run_that_nobody_has_finished_for_an_hour_is_deleted(uri, monkeypatch):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("abandoned")
    first, half = (client.create_run(experiment, time_ms, {writing.KEY: "k"}).info.run_id for time_ms in (1000, 2000))
    client.set_terminated(first)
    seen = list(writing.search(client, experiment, ""))
    for now, left in ((store.ABANDONED_MS / 1000 + 1, {first, half}), (store.ABANDONED_MS / 1000 + 3, {first})):
        monkeypatch.setattr(store.time, "time", lambda now=now: now)
        assert store._kept(client, seen).info.run_id == first
        assert {run.info.run_id for run in writing.search(client, experiment, "")} == left
    with pytest.raises(MlflowException, match="must be in the 'active' state"):  # so it is never finished
        client.set_terminated(half)


def test_a_relative_database_is_the_main_repositorys(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert resolved("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", "/lab/study")  # as DVC says in .dvc/tmp/exps/...
    assert resolved("sqlite:///mlflow.db") == "sqlite:////lab/study/mlflow.db"
    assert resolved("sqlite:////lab/all.db") == "sqlite:////lab/all.db"
    assert resolved("http://127.0.0.1:5000") == "http://127.0.0.1:5000"

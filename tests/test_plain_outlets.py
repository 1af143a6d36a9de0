"""Clips that were shown once have no noise ceiling: every outlet shows plain correlations and says so."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import finished_run
from cinevox import cli
from cinevox.cli import experiments
from cinevox.files import io
from cinevox.outlets import gate, report, tracking
from cinevox.outlets.report import maps, scatters, tables
from cinevox.outlets.tracking import views
from cinevox.project.paths import Paths
from cinevox.scoring import row_results
from test_report import sources_of

MINI, RIDGE, FULL = finished_run.ROWS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """No clip was shown twice, and there are responses to test clips."""
    root = tmp_path_factory.mktemp("plain")
    return Paths(root), finished_run.make(root, once=("validation", "test"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The training clips were shown once, the test clips ten times."""
    root = tmp_path_factory.mktemp("mixed")
    return Paths(root), finished_run.make(root, once=("validation",))


def scores(paths, row=RIDGE):
    return json.loads((paths.selection(row) / "selection.json").read_text())["scores"]


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", "", page, flags=re.DOTALL))


def test_the_scores_are_the_correlations_and_no_voxel_is_left_out(made):
    paths, params = made
    (result,) = row_results.read(paths, {RIDGE: params.experiments.rows[RIDGE]})
    assert result.measure == "plain correlation"
    table = pd.read_csv(paths.scores(RIDGE) / "rois.csv")
    pd.testing.assert_series_equal(table["score"], table["correlation"], check_names=False)
    assert table["normalized_correlation"].isna().all() and (table["n_excluded"] == 0).all()
    np.testing.assert_array_equal(result.voxel_scores("test"), result.voxels["test.correlation"])
    assert result.chosen["V1"] == finished_run.LAYERS[finished_run.BEST["V1"]]


def test_the_page_speaks_of_plain_correlations_and_of_no_ceiling(made):
    sources = sources_of(made[0].root, made[1], in_silico=False)
    found = report.render(sources)
    text = words(found.page)
    assert "reaches a plain correlation of" in text and "of the noise ceiling on" not in text
    assert "Plain correlations: the clips were shown once" in text and "score (plain r)" in text
    assert "none: clips were shown once" in text and "are left out of normalized scores" not in text
    assert not re.search(r"\bnan\b|NaN|\bNone\b|\binf\b|Undefined", text)
    for drawing in found.drawings.values():
        assert "r / ceiling" not in drawing and "normalized" not in drawing
    assert "plain correlation of each voxel" in found.page and "its noise ceiling, as r" not in found.page
    doubts = tables.score_lines(sources, "mini")[0].doubts
    assert "plain correlations" in doubts and "not reproduced" not in text


def test_where_only_test_clips_were_repeated_their_scores_are_normalized_and_validation_is_told_apart(mixed):
    paths, params = mixed
    sources = sources_of(paths.root, params, in_silico=False)
    found = report.render(sources)
    text = words(found.page)
    assert "of the noise ceiling on the test clips" in text and "Plain correlations:" not in text
    assert "Rows and regions, test clips, normalized correlation" in text
    assert "Rows and regions, validation clips, sub02, plain correlation" in text
    assert "Both axes are plain correlations" in text and "test, in plain r" in text
    result = sources.results[1]
    assert list(tables.profile(result).by_split) == ["test"]  # other units have no place in one panel
    pairs, _ = scatters.candidate_pairs([result])
    np.testing.assert_array_equal(pairs[:, 1], result.table("test")["correlation"])
    record = {record.name: record for record in tracking.gather(paths, params)}[RIDGE]
    measured = dict(record.metrics)
    assert record.tags["measure"] == "normalized correlation"
    assert measured["validation/plain_r.score"] == scores(paths)["validation"]["score"]
    assert "validation/score" not in measured and "optimism/difference" not in measured
    assert "optimism/plain_r.difference" in measured
    child = next(child for child in record.children if child.name == "layer_2")
    assert "validation/plain_r.V1.correlation" in child.metrics and "V1.normalized_correlation" in child.metrics


def test_the_record_never_calls_them_normalized(made):
    paths, params = made
    records = tracking.gather(paths, params)
    for record in (*records, *(child for row in records for child in row.children)):
        assert record.tags["measure"] == "plain correlation"
        assert not [name for name in record.metrics if "normalized" in name]
    metrics, known = dict(records[1].metrics), scores(paths)["test"]
    assert metrics["score"] == known["score"]
    assert metrics["V1.correlation"] == pytest.approx(known["rois"]["V1"]["score"])
    assert metrics["sub02/V1.correlation"] == known["subjects"]["sub02"]["rois"]["V1"]
    assert "**Plain correlations**" in records[1].note and "\nPlain correlation " in records[1].note
    described, view = views.experiment_tags(records[:2]).values()
    assert "`score` is the mean plain correlation" in described and 'metrics."V1.correlation"' in described
    assert "metrics.`V1.correlation`" in json.loads(view)["selectedColumns"] and "normalized" not in view.lower()


def test_the_score_table_and_the_metrics_say_so(made, monkeypatch, capsys):
    paths, _ = made
    monkeypatch.chdir(paths.root)
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert f"test, plain r  {scores(paths)['test']['score']:.3f}" in said
    assert "there is no noise ceiling to divide by" in said and "Normalized correlation (r" not in said
    assert io.read_json(paths.metrics(RIDGE)).keys() == {"test", "validation", "origin"}
    assert io.read_json(paths.metrics(RIDGE))["test"].keys() == {"plain_r"}


def test_the_gate_compares_them_with_each_other_and_with_nothing_else(made, tmp_path):
    paths, params = made
    now = gate.read_current(paths, params)
    assert now.rows[RIDGE].metrics["test.plain_r.score"].value == round(scores(paths)["test"]["score"], 5)
    gate.write_baseline(tmp_path / "baseline.json", now)
    kept = gate.read_baseline(tmp_path / "baseline.json")
    assert not gate.compare(kept, now, "itself").failed
    other = finished_run.make(tmp_path / "normalized")
    was = gate.read_current(Paths(tmp_path / "normalized"), other)
    found = {line.metric: line.verdict for line in gate.compare(was, now, "the base").lines if line.row == RIDGE}
    assert (found["test.score"], found["test.plain_r.score"]) == ("missing", "new")


def test_maps_are_described_as_what_they_hold():
    files = {f"sub-a_space-MNI152_stat-{name}_statmap.nii.gz": word for name, word in (("r", "plain r"), ("q", "q"))}
    assert maps.names(("a",), "plain correlation", "MNI152") == [("a", files)]


def test_an_experiment_says_which_rows_are_plain_and_shows_no_change_between_the_two():
    rows = {"experiments": {"voxelwise": {"a": {}, "b": {}}, "roiwise": {}}}
    files = {"a": {"test": {"plain_r": {"score": 0.2, "V1": 0.3}}}, "b": {"test": {"score": 0.4, "V1": 0.5}}}
    data = {"params": {"params.yaml": {"data": rows}}}
    data["metrics"] = {Paths().metrics(row).as_posix(): {"data": content} for row, content in files.items()}
    found = experiments._read({"rev": "workspace", "name": None, "data": data, "error": None}, "V1")
    assert (found.scores, found.plain) == ({"a": 0.3, "b": 0.5}, {"a"})

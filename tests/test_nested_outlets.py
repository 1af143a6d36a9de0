"""Nested selection without responses to the test clips: every outlet takes the scores of the outer folds."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import finished_run
from cinevox import cli
from cinevox.outlets import gate, report, tracking
from cinevox.outlets.report import svg, tables
from cinevox.project.paths import Paths
from cinevox.scoring import row_results
from test_report import sources_of

MINI, RIDGE, FULL = finished_run.ROWS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Rows with outer folds, and one of transfer networks, which has none."""
    root = tmp_path_factory.mktemp("nested")
    return Paths(root), finished_run.make(root, test=False, transfer=True, nested=True)


def nested(paths, row):
    return json.loads((paths.selection(row) / "selection.json").read_text())["scores"]["nested"]


def test_the_outer_folds_are_the_split_that_counts(made):
    paths, params = made
    found = {result.name: result for result in row_results.read(paths, params.experiments.rows)}
    assert {name: result.split for name, result in found.items()} == {
        MINI: "nested", RIDGE: "nested", FULL: "nested", finished_run.TRANSFER: "validation",
    }  # fmt: skip
    table = pd.read_csv(paths.scores(RIDGE) / "rois.csv").query("aggregation == 'subjects' and roi == 'V1'")
    folds = table[table.split.str.startswith("outer-")]
    assert sorted(folds.split.unique()) == ["outer-1", "outer-2", "outer-3"]
    own = found[RIDGE].table("nested").query("roi == 'V1'").set_index("space")["normalized_correlation"]
    for space, value in own.items():
        assert value == pytest.approx(np.mean(folds[folds.space == space]["normalized_correlation"]))
    assert found[RIDGE].replicates("nested").shape == (50, 9)


def test_the_page_shows_them_and_says_what_they_are(made):
    paths, params = made
    sources = sources_of(paths.root, params)
    text, drawings = report.render(sources)
    assert f"{svg.shown(nested(paths, RIDGE)['score'])}<span" in text
    assert "Outer folds</b>" in text and "of the training clips, each with a choice made without it" in text
    assert "Chosen on the same clips</b> (mini-alexnet-frozen-two_lstm)" in text
    words = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnan\b|NaN|\bNone\b|\binf\b|Undefined", words)
    doubts = {line.result.name: line.doubts for line in tables.score_lines(sources, "mini")}
    assert any("outer folds" in doubt for doubt in doubts[RIDGE])
    assert any("validation clips" in doubt for doubt in doubts[finished_run.TRANSFER])
    assert {"figure-1", f"layers-{RIDGE}"} <= drawings.keys()
    scores = report.plots(sources.results)["scores"].set_index(["row", "roi"])["score"]
    assert scores[RIDGE, "V1"] == nested(paths, RIDGE)["rois"]["V1"]["normalized_correlation"]


def test_the_score_table_shows_them(made, monkeypatch, capsys):
    paths, _ = made
    monkeypatch.chdir(paths.root)
    assert cli.main(["scores"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    score = nested(paths, RIDGE)
    assert lines[RIDGE][1:6] == ["nested", f"{score['score']:.3f}", f"{score['low']:.3f}", "to", f"{score['high']:.3f}"]
    assert lines[finished_run.TRANSFER][1] == "validation"


def test_the_gate_compares_them(made):
    paths, params = made
    now = gate.read_current(paths, params)
    score = nested(paths, RIDGE)
    assert now.rows[RIDGE].metrics["nested.score"].value == round(score["score"], 5)
    assert now.rows[RIDGE].metrics["nested.V1"].value == round(score["rois"]["V1"]["normalized_correlation"], 5)
    assert not gate.compare(now, now, "itself").failed
    entry = now.rows[RIDGE]
    fallen = entry.metrics["nested.V1"].model_copy(update={"value": score["low"] - 1})
    worse = entry.model_copy(update={"metrics": entry.metrics | {"nested.V1": fallen}})
    verdict = gate.compare(now, now.model_copy(update={"rows": now.rows | {RIDGE: worse}}), "itself")
    assert verdict.failed and [line.metric for line in verdict.of("regressed")] == ["nested.V1"]


def test_the_record_holds_them(made):
    paths, params = made
    records = {record.name: record for record in tracking.gather(paths, params)}
    metrics, score = dict(records[RIDGE].metrics), nested(paths, RIDGE)
    assert metrics["score"] == score["score"]
    assert metrics["V1.normalized_correlation"] == score["rois"]["V1"]["normalized_correlation"]
    assert metrics["validation/score"] != metrics["score"]
    assert len(records[RIDGE].children) == len(finished_run.LAYERS)
    own = row_results.read(paths, {RIDGE: params.experiments.rows[RIDGE]})[0].table("nested")
    for child in records[RIDGE].children:
        mean = own[own["space"] == child.name.rsplit("/", 1)[-1]]["normalized_correlation"].mean()
        assert dict(child.metrics)["score"] == pytest.approx(mean)
    subjects = pd.read_csv(paths.scores(RIDGE) / "subjects.csv").query("subject == 'sub02' and roi == 'LOC'")
    folds = subjects[subjects.split.str.startswith("outer-") & (subjects.space == "layer_2")]
    child = next(child for child in records[RIDGE].children if child.name == "layer_2")
    assert child.metrics["sub02/LOC.normalized_correlation"] == pytest.approx(folds["normalized_correlation"].mean())

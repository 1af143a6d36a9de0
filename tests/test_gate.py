"""The gate: what counts as a fall, and that nothing passes because it could not be compared."""

import json
import subprocess

import pytest
import yaml

import fabricate
from cinevox import gate
from cinevox.gate import Reading
from cinevox.params import Gate
from cinevox.paths import Paths

LIMITS = Gate(absolute=0.02, relative=0.05, use_interval=True)
ROW = fabricate.ROWS[0]


def verdicts(was, now, limits=LIMITS):
    found = gate.compare({"row": was}, {"row": now}, limits, "base")
    return {line.metric: line.verdict for line in found.lines}


@pytest.mark.parametrize(
    ("was", "half_width", "now", "expected"),
    [
        (0.2, 0.0, 0.181, "same"),  # the absolute limit, 0.02, is the largest
        (0.2, 0.0, 0.179, "regressed"),
        (0.6, 0.0, 0.571, "same"),  # the relative limit, 0.03
        (0.6, 0.0, 0.569, "regressed"),
        (0.6, 0.1, 0.501, "same"),  # the interval
        (0.6, 0.1, 0.499, "regressed"),
        (0.6, None, 0.571, "same"),
        (0.2, 0.0, 0.221, "improved"),
        (-0.6, 0.0, -0.629, "same"),
        (0.3, 0.0, None, "missing"),
        (None, None, 0.3, "new"),
        (None, None, None, "same"),
    ],
)
def test_the_largest_limit_counts(was, half_width, now, expected):
    assert verdicts({"test.V1": Reading(was, half_width)}, {"test.V1": Reading(now)}) == {"test.V1": expected}


def test_the_interval_counts_only_when_asked():
    tight = Gate(absolute=0.02, relative=0.0, use_interval=False)
    assert verdicts({"test.V1": Reading(0.6, 0.3)}, {"test.V1": Reading(0.5)}, tight) == {"test.V1": "regressed"}


def test_a_missing_roi_and_a_missing_row_fail():
    was = {"a": {"test.V1": Reading(0.3)}, "b": {"test.V1": Reading(0.3)}}
    verdict = gate.compare(was, {"a": {"test.V2": Reading(0.3)}}, LIMITS, "base")
    assert [(line.row, line.metric, line.verdict) for line in verdict.lines] == [
        ("a", "test.V1", "missing"),
        ("a", "test.V2", "new"),
        ("b", "test.V1", "missing"),
    ]
    assert verdict.exit_code == 1


def test_an_empty_base_is_no_comparison():
    with pytest.raises(gate.GateError, match=r"base holds no metrics to compare with; write one with `cinevox gate"):
        gate.compare({"row": {}}, {"row": {"test.V1": Reading(0.3)}}, LIMITS, "base")


def test_the_table_says_what_changed_failures_first():
    was = {"row": {"test.V1": Reading(0.3), "test.V2": Reading(0.5)}}
    now = {"row": {"test.V1": Reading(0.31), "test.V2": Reading(0.4)}}
    text = gate.compare(was, now, LIMITS, "the base").to_markdown()
    assert text.splitlines() == [
        "**Failed** against the base: 1 regressed, 1 same.",
        "",
        "| row | metric | was | now | change | allowed drop | verdict |",
        "|-|-|-:|-:|-:|-:|-|",
        "| row | test.V2 | 0.500 | 0.400 | -0.100 | 0.025 | **regressed** |",
        "| row | test.V1 | 0.300 | 0.310 | +0.010 | 0.020 | same |",
    ]


@pytest.fixture
def run(tmp_path):
    return Paths(tmp_path), fabricate.make(tmp_path)


def test_a_baseline_keeps_values_and_intervals(run):
    paths, params = run
    readings = gate.read_current(paths, params.experiments.rows)
    gate.write_baseline(paths.baseline, readings)
    assert gate.read_baseline(paths.baseline) == readings
    selected = json.loads((paths.selection(ROW) / "selection.json").read_text())["scores"]["test"]
    reading = readings[ROW]["test.V1"]
    assert reading.value == selected["rois"]["V1"]["normalized_correlation"]
    assert reading.half_width == (selected["rois"]["V1"]["high"] - selected["rois"]["V1"]["low"]) / 2
    assert readings[ROW]["test.score"].half_width == (selected["high"] - selected["low"]) / 2
    assert not gate.compare(readings, readings, LIMITS, "itself").failed


def test_without_test_responses_the_validation_scores_are_gated(tmp_path):
    params = fabricate.make(tmp_path, test=False)
    readings = gate.read_current(Paths(tmp_path), params.experiments.rows)
    assert "validation.V1" in readings[ROW]


@pytest.mark.parametrize("content", ["{", "[]", '{"row": {"test.V1": {"worth": 1}}}'])
def test_a_broken_baseline_is_no_comparison(tmp_path, content):
    (tmp_path / "baseline.json").write_text(content)
    with pytest.raises(gate.GateError, match="not a baseline"):
        gate.read_baseline(tmp_path / "baseline.json")


def test_a_missing_baseline_says_how_to_make_one(tmp_path):
    with pytest.raises(gate.GateError, match=r"no such file; write one with `cinevox gate --update` and commit it"):
        gate.read_baseline(tmp_path / "baseline.json")


@pytest.fixture
def committed(run):
    paths, params = run

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(paths.root), *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    gate.write_baseline(paths.baseline, gate.read_current(paths, params.experiments.rows))
    git("add", "params.yaml", "metrics")
    git("commit", "-q", "-m", "base")
    return paths, params


def test_a_revision_brings_its_values_its_intervals_and_its_own_limits(committed):
    paths, params = committed
    loosened = yaml.safe_load(paths.params.read_text())
    loosened["gate"] = {"absolute": 1.0, "relative": 1.0, "use_interval": False}
    paths.params.write_text(yaml.safe_dump(loosened))
    was, limits = gate.read_revision(paths, "HEAD")
    assert limits == params.gate
    assert was == gate.read_current(paths, params.experiments.rows)


def test_a_row_that_was_removed_fails_against_the_revision(committed):
    paths, params = committed
    was, limits = gate.read_revision(paths, "HEAD")
    kept = [row for row in params.experiments.rows if row != ROW]
    verdict = gate.compare(was, gate.read_current(paths, kept), limits, "HEAD")
    assert verdict.exit_code == 1
    assert {line.row for line in verdict.lines if line.verdict == "missing"} == {ROW}


def test_intervals_that_a_revision_does_not_know_are_those_of_its_score(committed):
    paths, _ = committed
    git = ["git", "-C", str(paths.root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "rm", "-q", "--cached", "metrics/baseline.json"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "no baseline"], check=True)
    was, _ = gate.read_revision(paths, "HEAD")
    assert was[ROW]["test.V1"].half_width == was[ROW]["test.score"].half_width > 0


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", ""])
def test_an_unknown_revision_is_no_comparison(committed, revision):
    with pytest.raises(gate.GateError, match="no git revision"):
        gate.read_revision(committed[0], revision)

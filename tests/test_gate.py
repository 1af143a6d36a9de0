"""The gate: what counts as a fall, and that nothing passes because it could not be compared."""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

import finished_run
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets import gate
from cinevox.outlets.gate import GateLimits, Reading, RowState, State
from cinevox.outlets.gate.intervals import half_widths
from cinevox.project.params import Gate
from cinevox.project.paths import Paths

LIMITS = GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=True), confidence=0.95)
TIGHT = GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=False), confidence=0.95)
ROW = finished_run.ROWS[0]
FABRICATED = (*finished_run.ROWS, finished_run.TRANSFER)


def state(checks=None, **rows):
    return State({row: RowState(metrics) for row, metrics in rows.items()}, checks or {})


def verdicts(was, now, limits=TIGHT):
    found = gate.compare(state(row=was), state(row=now), limits, "base")
    return {line.metric: line.verdict for line in found.lines}


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        (0.2, 0.181, "same"),  # the absolute limit, 0.02, is the larger
        (0.2, 0.179, "regressed"),
        (0.6, 0.571, "same"),  # the relative limit, 0.03
        (0.6, 0.569, "regressed"),
        (-0.6, -0.629, "same"),
        (0.2, 0.221, "improved"),
        (0.9, 1.1, "implausible"),  # nothing known of its interval
        (1.2, 1.19, "same"),
        (0.3, None, "missing"),
        (None, 0.3, "new"),
        (None, 1.2, "implausible"),
        (None, None, "same"),
    ],
)
def test_what_a_change_is_called(was, now, expected):
    metrics = {"test.V2": Reading(0.5)}
    found = verdicts(metrics | {"test.V1": Reading(was)}, metrics | {"test.V1": Reading(now)})
    assert found == {"test.V1": expected, "test.V2": "same"}


def test_half_widths_alone_are_bonferronis():
    """Of two metrics with half-widths of 95 %, by hand; without an interval on a side the limits stand alone."""
    z = stats.norm.isf(0.05 / 2) * 0.05 / stats.norm.isf(0.025)
    pairs = [(Reading(0.5, 0.03), Reading(0.4, 0.04), True)] * 2
    assert half_widths(pairs, 0.95) == pytest.approx([z, z])
    t = stats.t.isf(0.05 / 2, 25) * 0.05 / stats.norm.isf(0.025)
    assert half_widths(pairs, 0.95, 51) == pytest.approx([t, t])
    assert half_widths([(Reading(0.5), Reading(0.4, 0.1), True)], 0.95) == [None]
    allowed = 0.025 + stats.norm.isf(0.05) * 0.05 / stats.norm.isf(0.025)
    for change, expected in ((0.001, "same"), (-0.001, "regressed")):
        now = Reading(0.5 - allowed + change, 0.04)
        assert verdicts({"test.V1": Reading(0.5, 0.03)}, {"test.V1": now}, LIMITS) == {"test.V1": expected}


def drawn(rng, n_metrics, n=200, scale=1.0):
    return (scale * rng.standard_normal((n, n_metrics))).astype(np.float16)


@pytest.mark.parametrize("paired", [True, False])
def test_all_intervals_hold_together(rng, paired):
    """Sixty independent metrics: the quantile of their largest, known in closed form, times each one's own spread."""
    n, scales = 20_000, np.linspace(0.5, 2, 60)
    was, now = (drawn(rng, 60, n) * scales.astype(np.float16) for _ in range(2))
    pairs = [(Reading(0.0, 0, 0, a), Reading(0.0, 0, 0, b), paired) for a, b in zip(was.T, now.T)]
    expected = stats.norm.ppf(0.95 ** (1 / 60)) * scales * np.sqrt(2)
    np.testing.assert_allclose(half_widths(pairs, 0.95), expected, rtol=0.03)


def test_pairs_take_out_what_both_share(rng):
    shared = rng.standard_normal(200)
    a, b = ((shared + 0.1 * rng.standard_normal(200)).astype(np.float16) for _ in range(2))
    (paired,), (unpaired,) = (
        half_widths([(Reading(0.5, 0, 0, a), Reading(0.5, 0, 0, b), p)], 0.95) for p in (True, False)
    )
    one_sided = stats.norm.ppf(0.95) * np.sqrt(2)
    assert paired == pytest.approx(0.1 * one_sided, rel=0.2)
    assert unpaired == pytest.approx(np.hypot(1, 0.1) * one_sided, rel=0.2)
    assert half_widths([(Reading(0.5, 0, 0, a), Reading(0.5, 0, 0, a), True)], 0.95) == [0]


def test_other_clips_may_choose_another_layer(rng):
    """Only unpaired: the spread over choices adds to that over clips, as variances do; by hand from the tables."""
    a, b = drawn(rng, 2).T
    one, chosen = (half_widths([(Reading(0.5, 0, c, a), Reading(0.5, 0, c, b), False)], 0.95)[0] for c in (0, 3))
    s = (a.astype(float) - np.roll(b, -1)).std(ddof=1)
    assert chosen / one == pytest.approx(np.sqrt(s**2 + 18) / s)
    same = [half_widths([(Reading(0.5, 0, c, a), Reading(0.5, 0, c, b), True)], 0.95) for c in (0, 3)]
    assert same[0] == same[1]


def test_metrics_that_move_together_count_once(rng):
    one = drawn(rng, 1)[:, 0]
    alone = half_widths([(Reading(0.5, 0, 0, one), Reading(0.5, 0, 0, -one), True)], 0.95)
    many = half_widths([(Reading(0.5, 0, 0, one), Reading(0.5, 0, 0, -one), True)] * 50, 0.95)
    assert many == pytest.approx(alone * 50)


def test_metrics_with_and_without_replicates_share_the_level(rng):
    pairs = [
        (Reading(0.5, 0.1, 0, a), Reading(0.5, 0.1, 0, b), True) for a, b in zip(drawn(rng, 10).T, drawn(rng, 10).T)
    ]
    plain = [(Reading(0.5, 0.1), Reading(0.5, 0.1), True)] * 10
    mixed, pure, bonferroni = (half_widths(p, 0.95) for p in (pairs + plain, pairs, plain * 2))
    assert mixed[0] > pure[0] and mixed[10:] == pytest.approx(bonferroni[:10])


def test_a_build_of_nothing_but_noise_passes_and_a_drop_fails(rng):
    """110 metrics with known errors, twenty builds; benchmarks/results/gate.md has the rates."""
    caught = []
    for _ in range(20):
        sd, n = 0.03, 200
        was, now = ({}, {})
        for number in range(110):
            shared = rng.standard_normal(n + 1)
            for rows in (was, now):
                errors = sd * (shared + 0.5 * rng.standard_normal(n + 1))
                reading = Reading(0.4 + errors[-1], 2 * sd, 0, errors[:-1].astype(np.float16))
                rows.setdefault(f"row-{number // 10}", {})[f"test.{number % 10}"] = reading
        states = [
            State({row: RowState(metrics, {"n_clips": 50}, np.zeros(3, np.float32)) for row, metrics in rows.items()})
            for rows in (was, now)
        ]
        assert not gate.compare(*states, LIMITS, "base").failed
        reading = now["row-3"]["test.4"]
        now["row-3"]["test.4"] = replace(reading, value=reading.value - 0.2)
        verdict = gate.compare(*states, LIMITS, "base")
        caught.append({(line.row, line.metric) for line in verdict.of("regressed")} == {("row-3", "test.4")})
    assert all(caught)


def test_a_missing_roi_and_a_missing_row_fail():
    was = {"a": {"test.V1": Reading(0.3)}, "b": {"test.V1": Reading(0.3)}}
    verdict = gate.compare(state(**was), state(a={"test.V2": Reading(0.3)}), LIMITS, "base")
    assert [(line.row, line.metric, line.verdict) for line in verdict.lines] == [
        ("a", "test.V1", "missing"),
        ("a", "test.V2", "new"),
        ("b", "test.V1", "missing"),
    ]
    assert verdict.exit_code == 1


def test_more_errors_or_warnings_fail():
    metrics = {"row": {"test.V1": Reading(0.3)}}
    was = {"validation": {"errors": 0, "warnings": 1}, "checks": {"errors": 0, "warnings": 2}}
    now = {"validation": {"errors": 0, "warnings": 0}, "checks": {"errors": 0, "warnings": 3}}
    verdict = gate.compare(state(was, **metrics), state(now, **metrics), LIMITS, "base")
    found = {(line.row, line.metric): line.verdict for line in verdict.lines[1:]}
    assert list(found.values()) == ["same", "improved", "same", "regressed"]
    assert verdict.exit_code == 1 and "| checks | warnings | 2 | 3 | +1 | 0 | – | **regressed** |" in (
        gate.to_markdown(verdict)
    )
    assert gate.compare(state(was, **metrics), state(**metrics), LIMITS, "base").exit_code == 1
    assert gate.compare(state(**metrics), state(now, **metrics), LIMITS, "base").exit_code == 0


@pytest.mark.parametrize("was", [{}, {"test.V1": Reading(None)}])
def test_a_base_without_scores_is_no_comparison(was):
    with pytest.raises(gate.GateError, match=r"base holds no scores to compare with; write one with `cinevox gate"):
        gate.compare(state(row=was), state(row={"test.V1": Reading(0.3)}), LIMITS, "base")


def test_the_table_has_failures_first_and_folds_what_stayed():
    was = {"test.V1": Reading(0.3), "test.V2": Reading(0.5), "test.V3": Reading(0.2)}
    now = {"test.V1": Reading(0.31), "test.V2": Reading(0.4), "test.V3": Reading(0.4)}
    text = gate.to_markdown(gate.compare(state(row=was), state(row=now), TIGHT, "the base"))
    head = ["| row | metric | was | now | change | allowed drop | interval | verdict |", "|-|-|-:|-:|-:|-:|-:|-|"]
    assert text.splitlines() == [
        "**Failed against the base: 1 regressed, 1 improved, 1 same.**",
        "",
        *head,
        "| row | test.V2 | 0.500 | 0.400 | -0.100 | 0.025 | – | **regressed** |",
        "",
        gate.MEANT,
        "",
        *head,
        "| row | test.V3 | 0.200 | 0.400 | +0.200 | 0.020 | – | improved |",
        "",
        "<details><summary>1 the same</summary>",
        "",
        *head,
        "| row | test.V1 | 0.300 | 0.310 | +0.010 | 0.020 | – | same |",
        "",
        "</details>",
        "",
        "Allowed drop: max(0.02, 0.05 of what it was).",
        "Not paired with the base (no replicates): row.",
    ]


def test_a_long_table_fits_a_comment():
    row = "mini-efficientnet_lite0-layer-multitask_elastic_net"
    rows = {f"{row}-{n}": {f"test.{roi}": Reading(0.3, 0.1) for roi in range(10)} for n in range(60)}
    text = gate.to_markdown(gate.compare(state(**rows), state(**rows), LIMITS, "base"))
    assert len(text) < 65_536 and "200 more lines; `cinevox gate` prints all." in text


@pytest.fixture
def run(tmp_path):
    return Paths(tmp_path), finished_run.make(tmp_path, transfer=True)


def accepted(paths, params):
    found = gate.read_current(paths, params)
    gate.write_baseline(paths.baseline, found, gate.limits_of(params))
    return found


def test_a_baseline_keeps_values_intervals_replicates_and_limits(run):
    paths, params = run
    found = accepted(paths, params)
    kept, limits = gate.read_baseline(paths.baseline)
    assert kept == found and limits == gate.limits_of(params)
    selected = json.loads((paths.selection(ROW) / "selection.json").read_text())["scores"]["test"]
    reading = found.rows[ROW].metrics["test.V1"]
    assert reading.value == round(selected["rois"]["V1"]["normalized_correlation"], 5)
    assert reading.half_width == (selected["rois"]["V1"]["high"] - selected["rois"]["V1"]["low"]) / 2
    track = (selected["high"] - selected["low"]) / 2  # of the metrics file, whose numbers are rounded
    assert found.rows[ROW].metrics["test.score"].half_width == pytest.approx(track, abs=1e-5)
    for row, entry in found.rows.items():
        for name, reading in entry.metrics.items():
            np.testing.assert_array_equal(kept.rows[row].metrics[name].replicates, reading.replicates)
    assert found.rows[finished_run.TRANSFER].drawn["transfer.seed"] == params.transfer.seed
    assert "transfer.seed" not in found.rows[ROW].drawn


def test_replicates_are_of_the_rois_mean_over_subjects(run):
    """By hand, from the arrays of the selection: equal weights, as every subject has scored voxels."""
    paths, params = run
    with np.load(paths.selection(ROW) / "voxels.npz") as voxels:
        replicates = voxels["test.replicates"].astype(np.float64)
    columns = finished_run.columns_of("mini")
    found = gate.read_current(paths, params).rows[ROW].metrics
    means = {
        roi: replicates[:, [b.roi == roi for b in columns.blocks]].mean(axis=1) - found[f"test.{roi}"].value
        for roi in columns.rois
    }
    np.testing.assert_allclose(found["test.LOC"].replicates, means["LOC"], atol=1e-4)
    np.testing.assert_allclose(found["test.score"].replicates, np.mean(list(means.values()), axis=0), atol=1e-4)


def test_the_spread_over_choices_is_that_of_the_resampled_validation_clips(run):
    paths, params = run
    selected = json.loads((paths.selection(ROW) / "selection.json").read_text())
    table = pd.read_csv(paths.scores(ROW) / "rois.csv")
    table = table[(table.split == "test") & (table.aggregation == "subjects")].set_index(["roi", "space"])
    metrics, variances = gate.read_current(paths, params).rows[ROW].metrics, []
    for roi, shares in selected["frequencies"].items():
        drawn = np.repeat(
            [table.normalized_correlation[roi, s] for s in shares], [round(50 * f) for f in shares.values()]
        )
        assert len(drawn) == 50 and metrics[f"test.{roi}"].choice == pytest.approx(drawn.std())
        variances.append(drawn.var())
    assert len(variances) == 9 and max(variances) > 0
    assert metrics["test.score"].choice == pytest.approx(np.sqrt(sum(variances)) / 9)


def test_a_run_against_itself_is_paired_and_equal(run):
    paths, params = run
    accepted(paths, params)
    verdict = gate.judge(paths, params)
    assert verdict.exit_code == 0 and not verdict.differing
    assert {(line.basis, line.half_width, line.verdict) for line in verdict.lines} == {("paired", 0.0, "same")}


def other_responses(paths):
    file = paths.ceiling("mini") / "reliability.npz"
    arrays = io.read_arrays(file)
    io.write_arrays(file, **{name: values + 0.01 for name, values in arrays.items()})


def other_clips(paths):
    index = paths.scores(ROW) / "index.json"
    document = io.read_json(index)
    document["clips"]["validation"][0] += 1
    io.write_json(index, document)


def rounded_responses(paths):
    file = paths.ceiling("mini") / "reliability.npz"
    io.write_arrays(file, **{name: values + 1e-6 for name, values in io.read_arrays(file).items()})


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (other_responses, {"other responses"}),
        (other_clips, {"other clips"}),
        (lambda paths: (paths.selection(ROW) / "voxels.npz").unlink(), {"no replicates"}),
        (rounded_responses, None),
    ],
)
def test_rows_are_paired_only_if_chance_drew_the_same(run, change, reasons):
    paths, params = run
    accepted(paths, params)
    change(paths)
    verdict = gate.judge(paths, params)
    assert verdict.differing.get(ROW, ()) == tuple(reasons or ())
    line = next(line for line in verdict.lines if line.row == ROW)
    assert line.basis == ("unpaired" if reasons else "paired") and (line.half_width > 0) == bool(reasons)
    assert verdict.exit_code == 0


@pytest.mark.parametrize(
    ("section", "key", "rows"),
    [("scores", "seed", [ROW, finished_run.TRANSFER]), ("transfer", "seed", [finished_run.TRANSFER])],
)
def test_a_seed_unpairs_the_rows_that_it_draws_for(run, section, key, rows):
    paths, params = run
    accepted(paths, params)
    other = getattr(params, section).model_copy(update={key: 77})
    differing = gate.judge(paths, params.model_copy(update={section: other})).differing
    assert all(differing[row] == (f"other {section}.{key}",) for row in rows)
    assert (ROW in differing) == (ROW in rows)


@pytest.mark.parametrize("by", [0.001, -0.3, 0.3])
def test_metrics_that_are_not_those_of_the_selection_are_refused(run, by):
    """An edited file, whichever way it goes; the message has both values and what makes the file again."""
    paths, params = run
    accepted(paths, params)
    before, document = paths.baseline.read_bytes(), io.read_json(paths.metrics(ROW))
    own = document["test"]["V1"]
    document["test"]["V1"] += by
    io.write_json(paths.metrics(ROW), document)
    why = f"{paths.metrics(ROW)} is not of {paths.selection(ROW)}: test.V1 is {document['test']['V1']}, not {own}; "
    told = f"{ROW}: {why}`dvc repro -f -s selection@{ROW}` makes it again"
    with pytest.raises(gate.GateError, match=re.escape(told)):
        gate.judge(paths, params)
    with pytest.raises(gate.GateError, match=re.escape(told)):
        accepted(paths, params)
    assert paths.baseline.read_bytes() == before


@pytest.mark.parametrize("where", ["test.low", "validation.score", "origin.title"])
def test_an_edited_interval_record_or_split_is_refused_too(run, where):
    paths, params = run
    accepted(paths, params)
    document, (block, name) = io.read_json(paths.metrics(ROW)), where.split(".")
    document[block][name] = None if where == "validation.score" else "Other" if block == "origin" else -0.5
    io.write_json(paths.metrics(ROW), document)
    with pytest.raises(gate.GateError, match=rf"is not of .*: {where} is {document[block][name]}, not "):
        gate.judge(paths, params)


OTHER_DATA = [  # changes of a row's origin, and what is said of them
    ({"dataset": "macaque", "title": "Macaque"}, "data set insilico, now macaque"),
    ({"in_silico": False}, "in-silico yes, now no"),
    ({"subjects": "sub01"}, "subjects sub01 sub02 sub03, now sub01"),
    ({"subjects": "sub01 sub02 sub03 sub04"}, "subjects sub01 sub02 sub03, now sub01 sub02 sub03 sub04"),
    ({"n_test_clips": 102}, "test clips 60, now 102"),
]


@pytest.mark.parametrize(("change", "said"), OTHER_DATA)
@pytest.mark.parametrize("by", [-0.2, 0.0, 0.2])
def test_scores_of_other_data_are_no_improvement_and_no_fall(run, change, said, by):
    paths, params = run
    accepted(paths, params)
    finished_run.scored(paths, ROW, "V1", by)
    finished_run.recorded(paths, ROW, **change)
    now = gate.read_current(paths, everything_asked_for(params, change))
    was, limits = gate.read_baseline(paths.baseline)
    verdict = gate.compare(was, now, limits, "base")
    own = [line for line in verdict.lines if line.row == ROW and line.metric.startswith("test.")]
    assert verdict.exit_code == 1 and {line.verdict for line in own} == {"other data"} and not verdict.of("improved")
    assert all(line.change is None and line.allowed is None for line in own)
    assert verdict.other_data == {ROW: (said,)}
    assert f"Not comparable with the base ({said}): {ROW}." in gate.rule(verdict)


def everything_asked_for(params, change):
    """The parameters, asking for the data of a changed origin."""
    asked = {"name": change["dataset"]} if "dataset" in change else {}
    asked |= {"subjects": change["subjects"].split()} if "subjects" in change else {}
    other = params.model_copy(update={"dataset": params.dataset.model_copy(update=asked)})
    rows = {ROW: params.experiments.voxelwise[ROW]}
    return other.model_copy(
        update={"experiments": params.experiments.model_copy(update={"voxelwise": rows, "roiwise": {}})}
    )


def test_a_subject_that_is_gone_is_named(run):
    paths, params = run
    accepted(paths, params)
    for row in params.experiments.rows:
        finished_run.recorded(paths, row, subjects="sub02")
    one = params.model_copy(update={"dataset": params.dataset.model_copy(update={"subjects": ["sub02"]})})
    verdict = gate.judge(paths, one)
    assert verdict.exit_code == 1
    assert {line.verdict for line in verdict.lines} == {"other data"}
    assert "(subjects sub01 sub02 sub03, now sub02): 4 rows." in gate.to_markdown(verdict)
    gate.write_baseline(paths.baseline, gate.read_current(paths, one), gate.limits_of(one))  # on purpose
    assert gate.judge(paths, one).exit_code == 0


def test_another_list_of_regions_makes_another_score_and_leaves_the_regions(run):
    paths, params = run
    accepted(paths, params)
    voxels = gate.read_current(paths, params).rows[ROW].origin.n_voxels
    finished_run.recorded(paths, ROW, n_voxels={**voxels, "MT": 9})
    more = params.dataset.model_copy(update={"rois": [*params.dataset.rois, "MT"]})
    now = gate.read_current(paths, everything_asked_for(params.model_copy(update={"dataset": more}), {}))
    was, limits = gate.read_baseline(paths.baseline)
    found = {line.metric: line.verdict for line in gate.compare(was, now, limits, "b").lines if line.row == ROW}
    assert found.pop("test.score") == "other data" and set(found.values()) == {"same"}


def test_results_of_other_data_or_parameters_than_the_present_ones_are_refused(run):
    """As after an edit of params.yaml, before anything was run: every row, with the reason."""
    paths, params = run
    accepted(paths, params)
    other = params.model_copy(update={"dataset": params.dataset.model_copy(update={"name": "mystudy"})})
    why = r"made from In-silico data \(insilico\), and dataset.name is mystudy now"
    with pytest.raises(gate.GateError, match=f"^4 rows: {why}$"):
        gate.judge(paths, other)
    made = {"params.yaml": {"splits.seed": 77}}
    stages = {f"{stage}@{ROW}": {"cmd": "true", "params": made} for stage in ("scores", "selection")}
    paths.lock.write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(gate.GateError, match=f"^{ROW}: splits.seed changed since, and `dvc repro` did not follow"):
        gate.judge(paths, params)


def test_a_rise_on_responses_measured_again_is_higher_and_no_improvement(run):
    paths, params = run
    accepted(paths, params)
    other_responses(paths)
    finished_run.scored(paths, ROW, "V1", 0.4)
    verdict = gate.judge(paths, params)
    assert [line.metric for line in verdict.of("higher")] == ["test.V1"] and not verdict.of("improved")
    assert "| higher |" in gate.to_markdown(verdict) and "is no improvement" in gate.to_markdown(verdict)
    assert verdict.exit_code == 0


def test_a_base_or_metrics_without_a_record_of_their_data_are_refused(run):
    """As an earlier version wrote them."""
    paths, params = run
    accepted(paths, params)
    older = io.read_json(paths.baseline)
    del older["rows"][ROW]["origin"]
    io.write_json(paths.baseline, older)
    with pytest.raises(gate.GateError, match=f"not a baseline .*{ROW} does not say what data it is of.*gate --update"):
        gate.judge(paths, params)
    metrics = io.read_json(paths.metrics(ROW))
    del metrics["origin"]
    io.write_json(paths.metrics(ROW), metrics)
    with pytest.raises(gate.GateError, match=f"{ROW}.json does not say what data it is of: .*`dvc repro` makes it"):
        gate.judge(paths, params)


def test_a_row_without_replicates_in_the_base_is_unpaired_beside_rows_with(run):
    paths, params = run
    voxels = paths.selection(ROW) / "voxels.npz"
    content = voxels.read_bytes()
    voxels.unlink()
    accepted(paths, params)
    voxels.write_bytes(content)
    verdict = gate.judge(paths, params)
    assert verdict.differing == {ROW: ("no replicates",)}
    assert {line.basis for line in verdict.lines if line.row == ROW} == {"unpaired"}
    assert {line.basis for line in verdict.lines if line.row != ROW} == {"paired"}


def test_limits_are_those_of_the_baseline(run):
    """A change can't loosen its own gate, and one that updates the baseline shows it in the baseline's diff."""
    paths, params = run
    accepted(paths, params)
    loose = params.model_copy(update={"gate": Gate(absolute=1, relative=1, use_interval=False)})
    assert gate.judge(paths, loose).limits == gate.limits_of(params)


def test_without_test_responses_the_validation_scores_are_gated(tmp_path):
    params = finished_run.make(tmp_path, test=False)
    found = gate.read_current(Paths(tmp_path), params).rows[ROW]
    assert "validation.V1" in found.metrics and found.drawn["n_clips"] == 24


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"row": {"test.V1": {"worth": 1}}}', '{"rows": {}}', '{"row": {"V1": {"value": NaN}}}']
)
def test_a_broken_baseline_is_no_comparison(tmp_path, content):
    (tmp_path / "baseline.json").write_text(content)
    with pytest.raises(gate.GateError, match="not a baseline"):
        gate.read_baseline(tmp_path / "baseline.json")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_baseline_without_its_replicates_is_no_comparison(run, damage):
    paths, params = run
    accepted(paths, params)
    damage(paths.baseline.with_suffix(".npz"))
    with pytest.raises(gate.GateError, match="not there or of another baseline"):
        gate.judge(paths, params)


def test_a_missing_baseline_says_how_to_make_one(tmp_path):
    with pytest.raises(gate.GateError, match=r"no such file; write one with `cinevox gate --update` and commit it"):
        gate.read_baseline(tmp_path / "baseline.json")


@pytest.mark.parametrize("content", ['{"test": {"score": NaN}}', "{}", "[]", '{"test": {"score": "high"}}'])
def test_metrics_that_are_none_are_no_comparison(run, content):
    paths, params = run
    accepted(paths, params)
    paths.metrics(ROW).write_text(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(paths.metrics(ROW)))}: .* expected"):
        gate.judge(paths, params)


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def committed(run):
    paths, params = run
    for step in ("validation", "checks"):
        io.write_json(paths.metrics(step), {"files": 4, "errors": 0, "warnings": 1})
    git(paths.root, "init", "-q")
    accepted(paths, params)
    git(paths.root, "add", "params.yaml", "metrics")
    git(paths.root, "commit", "-q", "-m", "base")
    return paths, params


def test_a_revision_brings_its_values_its_intervals_and_its_own_limits(committed):
    paths, params = committed
    loosened = yaml.safe_load(paths.params.read_text())
    loosened["gate"] = {"absolute": 1.0, "relative": 1.0, "use_interval": False}
    paths.params.write_text(yaml.safe_dump(loosened))
    was, limits = gate.read_revision(paths, "HEAD")
    assert limits == gate.limits_of(params)
    assert was == gate.read_current(paths, params) and set(was.checks) == {"validation", "checks"}
    verdict = gate.judge(paths, params, "HEAD")
    assert verdict.exit_code == 0 and not verdict.differing


def test_a_row_that_was_removed_fails_against_the_revision(committed):
    paths, params = committed
    kept = {name: row for name, row in params.experiments.voxelwise.items() if name != ROW}
    fewer = params.model_copy(update={"experiments": params.experiments.model_copy(update={"voxelwise": kept})})
    for revision in ("HEAD", ""):
        verdict = gate.judge(paths, fewer, revision)
        assert verdict.exit_code == 1 and {line.row for line in verdict.of("missing")} == {ROW}
        assert "a row that was removed on purpose" in gate.to_markdown(verdict)


def test_scores_that_a_baseline_does_not_have_are_compared_by_the_rows_interval(committed):
    """The revision's metrics moved on since its baseline was written."""
    paths, params = committed
    finished_run.scored(paths, ROW, "V1", -0.001)
    git(paths.root, "commit", "-q", "-a", "-m", "moved")
    was, _ = gate.read_revision(paths, "HEAD")
    assert was.rows[ROW].metrics["test.V1"].half_width == was.rows[ROW].metrics["test.score"].half_width > 0
    verdict = gate.judge(paths, params, "HEAD")
    assert set(verdict.differing) == {ROW} and verdict.exit_code == 0


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", ""])
def test_an_unknown_revision_is_no_comparison(committed, revision):
    with pytest.raises(gate.GateError, match=r"no such git revision; try HEAD"):
        gate.read_revision(committed[0], revision)


def test_a_shallow_clone_says_how_to_deepen_it(committed, tmp_path_factory):
    paths, _ = committed
    io.write_json(paths.metrics("later"), {})
    git(paths.root, "add", "metrics")
    git(paths.root, "commit", "-q", "-m", "later")
    clone = tmp_path_factory.mktemp("shallow") / "clone"
    git(paths.root, "clone", "-q", "--depth", "1", paths.root.as_uri(), str(clone))
    with pytest.raises(gate.GateError, match="this clone is shallow: .*fetch-depth: 0"):
        gate.read_revision(Paths(clone), "HEAD~1")


def test_a_folder_outside_git_says_so(run, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(run[0].root.parent))
    with pytest.raises(gate.GateError, match="in no git repository"):
        gate.read_revision(run[0], "HEAD")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda paths: paths.params.write_text("seed: 1\n"), ".*it is older than this gate, or broken"),
        (lambda paths: paths.params.unlink(), "no params.yaml and metrics committed in it"),
        (lambda paths: [file.unlink() for file in paths.baseline.parent.iterdir()], "no params.yaml and metrics"),
        (lambda paths: [paths.metrics(row).unlink() for row in FABRICATED], "no metrics of its rows are committed"),
        (lambda paths: paths.metrics(ROW).write_text("{"), f"metrics/{ROW}.json: not JSON"),
        (
            lambda paths: paths.metrics(ROW).write_text('{"test": {"score": NaN}}'),
            f"metrics/{ROW}.json: .*nan.*expected",
        ),
        (lambda paths: paths.baseline.write_text("[]"), "metrics/baseline.json: not a baseline"),
    ],
)
def test_a_revision_that_holds_nothing_usable_is_no_comparison(committed, change, told):
    paths, _ = committed
    change(paths)
    git(paths.root, "commit", "-q", "-a", "-m", "odd")
    with pytest.raises(gate.GateError, match=f"^HEAD: {told}.*compare with a later one"):
        gate.read_revision(paths, "HEAD")


def test_a_name_is_a_text_in_the_table_of_a_pull_request():
    """Rows and metrics are read from files that whoever opens the request has written."""
    hostile = "a | b](http://x) <img src=x> @all \x1b[2J\nc"
    was, now = state(**{hostile: {"test.V1": Reading(0.5)}}), state(**{hostile: {"test.V1": Reading(0.5)}})
    text = gate.to_markdown(gate.compare(was, now, LIMITS, "base"))
    line, *others = [line for line in text.splitlines() if "http" in line]
    assert all("<" not in other and "@" not in other and "](" not in other.replace(r"\](", "") for other in others)
    assert r"| a \| b\](http://x) &lt;img src=x&gt; &#64;all \\x1b\[2J\\nc | test.V1 |" in line

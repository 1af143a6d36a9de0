"""The gate: what counts as a fall, and that nothing passes because it could not be compared."""

import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

import finished_run
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets import gate
from cinevox.outlets.gate import tables
from cinevox.outlets.gate.intervals import falls, half_widths
from cinevox.outlets.gate.state import GateLimits, Reading, RowState, State
from cinevox.project.params import Gate
from cinevox.project.paths import Paths
from cinevox.scoring.origin import Origin

LIMITS = GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=True), confidence=0.95)
TIGHT = GateLimits(gate=Gate(absolute=0.02, relative=0.05, use_interval=False), confidence=0.95)
ROW = finished_run.ROWS[0]
FABRICATED = (*finished_run.ROWS, finished_run.TRANSFER)
ORIGIN = Origin("insilico", "In-silico", True, "sub01 sub02 sub03", 160, 50, {"V1": 30, "V2": 30}, "random", False)


def reading(value, replicates=(np.nan, np.nan), choice=0.0):
    return Reading(value=value, choice=choice, replicates=np.asarray(replicates, np.float16))


def state(rows, limits=TIGHT, checks=None, **drawn):
    """rows: row -> metric -> reading, or a value of which no more is known."""
    entries = {
        row: {name: found if isinstance(found, Reading) else reading(found) for name, found in metrics.items()}
        for row, metrics in rows.items()
    }
    made = {row: RowState(origin=ORIGIN, drawn=drawn, metrics=metrics) for row, metrics in entries.items()}
    return State(limits=limits, checks=checks or {}, rows=made)


def verdicts(was, now, limits=TIGHT, **drawn):
    found = gate.compare(state({"row": was}, limits, **drawn), state({"row": now}, **drawn), "base")
    return {line.metric: line.verdict for line in found.lines}


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        (0.2, 0.181, "same"),  # the absolute limit, 0.02, is the larger
        (0.2, 0.179, "regressed"),
        (0.6, 0.571, "same"),  # the relative limit, 0.03
        (0.6, 0.569, "regressed"),
        (-0.6, -0.629, "same"),
        (0.2, 0.221, "higher"),
        (0.9, 1.1, "implausible"),  # nothing known of its interval
        (1.2, 1.19, "same"),
        (0.3, None, "missing"),
        (None, 0.3, "new"),
        (None, 1.2, "implausible"),
        (None, None, "same"),
    ],
)
def test_what_a_change_is_called(was, now, expected):
    found = verdicts({"test.V2": 0.5, "test.V1": was}, {"test.V2": 0.5, "test.V1": now})
    assert found == {"test.V1": expected, "test.V2": "same"}


@pytest.mark.parametrize(("spread", "expected"), [(0.1, "higher"), (0.01, "implausible")])
def test_a_rise_is_implausible_where_its_own_interval_lies_above_the_ceiling(rng, spread, expected):
    now = reading(1.1, spread * rng.standard_normal(200))
    assert verdicts({"test.V1": 0.9}, {"test.V1": now}) == {"test.V1": expected}


def test_a_fall_may_be_as_large_as_the_limit_and_half_the_interval(rng):
    """By hand, of two metrics; of a third some resample has no score, so its limit stands alone."""
    was, now = (rng.standard_normal((200, 2)).astype(np.float16) * np.float16(0.05) for _ in range(2))
    d = was.astype(float) - now
    s = d.std(axis=0, ddof=1)
    c = stats.t.isf(stats.norm.sf(np.quantile(((d - d.mean(axis=0)) / s).max(axis=1), 0.95)), 25)
    for change, expected in ((0.001, "same"), (-0.001, "regressed")):
        before = {f"test.V{n}": reading(0.5, was[:, n - 1]) for n in (1, 2)} | {"test.V3": 0.5}
        after = {f"test.V{n}": reading(0.475 - c * s[n - 1] + change, now[:, n - 1]) for n in (1, 2)}
        after |= {"test.V3": reading(0.475 + change, now[:, 0])}
        assert verdicts(before, after, LIMITS, n_clips=51) == dict.fromkeys(before, expected)


def drawn(rng, n_metrics, n=200, scale=1.0):
    return (scale * rng.standard_normal((n, n_metrics))).astype(np.float16)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("n_clips", "quantile"), [(np.inf, stats.norm.isf), (51, lambda p: stats.t.isf(p, 25))])
def test_all_intervals_hold_together(rng, paired, n_clips, quantile):
    """Sixty independent metrics: the quantile of their largest, known in closed form, times each one's own spread."""
    n, scales = 20_000, np.linspace(0.5, 2, 60)
    was, now = (drawn(rng, 60, n) * scales.astype(np.float16) for _ in range(2))
    found = half_widths([falls(a, b, paired) for a, b in zip(was.T, now.T)], [0.0] * 60, 0.95, n_clips)
    np.testing.assert_allclose(found, quantile(1 - 0.95 ** (1 / 60)) * scales * np.sqrt(2), rtol=0.03)


def test_pairs_take_out_what_both_share(rng):
    shared = rng.standard_normal(200)
    a, b = ((shared + 0.1 * rng.standard_normal(200)).astype(np.float16) for _ in range(2))
    (paired,), (unpaired,) = (half_widths([falls(a, b, p)], [0.0], 0.95) for p in (True, False))
    one_sided = stats.norm.ppf(0.95) * np.sqrt(2)
    assert paired == pytest.approx(0.1 * one_sided, rel=0.2)
    assert unpaired == pytest.approx(np.hypot(1, 0.1) * one_sided, rel=0.2)
    assert half_widths([falls(a, a, True)], [0.0], 0.95) == [0]


def test_other_clips_may_choose_another_layer(rng):
    """Only unpaired: the spread over choices adds to that over clips, as variances do; by hand from the tables."""
    a, b = drawn(rng, 2).T
    one, chosen = (
        gate.compare(
            *(state({"row": {"test.V1": reading(0.5, drawn, c)}}, LIMITS, clips=clips) for drawn, clips in runs), "base"
        )
        .lines[0]
        .half_width
        for c, runs in ((0, ((a, 1), (b, 2))), (3, ((a, 1), (b, 2))))
    )
    s = (a.astype(float) - np.roll(b, -1)).std(ddof=1)
    assert chosen / one == pytest.approx(np.sqrt(s**2 + 18) / s)
    runs = [[state({"row": {"test.V1": reading(0.5, drawn, c)}}, LIMITS) for drawn in (a, b)] for c in (0, 3)]
    same = [gate.compare(*pair, "base").lines[0].half_width for pair in runs]
    assert same[0] == same[1]


def test_metrics_that_move_together_count_once(rng):
    one = falls(*drawn(rng, 2).T, True)
    alone = half_widths([one], [0.0], 0.95)
    assert half_widths([one] * 50, [0.0] * 50, 0.95) == pytest.approx(np.repeat(alone, 50))


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
                found = reading(0.4 + errors[-1], errors[:-1])
                rows.setdefault(f"row-{number // 10}", {})[f"test.{number % 10}"] = found
        before, after = (state(rows, LIMITS, n_clips=50) for rows in (was, now))
        assert not gate.compare(before, after, "base").failed
        found = now["row-3"]["test.4"]
        now["row-3"]["test.4"] = reading(found.value - 0.2, found.replicates)
        verdict = gate.compare(before, state(now, LIMITS, n_clips=50), "base")
        caught.append({(line.row, line.metric) for line in verdict.of("regressed")} == {("row-3", "test.4")})
    assert all(caught)


def test_a_missing_roi_and_a_missing_row_fail():
    was, now = {"a": {"test.V1": 0.3}, "b": {"test.V1": 0.3}}, {"a": {"test.V2": 0.3}}
    verdict = gate.compare(state(was), state(now), "base")
    assert [(line.row, line.metric, line.verdict) for line in verdict.lines] == [
        ("a", "test.V1", "missing"),
        ("b", "test.V1", "missing"),
        ("a", "test.V2", "new"),
    ]
    assert verdict.failed


def test_more_errors_or_warnings_fail():
    rows = {"row": {"test.V1": 0.3}}
    was = state(rows, checks={"validation": {"errors": 0, "warnings": 1}, "checks": {"errors": 0, "warnings": 2}})
    now = state(rows, checks={"validation": {"errors": 0, "warnings": 0}, "checks": {"errors": 0, "warnings": 3}})
    verdict = gate.compare(was, now, "base")
    found = {(line.row, line.metric): line.verdict for line in verdict.lines[1:]}
    assert list(found.values()) == ["same", "fewer", "same", "regressed"]
    assert "| checks | warnings | 2 | 3 | +1 | 0 | – | **regressed** |" in tables.to_markdown(verdict)
    assert verdict.failed and gate.compare(was, state(rows), "base").failed
    assert not gate.compare(state(rows), now, "base").failed


@pytest.mark.parametrize("was", [{}, {"test.V1": None}])
def test_a_base_without_scores_is_no_comparison(was):
    with pytest.raises(gate.GateError, match=r"base holds no scores to compare with; write one with `cinevox gate"):
        gate.compare(state({"row": was}), state({"row": {"test.V1": 0.3}}), "base")


def test_the_table_has_what_moved_failures_first():
    was = {"test.V1": 0.3, "test.V2": 0.5, "test.V3": 0.2}
    now = {"test.V1": 0.31, "test.V2": 0.4, "test.V3": 0.4}
    text = tables.to_markdown(gate.compare(state({"row": was}, seed=1), state({"row": now}, seed=2), "the base"))
    assert text.splitlines() == [
        "**Failed against the base: 1 regressed, 1 higher, 1 same.**",
        "",
        "| row | metric | was | now | change | allowed drop | interval | verdict |",
        "|-|-|-:|-:|-:|-:|-:|-|",
        "| row | test.V2 | 0.500 | 0.400 | -0.100 | 0.025 | – | **regressed** |",
        "| row | test.V3 | 0.200 | 0.400 | +0.200 | 0.020 | – | higher |",
        "",
        "Allowed drop: max(0.02, 0.05 of what it was).",
        "Not paired with the base: row: other seed.",
        tables.MEANT,
    ]
    text = tables.to_markdown(gate.compare(state({"row": was}), state({"row": was}), "the base"))
    assert text == "**Passed against the base: 3 same.**\n\nAllowed drop: max(0.02, 0.05 of what it was).\n"


@pytest.fixture
def run(tmp_path):
    return Paths(tmp_path), finished_run.make(tmp_path, transfer=True)


def accepted(paths, params):
    found = gate.read_current(paths, params)
    gate.write_baseline(paths.baseline, found)
    return found


def test_a_baseline_keeps_values_replicates_and_limits(run):
    paths, params = run
    found = accepted(paths, params)
    kept = gate.read_baseline(paths.baseline)
    assert kept.model_dump() == found.model_dump()
    assert kept.limits == GateLimits(gate=params.gate, confidence=params.scores.confidence)
    selected = json.loads((paths.selection(ROW) / "selection.json").read_text())["scores"]["test"]
    assert kept.rows[ROW].metrics["test.V1"].value == round(selected["rois"]["V1"]["normalized_correlation"], 5)
    assert set(kept.readings) == set(found.readings)
    for key, own in found.readings.items():
        np.testing.assert_array_equal(kept.readings[key].replicates, own.replicates)
    assert found.rows[finished_run.TRANSFER].drawn["transfer.seed"] == params.transfer.seed
    assert "transfer.seed" not in found.rows[ROW].drawn


def test_what_earlier_baselines_kept_besides_is_not_missed(run):
    """Half-widths of each score's own interval, and reliabilities of voxels among the arrays."""
    paths, params = run
    found = accepted(paths, params)
    document, arrays = io.read_json(paths.baseline), paths.baseline.with_suffix(".npz")
    for metric in document["rows"][ROW]["metrics"].values():
        metric["half_width"] = 0.1
    io.write_arrays(arrays, **io.read_arrays(arrays), **{"responses.mini": np.zeros(200, np.float32)})
    io.write_json(paths.baseline, document | {"replicates": io.sha256(arrays)})
    assert gate.read_baseline(paths.baseline).model_dump() == found.model_dump()


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
    assert not verdict.failed and not verdict.unpaired
    assert {(line.half_width, line.verdict) for line in verdict.lines} == {(0.0, "same")}


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
    ("change", "reason"),
    [(other_responses, "other responses"), (other_clips, "other clips"), (rounded_responses, None)],
)
def test_rows_are_paired_only_if_chance_drew_the_same(run, change, reason):
    paths, params = run
    accepted(paths, params)
    change(paths)
    verdict = gate.judge(paths, params)
    assert verdict.unpaired.get(ROW) == reason
    line = next(line for line in verdict.lines if line.row == ROW)
    assert (line.half_width > 0) == bool(reason) and not verdict.failed


@pytest.mark.parametrize(
    ("section", "key", "rows"),
    [("scores", "seed", [ROW, finished_run.TRANSFER]), ("transfer", "seed", [finished_run.TRANSFER])],
)
def test_a_seed_unpairs_the_rows_that_it_draws_for(run, section, key, rows):
    paths, params = run
    accepted(paths, params)
    other = getattr(params, section).model_copy(update={key: 77})
    unpaired = gate.judge(paths, params.model_copy(update={section: other})).unpaired
    assert all(unpaired[row] == f"other {section}.{key}" for row in rows)
    assert (ROW in unpaired) == (ROW in rows)


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


BLOCKS = finished_run.columns_of("mini").blocks
VOXELS = {block.roi: sum(b.n_voxels for b in BLOCKS if b.roi == block.roi) for block in BLOCKS}
OTHER_DATA = [  # changes of a row's origin, and what is said of them
    ({"dataset": "macaque", "title": "Macaque"}, "data set insilico, now macaque"),
    ({"in_silico": False}, "in-silico yes, now no"),
    ({"subjects": "sub01"}, "subjects sub01 sub02 sub03, now sub01"),
    ({"subjects": "sub01 sub02 sub03 sub04"}, "subjects sub01 sub02 sub03, now sub01 sub02 sub03 sub04"),
    ({"n_test_clips": 102}, "test clips 60, now 102"),
    ({"n_voxels": VOXELS | {"V1": 9, "MT": 9}}, "V1 75 voxels, now 9, MT 0 voxels, now 9"),
]


@pytest.mark.parametrize(("change", "said"), OTHER_DATA)
def test_scores_of_other_data_are_not_compared(run, change, said):
    paths, params = run
    accepted(paths, params)
    finished_run.recorded(paths, ROW, **change)
    now = gate.read_current(paths, everything_asked_for(params, change))
    told = f"base is of other data: {ROW}: {said}; if that is meant, write one with `cinevox gate --update`"
    with pytest.raises(gate.GateError, match=f"^{re.escape(told)}"):
        gate.compare(gate.read_baseline(paths.baseline), now, "base")


def everything_asked_for(params, change):
    """The parameters, asking for the data of a changed origin."""
    asked = {"name": change["dataset"]} if "dataset" in change else {}
    asked |= {"subjects": change["subjects"].split()} if "subjects" in change else {}
    asked |= {"rois": [*change["n_voxels"]]} if "n_voxels" in change else {}
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
    with pytest.raises(gate.GateError, match="4 rows: subjects sub01 sub02 sub03, now sub02; if that is meant"):
        gate.judge(paths, one)
    gate.write_baseline(paths.baseline, gate.read_current(paths, one))  # on purpose
    assert not gate.judge(paths, one).failed


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


def test_a_base_or_metrics_without_a_record_of_their_data_are_refused(run):
    """As an earlier version wrote them."""
    paths, params = run
    accepted(paths, params)
    older = io.read_json(paths.baseline)
    del older["rows"][ROW]["origin"]
    io.write_json(paths.baseline, older)
    with pytest.raises(gate.GateError, match=rf"(?s)not a baseline .*{ROW}\.origin.*gate --update"):
        gate.judge(paths, params)
    metrics = io.read_json(paths.metrics(ROW))
    del metrics["origin"]
    io.write_json(paths.metrics(ROW), metrics)
    with pytest.raises(gate.GateError, match=rf"{ROW}.json is not of .*: origin.dataset is None, .*`dvc repro -f -s"):
        gate.judge(paths, params)


def test_metrics_without_results_are_refused(run):
    """As in a fresh clone, whose metrics come with git: nothing would say whether they were edited."""
    paths, params = run
    accepted(paths, params)
    (paths.selection(ROW) / "selection.json").unlink()
    with pytest.raises(InputError, match=f"{ROW}/selection.json: no such file; `dvc repro` makes it"):
        gate.judge(paths, params)


def test_limits_are_those_of_the_baseline(run):
    """A change can't loosen its own gate, and one that updates the baseline shows it in the baseline's diff."""
    paths, params = run
    accepted(paths, params)
    loose = params.model_copy(update={"gate": Gate(absolute=1, relative=1, use_interval=False)})
    assert gate.judge(paths, loose).limits == GateLimits(gate=params.gate, confidence=params.scores.confidence)


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


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"test": {"score": NaN}}', "test.score is nan, not 0."),
        ("{}", "test.score is None, not 0."),
        ("[]", "the whole is []"),
        ('{"test": {"score": "high"}}', "test.score is high, not 0."),
    ],
)
def test_metrics_that_are_none_are_no_comparison(run, content, told):
    paths, params = run
    accepted(paths, params)
    paths.metrics(ROW).write_text(content)
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        gate.judge(paths, params)
    assert str(paths.metrics(ROW)) in str(caught.value) and "makes it again" in str(caught.value)


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


def test_a_revision_brings_its_baseline_and_its_own_limits(committed):
    paths, params = committed
    loosened = yaml.safe_load(paths.params.read_text())
    loosened["gate"] = {"absolute": 1.0, "relative": 1.0, "use_interval": False}
    paths.params.write_text(yaml.safe_dump(loosened))
    was = gate.read_revision(paths, "HEAD")
    assert was.limits == GateLimits(gate=params.gate, confidence=params.scores.confidence)
    assert was.model_dump() == gate.read_current(paths, params).model_dump()
    assert set(was.checks) == {"validation", "checks"}
    verdict = gate.judge(paths, params, "HEAD")
    assert not verdict.failed and not verdict.unpaired


def test_a_change_that_takes_its_fall_as_the_baseline_fails_against_the_revision(committed):
    paths, params = committed
    finished_run.scored(paths, ROW, "V1", -0.9)
    accepted(paths, params)
    assert not gate.judge(paths, params).failed
    assert [line.metric for line in gate.judge(paths, params, "HEAD").of("regressed")] == ["test.V1"]


def test_a_row_that_was_removed_fails_against_the_revision(committed):
    paths, params = committed
    kept = {name: row for name, row in params.experiments.voxelwise.items() if name != ROW}
    fewer = params.model_copy(update={"experiments": params.experiments.model_copy(update={"voxelwise": kept})})
    for revision in ("HEAD", ""):
        verdict = gate.judge(paths, fewer, revision)
        assert verdict.failed and {line.row for line in verdict.of("missing")} == {ROW}
        assert "a row that was removed on purpose" in tables.to_markdown(verdict)


@pytest.mark.parametrize("revision", ["no-such-branch", "--help"])
def test_an_unknown_revision_is_no_comparison(committed, revision):
    with pytest.raises(gate.GateError, match=f"^{revision}:./metrics/baseline.json: .*{revision}.*; compare with"):
        gate.read_revision(committed[0], revision)


def test_a_shallow_clone_says_how_to_deepen_it(committed, tmp_path_factory):
    paths, _ = committed
    io.write_json(paths.metrics("later"), {})
    git(paths.root, "add", "metrics")
    git(paths.root, "commit", "-q", "-m", "later")
    clone = tmp_path_factory.mktemp("shallow") / "clone"
    git(paths.root, "clone", "-q", "--depth", "1", paths.root.as_uri(), str(clone))
    with pytest.raises(gate.GateError, match="^HEAD~1:.*in a shallow clone .*fetch-depth: 0"):
        gate.read_revision(Paths(clone), "HEAD~1")


def test_a_folder_outside_git_says_so(run, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(run[0].root.parent))
    with pytest.raises(gate.GateError, match="not a git repository"):
        gate.read_revision(run[0], "HEAD")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda paths: paths.baseline.unlink(), ":./metrics/baseline.json: .*; compare with a commit that .* has a"),
        (
            lambda paths: paths.baseline.with_suffix(".npz").unlink(),
            ":./metrics/baseline.npz: .*; compare with a commit",
        ),
        (lambda paths: paths.baseline.write_text("[]"), ": baseline.json: not a baseline .*; compare with a later one"),
    ],
)
def test_a_revision_that_holds_nothing_usable_is_no_comparison(committed, change, told):
    paths, _ = committed
    change(paths)
    git(paths.root, "commit", "-q", "-a", "-m", "odd")
    with pytest.raises(gate.GateError, match=f"^HEAD{told}"):
        gate.read_revision(paths, "HEAD")


def test_a_name_is_a_text_in_the_table_of_a_pull_request():
    """Rows and metrics are read from files that whoever opens the request has written."""
    hostile = "a | b](http://x) <img src=x> @all \x1b[2J\nc"
    was, now = state({hostile: {"test.V1": 0.5}}), state({hostile: {"test.V1": 0.1}}, seed=1)
    text = tables.to_markdown(gate.compare(was, now, "base"))
    line, *others = [line for line in text.splitlines() if "http" in line]
    assert others and all(
        "<" not in each and "@" not in each and "](" not in each.replace(r"\](", "") for each in others
    )
    assert r"| a \| b\](http://x) &lt;img src=x&gt; &#64;all \\x1b\[2J\\nc | test.V1 |" in line

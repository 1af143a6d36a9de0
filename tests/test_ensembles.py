"""Ensembles: rows made of other rows, by closed forms, and one small study with each kind of them."""

import re

import numpy as np
import pytest
import yaml

import layout
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store
from cinevox.measured.responses import Block, Columns
from cinevox.outlets.report import figures, tables
from cinevox.outlets.report.solvers import solver_lines
from cinevox.outlets.report.svg import shown
from cinevox.outlets.submission import archive
from cinevox.outlets.tracking import measures, words
from cinevox.outlets.tracking.records import left_out
from cinevox.project import dvc_lock, params
from cinevox.project.source_code import SourceCode
from cinevox.project.stage_instances import instances
from cinevox.scoring import row_results
from cinevox.statistics.metrics import correlation_score
from cinevox.validation import check_results
from conftest import ROOT
from small_run import LAYERS, N_TEST, NETWORK, ROW, TRANSFER, UNTRAINED, SmallRun

COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 2)))
GIVEN, STIFF = "mini-given-each-ridge", "mini-two-concat-stiff"
FULL, BASELINE = ROW.replace("mini", "full"), f"mini-{UNTRAINED}-layer-ridge"
MEAN, STACK, PASTE = "mini-two-mean-ensemble", "mini-all-stack-ensemble", "full-best-paste-ensemble"


def entry(name, *rows, **changes):
    track, label, together, regressor = name.split("-")
    own = {"track": track, "label": label, "rows": list(rows), "together": together, "regressor": regressor}
    return own | {"reported": None} | changes


def orthogonal(rng, n_clips, n_columns):
    """Centred columns of unit variance, each uncorrelated with the others."""
    found, _ = np.linalg.qr(np.column_stack([np.ones(n_clips), rng.standard_normal((n_clips, n_columns))]))
    return found[:, 1:] * np.sqrt(n_clips)


def test_the_mean_gives_every_member_the_same_spread_in_an_roi(rng):
    one, other = (3 + rng.standard_normal((20, 5)) * np.arange(1, 6) for _ in range(2))
    combine = ensembles.mean([one, 50 * other], COLUMNS)
    new = [rng.standard_normal((7, 5)), 50 * rng.standard_normal((7, 5))]
    found = combine(new)
    for where in COLUMNS.slices:
        spreads = [np.sqrt(np.mean(np.var(values[:, where], axis=0))) for values in (one, 50 * other)]
        alike = [np.mean(spreads) * values[:, where] / spread for values, spread in zip(new, spreads)]
        expected = np.mean(alike, axis=0)
        np.testing.assert_allclose(found[:, where] - found[0, where], expected - expected[0], rtol=1e-4)
    np.testing.assert_allclose(combine([one, 50 * other]).mean(axis=0), (one + 50 * other).mean(axis=0) / 2, rtol=1e-5)


def test_a_member_of_one_value_changes_no_correlation(rng):
    one = rng.standard_normal((20, 5))
    found = ensembles.mean([one, np.full_like(one, 4)], COLUMNS)(2 * [one])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(correlation_score(found, one), 1, rtol=1e-5)
    np.testing.assert_array_equal(ensembles.mean(2 * [np.ones((4, 5))], COLUMNS)(2 * [np.ones((4, 5))]), 1)


def test_the_weights_of_a_stack_are_those_of_the_closed_form(rng):
    """y = 2 + .7 a + .3 b, a and b uncorrelated: the slopes are .7 and .3, and w = .49 / (.49 + .09) of a."""
    a, b = (values[:, None] for values in orthogonal(rng, 40, 2).T)
    y, columns = 2 + 0.7 * a + 0.3 * b, Columns((Block("sub01", "V1", 1),))
    combine = ensembles.stack([a + 5, 100 * b], y, columns)
    np.testing.assert_allclose(combine.shares, [[0.49 / 0.58, 0.09 / 0.58]], rtol=1e-5)
    np.testing.assert_allclose(combine.scales, [[0.7, 0.003]], rtol=1e-5)
    expected = 2 + (0.49 * 0.7 * a + 0.09 * 0.3 * b) / 0.58
    np.testing.assert_allclose(combine([a + 5, 100 * b]), expected, rtol=1e-4, atol=1e-5)


def test_a_stack_leaves_out_what_does_not_predict_and_has_one_scale_for_an_roi(rng):
    signal = orthogonal(rng, 60, 5)
    y = (signal + 0.1 * rng.standard_normal((60, 5))).astype(np.float32)
    combine = ensembles.stack([0.5 * signal, -signal], y, COLUMNS)
    np.testing.assert_array_equal(combine.scales[:, 1], 0)
    for where in COLUMNS.slices:
        slope = np.linalg.lstsq(0.5 * signal[:, where].ravel()[:, None], y[:, where].ravel(), rcond=None)[0]
        np.testing.assert_allclose(combine.scales[where, 0], slope[0], rtol=0.01)  # y is centred first
    np.testing.assert_allclose(correlation_score(combine([0.5 * signal, -signal]), 0.5 * signal), 1, rtol=1e-4)
    hopeless = ensembles.stack([-signal, -2 * signal], y, COLUMNS)  # something must be said of these voxels as well
    assert (np.ptp(hopeless([-signal, -2 * signal]), axis=0) > 0).all()


def test_voxels_are_pasted_where_their_responses_lie_in_the_whole_brain(rng):
    whole = Columns((Block("sub01", "WB", 6), Block("sub02", "WB", 5)))
    part = Columns((Block("sub01", "V1", 2), Block("sub01", "V2", 2), Block("sub02", "V1", 1), Block("sub02", "V2", 1)))
    brains = {f"sub0{n}": rng.standard_normal((4, 3, size)).astype(np.float32) for n, size in ((1, 6), (2, 5))}
    lie = {("sub01", "V1"): [4, 0], ("sub01", "V2"): [0, 2], ("sub02", "V1"): [3], ("sub02", "V2"): [1]}
    trials = {(subject, "WB"): values for subject, values in brains.items()}
    trials |= {(subject, roi): brains[subject][..., where] for (subject, roi), where in lie.items()}
    trials["sub02", "V2"] = trials["sub02", "V2"] + 1  # nowhere
    combine = ensembles.paste(whole, part, trials)
    np.testing.assert_array_equal(combine.source, [1, -1, 3, -1, 0, -1, -1, -1, -1, 4, -1])  # 0 is of V1, and of V2
    predicted = rng.standard_normal((5, 11)), rng.standard_normal((5, 6))
    expected = predicted[0].copy()
    expected[:, [4, 0, 2, 9]] = predicted[1][:, [0, 1, 3, 4]]
    np.testing.assert_allclose(combine(predicted), expected, rtol=1e-6)
    trials["sub02", "V1"] = trials["sub02", "V1"] + 1
    with pytest.raises(InputError, match=r"of sub02 is found in the whole brain: none has the same responses"):
        ensembles.paste(whole, part, trials)
    with pytest.raises(InputError, match="of different subjects: sub01 sub02 and sub01;"):
        ensembles.paste(whole, Columns(part.blocks[:2]), trials)


@pytest.fixture
def document():
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    rows = list(found["experiments"]["voxelwise"])
    mini = [name for name in rows if name.startswith("mini")]
    (full,) = (name for name in rows if name.startswith("full"))
    named = {MEAN: mini[:2], STACK: mini[:3], PASTE: [full, mini[0]]}
    found["experiments"]["ensembles"] = {name: entry(name, *members) for name, members in named.items()}
    return found


def refused(document, *messages):
    with pytest.raises(params.ParamsError) as caught:
        params.parse(document, "p")
    for message in messages:
        assert re.search(message, str(caught.value)), f"{message}\n{caught.value}"


def test_an_ensemble_is_a_row_of_rows(document):
    found = params.parse(document, "p").experiments.rows
    assert list(found)[-3:] == [MEAN, STACK, PASTE] and found[PASTE].instance("scores") == f"scores-ensembles@{PASTE}"
    assert params.row_of(found[MEAN].model_dump()) == found[MEAN]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (STACK, lambda mini, full: [mini[0], "mini-nobody"], "rows has mini-nobody; there is no such row"),
        (STACK, lambda mini, full: [mini[0], MEAN], f"rows has {MEAN}; an ensemble is made of other rows"),
        (STACK, lambda mini, full: [mini[0], mini[0]], "is named twice in rows"),
        (STACK, lambda mini, full: [mini[0]], r"rows: List should have at least 2 items"),
        (STACK, lambda mini, full: [mini[0], full], "is not of its track, mini; only paste takes both tracks"),
        (PASTE, lambda mini, full: [mini[0], full], "its track is full, and its rows have mini, full; expected"),
        (PASTE, lambda mini, full: [full, *mini[:2]], "its rows have full, mini, mini; expected"),
    ],
)
def test_members_are_rows_that_can_be_combined(document, name, rows, message):
    mini, (full, _) = (
        document["experiments"]["ensembles"][MEAN]["rows"],
        document["experiments"]["ensembles"][PASTE]["rows"],
    )
    document["experiments"]["ensembles"][name]["rows"] = rows(mini, full)
    refused(document, message)


def test_an_ensemble_is_named_where_it_can_be_handed_in(document):
    mini = document["submission"]["rows"]["mini"]
    document["submission"] |= {"rows": {"mini": MEAN}, "ensembles": {"full": PASTE.replace("paste", "mean")}}
    document["encoding"]["rows"].append(MEAN)
    document["heads"]["ensemble"] = document["heads"]["two_lstm"]
    refused(
        document,
        f"submission.rows.mini is {MEAN}; name it under submission.ensembles instead",
        r"submission.ensembles.full is .*, which is no ensemble of the full track in experiments \(" + PASTE,
        f"encoding.rows has {MEAN}, which can have no encoding model: it is an ensemble; take one of its members that",
        "heads.ensemble: the name is taken by experiments.ensembles",
    )
    document["encoding"]["rows"].pop()
    del document["heads"]["ensemble"]
    document["submission"] |= {"rows": {"mini": mini}, "ensembles": {"mini": MEAN}}
    refused(document, "submission.rows and submission.ensembles both have mini")
    document["submission"] |= {"rows": {}, "ensembles": {"mini": MEAN, "full": PASTE}}
    params.parse(document, "p")


def test_a_submission_of_an_ensemble_loads_what_its_members_need(document):
    document["submission"] |= {"rows": {}, "ensembles": {"mini": STACK}}
    found = params.parse(document, "p")
    own = {(one.stage, one.instance): one for one in instances(found, SourceCode({}, {}))}
    modules = own["submission", "mini"].plugins
    assert {name.rpartition(".")[2] for name in modules} == {
        found.experiments.rows[name].regressor for name in document["experiments"]["ensembles"][STACK]["rows"]
    }
    assert own["ensembles", STACK].plugins == () and ("fits", STACK) not in own


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Ridge on two networks, a space given to each ROI, and transfer networks; V1 lies in the whole brain."""
    made = SmallRun(tmp_path_factory.mktemp("ensembles"), rows=(ROW, FULL, BASELINE), transfer=True)
    document, folder = made.document, made.paths.root / made.document["dataset"]["folder"]
    document["experiments"]["ensembles"] = {
        MEAN: entry(MEAN, ROW, BASELINE),
        STACK: entry(STACK, ROW, BASELINE, TRANSFER),
        PASTE: entry(PASTE, FULL, GIVEN),
    }
    document["submission"] |= {"rows": {"mini": GIVEN}, "ensembles": {"full": PASTE}}
    document["regressors"]["stiff"] = {"kind": "ridge", "alphas": [1e4], "per": "voxel"}
    for number, layer in enumerate(LAYERS[:3]):
        document["spaces"][f"s{number}"] = {
            "network": NETWORK, "layer": layer, "pool": "none", "over_frames": "mean", "standardize": False,
            "n_components": None,
        }  # fmt: skip
    for name, together in ((GIVEN, "each"), (STIFF, "concat")):
        words = dict(zip(("track", "label", "together", "regressor"), name.split("-"))) | {"reported": None}
        given = {"V1": "s0", "LOC": ["s2", "s1"], "FFA": "s0"} if together == "each" else ["s0", "s2"]
        document["experiments"]["joint"][name] = words | {"spaces": given}
    document["transfer"]["n_epochs"] = 3
    for subject in document["dataset"]["subjects"]:
        for file, part in ((layout.train_file, "train"), (layout.test_file, "test")):
            brain, roi = (io.read_pickle(file(folder, subject, name)) for name in ("WB", "V1"))
            brain[part][..., 40:65] = roi[part]
            io.write_pickle(file(folder, subject, "WB"), brain)
    return made.run()


def chosen(study, row, split):
    """What a row predicts, by its own files."""
    folder, index = study.paths.predictions(row), prediction_store.read_index(study.paths.predictions(row))
    space = io.read_arrays(study.paths.selection(row) / "voxels.npz")["space"]
    every = np.stack([np.load(folder / split / f"{name}.npy") for name in index.spaces])
    return every[space, :, np.arange(len(space))].T


def test_the_predictions_are_those_of_the_members_with_the_spaces_that_they_chose(study):
    assert study.paths.predictions(STACK).parent == study.paths.data / "ensembles/predictions"
    for name, members in ((MEAN, (ROW, BASELINE)), (STACK, (ROW, BASELINE, TRANSFER))):
        known = io.read_arrays(study.paths.predictions(name) / "combination.npz")
        np.testing.assert_allclose(known["shares"].sum(axis=1), 1, rtol=1e-6)
        way = name.split("-")[2]
        for split in ("validation", "test"):
            weights = (known["shares"] * known["scales"]).T
            expected = known["offset"] + sum(w * chosen(study, row, split) for w, row in zip(weights, members))
            found = np.load(study.paths.predictions(name) / split / f"{way}.npy")
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    pasted = np.load(study.paths.predictions(PASTE) / "test/paste.npy")
    expected, mini = chosen(study, FULL, "test").copy(), chosen(study, GIVEN, "test")
    columns = prediction_store.read_index(study.paths.predictions(GIVEN)).columns
    for number, (_, where) in enumerate(columns.by_subject):
        expected[:, 300 * number + 40 : 300 * number + 65] = mini[:, where][:, :25]
    np.testing.assert_array_equal(pasted, expected)


def test_an_ensemble_is_scored_as_other_rows_and_says_that_validation_clips_chose(study):
    results = {found.name: found for found in row_results.read(study.paths, study.params.experiments.rows)}
    for name in (MEAN, STACK, PASTE):
        outcome = results[name].outcome
        assert outcome.chosen_on == "validation" and outcome.scores["validation"].chosen_here
        assert not outcome.best.chosen_here and outcome.split == "test" and "test" in outcome.optimism
        assert results[name].index.diagnostics[name.split("-")[2]]
    score = {name: found.scores.score for name, found in results.items()}
    assert score[STACK] > score[BASELINE] and score[STACK] > score[ROW] - 0.02  # weights of 24 clips
    shares = io.read_arrays(study.paths.predictions(STACK) / "combination.npz")["shares"]
    columns, mixed = results[STACK].index.columns, results[STACK].index.mixing_weights
    for roi in columns.rois:  # subjects count alike
        own = [shares[where].mean(axis=0) for b, where in zip(columns.blocks, columns.slices) if b.roi == roi]
        assert list(mixed[roi].items()) == [
            (name, pytest.approx(weight)) for name, weight in zip((ROW, BASELINE, TRANSFER), np.mean(own, axis=0))
        ]
    assert not results[MEAN].index.mixing_weights and not results[PASTE].index.mixing_weights
    assert results[STACK].index.networks == ("efficientnet_lite0", UNTRAINED) and results[STACK].untrained
    assert results[PASTE].index.diagnostics["paste"] == {"n_pasted": 50} and not results[PASTE].untrained


def test_mixing_weights_reach_the_report_and_mlflow(study):
    row = study.params.experiments.rows[STACK]
    [result] = row_results.read(study.paths, {STACK: row})
    found, known = tables.mixture(result), result.index.mixing_weights
    assert (found.spaces, found.rois) == (tuple(row.rows), ("V1", "LOC", "FFA"))
    np.testing.assert_allclose(found.weights, [[known[roi][name] for roi in found.rois] for name in row.rows])
    np.testing.assert_allclose(found.weights.sum(axis=0), 1)
    drawing = figures.mixing(found)
    assert all(f">{shown(weight)}</text>" in drawing for weight in found.weights.ravel())
    metrics = measures.of_row(result)
    for name, weights in zip(row.rows, found.weights):
        assert metrics[f"mixing/{name}"] == pytest.approx(weights.mean())
    lines = words.tables(result)["mixing_weights.csv"].splitlines()
    assert lines[0] == "roi,space,mean_weight" and len(lines) == 1 + found.weights.size
    [mean] = row_results.read(study.paths, {MEAN: study.params.experiments.rows[MEAN]})
    assert tables.mixture(mean) is None and "mixing_weights.csv" not in words.tables(mean)
    assert not [name for name in measures.of_row(mean) if name.startswith("mixing")]


def test_the_members_are_refitted_and_pasted_for_the_challenge(study):
    content = {}
    for track in ("mini", "full"):
        study.stage(f"submission@{track}")
        content[track], told = archive.unpack(study.paths.submission(track), track, 2**24)
        assert not told
    about = io.read_json(study.paths.submission("full").with_suffix(".json"))
    assert list(about["fitted_on"]["members"]) == [FULL, GIVEN]
    assert about["fitted_on"]["members"][GIVEN]["splits"] == ["train", "validation"]
    for subject in study.params.dataset.subjects:
        whole = content["full"]["WB"][subject]
        assert whole.shape == (N_TEST, 300)
        varies = np.arange(25) != 3  # the voxel that answers nothing gets the mean of its ROI's others
        np.testing.assert_array_equal(whole[:, 40:65][:, varies], content["mini"]["V1"][subject][:, varies])


@pytest.mark.parametrize(("what", "word"), [("clips", "clips"), ("columns", "voxels")])
def test_members_that_do_not_belong_together_are_refused(study, what, word):
    file = study.paths.predictions(BASELINE) / "index.json"
    known = file.read_bytes()
    index = io.read_json(file)
    changed = {"clips": {"validation": [1, 2]}, "columns": index["columns"][::-1]}
    io.write_json(file, index | {what: changed[what]})
    try:
        with pytest.raises(InputError, match=rf"{BASELINE}: of other {word} than {ROW}; run `dvc repro` for both"):
            study.stage(f"ensembles@{MEAN}")
    finally:
        file.write_bytes(known)


def test_a_member_that_was_made_again_is_told(study):
    rows = study.params.experiments.rows
    assert [row_results.remade(study.paths, row, rows) for row in rows.values()] == [()] * len(rows)
    file = study.paths.selection(BASELINE) / "selection.json"
    known = file.read_bytes()
    io.write_json(file, io.read_json(file) | {"per": "voxel"})
    assert row_results.remade(study.paths, rows[MEAN], rows) == (BASELINE,)
    why = left_out(study.paths, study.params)
    assert why == dict.fromkeys([MEAN, STACK], f"{BASELINE} was made again, and the ensemble was not")
    file.write_bytes(known)


def test_a_row_that_gives_each_roi_its_space_chooses_nothing(study):
    """The space is side by side with others as it is; a regressor with a `kind` is that one with its own options."""
    results = {found.name: found for found in row_results.read(study.paths, study.params.experiments.rows)}
    outcome = results[GIVEN].outcome
    assert outcome.chosen == {"V1": {"s0": 1.0}, "LOC": {"s2+s1": 1.0}, "FFA": {"s0": 1.0}}
    assert (outcome.policy, outcome.chosen_on, dict(outcome.optimism)) == ("given", None, {})
    assert not outcome.scores["validation"].chosen_here
    columns = results[GIVEN].index.columns
    for space, rois in (("s0", ("V1", "FFA")), ("s2+s1", ("LOC",))):
        own = np.concatenate([np.full(b.n_voxels, b.roi in rois) for b in columns.blocks])
        values = np.load(study.paths.predictions(GIVEN) / f"test/{space}.npy")
        np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(~own, values.shape))
        table = results[GIVEN].table("test").set_index(["space", "roi"])["score"]
        assert {roi for roi in columns.rois if np.isfinite(table[space, roi])} == {*rois}
    drawn = results[GIVEN].replicates("test").mean(axis=0)
    np.testing.assert_allclose(drawn, [outcome.best.rois[roi].score for roi in columns.rois], atol=0.05)
    [line] = solver_lines([results[GIVEN]], study.params)
    assert line.n_fits == columns.n_voxels
    every = check_results(study.paths, study.params).checks
    [finite] = [check for check in every if check.suite == "predictions" and "finite" in check.expected]
    assert finite.success
    alphas = results[STIFF].index.diagnostics["concat"]["alpha"]
    assert alphas == {"min": 1e4, "median": 1e4, "max": 1e4}


def test_an_ensemble_comes_from_its_members_and_from_no_other_row():
    """By dvc.lock, where it depends on the predictions of all rows."""
    members, other = [f"mini-a-layer-{name}" for name in ("ridge", "res")], "mini-a-layer-lasso"

    def stage(deps, out, **values):
        return {"deps": [{"path": path, "md5": "0"} for path in deps], "outs": [{"path": out, "md5": "0"}],
                "params": {"params.yaml": values}}  # fmt: skip

    stages = {"features@a": stage([], "data/features/a", **{"networks.a": {"n_frames": 2}})}
    for name in (*members, other):
        regressor = name.rpartition("-")[2]
        own = {f"regressors.{regressor}": {"option": 1}, f"experiments.voxelwise.{name}.track": "mini"}
        stages[f"fits@{name}"] = stage(["data/features/a"], f"data/predictions/{name}", **own)
        stages[f"scores@{name}"] = stage([f"data/predictions/{name}"], f"data/scores/{name}")
        stages[f"selection@{name}"] = stage([f"data/scores/{name}"], f"data/selection/{name}", selection={"per": "roi"})
    row, folder = params.EnsembleRow(**entry(MEAN, *members)), "data/ensembles"
    given = {f"experiments.ensembles.{MEAN}.rows": members}
    stages[f"ensembles@{MEAN}"] = stage(["data/predictions", "data/selection"], f"{folder}/predictions/{MEAN}", **given)
    stages[f"scores-ensembles@{MEAN}"] = stage([f"{folder}/predictions/{MEAN}"], f"{folder}/scores/{MEAN}")
    stages[f"selection-ensembles@{MEAN}"] = stage([f"{folder}/scores/{MEAN}"], f"{folder}/selection/{MEAN}")
    made = dvc_lock.made(stages, MEAN)
    leaves = {leaf for leaf in made.params if dvc_lock.concerns(leaf, row, {"a"})}
    assert leaves == {
        *given, "networks.a.n_frames", "selection.per",
        *(f"regressors.{name}.option" for name in ("ridge", "res")),
        *(f"experiments.voxelwise.{name}.track" for name in members),
    }  # fmt: skip
    assert MEAN in dvc_lock.keys(stages) and not dvc_lock.concerns("regressors.lasso.option", row, {"a"})
    text = yaml.safe_dump({"schema": "2.0", "stages": stages})
    assert {f"scores-ensembles@{MEAN}", f"selection@{other}"} <= set(dvc_lock.ends(text))

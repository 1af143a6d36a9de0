"""The stages between features and scores with nested selection, on the small study."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

import layout
import small_run
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store
from small_run import LAYERS, N_TRAIN, NETWORK, ROW

ROIS, N_OUTER = ("V1", "FFA"), 3
GIVEN, STACK = "mini-given-each-ridge", "mini-both-stack-ensemble"
COLUMNS = small_run.columns_of("mini", small_run.SUBJECTS[:2], ROIS)
OWN = {roi: LAYERS[small_run.DRIVEN_BY[roi]] for roi in ROIS}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Reduction, ceiling, fits, scores and selection, run here."""
    made = small_run.SmallRun(tmp_path_factory.mktemp("nested"), rois=ROIS)
    made.document["splits"]["n_outer_folds"], made.document["selection"]["policy"] = N_OUTER, "nested"
    made.document["scores"] |= {"n_bootstraps": 60, "n_permutations": 50}
    for name, layer in (("right", OWN["V1"]), ("wrong", OWN["FFA"])):
        made.document["spaces"][name] = {
            "network": NETWORK, "layer": layer, "pool": "none", "over_frames": "mean", "standardize": False,
            "n_components": None,
        }  # fmt: skip
    made.document["experiments"]["joint"][GIVEN] = {
        "track": "mini", "label": "given", "spaces": dict.fromkeys(ROIS, "wrong") | {"V1": "right"},
        "together": "each", "regressor": "ridge", "reported": None,
    }  # fmt: skip
    made.document["experiments"]["ensembles"][STACK] = {
        "track": "mini", "label": "both", "rows": [ROW, GIVEN], "together": "stack", "regressor": "ensemble",
        "reported": None,
    }  # fmt: skip
    return made.run()


@pytest.fixture(scope="module")
def paths(study):
    return study.paths


def test_every_fit_has_components_and_predictions_of_its_own(paths):
    index = json.loads((paths.predictions(ROW) / "index.json").read_text())
    outer = {f"outer-{k}" for k in range(1, N_OUTER + 1)}
    inner = {f"inner-{k}-{j}" for k in range(1, N_OUTER + 1) for j in range(1, N_OUTER + 1) if k != j}
    assert set(index["clips"]) == {"validation", "test"} | outer | inner
    for split, clips in index["clips"].items():
        assert np.load(paths.predictions(ROW) / split / f"{OWN['V1']}.npy").shape == (len(clips), COLUMNS.n_voxels)
    whole, part = (np.load(paths.reduction(NETWORK) / name / f"{OWN['V1']}.npy") for name in ("", "without-1-2"))
    fitted = np.setdiff1d(np.arange(N_TRAIN), index["clips"]["inner-1-2"] + index["clips"]["inner-2-1"])
    np.testing.assert_allclose(part[fitted].mean(axis=0), 0, atol=1e-4)  # centred on the clips that it is fitted on
    assert abs(whole[fitted].mean(axis=0)).max() > 1e-3


def test_the_layer_that_made_the_responses_is_chosen_in_every_fold(paths):
    said = json.loads((paths.selection(ROW) / "selection.json").read_text())
    assert (said["policy"], said["chosen_on"]) == ("nested", "nested")
    assert said["chosen"] == {roi: {layer: 1.0} for roi, layer in OWN.items()}
    assert said["optimism"]["nested"]["difference"] == 0
    test = said["optimism"]["test"]  # of sixty clips: no more than chance, two intervals wide
    assert 2 * test["low"] - test["difference"] <= 0 <= 2 * test["high"] - test["difference"]
    for split in ("nested", "test"):
        assert said["scores"][split]["low"] < said["scores"][split]["score"] < said["scores"][split]["high"]
        assert said["scores"][split]["p"] == pytest.approx(1 / 51)
    with np.load(paths.selection(ROW) / "voxels.npz") as voxels:
        assert {"nested.correlation", "nested.p", "nested.p_familywise", "nested.replicates"} <= set(voxels)


def test_nested_scores_are_means_of_the_outer_folds(paths):
    said = json.loads((paths.selection(ROW) / "selection.json").read_text())["scores"]["nested"]
    index = json.loads((paths.predictions(ROW) / "index.json").read_text())
    means = []
    for block, where in zip(COLUMNS.blocks, COLUMNS.slices):
        file = layout.train_file(paths.simulation("insilico"), block.subject, block.roi)
        measured = pickle.loads(file.read_bytes(), encoding="latin1")["train"].mean(axis=1)
        r = []
        for k in range(1, N_OUTER + 1):
            predicted = np.load(paths.predictions(ROW) / f"outer-{k}" / f"{OWN[block.roi]}.npy")[:, where]
            own = measured[index["clips"][f"outer-{k}"]]
            varies = np.flatnonzero(np.ptp(own, axis=0))  # the others have r = 0
            r.append(sum(np.corrcoef(own[:, v], predicted[:, v])[0, 1] for v in varies) / block.n_voxels)
        means.append(np.mean(r))
    for position, roi in enumerate(ROIS):
        assert said["rois"][roi]["correlation"] == pytest.approx(np.mean(means[position :: len(ROIS)]), abs=1e-5)
    metrics = json.loads(paths.metrics(ROW).read_text())
    assert metrics["nested"] == {"score": round(said["score"], 5)} and "low" in metrics["test"]


def test_what_a_row_gives_each_roi_is_scored_in_outer_folds_and_chosen_in_none(paths):
    said = json.loads((paths.selection(GIVEN) / "selection.json").read_text())
    assert (said["policy"], said["chosen_on"]) == ("given", None) and not said["scores"]["nested"]["chosen_here"]
    assert said["chosen"] == {"V1": {"right": 1.0}, "FFA": {"wrong": 1.0}}
    assert said["scores"]["nested"]["score"] > 0.5 and said["optimism"] == {}


def chosen(paths, row, k):
    """ROI -> the candidate with the highest score in the inner folds of an outer one, by the table of scores."""
    table = pd.read_csv(paths.scores(row) / "rois.csv").query("aggregation == 'subjects'")
    means = table[table["split"].str.startswith(f"inner-{k}-")].groupby(["roi", "space"], sort=False)["score"].mean()
    return {roi: means[roi].idxmax() for roi in ROIS}


def by_choice(paths, row, choice, split):
    by_space = {space: np.load(paths.predictions(row) / split / f"{space}.npy") for space in choice.values()}
    parts = [by_space[choice[block.roi]][:, where] for block, where in zip(COLUMNS.blocks, COLUMNS.slices)]
    return np.concatenate(parts, axis=1)


def test_an_ensemble_predicts_an_outer_fold_by_weights_and_spaces_that_were_chosen_without_it(paths):
    clips = prediction_store.read_index(paths.predictions(ROW)).clips
    files = (layout.train_file(paths.simulation("insilico"), b.subject, b.roi) for b in COLUMNS.blocks)
    trials = (pickle.loads(file.read_bytes(), encoding="latin1")["train"] for file in files)
    measured = np.concatenate([values.mean(axis=1) for values in trials], axis=1)
    for k in range(1, N_OUTER + 1):
        choices = [chosen(paths, ROW, k), {"V1": "right", "FFA": "wrong"}]
        inner = [f"inner-{k}-{j}" for j in range(1, N_OUTER + 1) if j != k]
        assert not {*clips[f"outer-{k}"]} & {clip for split in inner for clip in clips[split]}
        own = [
            np.concatenate([by_choice(paths, row, choice, split) for split in inner])
            for row, choice in zip((ROW, GIVEN), choices)
        ]
        combine = ensembles.stack(own, measured[np.concatenate([clips[split] for split in inner])], COLUMNS)
        expected = combine([by_choice(paths, r, c, f"outer-{k}") for r, c in zip((ROW, GIVEN), choices)])
        found = np.load(paths.predictions(STACK) / f"outer-{k}/stack.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert set(prediction_store.read_index(paths.predictions(STACK)).clips) == {
        "validation", "test", *(f"outer-{k}" for k in range(1, N_OUTER + 1)),
    }  # fmt: skip


def test_an_ensemble_is_scored_in_outer_folds_and_says_what_chose(paths):
    said = {row: json.loads((paths.selection(row) / "selection.json").read_text()) for row in (ROW, GIVEN, STACK)}
    scores = {row: found["scores"]["nested"]["score"] for row, found in said.items()}
    assert scores[STACK] > max(scores[ROW], scores[GIVEN]) - 0.02
    found = said[STACK]
    assert not found["scores"]["nested"]["chosen_here"] and found["scores"]["validation"]["chosen_here"]
    assert found["chosen_on"] == "validation" and set(found["optimism"]) == {"nested", "test"}
    assert found["scores"]["nested"]["low"] < scores[STACK] < found["scores"]["nested"]["high"]


def test_an_ensemble_with_a_member_without_outer_folds_has_none(study):
    """As transfer networks are."""
    files = [study.paths.predictions(row) / "index.json" for row in (GIVEN, STACK)]
    known = [file.read_bytes() for file in files]
    index = json.loads(known[0])
    io.write_json(files[0], index | {"clips": {name: index["clips"][name] for name in ("validation", "test")}})
    study.stage(f"ensembles@{STACK}")
    assert set(json.loads(files[1].read_text())["clips"]) == {"validation", "test"}
    for file, content in zip(files, known):
        file.write_bytes(content)

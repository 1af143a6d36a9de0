"""The stages between features and scores with nested selection, on the small study."""

import json
import pickle

import numpy as np
import pytest

import layout
import small_run
from small_run import LAYERS, N_TRAIN, NETWORK, ROW

ROIS, N_OUTER = ("V1", "FFA"), 3
GIVEN = "mini-given-each-ridge"
COLUMNS = small_run.columns_of("mini", small_run.SUBJECTS[:2], ROIS)
OWN = {roi: LAYERS[small_run.DRIVEN_BY[roi]] for roi in ROIS}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
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
    return made.run().paths


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

"""The stages between features and scores with nested selection, on responses that one of the layers is made from."""

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml

import layout
from _inputs import Run
from cinevox.files import io
from cinevox.project import params
from cinevox.project.paths import Paths
from conftest import ROOT

pytestmark = pytest.mark.xdist_group("nested")

NETWORK, ROW = "efficientnet_lite0", "mini-efficientnet_lite0-layer-ridge"
LAYERS = ("noise_1", "signal", "noise_2")
N_TRAIN, N_TEST, N_OUTER = 48, 20, 3


def document(folder):
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    found["dataset"] = layout.wanted(Path("dataset")).model_dump(mode="json") | {"tracks": ["mini"]}
    found["experiments"] = {"voxelwise": {ROW: found["experiments"]["voxelwise"][ROW]}, "roiwise": {}}
    found["simulation"]["datasets"] = []
    found["splits"] |= {"n_outer_folds": N_OUTER}
    found["selection"] |= {"policy": "nested"}
    found["reduction"]["n_components"] = 5
    found["scores"] |= {"n_bootstraps": 60, "n_permutations": 50}
    found["report"] |= {"brain_row": None, "subject": layout.SUBJECTS[0]}
    found["submission"]["rows"] = {}
    read = params.parse(found, "params.yaml")
    return read.model_copy(update={"dataset": read.dataset.model_copy(update={"folder": folder})})


def responses(folder, subject, roi):
    train = io.read_pickle(layout.train_file(folder, subject, roi))["train"]
    return np.concatenate(
        [part.mean(axis=1) for part in (train, io.read_pickle(layout.test_file(folder, subject, roi))["test"])]
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Reduction, ceiling, fits, scores and selection, run here."""
    root, rng = tmp_path_factory.mktemp("nested"), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "N_TRAIN", N_TRAIN)
        patch.setattr(layout, "N_TEST", N_TEST)
        folder = layout.make(root / "dataset", videos=False)
    found, settings = Paths(root), document(folder)
    every = np.concatenate([responses(folder, s, roi) for s in layout.SUBJECTS for roi in layout.ROIS], axis=1)
    source = found.features(NETWORK)
    for layer in LAYERS:
        values = rng.standard_normal((N_TRAIN + N_TEST, 40))
        if layer == "signal":
            values = every @ rng.standard_normal((every.shape[1], 40)) + 0.5 * values
        io.write_array(source / f"{layer}.npy", values.astype(np.float32))
    io.write_json(source / "features.json", {"layers": [{"name": n} for n in LAYERS], "weights": {"policy": "random"}})
    io.write_json(found.validation / "clips.json", {"n_clips": N_TRAIN + N_TEST, "n_train_clips": N_TRAIN})
    for stage, instance in (
        ("conversion", "train"),
        ("conversion", "test"),
        ("reduction", NETWORK),
        ("ceiling", "mini"),
        ("fits", ROW),
        ("scores", ROW),
        ("selection", ROW),
    ):
        spec = importlib.util.spec_from_file_location(f"stage_{stage}", ROOT / "stages" / f"{stage}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        script.main(Run(stage, instance, settings, found, logging.getLogger(stage)))
    return found


def test_every_fit_has_components_and_predictions_of_its_own(paths):
    index = json.loads((paths.predictions(ROW) / "index.json").read_text())
    outer = {f"outer-{k}" for k in range(1, N_OUTER + 1)}
    inner = {f"inner-{k}-{j}" for k in range(1, N_OUTER + 1) for j in range(1, N_OUTER + 1) if k != j}
    assert set(index["clips"]) == {"validation", "test"} | outer | inner
    for split, clips in index["clips"].items():
        assert np.load(paths.predictions(ROW) / split / "signal.npy").shape == (len(clips), 2 * (7 + 4))
    whole, part = (np.load(paths.reduction(NETWORK) / name / "signal.npy") for name in ("", "without-1-2"))
    fitted = np.setdiff1d(np.arange(N_TRAIN), index["clips"]["inner-1-2"] + index["clips"]["inner-2-1"])
    np.testing.assert_allclose(part[fitted].mean(axis=0), 0, atol=1e-4)  # centred on the clips that it is fitted on
    assert abs(whole[fitted].mean(axis=0)).max() > 1e-3


def test_the_layer_that_made_the_responses_is_chosen_in_every_fold(paths):
    said = json.loads((paths.selection(ROW) / "selection.json").read_text())
    assert (said["policy"], said["chosen_on"]) == ("nested", "nested")
    assert said["chosen"] == {"V1": {"signal": 1.0}, "FFA": {"signal": 1.0}}
    assert said["optimism"]["nested"]["difference"] == 0
    assert said["optimism"]["test"]["low"] <= 0 <= said["optimism"]["test"]["high"]
    for split in ("nested", "test"):
        assert said["scores"][split]["low"] < said["scores"][split]["score"] < said["scores"][split]["high"]
        assert said["scores"][split]["p"] == pytest.approx(1 / 51)
    with np.load(paths.selection(ROW) / "voxels.npz") as voxels:
        assert {"nested.correlation", "nested.p", "nested.p_familywise", "nested.replicates"} <= set(voxels)


def test_nested_scores_are_means_of_the_outer_folds(paths):
    said = json.loads((paths.selection(ROW) / "selection.json").read_text())["scores"]["nested"]
    index = json.loads((paths.predictions(ROW) / "index.json").read_text())
    measured = np.concatenate(
        [responses(paths.root / "dataset", s, roi) for s in layout.SUBJECTS for roi in layout.ROIS], axis=1
    )
    r = np.zeros(measured.shape[1])
    for k in range(1, N_OUTER + 1):
        predicted = np.load(paths.predictions(ROW) / f"outer-{k}" / "signal.npy")
        own = measured[index["clips"][f"outer-{k}"]]
        r += [np.corrcoef(own[:, v], predicted[:, v])[0, 1] / N_OUTER for v in range(len(r))]
    assert said["rois"]["V1"]["correlation"] == pytest.approx((r[:7].mean() + r[11:18].mean()) / 2, abs=1e-5)
    metrics = json.loads(paths.metrics(ROW).read_text())
    assert metrics["nested"] == {"score": round(said["score"], 5)} and "low" in metrics["test"]

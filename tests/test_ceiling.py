"""Ceiling: which repetitions of which clips stand behind each split's reliability."""

from typing import get_args

import numpy as np
import pytest

import small_run
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import imported_ceilings, response_store
from cinevox.measured.ceiling import imported, reliability
from cinevox.measured.datasets import insilico, open_dataset
from cinevox.measured.responses import Responses
from cinevox.project import params
from cinevox.statistics import metrics
from cinevox.statistics.reliability import METHODS, TITLES, resampled_analytic


def test_validation_uses_training_repetitions_and_test_its_own(rng):
    train = {s: rng.standard_normal((20, 3, 2)) for s in ("sub01", "sub02")}
    test = {s: rng.standard_normal((8, 10, 2)) for s in train}

    def read(subject, roi):
        return Responses(train[subject], subject, roi), Responses(test[subject], subject, roi)

    found = reliability(read, [(subject, "V1") for subject in train])
    assert [(block.subject, block.n_voxels) for block in found.columns.blocks] == [("sub01", 2), ("sub02", 2)]
    assert found.n_repetitions == {"validation": 3, "test": 10}
    for name, values in (("validation", train), ("test", test)):
        expected = np.concatenate([metrics.split_half_reliability(values[s]) for s in train])
        np.testing.assert_array_equal(found.by_split[name], expected)


def test_without_test_responses_there_is_no_test_ceiling(rng):
    found = reliability(lambda s, r: (Responses(rng.standard_normal((9, 3, 1)), s, r), None), [("sub01", "V1")])
    assert list(found.by_split) == ["validation"]


def test_clips_that_were_shown_once_have_no_reliability_and_it_is_said(rng):
    def read(n_train, n_test):
        parts = {n: rng.standard_normal((9, n, 2)) for n in (n_train, n_test)}
        return lambda s, r: (Responses(parts[n_train], s, r), Responses(parts[n_test], s, r))

    for shown, repeated in (((1, 10), ["test"]), ((3, 1), ["validation"]), ((1, 1), [])):
        found = reliability(read(*shown), [("sub01", "V1")])
        assert list(found.by_split) == repeated
        assert found.n_repetitions == dict(zip(("validation", "test"), shown))


def test_one_roi_without_repetitions_takes_the_ceiling_from_the_split(rng):
    """Scores of a track are means over its ROIs: they must all be of one kind."""
    shown = {"V1": 3, "FFA": 1}
    found = reliability(
        lambda s, r: (Responses(rng.standard_normal((9, shown[r], 2)), s, r), None), [("s", "V1"), ("s", "FFA")]
    )
    assert found.by_split == {} and found.n_repetitions == {"validation": 1}


def test_means_of_blocks_and_of_rois_with_intervals(rng):
    """Subjects who saw as many stimuli are resampled alike; an ROI's mean is over the voxels of all subjects."""
    sizes = {("a", "V1"): 3, ("b", "V1"): 5, ("b", "FFA"): 2}
    shown = {
        key: Responses(rng.standard_normal((30, 1, n)) + rng.standard_normal((30, 4, n)), *key)
        for key, n in sizes.items()
    }
    drawn = metrics.resampled_clips(30, 200, rng)
    found = reliability(lambda *key: (shown[key], None), list(sizes), draw=lambda _, size: drawn, confidence=0.8)
    means = found.to_json()["means"]["validation"]
    known = {key: metrics.split_half_reliability(part.values) for key, part in shown.items()}
    assert [(line["subject"], line["roi"]) for line in means["blocks"]] == list(sizes)
    for key, line in zip(sizes, means["blocks"]):
        assert line["reliability"] == pytest.approx(known[key].mean())
        assert line["low"] < line["reliability"] < line["high"] <= 1
    change = [np.concatenate([d for _, d in resampled_analytic(shown[s, "V1"].values, drawn)]) for s in "ab"]
    pooled = np.concatenate([known[s, "V1"] for s in "ab"])[:, None] + np.concatenate(change)
    below, above = np.quantile(pooled.mean(axis=0), [0.1, 0.9])
    mean = np.concatenate([known[s, "V1"] for s in "ab"]).mean()
    expected = {"reliability": mean, "low": 2 * mean - above, "high": 2 * mean - below}
    assert means["rois"]["V1"] == pytest.approx(expected)
    without = reliability(lambda *key: (shown[key], None), list(sizes)).to_json()["means"]["validation"]
    assert without["rois"]["V1"] == {"reliability": pytest.approx(mean), "low": None, "high": None}


def test_a_handful_of_repeated_stimuli_has_no_interval(rng):
    values = rng.standard_normal((40, 2, 3))
    values[3:, 1] = np.nan
    drawn = metrics.resampled_clips(40, 200, rng)
    shown = Responses(values, "s", "V1")
    found = reliability(lambda *_: (shown, None), [("s", "V1")], draw=lambda *_: drawn)
    [line] = io.as_read(found.to_json())["means"]["validation"]["blocks"]
    assert line["low"] is None and line["high"] is None and line["reliability"] is not None


# A study's own ceilings, from its files to the stage


OWN = {"test": {"column": "nc", "holds": "nc_mean"}, "validation": {"column": "snr", "holds": "ncsnr"}}


def units(subject, roi, name):
    """Column of the made-up study for an ROI that small_run has."""
    n_voxels = small_run.columns_of("mini", [subject], [roi]).n_voxels
    values = np.random.default_rng([len(roi), ord(subject[-1])]).uniform(0.2, 0.9, n_voxels)
    values[0] = np.nan
    return 100 * values if name == "nc" else values


class WithCeilings(insilico.InSilico):
    def ceilings(self, track, subject, roi):
        return {name: units(subject, roi, name) for name in ("nc", "snr")}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that makes the study's ceilings by these parameters, stage by stage; the study has its own."""
    made = small_run.SmallRun(tmp_path)
    monkeypatch.setattr(insilico, "InSilico", WithCeilings)

    def run(stages=("conversion@train", "conversion@test", "ceiling@mini"), **changes):
        made.document["ceiling"] |= changes
        made.params = params.parse(made.document, "params.yaml")
        folder = tmp_path / made.params.dataset.folder
        made.params = made.params.model_copy(
            update={"dataset": made.params.dataset.model_copy(update={"folder": folder})}
        )
        for name in stages:
            made.stage(name)
        folder = made.paths.ceiling("mini")
        return io.read_json(folder / "index.json"), io.read_arrays(folder / "reliability.npz")

    run.made = made
    return run


def test_a_studys_own_ceilings_are_taken_for_the_splits_that_name_them(study):
    index, found = study(method="imported", imported=OWN)
    for split, name in (("validation", "snr"), ("test", "nc")):
        given = [units(block["subject"], block["roi"], name) for block in index["columns"]]
        counts = np.full(small_run.N_TRAIN, 3)
        np.testing.assert_allclose(
            found[split],
            np.concatenate([imported(values, params.ImportedCeiling(**OWN[split]), counts) for values in given]),
        )
        assert all(line["low"] is None for line in index["means"][split]["rois"].values())
    index, again = study(imported={"test": OWN["test"]})  # and the other is estimated as ever
    np.testing.assert_array_equal(again["test"], found["test"])
    train = response_store.read(study.made.paths.conversion("train"))
    halves = [metrics.split_half_reliability(train.trials("mini", *b).values) for b in train.blocks("mini")]
    np.testing.assert_array_equal(again["validation"], np.concatenate(halves))
    assert index["means"]["validation"]["rois"]["V1"]["low"] is not None


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"column": "nc", "holds": "reliability"}, r"expected 0 to 1, as they should be reliability.*Correct `holds`"),
        ({"column": "ncsnr", "holds": "ncsnr"}, r"sub01 V1: no column ceiling:ncsnr; there are nc, snr"),
        ({"column": "snr", "holds": "nc_trial"}, r"the largest of all values is 0\.\d+, expected percent"),
    ],
)
def test_numbers_that_are_something_else_are_refused_before_any_work(study, own, said):
    with pytest.raises(InputError, match=rf"(?s)params.yaml: ceiling.imported.test: column {own['column']}: .*{said}"):
        study(("conversion@test",), method="imported", imported={"test": own})
    assert not study.made.paths.conversion("test").exists()
    dataset = open_dataset(study.made.params.dataset)
    with pytest.raises(InputError, match=f"(?s){said}"):
        imported_ceilings.require(dataset, study.made.params.dataset, study.made.params.ceiling)


def test_a_study_without_ceilings_of_its_own_is_told_so(study, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(InputError, match="studies in this format .* have no ceilings of their own; set ceiling"):
        study(("conversion@train",), method="imported", imported=OWN)


def test_every_method_is_one_of_the_stage(study):
    made = {method: study(method=method)[1]["test"] for method in METHODS}
    trials = response_store.read(study.made.paths.conversion("test"))
    for method, found in made.items():
        values = [METHODS[method](trials.trials("mini", *block).values) for block in trials.blocks("mini")]
        np.testing.assert_array_equal(found, np.concatenate(values))
    assert set(get_args(params.Ceiling.model_fields["method"].annotation)) == {*METHODS, "imported"} == set(TITLES)


@pytest.mark.parametrize("changes", [{"method": "imported"}, {"imported": OWN}, {"method": "imported", "imported": {}}])
def test_imported_ceilings_are_named_where_they_are_used_and_only_there(default_params, changes):
    known = default_params.ceiling.model_dump()
    with pytest.raises(ValueError, match="imported must name the study's ceilings, as in"):
        params.Ceiling(**known | changes)
    params.Ceiling(**known | {"method": "imported", "imported": {"test": {"column": "ncsnr", "holds": "ncsnr"}}})

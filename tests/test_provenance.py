"""What is recorded of the data and the weights behind a result."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import finished_run
import layout
from cinevox.files import io
from cinevox.fitting.prediction_store import Index
from cinevox.measured import conversion, insilico_truth, response_store
from cinevox.measured.responses import Block, Columns
from cinevox.project import identity
from cinevox.scoring import origin, row_metrics

STUDY = response_store.Study("mystudy", "My study", in_silico=False)
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "hV4 left", 4), Block("sub02", "V1", 2)))


def index(**weights):
    clips = {"validation": np.arange(2), "test": np.arange(7)}
    return Index(("a",), clips, COLUMNS, {"weights": {"alexnet": weights}}, {})


def recorded(folder, **weights):
    return origin.Origin.of(index(**weights), response_store.Converted(folder, {}, STUDY))


def test_an_origin_is_of_the_voxels_clips_and_weights_that_are_scored(tmp_path):
    found = recorded(tmp_path, policy="file", official=False)
    assert (found.dataset, found.title, found.in_silico) == ("mystudy", "My study", False)
    assert (found.subjects, found.n_test_clips) == ("sub01 sub02", 7)
    assert dict(found.n_voxels) == {"V1": 5, "hV4 left": 4}
    assert (found.weights, found.official, found.untrained) == ("file", False, False)
    assert (
        recorded(tmp_path, policy="random").untrained
        and recorded(tmp_path, policy="pretrained", official=True).official
    )


def test_of_several_networks_one_without_training_is_enough_for_a_caution(tmp_path):
    weights = {"one": {"policy": "package", "official": True}, "two": {"policy": "random", "official": False}}
    both = Index(("stack",), {"validation": np.arange(3)}, COLUMNS, {"weights": weights}, {})
    found = origin.Origin.of(both, response_store.Converted(tmp_path, {}, STUDY))
    assert (found.weights, found.official, found.untrained) == ("package + random", False, True)


def test_it_is_read_as_it_was_written(tmp_path):
    found = recorded(tmp_path, policy="package", official=True)
    io.write_json(tmp_path / "metrics.json", {origin.KEY: found.to_json()})
    assert origin.origin_of(io.read_json(tmp_path / "metrics.json")) == found
    assert not any(isinstance(value, list | dict) for value in found.to_json().values())  # columns of `dvc metrics`


@pytest.mark.parametrize(
    "content", [{}, [], {"origin": None}, {"origin": {"dataset": "a"}}, {"origin": {"n_voxels": "V1"}}]
)
def test_what_an_earlier_version_wrote_has_none(content):
    assert origin.origin_of(content) is None


def test_differences_are_named(tmp_path):
    was = recorded(tmp_path, policy="random")
    now = replace(was, dataset="other", in_silico=True, n_train_clips=5, weights="file", n_voxels={})
    assert origin.differences(was, was) == ()
    assert origin.differences(was, now) == (
        "data set mystudy, now other", "in-silico no, now yes", "training clips 0, now 5",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["algonauts2021", "insilico"])
def test_data_are_simulated_if_their_plugin_or_their_folder_says_so(tmp_path, name):
    """Also under another name: a simulation leaves its truth beside the responses."""
    wanted = layout.wanted(tmp_path).model_copy(update={"name": name})
    assert conversion.study_of(wanted).in_silico == (name == "insilico")
    io.write_json(tmp_path / insilico_truth.TRUTH / insilico_truth.FILE, {})
    assert conversion.study_of(wanted).in_silico


def test_metrics_carry_the_origin_of_their_selection(tmp_path):
    finished_run.make(tmp_path)
    paths = finished_run.Paths(tmp_path)
    for row in finished_run.ROWS:
        selected = io.read_json(paths.selection(row) / "selection.json")
        assert row_metrics.read(paths.metrics(row)).origin == origin.Origin.from_json(selected["origin"])


def test_a_data_sets_hash_is_the_one_that_validation_read():
    """The entry of the stage that asks, as those behind it, is of the run before until it is done."""
    old, now = ({"deps": [{"path": "data/mine", "md5": f"{name}.dir"}]} for name in ("old", "new"))
    for order in (("validation", "report"), ("report", "validation")):
        stages = {name: {"validation": now, "report": old}[name] for name in order}
        assert identity.data_hash(stages, Path("data/mine")) == "new"
    assert identity.data_hash({"report": old}, Path("data/mine")) == "old"
    assert identity.data_hash({}, Path("data/mine")) == "unknown"

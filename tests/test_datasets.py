"""Reading a study's folder, and saying what is wrong with it."""

import pickle
import shutil

import numpy as np
import pytest

import layout
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured import voxel_positions
from cinevox.measured.datasets import open_dataset
from conftest import tells


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return layout.make(tmp_path_factory.mktemp("data") / "study", videos=False)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "study")


def fails(action):
    with pytest.raises(FileError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("name", ("algonauts2021", "insilico"))
def test_every_reader_of_the_layout(name, whole):
    dataset = open_dataset(layout.wanted(whole, name=name))
    assert [path.name[:5] for path in dataset.clips] == [f"{n:04d}_" for n in range(1, 18)]
    assert dataset.subjects == layout.SUBJECTS
    assert dataset.rois("mini", "sub01") == ("FFA", "V1") and dataset.rois("full", "sub01") == ("WB",)
    assert dataset.rois("mini", "sub09") == ()
    train, test = (dataset.responses(part, "mini", "sub02", "V1") for part in ("train", "test"))
    assert (train.subject, train.roi) == ("sub02", "V1")
    with dataset.file("train", "mini", "sub02", "V1").open("rb") as stream:
        expected = pickle.load(stream, encoding="latin1")["train"]
    np.testing.assert_array_equal(train.values, expected)
    assert train.values.shape == (12, 3, 7) and test.values.shape == (5, 10, 7)
    assert dataset.grid.shape == (78, 93, 71)
    np.testing.assert_allclose(np.array(dataset.grid.affine) @ [39, 46, 35, 1], [1.0, -17.5, 17.75, 1])


def test_truth_of_in_silico_data(whole):
    assert open_dataset(layout.wanted(whole, name="insilico")).truth == whole / "truth"


def test_opening_reads_nothing(whole, monkeypatch):
    monkeypatch.setattr(io, "read_pickle", lambda path, mapped: pytest.fail(f"{path} was read"))
    dataset = open_dataset(layout.wanted(whole))
    assert len(dataset.clips) == 17 and dataset.subjects and dataset.has_test_responses("mini")


def test_float64_becomes_float32(folder):
    path = layout.train_file(folder, "sub01", "V1")
    values = np.random.default_rng(0).standard_normal((12, 3, 5))
    io.write_pickle(path, {"train": values})
    dataset = open_dataset(layout.wanted(folder))
    assert dataset.arrays("train", "mini", "sub01", "V1")["train"].dtype == np.float64
    found = dataset.responses("train", "mini", "sub01", "V1").values
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_a_study_that_keeps_its_test_responses(folder):
    shutil.rmtree(folder / "test_responses" / "full_track")
    dataset = open_dataset(layout.wanted(folder))
    assert dataset.has_test_responses("mini")
    assert not dataset.has_test_responses("full")
    dataset.file("test", "mini", "sub01", "V1").unlink()
    assert "sub01/V1.pkl: no such file; of sub01 there is FFA;" in fails(
        lambda: dataset.responses("test", "mini", "sub01", "V1")
    )


def test_nothing_there(tmp_path):
    said = fails(lambda: open_dataset(layout.wanted(tmp_path / "study")))
    assert tells(said, f"{tmp_path}/study", "no such folder", "archive", "set dataset.folder")
    (tmp_path / "videos").mkdir()
    said = fails(lambda: open_dataset(layout.wanted(tmp_path)))
    missing = (f"{layout.CLIPS}/*.mp4", "dataset.clips", f"{layout.RESPONSES}/mini_track", "dataset.responses")
    assert tells(said, f"{tmp_path}: no ", *missing, "found videos", "archive")


def test_in_silico_data_that_are_not_there(tmp_path):
    own, others = (layout.wanted(tmp_path / folder, name="insilico") for folder in ("insilico", "algonauts2021"))
    assert "no such folder; `dvc repro simulation` makes it, or set" in fails(lambda: open_dataset(own))
    said = fails(lambda: open_dataset(others))
    assert "looked for as insilico, which `dvc repro simulation` makes in data/insilico; if it" in said
    assert "DATASET=algonauts2021" in said


def test_a_folder_without_pickles(folder):
    for track in ("mini_track", "full_track"):
        shutil.rmtree(folder / layout.RESPONSES / track)
        (folder / layout.RESPONSES / track).mkdir()
    dataset = open_dataset(layout.wanted(folder))
    assert dataset.subjects == ()
    assert "V1.pkl: no such file; in mini_track there is nothing" in fails(
        lambda: dataset.arrays("train", "mini", "sub01", "V1")
    )


@pytest.mark.parametrize("place", ["participants", "download/participants_data_v2021", "."])
def test_responses_in_another_place_are_found_as_the_message_says(folder, place):
    """As an archive without the folder, or with one more, leaves them; the archives may still be there."""
    responses = folder / layout.RESPONSES
    (folder / "participants.zip").touch()
    for track in ("mini_track", "full_track"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (responses / track).rename(folder / place / track)
    if not list(responses.iterdir()):
        responses.rmdir()
    said = fails(lambda: open_dataset(layout.wanted(folder)))
    assert said.endswith(f"; set dataset.responses: {place} in params.yaml")
    dataset = open_dataset(layout.wanted(folder, responses=place))
    assert dataset.responses("train", "mini", "sub01", "V1").n_voxels == layout.SIZES["V1"]


def test_names_that_are_not_there(whole):
    dataset = open_dataset(layout.wanted(whole))
    said = fails(lambda: dataset.responses("train", "mini", "sub01", "V9"))
    file = f"{whole}/{layout.RESPONSES}/mini_track/sub01/V9.pkl"
    assert tells(said, file, "no such file", "there is FFA, V1", "set dataset.subjects and dataset.rois")
    said = fails(lambda: dataset.responses("train", "mini", "sub11", "V1"))
    assert "in mini_track there is sub01, sub02" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"test": np.zeros((12, 3, 7))}, "V1.pkl: holds 'test'; expected the key 'train'"),
        ({}, "V1.pkl: holds nothing; expected the key 'train'"),
        ([1, 2], "V1.pkl: holds a list; expected a dict with 'train'"),
        (
            {"train": np.zeros((36, 7))},
            "V1.pkl: 'train' is float64 of shape (36, 7); expected numbers of shape "
            "(n_stimuli, n_repetitions, n_voxels)",
        ),
        ({"train": "none"}, "V1.pkl: 'train' is a str; expected numbers"),
        ({"train": np.zeros((1, 1, 1), complex)}, "'train' is complex128 of shape (1, 1, 1); expected numbers"),
        (
            {"train": np.zeros((12, 3, 7)), "voxel_mask": np.zeros(7)},
            "'voxel_mask' is float64 of shape (7,); expected numbers of shape the three axes of the volume",
        ),
    ],
)
def test_pickles_of_something_else(folder, content, said):
    layout.train_file(folder, "sub01", "V1").write_bytes(pickle.dumps(content))
    dataset = open_dataset(layout.wanted(folder))
    message = fails(lambda: dataset.responses("train", "mini", "sub01", "V1"))
    assert said in message and message.endswith("unpack the challenge's archive there again")


# Where voxels lie


def mask_of(dataset, subject):
    return dataset.arrays("train", "full", subject, "WB")["voxel_mask"] == 1


def test_the_mask_and_the_volume(whole):
    dataset = open_dataset(layout.wanted(whole))
    mask = mask_of(dataset, "sub01")
    values = dataset.responses("train", "full", "sub01", "WB").mean()
    found = voxel_positions.to_volume(values, mask)
    assert mask.dtype == bool and found.shape == (12, 78, 93, 71)
    expected = np.full((78, 93, 71), np.nan, np.float32)
    expected[mask == 1] = values[3]  # the challenge's own line
    np.testing.assert_array_equal(found[3], expected)
    with pytest.raises(ValueError, match=r"24 values \(n_voxels\) for a mask of 25 voxels"):
        voxel_positions.to_volume(values[:, 1:], mask)


def test_fortran_ranks_against_ravel():
    mask = np.random.default_rng(0).random((5, 4, 3)) < 0.4
    numbered = np.zeros(mask.shape, int)
    numbered[mask] = np.arange(mask.sum())
    in_fortran_order = numbered.ravel(order="F")[mask.ravel(order="F")]
    np.testing.assert_array_equal(np.argsort(voxel_positions.fortran_ranks(mask)), in_fortran_order)


def test_the_same_maps_by_either_order(whole):
    """The trap: an ROI of the mini track goes through the volume in Fortran order, the whole brain in C order."""
    dataset = open_dataset(layout.wanted(whole))
    brain, roi = (
        dataset.responses("train", *which).values for which in (("full", "sub02", "WB"), ("mini", "sub02", "V1"))
    )
    mask = layout.voxel_mask(dataset, "sub02")
    where = voxel_positions.locate(voxel_positions.fingerprints(roi), voxel_positions.fingerprints(brain))
    mine = voxel_positions.roi_mask(mask, where)
    assert mine.sum() == 7 and not np.any(mine & ~mask)
    expected = voxel_positions.to_volume(brain.mean(axis=1), mask)
    found = voxel_positions.to_volume(roi.mean(axis=1), mine, order="F")
    np.testing.assert_array_equal(found[:, mine], expected[:, mine])
    assert np.all(np.isnan(found[:, ~mine]))
    trapped = voxel_positions.to_volume(roi.mean(axis=1), mine)  # as if it were in C order
    assert not np.array_equal(trapped[:, mine], expected[:, mine])
    by_hand = np.full(mask.shape, np.nan, np.float32).ravel(order="F")  # MATLAB's linear indices
    by_hand[np.flatnonzero(mine.ravel(order="F"))] = roi.mean(axis=1)[4]
    np.testing.assert_array_equal(found[4], by_hand.reshape(mask.shape, order="F"))


def test_one_track_alone(folder):
    shutil.rmtree(folder / layout.RESPONSES / "full_track")
    shutil.rmtree(folder / "test_responses")
    dataset = open_dataset(layout.wanted(folder))
    assert dataset.subjects == layout.SUBJECTS
    assert dataset.rois("full", "sub01") == () and layout.voxel_mask(dataset, "sub01") is None
    said = fails(lambda: dataset.responses("train", "full", "sub01", "WB"))
    assert "full_track/sub01/WB.pkl: no such file; there is no full_track; " in said and "dataset.tracks" in said


def test_columns_of_an_roi_among_those_of_the_whole_brain(whole):
    dataset = open_dataset(layout.wanted(whole))
    brain, roi = (
        dataset.responses("train", *which).values for which in (("full", "sub01", "WB"), ("mini", "sub01", "V1"))
    )
    where = voxel_positions.locate(voxel_positions.fingerprints(roi), voxel_positions.fingerprints(brain))
    np.testing.assert_array_equal(brain[:, :, where], roi)
    assert np.all(np.diff(voxel_positions.fortran_ranks(mask_of(dataset, "sub01"))[where]) > 0)
    changed = roi.copy()
    changed[5, 1, 2] = np.nextafter(changed[5, 1, 2], 9)
    moved = voxel_positions.locate(voxel_positions.fingerprints(changed), voxel_positions.fingerprints(brain))
    assert moved[2] == -1 and np.array_equal(np.delete(moved, 2), np.delete(where, 2))
    swapped = roi[[1, 0, *range(2, len(roi))]]
    assert np.all(
        voxel_positions.locate(voxel_positions.fingerprints(swapped), voxel_positions.fingerprints(brain)) == -1
    )


def test_fingerprints_do_not_depend_on_memory_order():
    values = np.random.default_rng(0).standard_normal((9, 3, 50))
    expected = voxel_positions.fingerprints(values)
    assert len(set(expected.tolist())) == 50
    for same in (np.asfortranarray(values), values.astype(np.float32), values.astype(">f8")):
        np.testing.assert_array_equal(voxel_positions.fingerprints(same), expected)

"""Any study through the trials table: every kind of betas, splits, z-scores and ROIs; and each fault of its files."""

import json
import pickle
import re
import shutil
from dataclasses import replace
from importlib import resources

import h5py
import numpy as np
import pandas as pd
import pytest

import layout
import trials_study as study
from cinevox import validation
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured import conversion
from cinevox.measured.datasets import TrialData, algonauts2021, trials
from cinevox.measured.trials_table import layout as names
from cinevox.measured.trials_table import rectangle, scaling
from cinevox.measured.trials_table.betas import Betas, _parts, open_betas
from cinevox.project.params import sections
from cinevox.validation import judgement, trials_tables

KINDS = ("npy", "hdf5", "zarr", "nii", "nii.gz", "gifti", "cifti")
UNITS = {"V1": np.arange(4), "FFA": np.array([2, 5, 8])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials") / "study"
    return folder, study.make(folder)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "study")


def choice(**chosen):
    return sections.TestSplit(**chosen)


def split_by(folder, together=None, **chosen):
    return trials.TrialsTable(folder, study.SUBJECTS, choice(**chosen), together)


def ids(found, part):
    return [each.id for each in (found.stimuli[: found.n_train] if part == "train" else found.stimuli[found.n_train :])]


# What is read


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_betas_gives_the_same_responses(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(_parts, "SPAN", 7)
    betas = study.make(tmp_path / "study", kind, images=False)
    found = study.opened(tmp_path / "study")
    for subject in study.SUBJECTS:
        assert found.rois("mini", subject) == study.ROIS[subject]
        for part, keys in (("train", study.TRAIN), ("test", study.TEST)):
            for roi in study.ROIS[subject]:
                expected = study.by_hand(found.folder, betas[subject], subject, keys, UNITS[roi])
                np.testing.assert_array_equal(found.responses(part, "mini", subject, roi).values, expected)
    places = None if kind in ("gifti", "cifti") else (4, 5, 3)
    assert (found.grid and found.grid.shape) == places


@pytest.mark.parametrize("kind", KINDS)
def test_some_columns_are_read_without_the_others(tmp_path, kind):
    betas = study.make(tmp_path / "study", kind, images=False)["sub-02"]
    subject = study.opened(tmp_path / "study").subject("sub-02")
    found = pickle.loads(pickle.dumps(subject.betas))  # as workers get it
    assert found.shape == betas.shape
    for units in ([3, 1, 7], [4, 5, 6], [9]):
        for rows in (slice(None), slice(3, 20, 4), np.array([19, 0, 5, 14, 15])):
            np.testing.assert_array_equal(found.columns(np.array(units), rows), betas[rows][:, units])
    assert found.columns(np.array([], dtype=int)).shape == (len(betas), 0)


@pytest.mark.parametrize("stored", ["float16", "int16", ">f4"])
def test_stored_numbers_become_responses_by_their_scale(folder, whole, stored):
    scale = 300 if stored == "int16" else None
    values = (whole[1]["sub-01"] * (scale or 1)).round(2).astype(stored)
    np.save(study.subject_file(folder, "_betas.npy"), values)
    study.change_json(study.subject_file(folder, "_betas.json"), Scale=scale)
    found = study.opened(folder).subject("sub-01").betas.columns(np.arange(10))
    np.testing.assert_array_equal(found, values.astype(np.float32) / np.float32(scale or 1))


def test_the_order_of_lines_and_files_means_nothing(whole, folder):
    for path in (folder / "stimuli.tsv", *folder.glob("sub-*/*.tsv")):
        study.change_table(path, lambda table: table.iloc[::-1])
    before, after = study.opened(whole[0]), study.opened(folder)
    assert [each.id for each in before.stimuli] == [each.id for each in after.stimuli] == study.TRAIN + study.TEST
    for roi in ("V1", "FFA"):
        first, second = (each.responses("train", "mini", "sub-01", roi).values for each in (before, after))
        np.testing.assert_array_equal(first, second)


def test_what_the_plug_in_says_of_a_study(whole):
    found = study.opened(whole[0])
    assert isinstance(found, TrialData)
    assert (found.n_train, found.subjects) == (12, study.SUBJECTS)
    assert found.seen("train", "sub-03").tolist() == list(range(4, 12))
    for part, track, roi in (("train", "mini", "FFA"), ("test", "full", "WB")):
        assert found.shape(part, track, "sub-02", roi) == found.arrays(part, track, "sub-02", roi)[part].shape
    assert found.seen("test", "sub-03").tolist() == [0, 1, 2, 3]
    assert found.has_test_responses("mini")
    first = found.stimuli[0]
    assert (first.id, first.file) == ("001", whole[0] / "images/001.png")
    assert first.columns["scene"] == "scene 1"
    assert found.file("train", "mini", "sub-01", "V1") == whole[0] / "sub-01/sub-01_betas.npy"
    with pytest.raises(FileError, match="sub-03 has no unit of FFA; its ROIs are V1; .*missing_rois: skip"):
        found.arrays("train", "mini", "sub-03", "FFA")
    with pytest.raises(FileError, match="no subject sub-09; there are sub-01, sub-02, sub-03"):
        assert study.opened(whole[0], subjects=["sub-09"]).stimuli


def test_whole_brain_columns_go_through_their_mask_in_c_order(whole):
    found = study.opened(whole[0])
    content = found.arrays("train", "full", "sub-02", "WB")
    voxels = study.places("sub-02")[0]
    volume = np.full(study.SHAPE, np.nan, dtype=np.float32)
    volume[tuple(voxels.T)] = study.by_hand(whole[0], whole[1]["sub-02"], "sub-02", study.TRAIN, np.arange(10))[0, 0]
    np.testing.assert_array_equal(content["train"][0, 0], volume[content["voxel_mask"] == 1])
    assert "voxel_mask" not in found.arrays("test", "full", "sub-02", "WB")
    assert [list(row) for row in found.grid.affine] == study.AFFINE


def test_stimuli_that_nobody_asked_for_saw_are_left_out(whole):
    found = study.opened(whole[0], subjects=["sub-02"])
    assert ids(found, "train") == study.OWN["sub-02"]
    assert found.seen("train", "sub-02").tolist() == list(range(8))


def test_test_stimuli_without_responses_stay(folder):
    for path in folder.glob("sub-*/*_trials.tsv"):
        study.change_table(path, lambda table: table.assign(exclude=table["stimulus_id"].isin(study.TEST).astype(int)))
    found = study.opened(folder)
    assert ids(found, "test") == study.TEST and not found.has_test_responses("mini")
    assert checked(folder) == {}


def test_excluded_trials_are_left_out_and_may_be_nan(folder, whole):
    betas = whole[1]["sub-01"].copy()
    betas[[0, 5]] = np.nan
    np.save(study.subject_file(folder, "_betas.npy"), betas)
    with pytest.raises(FileError, match=r"sub-01_betas.npy: trial [05] is NaN or infinite .* is not declared"):
        for part in ("train", "test"):
            study.opened(folder).responses(part, "full", "sub-01", "WB")
    study.change_table(
        study.subject_file(folder, "_trials.tsv"),
        lambda table: table.assign(exclude=["1" if row in ("0", "5") else "n/a" for row in table["trial"]]),
    )
    found = study.opened(folder)
    values = [found.responses(part, "mini", "sub-01", "V1").values for part in ("train", "test")]
    assert sum(np.isfinite(each).all(axis=2).sum() for each in values) == len(betas) - 2


def test_repetitions_stand_in_the_order_of_their_numbers(folder, whole):
    def backwards(table):
        table["repetition"] = table.groupby("stimulus_id").cumcount(ascending=False).astype(str)

    study.change_table(study.subject_file(folder, "_trials.tsv"), backwards)
    before, after = (study.opened(each).responses("test", "mini", "sub-01", "V1").values for each in (whole[0], folder))
    np.testing.assert_array_equal(after, before[:, ::-1])


def test_a_rectangle_is_indexed_as_an_array(whole, monkeypatch):
    monkeypatch.setattr(rectangle, "BLOCK", 400)
    found = study.opened(whole[0]).arrays("train", "full", "sub-01", "WB")["train"]
    values = np.asarray(found)
    assert (found.shape, found.size, found.nbytes, len(found)) == (values.shape, values.size, values.nbytes, 12)
    keys = [3, (3, 1), (slice(2, 9), slice(None), slice(4, 7)), (slice(None), slice(None), np.array([8, 0])), (5, 0, 2)]
    keys += [
        (np.array([4, 2]), slice(None), slice(0, 3)),
        (slice(None), slice(1)),
        (slice(None), 0, slice(None, None, 2)),
    ]
    for key in keys:
        np.testing.assert_array_equal(found[key], values[key])
    np.testing.assert_array_equal(list(found), values)
    assert found.astype(np.float64).dtype == np.float64


def test_responses_of_many_files_are_converted_without_taking_them_whole(whole, tmp_path):
    found = study.opened(whole[0]).arrays("train", "full", "sub-02", "WB")["train"]
    conversion.write_responses(tmp_path, found, block=2000, may_be_missing=True)
    np.testing.assert_array_equal(io.read_array(tmp_path / "trials.npy"), np.asarray(found))
    np.testing.assert_allclose(io.read_array(tmp_path / "mean.npy"), np.nanmean(np.asarray(found), axis=1), atol=1e-6)


def test_an_algonauts_study_is_the_same_through_the_table(tmp_path):
    """The columns of the table stand in Fortran order, as those of the challenge's ROIs do."""
    source = layout.make(tmp_path / "algonauts", videos=False)
    plug_in = algonauts2021.open_folder(layout.wanted(source))
    keys = [path.stem for path in plug_in.clips]
    split = ["train"] * layout.N_TRAIN + ["test"] * layout.N_TEST
    files = [path.relative_to(source) for path in plug_in.clips]
    target = tmp_path / "table"
    study.write_table(target / "stimuli.tsv", pd.DataFrame({"stimulus_id": keys, "file": files, "split": split}))
    for subject in layout.SUBJECTS:
        _to_table(plug_in, subject, keys, target, f"sub-{subject}")
    asked = tuple(f"sub-{subject}" for subject in layout.SUBJECTS)
    found = trials.TrialsTable(target, asked)
    assert [each.id for each in found.stimuli] == keys and found.n_train == layout.N_TRAIN
    for subject in layout.SUBJECTS:
        for part in ("train", "test"):
            for track, roi in (("mini", "V1"), ("mini", "FFA"), ("full", "WB")):
                expected = plug_in.arrays(part, track, subject, roi)
                content = found.arrays(part, track, f"sub-{subject}", roi)
                np.testing.assert_array_equal(np.asarray(content[part]), expected[part])
                if "voxel_mask" in expected:
                    np.testing.assert_array_equal(content["voxel_mask"], expected["voxel_mask"])
    assert found.grid.shape == plug_in.grid.shape


def _to_table(plug_in, subject, keys, target, name):
    mask = plug_in.arrays("train", "full", subject, "WB")["voxel_mask"]
    order = np.lexsort(np.argwhere(mask).T)  # of the whole brain's columns: the first axis fastest
    both = [plug_in.arrays(part, "full", subject, "WB")[part] for part in ("train", "test")]
    lines = [(start + row, repetition) for start, values in zip((0, len(both[0])), both)
             for row in range(len(values)) for repetition in range(values.shape[1])]  # fmt: skip
    betas = np.concatenate([values.reshape(-1, values.shape[2]) for values in both])[:, order]
    shuffled = np.random.default_rng(0).permutation(len(lines))
    table = pd.DataFrame({"trial": range(len(lines)), "stimulus_id": [keys[lines[at][0]] for at in shuffled]})
    table["session"], table["repetition"] = "1", [lines[at][1] for at in shuffled]
    study.write_table(study.subject_file(target, "_trials.tsv", name), table)
    units = pd.DataFrame(np.argwhere(mask)[order], columns=["i", "j", "k"]).assign(kind="voxel")
    units["unit"] = range(len(units))
    for roi in layout.ROIS:
        mine = plug_in.arrays("train", "mini", subject, roi)["train"][:, 0].T
        units[f"roi:{roi}"] = [int((mine == column).all(axis=1).any()) for column in both[0][:, 0, order].T]
    study.write_table(study.subject_file(target, "_units.tsv", name), units)
    np.save(study.subject_file(target, "_betas.npy", name), betas[shuffled])
    about = {"Normalized": "none", "Affine": plug_in.grid.affine, "Shape": plug_in.grid.shape} | {
        "Normalized": "session"
    }
    study.subject_file(target, "_betas.json", name).write_text(json.dumps(about))


def test_name_and_terms_are_the_studys_own(folder):
    assert trials.SPEC.at(folder) == replace(trials.SPEC, title="Small", licence="not known", restricted=True)
    study.change_json(folder / "dataset_description.json", License="CC0", cinevox={"version": 1, "restricted": False})
    assert trials.SPEC.at(folder) == replace(trials.SPEC, title="Small", licence="CC0", restricted=False)
    (folder / "dataset_description.json").write_text("{}")
    assert trials.SPEC.at(folder) == trials.SPEC and trials.SPEC.restricted
    assert algonauts2021.SPEC.at(folder) is algonauts2021.SPEC


# z-scores


def zscored(table, betas, trains):
    """By hand: of every session by its own training trials."""
    found = np.empty_like(betas)
    for session in set(table["session"]):
        mine = (table["session"] == session).to_numpy()
        own = betas[mine & trains]
        found[mine] = (betas[mine] - own.mean(axis=0)) / own.std(axis=0)
    return found


def test_betas_that_nothing_normalized_are_z_scored_within_sessions(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "STEP", 5)
    betas = study.make(tmp_path / "study", images=False, normalized="none")
    found = study.opened(tmp_path / "study")
    monkeypatch.setattr(scaling, "MIN_TRIALS", 3)
    for subject in study.SUBJECTS:
        table = pd.read_csv(study.subject_file(found.folder, "_trials.tsv", subject), sep="\t", dtype=str)
        trains = table["stimulus_id"].isin(study.TRAIN).to_numpy()
        expected = zscored(table, betas[subject].astype(np.float64), trains)
        for part, keys in (("train", study.TRAIN), ("test", study.TEST)):
            wanted = study.by_hand(found.folder, expected, subject, keys, UNITS["V1"])
            values = found.responses(part, "mini", subject, "V1").values
            np.testing.assert_allclose(values, wanted, atol=2e-6)
            np.testing.assert_array_equal(values, _in_whole_brain(found, subject, part)[:, :, UNITS["V1"]])


def _in_whole_brain(found, subject, part):
    content = found.arrays(part, "full", subject, "WB")[part]
    return np.asarray(content)[:, :, np.argsort(found.subject(subject).in_volume)]


def test_a_session_of_few_training_trials_is_z_scored_by_all_of_them(tmp_path):
    betas = study.make(tmp_path / "study", normalized="none")["sub-01"].astype(np.float64)
    table = pd.read_csv(study.subject_file(tmp_path / "study", "_trials.tsv"), sep="\t", dtype=str)
    trains = table["stimulus_id"].isin(study.TRAIN).to_numpy()
    study.change_table(
        study.subject_file(tmp_path / "study", "_trials.tsv"),
        lambda table: table.assign(session=np.where(table["stimulus_id"].isin(study.TEST), "ses-9", "ses-1")),
    )
    found = study.opened(tmp_path / "study", subjects=["sub-01"])
    assert found.subject("sub-01").few(study.TRAIN) == {"ses-9": 0}
    own = betas[trains]
    expected = study.by_hand(
        found.folder, (betas - own.mean(axis=0)) / own.std(axis=0), "sub-01", study.TEST, np.arange(4)
    )
    np.testing.assert_allclose(found.responses("test", "mini", "sub-01", "V1").values, expected, atol=2e-6)
    [(words, (severity, _, told))] = checked(found.folder, subjects=["sub-01"])["trials_tables"].items()
    assert words.startswith("a session has enough training trials") and severity == "warning"
    assert told == ["sub-01/sub-01_trials.tsv (few_trials ses-9 has 0, of 10 that are needed)"]


# Splits


def test_splits_by_a_column_a_file_at_random_and_by_session(folder):
    by_column = split_by(folder, column="scene", values=["scene 1", "zoo"])
    assert ids(by_column, "test") == [*(key for key in study.TRAIN if (int(key) + 3) % 3 == 1), *study.TEST]
    (folder / "splits").mkdir()
    (folder / "splits/mine.json").write_text(json.dumps({"train": study.TRAIN[3:], "test": study.TRAIN[:2]}))
    by_file = split_by(folder, file="mine")
    assert (ids(by_file, "train"), ids(by_file, "test")) == (study.TRAIN[3:], study.TRAIN[:2])
    drawn = [ids(split_by(folder, fraction=0.25, seed=seed), "test") for seed in (0, 0, 1)]
    assert len(drawn[0]) == 4 and drawn[0] == drawn[1] != drawn[2]
    held = split_by(folder, "scene", fraction=0.25, seed=0)
    scenes = [
        {each.columns["scene"] for each in part}
        for part in (held.stimuli[: held.n_train], held.stimuli[held.n_train :])
    ]
    assert not scenes[0] & scenes[1] and scenes[1]
    with pytest.raises(FileError, match=r"both: 0.*`make validate`"):
        assert split_by(folder, column="session", values=["ses-2"]).stimuli
    late = ["t1", "t3"]
    for path in folder.glob("sub-*/*_trials.tsv"):
        study.change_table(
            path, lambda table: table.assign(session=np.where(table["stimulus_id"].isin(late), "last", "first"))
        )
    assert ids(split_by(folder, column="session", values=["last"]), "test") == late


def test_only_stimuli_called_train_and_test_count_in_the_column_split(folder):
    study.change_table(
        folder / "stimuli.tsv",
        lambda table: table.assign(split=table["split"].where(table["stimulus_id"] != "t2", "odd")),
    )
    assert ids(study.opened(folder), "test") == ["t1", "t3", "t4"]
    assert ids(split_by(folder, column="split", values=["odd"]), "test") == ["t2"]
    assert ids(split_by(folder, column="split", values=["odd"]), "train") == study.TRAIN
    study.change_table(folder / "stimuli.tsv", lambda table: table.drop(columns="split"))
    assert ids(study.opened(folder), "train") == sorted(study.TRAIN + study.TEST)


# ROIs of masks


def roi_mask(subject, n=3):
    mask = np.zeros(study.SHAPE, dtype=np.uint8)
    mask[tuple(study.places(subject)[0][:n].T)] = 1
    return mask


@pytest.mark.parametrize("kind", ["npy", "nii.gz"])
def test_rois_of_mask_files(tmp_path, kind):
    betas = study.make(tmp_path / "study", kind, images=False)
    if kind == "nii.gz":  # then the mask beside the images says where units lie
        for path in tmp_path.glob("study/sub-*/*_units.tsv"):
            study.change_table(path, lambda table: table[["unit", "kind"]])
    study.save_volume(tmp_path / "study/sub-01/rois/PPA.nii.gz", roi_mask("sub-01"))
    study.save_volume(tmp_path / "study/rois/PPA.nii.gz", roi_mask("sub-02", 5))
    found = study.opened(tmp_path / "study")
    order = np.arange(10) if kind == "npy" else np.lexsort(study.places("sub-01")[0].T[::-1])
    mine = betas["sub-01"][:, [unit for unit in order if unit < 3]]
    expected = study.by_hand(found.folder, mine, "sub-01", study.TRAIN, np.arange(3))
    np.testing.assert_array_equal(found.responses("train", "mini", "sub-01", "PPA").values, expected)
    assert found.arrays("train", "mini", "sub-02", "PPA")["train"].shape[2] == 5
    assert (found.rois("mini", "sub-01")[-1], found.grid.shape) == ("PPA", study.SHAPE)
    assert not any("roi_masks" in suite and "can be read" in told for suite, told in _flat(checked(found.folder)))


# What is wrong with a study: what is done, then the suite, the expectation, the file and what is said of it


def table(name, change, subject="sub-01"):
    """Change a table of the study."""

    def damage(folder):
        path = folder / name if name == "stimuli.tsv" else study.subject_file(folder, name, subject)
        study.change_table(path, change)

    return damage


def cell(name, row, column, value, subject="sub-01"):
    def change(table):
        table.loc[row, column] = value

    return table(name, change, subject)


def first_line_again(table):
    return pd.concat([table, table.iloc[:1]])


def text(name, change):
    def damage(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(change(path.read_text() if path.is_file() else ""))

    return damage


def sidecar(**changed):
    return lambda folder: study.change_json(study.subject_file(folder, "_betas.json"), **changed)


def betas(change):
    def damage(folder):
        path = study.subject_file(folder, "_betas.npy")
        np.save(path, change(np.load(path)))

    return damage


def volume(name, values, affine=study.AFFINE):
    return lambda folder: study.save_volume(folder / name, values, affine)


def with_value(row, unit, value):
    def change(values):
        values[row, unit] = value
        return values

    return change


def same_image(one, other):
    return lambda folder: shutil.copy(folder / f"images/{one}.png", folder / f"images/{other}.png")


def as_pickle(folder):
    np.save(study.subject_file(folder, "_betas.npy"), np.array([{}], dtype=object), allow_pickle=True)


def two_kinds(folder):
    study.write_betas(folder, "sub-01", "hdf5", np.zeros((3, 3)))


def linked_out(folder):
    study.subject_file(folder, "_betas.npy").unlink()
    with h5py.File(study.subject_file(folder, "_betas.h5"), "w") as file:
        file["betas"] = h5py.ExternalLink("/etc/passwd", "/")


def without_test(folder):
    study.change_table(
        study.subject_file(folder, "_trials.tsv", "sub-02"),
        lambda table: table.assign(exclude=table["stimulus_id"].isin(study.TEST).astype(int)),
    )


TRIALS, UNITS_FILE, STIMULI = "_trials.tsv", "_units.tsv", "stimuli.tsv"
MASK = "rois/PPA.nii.gz"
NONE = np.zeros(study.SHAPE, dtype=np.uint8)
BAD = {
    "shape of trials": (betas(lambda values: values[:-1]), "betas", "betas have as many rows", r"n_trials 39, n_trials_listed 40"),
    "shape of units": (betas(lambda values: values[:, :-2]), "betas", "betas have as many columns", r"n_units 8, n_units_listed 10"),
    "transposed": (betas(lambda values: values.T), "betas", "betas have as many rows", "n_trials 10, n_trials_listed 40"),
    "no betas": (lambda folder: study.subject_file(folder, "_betas.npy").unlink(), "betas", "betas can be read", "found none; expected betas in one kind"),
    "two kinds of betas": (two_kinds, "betas", "betas can be read", "found sub-01_betas.npy and sub-01_betas.h5"),
    "a pickle": (as_pickle, "betas", "betas can be read", "not a .npy file of numbers"),
    "a link into another file": (linked_out, "betas", "betas can be read", "expected a data set betas in the file itself"),
    "float64": (betas(lambda values: values.astype(float)), "betas", "betas can be read", r"holds float64, .*astype\(numpy.float32\)"),
    "three axes": (betas(lambda values: values[None]), "betas", "betas can be read", r"expected \(n_trials, n_units\)"),
    "int16 without scale": (betas(lambda values: values.astype(np.int16)), "betas", "whole numbers have a Scale", "betas are int16, and Scale is not there"),
    "a scale of floats": (sidecar(Scale=300), "betas", "whole numbers have a Scale", "Scale is 300, and the betas are float32"),
    "no sidecar": (lambda folder: study.subject_file(folder, "_betas.json").unlink(), "betas", "a sidecar says", "is not there"),
    "not normalized how": (sidecar(Normalized="yes"), "betas", "a sidecar says", "Normalized is 'yes'; expected session, run, none"),
    "undeclared NaN": (betas(with_value(7, 2, np.nan)), "betas", "NaN is declared", "line 9: trial 7 in 1 of 10 units"),
    "unknown stimulus": (cell(TRIALS, 2, "stimulus_id", "elephant"), "trials_tables", "the stimulus of every trial", "line 4: elephant"),
    "numbers and text": (table(TRIALS, lambda t: t.replace({"stimulus_id": {"007": "7"}})), "trials_tables", "an id is written in the same way", r"line \d+: 7, 007 in stimuli.tsv"),
    "a trial twice": (table(TRIALS, first_line_again), "trials_tables", "a row of the betas has one line", "line 42: 0"),
    "no number": (cell(TRIALS, 3, "trial", "x"), "trials_tables", "a trial is the number of a row", "line 5: x"),
    "no session": (cell(TRIALS, 0, "session", "n/a"), "trials_tables", "every trial has a session", "line 2"),
    "exclude": (table(TRIALS, lambda t: t.assign(exclude="maybe")), "trials_tables", "exclude is 0 or 1", "line 2: maybe, line 3: maybe, line 4: maybe, and 37 more"),
    "a repetition twice": (table(TRIALS, lambda t: t.assign(repetition="1")), "trials_tables", "a stimulus has each of its repetitions once", r"t\d repetition 1"),
    "no trials": (lambda folder: study.subject_file(folder, TRIALS).unlink(), "trials_tables", "a table of trials can be read", "is not there"),
    "commas": (text("sub-01/sub-01_trials.tsv", lambda content: content.replace("\t", ",")), "trials_tables", "a table of trials can be read", "separated by commas, expected tabs"),
    "a cell too many": (text("sub-01/sub-01_trials.tsv", lambda content: content.replace("ses-1", "ses-1\tx", 1)), "trials_tables", "a table of trials can be read", "line 2: 5 cells"),
    "no test trials": (without_test, "trials_tables", "a subject has trials of test stimuli", "none of 4 test stimuli"),
    "no training trials": (table(TRIALS, lambda t: t.assign(stimulus_id="t1")), "trials_tables", "a subject has trials of training stimuli", "none of 12 training stimuli"),
    "unknown kind": (cell(UNITS_FILE, 1, "kind", "neuron"), "units_tables", "a unit is a voxel, a vertex or a parcel", "line 3: neuron"),
    "two units at one place": (table(UNITS_FILE, lambda t: t.assign(**{name: [*t[name][:9], t[name][0]] for name in "ijk"})), "units_tables", "two units do not lie at one place", r"line 11: voxel i \d j \d k \d"),
    "half a place": (cell(UNITS_FILE, 4, "j", "n/a"), "units_tables", "where some units of a kind have a place", "line 6: voxel i . j n/a"),
    "a unit twice": (cell(UNITS_FILE, 4, "unit", "3"), "units_tables", "a column of the betas has one line", "line 6: 3"),
    "an ROI of words": (cell(UNITS_FILE, 4, "roi:V1", "left"), "units_tables", "a column roi:NAME holds 0 and 1", "roi:V1 in line 6: left"),
    "an ROI called WB": (table(UNITS_FILE, lambda t: t.rename(columns={"roi:V1": "roi:WB"})), "units_tables", "an ROI is called by letters", "WB"),
    "a ceiling of words": (table(UNITS_FILE, lambda t: t.assign(**{"ceiling:nc": "high"})), "units_tables", "a column ceiling:NAME", "ceiling:nc in line 2: high"),
    "an id twice": (table(STIMULI, first_line_again), "stimuli_table", "an id stands for one stimulus", "line 18: t4"),
    "a path out": (cell(STIMULI, 0, "file", "../../secret.png"), "stimuli_table", "a file of a stimulus lies in the study's folder", "line 2: ../../secret.png: expected a path without .."),
    "a file of two": (cell(STIMULI, 1, "file", "images/t4.png"), "stimuli_table", "a file belongs to one stimulus", "line 3: images/t4.png"),
    "another file": (table(STIMULI, lambda t: t.assign(sha256="0" * 64)), "stimuli_table", "a file is the one that sha256 says", "line 2: t4's file has [0-9a-f]{8}..., the table 00000000"),
    "a duration": (table(STIMULI, lambda t: t.assign(duration="-3")), "stimuli_table", "a duration is a number of seconds", "line 2: -3"),
    "a leak under two ids": (same_image("005", "t3"), "split", "no image or clip is on both sides", "005 and t3"),
    "nothing trains": (table(STIMULI, lambda t: t.assign(split="test")), "split", "some stimuli train", "no stimulus trains"),
    "a mask off the grid": (volume(MASK, np.zeros((4, 5, 4), np.uint8)), "roi_masks", "a mask can be read and lies on the grid", r"shape 4 x 5 x 4, affine \[\[2.0.*the betas' has shape 4 x 5 x 3, affine"),
    "a mask elsewhere": (volume(MASK, NONE, np.eye(4)), "roi_masks", "a mask can be read and lies on the grid", r"affine \[\[1.0, 0.0, 0.0, 0.0\].*the betas' has shape 4 x 5 x 3, affine \[\[2.0"),
    "labels": (volume(MASK, NONE + np.uint8(7)), "roi_masks", "a mask can be read and lies on the grid", "holds 7; expected 0 and 1 alone"),
    "a column and a mask": (volume("rois/V1.nii.gz", NONE), "roi_masks", "a mask can be read and lies on the grid", "has a column roi:V1 too"),
    "not described": (text("dataset_description.json", lambda content: "{}"), "study_files", "a file about the study can be read", "Name is not there.*cinevox.version is not there"),
    "not listed": (text("participants.tsv", lambda content: content.replace("sub-02", "sub-2")), "study_files", "every subject that is asked for", "unlisted sub-02"),
}  # fmt: skip
ODD = {
    "Fortran order": (betas(np.asfortranarray), "betas", "an array stands in C order", "in Fortran order"),
    "a unit that does not vary": (betas(with_value(slice(None), 3, 1)), "betas", "every unit varies", "1 of 10 do not: unit 3"),
    "missing files": (lambda folder: shutil.rmtree(folder / "images"), "stimuli_table", "the file of every stimulus is on this disk", "16 of 16 stimuli: t4, t3, t2, ..."),
    "left out": (cell(STIMULI, 0, "split", "odd"), "stimuli_table", "a stimulus is called train or test", "1 of odd"),
    "a copy on one side": (same_image("005", "006"), "split", "no image or clip stands there under two ids", "005 and 006"),
    "an empty mask": (volume(MASK, NONE), "roi_masks", "a mask has units of every subject", "sub-01; sub-02; sub-03"),
    "a split that is not used": (text("splits/other.json", lambda _: "{}"), "study_files", "a split that has a file", "not used"),
}  # fmt: skip


def inspected(folder, test=None, together=None, **changed):
    return trials_tables.tables(study.wanted(folder, test=test, together=together, **changed))


def checked(folder, test=None, together=None, **changed):
    """Look at a study: suite -> an expectation that fails -> severity, cure, and what the rows that break it say.

    The suites are read here as they are written, as Great Expectations takes two seconds for a study; it does as much in
    `test_all_faults_are_told_at_once`.
    """
    found: dict = {}
    for suite, rows in inspected(folder, test, together, **changed).items():
        written = json.loads((resources.files("cinevox.validation") / "expectations" / f"{suite}.json").read_text())
        for each in written["expectations"]:
            columns = [each["kwargs"][name] for name in ("column", "column_A", "column_B") if name in each["kwargs"]]
            told = [
                f"{row['file']} ({', '.join(f'{name} {row[name]}' for name in columns)})"
                for row in rows
                if None not in (values := [row.get(name) for name in columns])
                and (len(values) == 1 or len(set(values)) > 1)
            ]
            if told:
                found.setdefault(suite, {})[each["description"]] = (each["severity"], each["meta"]["cure"], told)
    return found


def _flat(found):
    return [(suite, told) for suite, checks in found.items() for told in checks]


def test_a_good_study_has_no_fault(whole):
    assert checked(whole[0]) == {}


@pytest.mark.parametrize("name", [*BAD, *ODD])
def test_a_fault_is_found_with_its_line_and_its_cure(folder, name):
    damage, suite, expectation, said = (BAD | ODD)[name]
    damage(folder)
    [(severity, cure, told)] = [
        check for words, check in checked(folder)[suite].items() if words.startswith(expectation)
    ]
    assert severity == ("critical" if name in BAD else "warning")
    assert re.search(said, told[0]), told
    assert cure.endswith(".")


def test_all_faults_are_told_at_once(folder):
    """And Great Expectations finds them all, with what each row says."""
    for name in ("undeclared NaN", "unknown stimulus", "half a place", "an id twice", "a leak under two ids", "labels"):
        BAD[name][0](folder)
    BAD["transposed"][0](folder.rename(folder.with_name("other")))
    folder = folder.with_name("other")
    by_hand = checked(folder)
    judged = judgement.judge(inspected(folder), {}, None)
    failed = {(check.suite, check.expected): check for check in judged if not check.success}
    assert set(failed) == {(suite, words) for suite, words in _flat(by_hand)}
    assert {suite for suite, _ in failed} >= {
        "betas",
        "trials_tables",
        "units_tables",
        "stimuli_table",
        "split",
        "roi_masks",
    }
    for (suite, words), check in failed.items():
        severity, cure, told = by_hand[suite][words]
        assert (check.level == "error", check.cure) == (severity == "critical", cure)
        assert [str(example).partition(", n_units_not")[0].rstrip(")") for example in check.examples] == [
            each.replace("(fault ", "(").rstrip(")") for each in told
        ]


SPLIT_FAULTS = {
    "both": ({"file": "mine"}, {"train": ["001"], "test": ["001", "t1"]}, "a stimulus trains or tests", "both 001"),
    "unknown": ({"file": "mine"}, {"train": ["001", "x"], "test": ["t1"]}, "every stimulus of a split", "x"),
    "numbers": ({"file": "mine"}, {"train": [1, "002"], "test": ["t1"]}, "the ids of a split are text", "not_text 1"),
    "not there": ({"file": "yours"}, {"train": [], "test": []}, "the split can be read", "splits are mine"),
    "no such column": ({"column": "colour", "values": ["red"]}, None, "the split can be read", "stimuli.tsv has the columns"),
    "no such value": ({"column": "scene", "values": ["red"]}, None, "the split can be read", "no stimulus has red; there is scene 0"),
    "a session on both sides": ({"column": "session", "values": ["ses-1"]}, None, "a stimulus trains or tests", "both 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT_FAULTS)
def test_faults_of_a_split(folder, name):
    chosen, content, expectation, said = SPLIT_FAULTS[name]
    if content is not None:
        (folder / "splits").mkdir()
        (folder / "splits/mine.json").write_text(json.dumps(content))
    found = checked(folder, choice(**chosen))["split"]
    [(severity, _, told)] = [check for words, check in found.items() if words.startswith(expectation)]
    assert severity == "critical" and said in told[0]


def test_a_split_that_is_not_held_together(folder):
    (folder / "splits").mkdir()
    (folder / "splits/mine.json").write_text(json.dumps({"train": study.TRAIN[3:], "test": study.TRAIN[:1]}))
    [(_, _, told)] = checked(folder, choice(file="mine"), "scene")["split"].values()
    assert "apart scene scene 1" in told[0]
    [(_, _, told)] = checked(folder, choice(file="mine"), "film")["split"].values()
    assert "stimuli.tsv has no column film" in told[0]


def test_a_pickle_in_zarr_is_not_opened(folder):
    study.subject_file(folder, "_betas.npy").unlink()
    study.write_betas(folder, "sub-01", "zarr", np.zeros((40, 10), np.float32))
    meta = study.subject_file(folder, "_betas.zarr") / "zarr.json"
    content = json.loads(meta.read_text())
    content["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    meta.write_text(json.dumps(content))
    [(_, _, told)] = checked(folder)["betas"].values()
    assert "uses the codec numcodecs.pickle, which is not opened" in told[0]


def test_places_that_contradict_the_table_are_found(tmp_path):
    study.make(tmp_path / "study", "cifti", images=False)
    study.change_table(
        study.subject_file(tmp_path / "study", "_units.tsv"), lambda t: t.assign(vertex=[1, 0, *t["vertex"][2:]])
    )
    [(_, _, told)] = checked(tmp_path / "study")["betas"].values()
    assert "2 units: unit 0 is hemi L vertex 0 in the file and hemi L vertex 1 in the table" in told[0]


def test_validation_stops_at_tables_that_are_wrong(folder):
    BAD["unknown stimulus"][0](folder)
    found = validation.check_folder(study.wanted(folder), layout.limits())
    assert [check.suite for check in found.errors] == ["trials_tables"]
    with pytest.raises(Exception, match=r"sub-01_trials.tsv \(unknown_stimulus line 4: elephant\)"):
        found.require()


def test_the_digest_follows_what_decides_the_arrays(folder, whole):
    before = study.opened(whole[0]).digest("sub-01")
    assert study.opened(folder).digest("sub-01") == before
    cell(UNITS_FILE, 0, "roi:FFA", "1")(folder)
    assert study.opened(folder).digest("sub-01") != before


def test_the_layouts_names(folder):
    files = names.SubjectFiles(folder, "sub-01")
    assert set(files.betas) == {"npy"} and files.betas_path == files.array
    assert names.subjects_in(folder) == study.SUBJECTS
    assert Betas(open_betas(files)).shape == (40, 10)

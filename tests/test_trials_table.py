"""Any study through the trials table: every kind of betas, splits, z-scores and ROIs; and each fault of its files."""

import json
import pickle
import re
import shutil
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import layout
import trials_study as study
from cinevox import validation
from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.measured import conversion, datasets, response_store
from cinevox.measured.datasets import Stimulus, algonauts2021, is_trial_data, trials
from cinevox.measured.trials_table import layout as names
from cinevox.measured.trials_table import rectangle, scaling
from cinevox.measured.trials_table.betas import Betas, _parts, open_betas
from cinevox.project import params, remote_guard
from cinevox.project.paths import Paths

KINDS = ("npy", "hdf5", "zarr", "nii", "nii.gz", "gifti", "cifti")
UNITS = {"V1": np.arange(4), "FFA": np.array([2, 5, 8])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials") / "study"
    return folder, study.make(folder)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "study")


def split_by(folder, together=None, **chosen):
    return trials.TrialsTable(folder, study.SUBJECTS, study.choice(**chosen), together)


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
    assert is_trial_data(found)
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


def test_ceilings_of_the_table_follow_their_units(folder):
    values = [f"{unit / 10}" for unit in range(9)]
    study.change_table(
        study.subject_file(folder, "_units.tsv"), lambda table: table.assign(**{"ceiling:nc": [*values, "n/a"]})
    )
    found = study.opened(folder)
    np.testing.assert_array_equal(found.ceilings("mini", "sub-01", "FFA")["nc"], [0.2, 0.5, 0.8])
    order = np.lexsort(study.places("sub-01")[0].T[::-1])
    whole = np.array([*map(float, values), np.nan])[order]
    np.testing.assert_array_equal(found.ceilings("full", "sub-01", "WB")["nc"], whole)
    assert found.ceilings("mini", "sub-02", "V1") == {}


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
    assert study.checked(folder) == {}


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


def test_a_study_passes_validation_and_is_converted(whole, tmp_path):
    asked = study.wanted(whole[0])
    anything = dict.fromkeys(("clip_size", "clip_seconds", "fps", "n_repetitions"))
    found = validation.check_folder(asked, params.Validation(**anything, min_split_half=-1))
    assert found.errors == found.warnings == ()
    assert (found.n_clips, found.n_train_clips) == (16, 12)
    for part, keys in (("train", study.TRAIN), ("test", study.TEST)):
        conversion.convert(study.opened(whole[0]), asked, part, tmp_path / part, tmp_path / "unfinished")
        converted = response_store.read(tmp_path / part)
        assert converted.study.title == "Small"
        for subject, roi in ((own, roi) for own in study.SUBJECTS for roi in study.ROIS[own]):
            expected = study.by_hand(whole[0], whole[1][subject], subject, keys, UNITS[roi])
            np.testing.assert_array_equal(converted.trials("mini", subject, roi).values, expected)


def test_a_conversion_that_was_killed_does_not_go_on_after_a_table_was_changed(folder, tmp_path, monkeypatch):
    asked = study.wanted(folder, subjects=["sub-01"], tracks=["mini"])
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(conversion.shutil, "move", _killed)
        conversion.convert(study.opened(folder), asked, "train", tmp_path / "train", tmp_path / "unfinished")
    study.change_table(study.subject_file(folder, "_units.tsv"), lambda table: table.assign(**{"roi:FFA": "1"}))
    conversion.convert(study.opened(folder), asked, "train", tmp_path / "train", tmp_path / "unfinished")
    assert response_store.read(tmp_path / "train").trials("mini", "sub-01", "FFA").n_voxels == 10


def _killed(*_):
    raise KeyboardInterrupt


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
    asked = types.SimpleNamespace(dataset=study.wanted(folder), storage=types.SimpleNamespace(remote="anywhere"))
    assert remote_guard.faults(Paths(folder), asked) == []
    (folder / "dataset_description.json").write_text("{}")
    assert "Trials table may not be passed on" in remote_guard.faults(Paths(folder), asked)[0]
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


def test_no_z_score_of_a_trial_that_is_not_finite(tmp_path):
    values = study.make(tmp_path / "study", images=False, normalized="none")["sub-01"]
    table = pd.read_csv(study.subject_file(tmp_path / "study", "_trials.tsv"), sep="\t", dtype=str)
    values[np.flatnonzero(table["stimulus_id"] == "003")[0], 2] = np.inf
    np.save(study.subject_file(tmp_path / "study", "_betas.npy"), values)
    with pytest.raises(FileError, match="training trials are NaN or infinite in a unit and are not excluded"):
        study.opened(tmp_path / "study").responses("test", "mini", "sub-01", "V1")


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
    [(expectation, told)] = study.checked(found.folder, subjects=["sub-01"])["trials_tables"].values()
    assert expectation["severity"] == "warning"
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
    assert "roi_masks" not in study.checked(found.folder)


# Files


def test_the_digest_follows_what_decides_the_arrays(folder, whole):
    before = study.opened(whole[0]).digest("sub-01")
    assert study.opened(folder).digest("sub-01") == before
    study.change_table(study.subject_file(folder, "_units.tsv"), lambda table: table.assign(**{"roi:FFA": "1"}))
    assert study.opened(folder).digest("sub-01") != before


def test_the_layouts_names(folder):
    runs = [study.subject_file(folder, f"_run-{run}_statmap.nii.gz", "sub-02") for run in (2, 10, 1)]
    for path in runs:
        path.touch()
    assert names.SubjectFiles(folder, "sub-02").betas["nifti"] == (runs[2], runs[0], runs[1])
    files = names.SubjectFiles(folder, "sub-01")
    assert set(files.betas) == {"npy"} and files.betas_path == files.array
    assert names.subjects_in(folder) == study.SUBJECTS
    assert Betas(files.array, open_betas(files)).shape == (40, 10)


# docs/trials.md


def test_the_example_of_the_docs_is_a_study(tmp_path, monkeypatch, default_params):
    page = Path(__file__).parents[1].joinpath("docs/trials.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    asked = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    tests = [yaml.safe_load(line)["test"] for line in page.splitlines() if line.startswith("test: {")]
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).standard_normal((20, 50))
    exec(code, {"betas": values})
    assert asked["dataset"].keys() == default_params.dataset.model_dump().keys()
    found = trials.open_folder(params.Dataset(**asked["dataset"]))
    [(_, told)] = study.checked(tmp_path / "mystudy", subjects=["sub-01"])["stimuli_table"].values()
    assert told == ["stimuli.tsv (not_here 10 of 10 stimuli: 000, 001, 002, ...)"]
    assert ids(found, "test") == ["008", "009"]
    responses = found.responses("test", "mini", "sub-01", "V1").values
    np.testing.assert_array_equal(responses, values.astype(np.float32).reshape(2, 10, 50)[:, 8:, :20].swapaxes(0, 1))
    assert [study.choice(**each).seed for each in tests] == [0] * 5


def test_each_subject_says_where_its_whole_brain_columns_lie(tmp_path):
    """Voxels in C order, by the table of units; in no common grid, too, where subjects have volumes of their own."""
    folder = tmp_path / "study"
    betas = study.make(folder)
    moved = [[3.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]]
    assert study.opened(folder).grid.space == "MNI152NLin2009cAsym"
    study.change_json(study.subject_file(folder, "_betas.json", "sub-02"), Space="T1w")
    assert study.opened(folder).grid.space == "unknown"  # of one grid, and yet a place of one is none of the other's
    study.change_json(study.subject_file(folder, "_betas.json", "sub-02"), Affine=moved)
    opened = study.opened(folder)
    assert opened.grid is None
    for subject, space in (("sub-01", "MNI152NLin2009cAsym"), ("sub-02", "T1w")):
        found, voxels = opened.own_places(subject), [tuple(voxel) for voxel in study.places(subject)[0]]
        assert found.grid.space == space and found.grid.shape == study.SHAPE
        assert [tuple(place) for place in found.indices] == sorted(voxels)
        units = [voxels.index(tuple(place)) for place in found.indices]
        ids = [stimulus.id for stimulus in opened.stimuli[: opened.n_train]]
        expected = study.by_hand(folder, betas[subject], subject, ids, units)
        np.testing.assert_array_equal(np.asarray(opened.arrays("train", "full", subject, "WB")["train"]), expected)
    np.testing.assert_allclose(opened.own_places("sub-02").grid.affine, moved)


@pytest.mark.parametrize(
    ("about", "n_vertices"),
    [
        ({"Space": "fsaverage5"}, 10242),
        ({"Space": "fsaverage", "Density": "41k"}, 40962),
        ({"Space": "fsnative"}, None),
    ],
)
def test_vertices_are_those_of_the_table_on_surfaces_of_the_templates_size(tmp_path, about, n_vertices):
    study.make(tmp_path / "study", "gifti")
    study.change_json(study.subject_file(tmp_path / "study", "_betas.json"), **about)
    found = study.opened(tmp_path / "study").own_places("sub-01")
    _, hemi, vertices = study.places("sub-01")
    np.testing.assert_array_equal(found.places, np.stack([hemi, vertices], axis=1))
    sizes = {side: n_vertices or vertices[hemi == n].max() + 1 for n, side in enumerate("LR")}
    assert found.space == about["Space"] and found.n_vertices == sizes


# What a study asks of the parameters: groups of stimuli, files of stimuli, ROIs


def kept_together(column, stimuli, n_train=None):
    asked = study.wanted("studies/mine").model_copy(update={"together": column})
    return validation.groups(asked, stimuli, len(stimuli) if n_train is None else n_train)


def stimuli_of_scenes(*scenes, **columns):
    return [Stimulus(f"s{number}", None, {"scene": scene} | columns) for number, scene in enumerate(scenes)]


def test_groups_of_training_stimuli_are_numbered(whole):
    scenes = ["zoo", "sea", "zoo", "air", "sea", "fire", "ice"]
    assert kept_together("scene", stimuli_of_scenes(*scenes), 5) == (0, 1, 0, 2, 1)
    assert kept_together(None, stimuli_of_scenes(*scenes), 5) == () == validation.groups(study.wanted("x"), [], None)
    found = study.opened(whole[0])
    numbers = kept_together("scene", found.stimuli, found.n_train)
    by_hand = [found.table.columns[key]["scene"] for key in study.TRAIN]
    assert len(numbers) == 12 and len(set(zip(numbers, by_hand))) == len(set(numbers)) == len(set(by_hand)) == 3


def test_groups_that_no_split_can_hold_together_are_refused():
    with pytest.raises(InputError, match=r"is scene, and training and test stimuli share 2 of its values: sea, zoo; "):
        kept_together("scene", stimuli_of_scenes("zoo", "sea", "air", "zoo", "sea"), 3)
    gaps = r"is scene, and 2 of 4 stimuli have no value of it \(s1, s3\); columns of the stimuli are scene, run;"
    with pytest.raises(InputError, match=gaps):
        kept_together("scene", stimuli_of_scenes("zoo", "", "air", "", run="1"))
    with pytest.raises(InputError, match="is sceen, and 2 of 2 stimuli have no value of it .* stimuli are scene; name"):
        kept_together("sceen", stimuli_of_scenes("zoo", "air"))
    with pytest.raises(InputError, match="columns of the stimuli are none; name one of these, or null"):
        kept_together("scene", [Stimulus("0001.mp4", Path("0001.mp4"))])


def test_a_network_needs_the_files_of_stimuli_and_an_array_none():
    mine = params.Network(weights="none", file=Path("my.npz"), sha256=None, n_frames=1, seed=0, model="array")
    shown = params.Network(weights="package", file=None, sha256=None, n_frames=1, seed=0)
    validation.require_none_missing(["a", "b"], {"mine": mine})
    with pytest.raises(InputError, match=r"^5 stimuli are not on this disk \(a, b, c, d\), .* need them: alexnet, x; "):
        validation.require_none_missing(list("abcde"), {"alexnet": shown, "mine": mine, "x": shown})


def test_blocks_are_those_that_are_there_subjects_with_equal_stimuli_together(whole, folder):
    def blocks(track="mini", folder=whole[0], **changed):
        asked = study.wanted(folder, **changed)
        return datasets.blocks_of(trials.open_folder(asked), asked, track)

    present = [(subject, roi) for subject in study.SUBJECTS for roi in study.ROIS[subject]]
    assert blocks() == present and blocks("full") == [(subject, "WB") for subject in study.SUBJECTS]
    assert blocks(missing_rois="refuse") == [(subject, roi) for subject in study.SUBJECTS for roi in ("V1", "FFA")]
    without = r"sub-03 has none of dataset.rois; sub-01 has V1, FFA; sub-02 has V1, FFA; sub-03 has V1; correct"
    with pytest.raises(InputError, match=without):
        blocks(rois=["FFA"])
    with pytest.raises(InputError, match="no subject has PPA; sub-01 has V1, FFA"):
        blocks(rois=["V1", "PPA"])
    for ending in ("_trials.tsv", "_betas.npy"):  # sub-03 saw what sub-01 saw
        shutil.copy(study.subject_file(folder, ending, "sub-01"), study.subject_file(folder, ending, "sub-03"))
    assert blocks("full", folder) == [("sub-01", "WB"), ("sub-03", "WB"), ("sub-02", "WB")]
    assert blocks("mini", folder)[:3] == [("sub-01", "V1"), ("sub-01", "FFA"), ("sub-03", "V1")]

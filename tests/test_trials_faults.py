"""A trials table with a fault of each kind: it is found with its file, its line and a cure, before anything is read."""

import json
import re
import shutil

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest

import layout
import trials_study as study
from cinevox import validation
from cinevox.errors import InputError
from cinevox.validation import judgement


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials") / "study"
    study.make(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "study")


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


def trial_of(folder, key, number=0):
    """The row of a trial of a stimulus."""
    table = pd.read_csv(study.subject_file(folder, TRIALS), sep="\t", dtype=str)
    return np.flatnonzero(table["stimulus_id"] == key)[number]


def copied(key, number, other, other_number=0):
    """A trial's betas in place of another's."""

    def damage(folder):
        one, two = trial_of(folder, key, number), trial_of(folder, other, other_number)
        betas(lambda values: with_value(two, slice(None), values[one])(values))(folder)

    return damage


def from_another_subject(folder):
    """Five trials of sub-02 with an ROI's voxels and all others, at other rows."""
    others = np.load(study.subject_file(folder, "_betas.npy", "sub-02"))[3:8]
    betas(lambda values: with_value(slice(20, 25), slice(None), others)(values))(folder)


def same_image(one, other):
    return lambda folder: shutil.copy(folder / f"images/{one}.png", folder / f"images/{other}.png")


def as_pickle(folder):
    np.save(study.subject_file(folder, "_betas.npy"), np.array([{}], dtype=object), allow_pickle=True)


def two_kinds(folder):
    study.write_betas(folder, "sub-01", "hdf5", np.zeros((3, 3)))


def beside_the_study(folder):
    path = study.subject_file(folder, "_betas.npy")
    path.symlink_to(path.rename(folder.parent / "elsewhere.npy"))


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
    "shape of trials": (betas(lambda values: values[:-1]), "betas", "n_trials", r"n_trials 39, n_trials_listed 40"),
    "shape of units": (betas(lambda values: values[:, :-2]), "betas", "n_units", r"n_units 8, n_units_listed 10"),
    "transposed": (betas(lambda values: values.T), "betas", "n_trials", "n_trials 10, n_trials_listed 40"),
    "no betas": (
        lambda folder: study.subject_file(folder, "_betas.npy").unlink(),
        "betas",
        "fault",
        "found none; expected betas in one kind",
    ),
    "two kinds of betas": (two_kinds, "betas", "fault", "found sub-01_betas.npy and sub-01_betas.h5"),
    "a pickle": (as_pickle, "betas", "fault", "not a .npy file of numbers"),
    "a link into another file": (linked_out, "betas", "fault", "expected a data set betas in the file itself"),
    "a link out of the study": (beside_the_study, "betas", "fault", r"\(fault a link out of "),
    "float64": (
        betas(lambda values: values.astype(float)),
        "betas",
        "fault",
        r"holds float64, .*astype\(numpy.float32\)",
    ),
    "three axes": (betas(lambda values: values[None]), "betas", "fault", r"expected \(n_trials, n_units\)"),
    "int16 without scale": (
        betas(lambda values: values.astype(np.int16)),
        "betas",
        "bad_scale",
        "betas are int16, and Scale is not there",
    ),
    "a scale of floats": (sidecar(Scale=300), "betas", "bad_scale", "Scale is 300, and the betas are float32"),
    "no sidecar": (
        lambda folder: study.subject_file(folder, "_betas.json").unlink(),
        "betas",
        "bad_sidecar",
        "is not there",
    ),
    "not normalized how": (
        sidecar(Normalized="yes"),
        "betas",
        "bad_sidecar",
        "Normalized is 'yes'; expected session, run, none",
    ),
    "undeclared NaN": (betas(with_value(7, 2, np.nan)), "betas", "not_finite", "line 9: trial 7 in 1 of 10 units"),
    "a test trial that trains": (
        copied("t1", 0, "005"),
        "betas",
        "copied",
        r"line \d+: trial \d+ \((t1, test|005, training)\) = trial \d+ \((t1, test|005, training)\)\)$",
    ),
    "a copied repetition": (copied("t2", 1, "t2", 3), "betas", "copied", r"\(t2, test\) = trial \d+ \(t2, test\)\)$"),
    "trials of another subject": (
        from_another_subject,
        "betas",
        "of_another",
        r"sub-01_betas.npy \(of_another 5 of sub-02",
    ),
    "filled trials": (
        betas(with_value(slice(0, 2), slice(None), 0)),
        "betas",
        "filled",
        r"\(filled line 2: trial 0, line 3: trial 1\)",
    ),
    "unknown stimulus": (
        cell(TRIALS, 2, "stimulus_id", "elephant"),
        "trials_tables",
        "unknown_stimulus",
        "line 4: elephant",
    ),
    "numbers and text": (
        table(TRIALS, lambda t: t.replace({"stimulus_id": {"007": "7"}})),
        "trials_tables",
        "written_otherwise",
        r"line \d+: 7, 007 in stimuli.tsv",
    ),
    "a trial twice": (table(TRIALS, first_line_again), "trials_tables", "trial_twice", "line 42: 0"),
    "no number": (cell(TRIALS, 3, "trial", "x"), "trials_tables", "bad_trial", "line 5: x"),
    "counted from 1": (
        table(TRIALS, lambda t: t.assign(trial=[str(int(n) + 1) for n in t["trial"]])),
        "trials_tables",
        "bad_trial",
        "line 41: 40",
    ),
    "no session": (cell(TRIALS, 0, "session", "n/a"), "trials_tables", "without_session", "line 2"),
    "exclude": (
        table(TRIALS, lambda t: t.assign(exclude="maybe")),
        "trials_tables",
        "bad_exclude",
        "line 2: maybe, line 3: maybe, line 4: maybe, and 37 more",
    ),
    "a repetition twice": (
        table(TRIALS, lambda t: t.assign(repetition="1")),
        "trials_tables",
        "repetition_twice",
        r"t\d repetition 1",
    ),
    "no trials": (lambda folder: study.subject_file(folder, TRIALS).unlink(), "trials_tables", "fault", "is not there"),
    "commas": (
        text("sub-01/sub-01_trials.tsv", lambda content: content.replace("\t", ",")),
        "trials_tables",
        "fault",
        "separated by commas, expected tabs",
    ),
    "a cell too many": (
        text("sub-01/sub-01_trials.tsv", lambda content: content.replace("ses-1", "ses-1\tx", 1)),
        "trials_tables",
        "fault",
        "line 2: 5 cells",
    ),
    "no test trials": (without_test, "trials_tables", "no_test", "none of 4 test stimuli"),
    "no training trials": (
        table(TRIALS, lambda t: t.assign(stimulus_id="t1")),
        "trials_tables",
        "no_training",
        "none of 12 training stimuli",
    ),
    "unknown kind": (cell(UNITS_FILE, 1, "kind", "neuron"), "units_tables", "bad_kind", "line 3: neuron"),
    "two units at one place": (
        table(UNITS_FILE, lambda t: t.assign(**{name: [*t[name][:9], t[name][0]] for name in "ijk"})),
        "units_tables",
        "place_twice",
        r"line 11: voxel i \d j \d k \d",
    ),
    "half a place": (cell(UNITS_FILE, 4, "j", "n/a"), "units_tables", "bad_place", "line 6: voxel i . j n/a"),
    "a unit twice": (cell(UNITS_FILE, 4, "unit", "3"), "units_tables", "unit_twice", "line 6: 3"),
    "an ROI of words": (cell(UNITS_FILE, 4, "roi:V1", "left"), "units_tables", "bad_roi", "roi:V1 in line 6: left"),
    "an ROI called WB": (
        table(UNITS_FILE, lambda t: t.rename(columns={"roi:V1": "roi:WB"})),
        "units_tables",
        "bad_roi_name",
        "WB",
    ),
    "a ceiling of words": (
        table(UNITS_FILE, lambda t: t.assign(**{"ceiling:nc": "high"})),
        "units_tables",
        "bad_ceiling",
        "ceiling:nc in line 2: high",
    ),
    "an id twice": (table(STIMULI, first_line_again), "stimuli_table", "id_twice", "line 18: t4"),
    "a path out": (
        cell(STIMULI, 0, "file", "../../secret.png"),
        "stimuli_table",
        "outside",
        "line 2: ../../secret.png: expected a path without ..",
    ),
    "a file of two": (
        cell(STIMULI, 1, "file", "images/t4.png"),
        "stimuli_table",
        "file_twice",
        "line 3: images/t4.png",
    ),
    "another file": (
        table(STIMULI, lambda t: t.assign(sha256="0" * 64)),
        "stimuli_table",
        "bad_sha256",
        "line 2: t4's file has [0-9a-f]{8}..., the table 00000000",
    ),
    "a duration": (table(STIMULI, lambda t: t.assign(duration="-3")), "stimuli_table", "bad_duration", "line 2: -3"),
    "a leak under two ids": (same_image("005", "t3"), "split", "same_content", "005 and t3"),
    "nothing trains": (table(STIMULI, lambda t: t.assign(split="test")), "split", "no_training", "no stimulus trains"),
    "a mask off the grid": (
        volume(MASK, np.zeros((4, 5, 4), np.uint8)),
        "roi_masks",
        "fault",
        r"shape 4 x 5 x 4, affine \[\[2.0.*the betas' has shape 4 x 5 x 3, affine",
    ),
    "a mask elsewhere": (
        volume(MASK, NONE, np.eye(4)),
        "roi_masks",
        "fault",
        r"affine \[\[1.0, 0.0, 0.0, 0.0\].*the betas' has shape 4 x 5 x 3, affine \[\[2.0",
    ),
    "labels": (volume(MASK, NONE + np.uint8(7)), "roi_masks", "fault", "holds 7; expected 0 and 1 alone"),
    "a column and a mask": (volume("rois/V1.nii.gz", NONE), "roi_masks", "fault", "has a column roi:V1 too"),
    "not described": (
        text("dataset_description.json", lambda content: "{}"),
        "study_files",
        "fault",
        "Name is not there.*cinevox.version is not there",
    ),
    "not listed": (
        text("participants.tsv", lambda content: content.replace("sub-02", "sub-2")),
        "study_files",
        "unlisted",
        "unlisted sub-02",
    ),
}
ODD = {
    "a misspelt column": (
        table(TRIALS, lambda t: t.assign(excluded="1", RT="2")),
        "trials_tables",
        "close_name",
        r"close_name excluded \(exclude\?\)\)$",
    ),
    "an ROI's misspelt column": (
        table(UNITS_FILE, lambda t: t.assign(ROI_PPA="1")),
        "units_tables",
        "close_name",
        r"ROI_PPA \(roi:\?\)",
    ),
    "Fortran order": (betas(np.asfortranarray), "betas", "in_columns", "in Fortran order"),
    "a unit that does not vary": (betas(with_value(slice(None), 3, 1)), "betas", "constant", "1 of 10 do not: unit 3"),
    "missing files": (
        lambda folder: shutil.rmtree(folder / "images"),
        "stimuli_table",
        "not_here",
        "16 of 16 stimuli: t4, t3, t2, ...",
    ),
    "left out": (cell(STIMULI, 0, "split", "odd"), "stimuli_table", "left_out", "1 of odd"),
    "a copy on one side": (same_image("005", "006"), "split", "copies", "005 and 006"),
    "an empty mask": (volume(MASK, NONE), "roi_masks", "empty", "sub-01; sub-02; sub-03"),
    "an ROI under two names": (
        table(UNITS_FILE, lambda t: t.assign(**{"roi:FFA": t["roi:V1"]})),
        "units_tables",
        "same_units",
        r"same_units V1 = FFA\)",
    ),
    "a split that is not used": (text("splits/other.json", lambda _: "{}"), "study_files", "unused", "not used"),
}


def test_a_good_study_has_no_fault(whole):
    assert study.checked(whole) == {}


@pytest.mark.parametrize("name", [*BAD, *ODD])
def test_a_fault_is_found_with_its_line_and_its_cure(folder, name):
    damage, suite, rule, said = (BAD | ODD)[name]
    damage(folder)
    expectation, told = study.checked(folder)[suite][rule]
    assert expectation["severity"] == ("critical" if name in BAD else "warning")
    assert re.search(said, told[0]), told
    assert expectation["meta"]["cure"].endswith(".")


def test_equal_trials_that_say_nothing(folder):
    """An excluded trial, and two units of coarse numbers."""
    copied("t1", 0, "005")(folder)
    again = int(trial_of(folder, "005"))
    cell(TRIALS, again, "exclude", "1")(folder)
    assert study.checked(folder) == {}
    betas(lambda values: (300 * values).astype(np.int16) * (np.arange(10) < 2).astype(np.int16))(folder)
    sidecar(Scale=300)(folder)
    copied("t2", 1, "t2", 3)(folder)
    assert list(study.checked(folder)["betas"]) == ["constant"]


def test_all_trials_of_two_subjects(folder):
    for ending in ("_betas.npy", "_trials.tsv"):
        shutil.copy(study.subject_file(folder, ending, "sub-01"), study.subject_file(folder, ending, "sub-02"))
    said = study.checked(folder)["betas"]["of_another"][1]
    assert said == [
        "sub-01/sub-01_betas.npy (of_another 40 of sub-02)", "sub-02/sub-02_betas.npy (of_another 40 of sub-01)",
    ]  # fmt: skip


def test_great_expectations_finds_all_faults_at_once(folder):
    for name in ("undeclared NaN", "unknown stimulus", "half a place", "an id twice", "a leak under two ids", "labels"):
        BAD[name][0](folder)
    found = {
        (suite, expectation["description"]): (expectation, told)
        for suite, rules in study.checked(folder).items()
        for expectation, told in rules.values()
    }
    judged = judgement.judge(study.inspected(folder), {}, None)
    failed = {(check.suite, check.expected): check for check in judged if not check.success}
    assert failed.keys() == found.keys()
    assert {suite for suite, _ in failed} == {
        "betas", "trials_tables", "units_tables", "stimuli_table", "split", "roi_masks"
    }  # fmt: skip
    for name, check in failed.items():
        expectation, told = found[name]
        assert (check.level == "error") == (expectation["severity"] == "critical")
        assert check.cure == expectation["meta"]["cure"]
        assert all(line.startswith(f"{each.file} (") for each, line in zip(check.examples, told, strict=True))


SPLIT_FAULTS = {
    "both": ({"file": "mine"}, {"train": ["001"], "test": ["001", "t1"]}, "both", "both 001"),
    "unknown": ({"file": "mine"}, {"train": ["001", "x"], "test": ["t1"]}, "unknown_stimulus", "x"),
    "numbers": ({"file": "mine"}, {"train": [1, "002"], "test": ["t1"]}, "not_text", "not_text 1"),
    "not there": ({"file": "yours"}, {"train": [], "test": []}, "fault", "splits are mine"),
    "no such column": ({"column": "colour", "values": ["red"]}, None, "fault", "stimuli.tsv has the columns"),
    "no such value": ({"column": "scene", "values": ["red"]}, None, "fault", "no stimulus has red; there is scene 0"),
    "a session on both sides": ({"column": "session", "values": ["ses-1"]}, None, "both", "both 0"),
}


@pytest.mark.parametrize("name", SPLIT_FAULTS)
def test_faults_of_a_split(folder, name):
    chosen, content, rule, said = SPLIT_FAULTS[name]
    if content is not None:
        (folder / "splits").mkdir()
        (folder / "splits/mine.json").write_text(json.dumps(content))
    expectation, told = study.checked(folder, study.choice(**chosen))["split"][rule]
    assert expectation["severity"] == "critical" and said in told[0]


def test_a_split_that_is_not_held_together(folder):
    (folder / "splits").mkdir()
    (folder / "splits/mine.json").write_text(json.dumps({"train": study.TRAIN[3:], "test": study.TRAIN[:1]}))
    for together, said in (("scene", "apart scene scene 1"), ("film", "stimuli.tsv has no column film")):
        [(_, told)] = study.checked(folder, study.choice(file="mine"), together=together)["split"].values()
        assert said in told[0]


def test_a_pickle_in_zarr_is_not_opened(folder):
    study.subject_file(folder, "_betas.npy").unlink()
    study.write_betas(folder, "sub-01", "zarr", np.zeros((40, 10), np.float32))
    meta = study.subject_file(folder, "_betas.zarr") / "zarr.json"
    content = json.loads(meta.read_text())
    content["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    meta.write_text(json.dumps(content))
    [(_, told)] = study.checked(folder)["betas"].values()
    assert "uses the codec numcodecs.pickle, which is not opened" in told[0]


def test_zarr_chunks_that_are_not_there_are_no_zeros(folder):
    study.subject_file(folder, "_betas.npy").unlink()
    study.write_betas(folder, "sub-01", "zarr", np.ones((40, 10), np.float32))
    next(study.subject_file(folder, "_betas.zarr").rglob("c/*/*")).unlink()
    [(_, told)] = study.checked(folder)["betas"].values()
    assert "1 of 1 chunks are not there, and would be read as 0" in told[0]


def test_hemispheres_with_other_runs(tmp_path):
    study.make(tmp_path / "study", "gifti")
    whole = study.subject_file(tmp_path / "study", "_hemi-R_statmap.func.gii")
    arrays = nibabel.load(whole).darrays
    for run, part in enumerate((arrays[:9], arrays[9:])):
        nibabel.save(nibabel.GiftiImage(darrays=part), whole.with_name(f"sub-01_hemi-R_run-{run}_statmap.func.gii"))
    whole.unlink()
    [(_, told)] = study.checked(tmp_path / "study")["betas"].values()
    assert "hemispheres have different numbers of trials: L 40, R 9 + 31" in told[0]


@pytest.mark.parametrize(("kind", "ending"), [("hdf5", "_betas.h5"), ("nii.gz", "_run-2_statmap.nii.gz")])
def test_files_that_are_cut_off_are_found(tmp_path, kind, ending):
    study.make(tmp_path / "study", kind)
    path = study.subject_file(tmp_path / "study", ending)
    path.write_bytes(path.read_bytes()[:-300])
    [(_, told)] = study.checked(tmp_path / "study")["betas"].values()
    assert re.search("fault (cannot be read|not an HDF5 file)", told[0])


def test_subjects_who_lack_an_roi(whole):
    assert study.checked(whole, rois=["V1"], missing_rois="refuse") == {}
    [(_, told)] = study.checked(whole, missing_rois="refuse")["units_tables"].values()
    assert told == ["sub-03/sub-03_units.tsv (lacks FFA; there are V1)"]


def test_an_excluded_trial_needs_no_stimulus_and_a_stimulus_no_file(folder):
    """A blank trial; and a link that nothing was fetched for, as of git-annex."""
    table(TRIALS, lambda t: t.assign(exclude=[int(row == "2") for row in t["trial"]]))(folder)
    cell(TRIALS, 2, "stimulus_id", "n/a")(folder)
    (folder / "images/t2.png").unlink()
    (folder / "images/t2.png").symlink_to("../.git/annex/objects/t2.png")
    assert {suite: list(rules) for suite, rules in study.checked(folder).items()} == {"stimuli_table": ["not_here"]}


def test_places_that_contradict_the_table_are_found(tmp_path):
    study.make(tmp_path / "study", "cifti", images=False)
    study.change_table(
        study.subject_file(tmp_path / "study", "_units.tsv"), lambda t: t.assign(vertex=[1, 0, *t["vertex"][2:]])
    )
    [(_, told)] = study.checked(tmp_path / "study")["betas"].values()
    assert "2 units: unit 0 is hemi L vertex 0 in the file and hemi L vertex 1 in the table" in told[0]


def test_validation_stops_at_tables_that_are_wrong(folder):
    BAD["unknown stimulus"][0](folder)
    found = validation.check_folder(study.wanted(folder), layout.limits())
    assert [check.suite for check in found.errors] == ["trials_tables"]
    with pytest.raises(InputError, match=r"sub-01_trials.tsv \(unknown_stimulus line 4: elephant\)"):
        found.require()

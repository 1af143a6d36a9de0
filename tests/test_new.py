"""`cinevox new`: what it understands of folders, what it refuses, and loose files from there to their report."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.io import savemat

import layout
import record
import trials_study
from cinevox import cli, own_study
from cinevox.errors import InputError
from cinevox.files import pickles
from cinevox.own_study import names, repository
from cinevox.project import params
from cinevox.project.source_code import SourceCode
from cinevox.statistics import splits
from conftest import ROOT, tells

N = 24
NAMES = [f"im{number:02d}.png" for number in range(N)]
GRID, AFFINE = (4, 5, 3), np.diag([2.0, 2.0, 2.5, 1.0])
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _without_dvc(monkeypatch):
    """`dvc init` takes a second; the tests that run the command in a process of its own have it."""
    monkeypatch.setattr(repository, "start", lambda folder: None)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "mydata" / "images").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "mydata" / "images" / name)
    return tmp_path / "mydata"


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, pd.DataFrame):
        content.to_csv(path, sep="\t", index=False)
    else:
        np.save(path, content)
    return content


def values(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def new(data, **options):
    made = own_study.new(data.parent / "study", data, **options)
    return made, yaml.safe_load((made.folder / "params.yaml").read_text())


def refused(data, *parts):
    before = digest(data)
    with pytest.raises(InputError) as caught:
        own_study.new(data.parent / "study", data)
    assert digest(data) == before
    assert not [path.name for path in data.parent.iterdir() if path.name.startswith("study")]
    return tells(str(caught.value), *parts)


def digest(folder):
    said = [(str(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.sha256(repr(said).encode()).hexdigest()


def table(made, ending, subject="sub-01"):
    path = made.folder / "data/mydata" / subject / f"{subject}{ending}"
    return np.load(path) if ending.endswith("npy") else pd.read_csv(path, sep="\t", dtype={"stimulus_id": str})


def test_an_array_and_images_make_a_repository_with_this_studys_values(data):
    betas = put(data / "V1.npy", values(N, 7))
    before = digest(data)
    made, found = new(data)
    assert digest(data) == before
    np.testing.assert_array_equal(table(made, "_betas.npy"), betas)
    assert list(table(made, "_trials.tsv")["stimulus_id"]) == [name[:-4] for name in NAMES]
    links = sorted((made.folder / "data/mydata/stimuli").iterdir())
    assert [link.resolve() for link in links] == [data / "images" / name for name in NAMES]
    expected = {"name": "trials", "folder": "data/mydata", "subjects": ["sub-01"], "rois": ["V1"], "tracks": ["mini"]}
    assert expected.items() <= found["dataset"].items()
    assert found["simulation"]["datasets"] == [] and found["frames"]["counts"] == [1]
    assert found["splits"]["n_folds"] == 3 and set(found["experiments"]["joint"]) == set(made.rows)
    assert found["storage"]["remote"] == "private" and found["report"]["subject"] == "sub-01"
    assert tells(" ".join(made.guesses), "no name says a subject", "sub-01", "order of their names", "im00 first")
    assert {
        "dvc.yaml",
        "stages",
        "Makefile",
        "MLproject",
        "README.md",
        ".gitignore",
        ".dvcignore",
        ".github",
    } <= {path.name for path in made.folder.iterdir()}
    texts = [path.read_text() for path in made.folder.glob("*") if path.is_file()]
    assert str(data.parent) not in "".join(texts)  # it can be moved to another machine, with its data


def test_the_flow_is_this_versions_and_every_file_that_it_depends_on_is_there(data):
    put(data / "V1.npy", values(N, 7))
    made, found = new(data)
    stages = {path.name: path.read_text() for path in (made.folder / "stages").glob("*.py")}
    assert stages == {path.name: path.read_text() for path in (ROOT / "stages").glob("*.py")}
    text = (made.folder / "dvc.yaml").read_text()
    assert "params.paper.yaml" not in text
    assert yaml.safe_load(text).keys() == yaml.safe_load((ROOT / "dvc.yaml").read_text()).keys()
    assert params.load(made.folder / "params.yaml").experiments.rows.keys() == set(made.rows)
    found["dataset"] |= {"clips": None, "responses": None}  # DVC would look for mydata/None
    with pytest.raises(params.ParamsError, match=r"(?s)dataset.clips: .*or \. for all of it.*dataset.responses"):
        params.parse(found, "params.yaml")


def test_subjects_with_lists_of_their_own_may_lack_an_roi(data):
    orders = {"sub-01": [*NAMES[:16], *NAMES[:8]], "subj02": NAMES[8:]}
    betas = {}
    for subject, order in orders.items():
        put(data / subject / "order.txt", "\n".join(order))
        betas[subject] = put(data / subject / "V1.npy", values(len(order), 5))
    loc = put(data / "sub-01/LOC.npy", values(24, 4))
    made, found = new(data)
    np.testing.assert_array_equal(table(made, "_betas.npy"), np.hstack([betas["sub-01"], loc]))
    np.testing.assert_array_equal(table(made, "_betas.npy", "sub-02"), betas["subj02"])
    assert list(table(made, "_trials.tsv")["repetition"]) == [1] * 16 + [2] * 8
    assert found["dataset"]["rois"] == ["V1", "LOC"] and found["dataset"]["missing_rois"] == "skip"
    assert tells(" ".join(made.understood), "16 stimuli, each shown 1 to 2 times", "sub-02: 16", "once", "no LOC")


def test_repetitions_on_an_axis_and_those_that_were_not_measured(data):
    betas = values(N, 3, 6)
    betas[4, 2] = np.nan
    put(data / "S01" / "roi-FFA_betas.npy", betas)
    made, found = new(data)
    np.testing.assert_array_equal(table(made, "_betas.npy"), np.delete(betas.reshape(-1, 6), 14, axis=0))
    assert list(table(made, "_trials.tsv")["stimulus_id"].value_counts(sort=False)[:6]) == [3, 3, 3, 3, 2, 3]
    assert found["dataset"]["rois"] == ["FFA"] and "1 repetitions are missing" in " ".join(made.guesses)


def test_folders_may_be_links_and_features_are_no_responses(data):
    (data / "images").rename(data.parent / "elsewhere")
    (data / "images").symlink_to(data.parent / "elsewhere")
    (data / "loop").symlink_to(data)
    put(data / "V1.npy", values(N, 5))
    put(data / "clip_embeddings.npy", values(N, 512))
    made, found = new(data)
    assert found["dataset"]["rois"] == ["V1"] and tells(
        " ".join(made.understood), "24 images", "clip_embeddings.npy: features"
    )


def test_a_volume_without_masks_is_the_whole_brain(data):
    put(data / "sub-01/order.txt", "\n".join(NAMES))
    put(data / "sub-01/betas.npy", values(*GRID, N))
    made, found = new(data)
    assert found["dataset"]["tracks"] == ["full"] and found["report"]["brain_row"] in made.rows
    assert made.rows == ("full-lite0-each-ridge", "full-lite0-stack-ridge")
    assert "voxels of no ROI (60)" in " ".join(made.understood)


def test_code_of_a_study_repository_is_the_installed_packages(tmp_path):
    put(tmp_path / "stages/fits.py", "from cinevox.fitting import fits")
    modules = SourceCode.of(tmp_path)
    assert {"stages.fits", "cinevox.fitting.fits", "cinevox.errors"} <= set(modules.reached(["stages.fits"]))
    assert modules.files["cinevox.errors"] == ROOT / "src/cinevox/errors.py"


def test_train_and_test_are_folders(data):
    for part, chosen in (("train", NAMES[:18]), ("test", NAMES[18:])):
        (data / part).mkdir()
        for name in chosen:
            (data / "images" / name).rename(data / part / name)
    (data / "images").rmdir()
    put(data / "V1.npy", values(N, 5))
    made, _ = new(data)
    stimuli = pd.read_csv(made.folder / "data/mydata/stimuli.tsv", sep="\t")
    assert list(stimuli["split"]) == ["train"] * 18 + ["test"] * 6
    assert "18 training and 6 test images" in " ".join(made.understood)
    assert "no stimulus is named a test stimulus" not in " ".join(made.guesses)


def test_an_npz_has_an_roi_in_each_array_and_may_name_its_rows(data):
    v1, ppa, shown = values(N, 5), values(N, 3), NAMES[::-1]
    np.savez(data / "sub-07.npz", V1=v1, PPA=ppa, stimulus_ids=shown)
    made, found = new(data)
    np.testing.assert_array_equal(table(made, "_betas.npy", "sub-07"), np.hstack([v1, ppa]))
    assert list(table(made, "_trials.tsv", "sub-07")["stimulus_id"]) == [name[:-4] for name in shown]
    assert found["dataset"]["subjects"] == ["sub-07"]


def glmsingle(folder, kind, order, sessions=True):
    """GLMsingle's two files as its versions in Python and MATLAB write them, and masks; returns the betas."""
    betas = values(*GRID, len(order))
    betas[0, 0, 0] = np.nan
    folder.mkdir(parents=True)
    name, runs = folder / f"TYPED_FITHRF_GLMDENOISE_RR.{kind}", np.array([len(order) // 2] * 2)
    if kind == "npy":
        options = {"sessionindicator": np.array([[1, 2]])} if sessions else {}
        np.save(name, {"betasmd": betas, "R2": betas[..., 0], "pcnum": np.int64(3), "hrf": [1.0]}, allow_pickle=True)
        design = {"stimorder": [np.int64(each) for each in order], "numtrialrun": runs, "opt": options}
        np.save(folder / "DESIGNINFO.npy", design, allow_pickle=True)
    elif kind == "mat":
        with h5py.File(name, "w") as file:  # MATLAB 7.3: axes in the opposite order
            file["betasmd"] = betas.T
        savemat(folder / "DESIGNINFO.mat", {"stimorder": order[None] + 1, "numtrialrun": runs[None]})
    else:
        with h5py.File(name, "w") as file:
            file["betasmd"] = betas
        put(folder / "order.txt", "\n".join(NAMES[each] for each in order))
    for roi, where in (("V1_mask", np.s_[:2]), ("FFA", np.s_[3])):
        mask = np.zeros(GRID, dtype=np.uint8)
        mask[where] = 1
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), folder / f"{roi}.nii.gz")
    return betas


@pytest.mark.parametrize("kind", ["npy", "hdf5", "mat"])
def test_glmsingle_becomes_voxels_and_trials(data, kind):
    order = rng.permutation(np.repeat(np.arange(N), 2))
    betas = glmsingle(data / "sub-01", kind, order)
    made, found = new(data)
    units, trials = table(made, "_units.tsv"), table(made, "_trials.tsv")
    assert len(units) == 2 * 15 + 15 - 1  # without the voxel that has no value
    np.testing.assert_array_equal(table(made, "_betas.npy"), betas[units["i"], units["j"], units["k"]].T)
    np.testing.assert_array_equal(units["roi:V1"], (units["i"] < 2).astype(int))
    assert list(trials["stimulus_id"]) == [NAMES[each][:-4] for each in order]
    if kind != "hdf5":
        assert list(trials["run"]) == [1] * N + [2] * N
    assert list(trials["session"]) == ([1] * N + [2] * N if kind == "npy" else [1] * (2 * N))
    sidecar = json.loads((made.folder / "data/mydata/sub-01/sub-01_betas.json").read_text())
    assert sidecar["Affine"] == AFFINE.tolist() and sidecar["Shape"] == list(GRID)
    assert found["dataset"]["rois"] == ["V1", "FFA"]


def test_a_pickle_that_would_run_something_is_refused(data):
    class Hostile:
        def __reduce__(self):
            return os.system, ("touch /tmp/hostile",)

    path = data / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    np.save(path, {"betasmd": Hostile()}, allow_pickle=True)
    with pytest.raises(InputError, match="nothing in it was run"):
        pickles.read_saved(path)
    assert refused(data, "TYPED_FITHRF", "refused")
    path.write_bytes(pickle.dumps({"betasmd": 1}))
    with pytest.raises(InputError, match="save it again"):
        pickles.read_saved(path)


def test_a_trials_table_is_linked_to_as_it_is(tmp_path):
    trials_study.make(tmp_path / "table")
    made, found = new(tmp_path / "table")
    assert (made.folder / "data/table").is_symlink() and (made.folder / "data/table").resolve() == tmp_path / "table"
    expected = {"subjects": list(trials_study.SUBJECTS), "rois": ["V1", "FFA"], "missing_rois": "skip", "clips": "."}
    assert expected.items() <= found["dataset"].items()
    assert "12 training and 4 test images, 3 subjects" in " ".join(made.understood)
    settings = params.parse(found, "params.yaml").splits
    parts = splits.split(12, 4, settings)
    for own in trials_study.OWN.values():  # enough of every subject's stimuli train and validate
        seen = [trials_study.TRAIN.index(key) for key in own]
        assert np.isin(parts.validation, seen).sum() >= 2
        assert np.isin(parts.train, seen).sum() >= 2 * settings.n_folds


def test_stimuli_that_are_not_here_need_features(tmp_path):
    folder = tmp_path / "table"
    trials_study.make(folder, images=False)
    assert refused(folder, "16 of 16 stimuli", "--features")
    ids = [*trials_study.TRAIN, *trials_study.TEST]
    np.savez(tmp_path / "few.npz", ids=ids[1:], words=values(15, 3))
    with pytest.raises(InputError, match=r"few.npz: 1 of 16 stimuli have no id"):
        new(folder, features=tmp_path / "few.npz")
    np.savez(tmp_path / "all.npz", ids=ids, words=values(16, 3), scenes=values(16, 2))
    made, found = new(folder, features=tmp_path / "all.npz")
    own = found["networks"]["brought"]
    assert own["model"] == "array" and (made.folder / own["file"]).resolve() == tmp_path / "all.npz"
    assert found["spaces"]["brought"]["layer"] == ["words", "scenes"] and found["encoding"]["rows"] == []


def test_the_layout_of_the_challenge_is_known(tmp_path):
    folder = tmp_path / "challenge"
    layout.make(folder)
    made, found = new(folder)
    assert found["dataset"]["name"] == "algonauts2021" and found["dataset"]["clips"] == layout.CLIPS
    assert found["dataset"]["subjects"] == list(layout.SUBJECTS) and set(found["dataset"]["rois"]) == set(layout.ROIS)
    assert (made.folder / "data/challenge").is_symlink() and found["frames"]["counts"] == [4]


def test_bold_moments_are_known(tmp_path):
    record.make(tmp_path / "ds", "B")
    made, found = new(tmp_path / "ds")
    assert found["dataset"]["name"] == "bold_moments" and found["dataset"]["clips"] == "stimuli"
    assert found["dataset"]["responses"] == "derivatives/versionB/MNI152" and "BOLD Moments" in made.understood[0]
    (tmp_path / "ds/stimuli").rename(tmp_path / "ds/videos")
    with pytest.raises(InputError, match="no clips in the folder stimuli"):
        own_study.new(tmp_path / "another", tmp_path / "ds")


def other_rows(data):
    put(data / "V1.npy", values(N - 1, 5))
    return "V1.npy: 23 rows of shape (23, 5)", "has 24 stimuli", "expected as many"


def transposed(data):
    put(data / "V1.npy", values(5, N))
    return "V1.npy: 5 rows", "array.T"


def all_at_once(data):
    put(data / "sub-01/V1.npy", values(N + 1, 5))
    put(data / "sub-02/V1.npy", values(N, 5))
    put(data / "sub-02/order.txt", "\n".join(["cat.png", *NAMES[1:]]))
    return "sub-01/V1.npy: 25 rows", "sub-02/order.txt: 1 of its stimuli", "cat.png", "im00"


def numbers_in_two_ways(data):
    (data / "images/im9.png").write_bytes((data / "images/im00.png").read_bytes())
    put(data / "V1.npy", values(N + 1, 5))
    return "two ways", "order.txt"


def numbers_of_names_in_two_ways(data):
    numbers_in_two_ways(data)
    put(data / "order.npy", np.arange(N + 1))
    return "two ways", "order.txt"


def numbers_from_somewhere(data):
    put(data / "V1.npy", values(3, 5))
    put(data / "order.npy", np.array([1, 5, 7]))
    return "order.npy: numbers from 1 to 7 for 24 stimuli", "from 0 or from 1", "im00"


def two_lists(data):
    put(data / "V1.npy", values(N, 5))
    put(data / "order.txt", "\n".join(NAMES))
    put(data / "trials.tsv", pd.DataFrame({"stimulus_id": NAMES}))
    return "several lists of stimuli", "order.txt", "trials.tsv", "keep"


def two_arrays(data):
    put(data / "V1.npy", values(N, 5))
    put(data / "V1_betas.npy", values(N, 5))
    return "V1_betas.npy", "a second array of V1", "keep one"


def parts_apart(data):
    put(data / "V1_train.npy", values(18, 5))
    put(data / "V1_test.npy", values(6, 5))
    return "of test stimuli alone", "one array"


def no_arrays(data):
    return "no arrays of responses", "GLMsingle", "24 .png"


def no_order(data):
    put(data / "sub-01/betas.npy", values(*GRID, 48))
    return "48 trials", "nothing says", "DESIGNINFO"


def off_the_grid(data):
    glmsingle(data / "sub-01", "npy", np.arange(N))
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 5, 5), np.uint8), AFFINE), data / "sub-01/PPA.nii.gz")
    return "PPA.nii.gz", "(5, 5, 5)", "(4, 5, 3)"


def too_few(data):
    for name in NAMES[4:]:
        (data / "images" / name).unlink()
    put(data / "V1.npy", values(4, 5))
    return "4 training stimuli", "too few", "six or more"


def no_stimuli(data):
    for name in NAMES:
        (data / "images" / name).unlink()
    put(data / "V1.npy", values(N, 5))
    return "no images or clips", "order.txt"


@pytest.mark.parametrize(
    "spoil",
    [
        other_rows, transposed, all_at_once, numbers_in_two_ways, numbers_of_names_in_two_ways,
        numbers_from_somewhere, two_lists, two_arrays, parts_apart, no_arrays, no_order, off_the_grid, no_stimuli,
        too_few,
    ],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_what_cannot_be_told_is_refused_and_nothing_is_made(data, spoil):
    assert refused(data, *spoil(data))


def test_places_that_will_not_do(data, tmp_path):
    put(data / "V1.npy", values(N, 5))
    for study, told in ((data, "exists"), (data / "study", "left as it is")):
        with pytest.raises(InputError, match=told):
            own_study.new(study, data)
    with pytest.raises(InputError, match="no such folder"):
        own_study.new(tmp_path / "study", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "path, subject, roi",
    [
        ("sub-01/V1.npy", "sub-01", "V1"), ("subj01/roi-FFA_beta.npy", "sub-01", "FFA"), ("S3/hV4.npy", "sub-3", "hV4"),
        ("subject_12_PPA.npy", "sub-12", "PPA"), ("a/sub-CSI1_LOC.npy", "sub-CSI1", "LOC"), ("betas.npy", None, None),
        ("subset1/V4.npy", None, "V4"), ("sub-02/sub-02_space-T1w_label-EBA_mask.nii.gz", "sub-02", "EBA"),
        ("sub-02/brainmask.nii.gz", "sub-02", "WB"), ("supplement/hV4.npy", None, "hV4"),
    ],
)  # fmt: skip
def test_subjects_and_rois_by_name(path, subject, roi):
    assert (names.subject_of(Path(path)), names.roi_of(Path(path))) == (subject, roi)


def test_an_update_replaces_copies_and_refuses_what_was_edited(data, monkeypatch):
    put(data / "V1.npy", values(N, 5))
    made, _ = new(data)
    assert repository.update(made.folder) == ()
    later = repository.copies() | {"stages/fits.py": b"later", "stages/added.py": b"new"}
    del later["stages/gate.py"]
    monkeypatch.setattr(repository, "copies", lambda: later)
    assert set(repository.update(made.folder)) == {"stages/fits.py", "stages/added.py", "stages/gate.py"}
    assert (made.folder / "stages/fits.py").read_text() == "later" and not (made.folder / "stages/gate.py").exists()
    assert repository.update(made.folder) == ()
    (made.folder / "Makefile").write_text("mine")
    with pytest.raises(InputError, match="Makefile: edited"):
        repository.update(made.folder)
    with pytest.raises(InputError, match="no such file"):
        repository.update(data)


@pytest.mark.parametrize(
    "found, line",
    [
        (None, "cinevox==0.1.0"),
        ({"url": "file:///home/me/cinevox", "dir_info": {"editable": True}}, "cinevox==0.1.0"),
        ({"url": "https://h/c.whl", "archive_info": {}}, "cinevox @ https://h/c.whl"),
        (
            {"url": "https://h/c.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "cinevox @ git+https://h/c.git@abc",
        ),
    ],
)
def test_a_repository_names_the_version_that_made_it(monkeypatch, found, line):
    text = None if found is None else json.dumps(found)
    monkeypatch.setattr(repository.metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    monkeypatch.setattr(repository.metadata, "version", lambda name: "0.1.0")
    assert repository.requirement() == line


def test_the_workflow_passes_the_checks_of_this_repositorys(data):
    put(data / "V1.npy", values(N, 5))
    made, _ = new(data)
    tools = Path(sys.executable).parent
    workflow = str(made.folder / ".github/workflows/ci.yml")
    for words in (["zizmor", "--offline"], ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"]):
        done = subprocess.run(
            [str(tools / words[0]), *words[1:], workflow], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_arrays_that_change_make_the_table_anew(data, monkeypatch, capsys):
    put(data / "V1.npy", values(N, 5))
    made, _ = new(data)
    monkeypatch.chdir(made.folder)
    assert cli.main(["update"]) == 0
    (sidecar,) = made.folder.glob("data/*/sub-*/sub-*_betas.json")
    corrected = json.loads(sidecar.read_text()) | {"Normalized": "session"}
    sidecar.write_text(json.dumps(corrected))
    later = put(data / "V1.npy", values(N, 6))
    assert cli.main(["update"]) == 2
    assert tells(capsys.readouterr().err, "V1.npy: changed since data/mydata", "cinevox update --data")
    assert cli.main(["update", "--data"]) == 0
    np.testing.assert_array_equal(table(made, "_betas.npy"), later)
    told = capsys.readouterr().out
    assert tells(told, "data/mydata: written anew", "V1 (6)", "_betas.json: kept as it was corrected: Normalized")
    assert json.loads(sidecar.read_text())["Normalized"] == "session"
    assert cli.main(["update"]) == 0
    put(data / "V1.npy", values(N + 1, 6))
    assert cli.main(["update", "--data"]) == 2
    np.testing.assert_array_equal(table(made, "_betas.npy"), later)  # as it was


def test_the_wheel_has_what_a_study_is_made_of(data, tmp_path):
    put(data / "V1.npy", values(N, 5))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next((tmp_path / "wheel").glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    command = [sys.executable, "-m", "cinevox.cli", "new", "study", "--data", "mydata"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert tells(done.stdout, "a study repository", "24 images", "V1 (5)", "Guessed", "Next: `cd study && make repro`")
    assert (tmp_path / "study/.git").is_dir() and (tmp_path / "study/.dvc/config").is_file()
    assert (tmp_path / "study/stages/fits.py").read_text() == (ROOT / "stages/fits.py").read_text()
    said = subprocess.run(
        [sys.executable, "-c", "import cinevox.own_study.repository as r; print(r.flow())"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(said.stdout.strip()) == tmp_path / "site/cinevox/own_study/flow"


def test_the_page_says_what_works(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/own-data.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    commands = re.findall(r"^cinevox (new mystudy .*)$", page, re.MULTILINE)
    shown = [f"beach_{number:03d}.png" for number in rng.permutation(120)]
    pictures = {name: Image.new("RGB", (4, 4), (number, 9, 9)) for number, name in enumerate(sorted(shown))}
    monkeypatch.chdir(tmp_path)
    responses = values(120, 200)
    exec(code, {"pictures": pictures, "responses": responses, "shown": shown})
    assert cli.main(commands[0].split()) == 0
    out = capsys.readouterr().out
    assert tells(
        out, "120 images", "120 stimuli, each shown once; voxels of V1 (200)", "no noise ceiling", "make repro"
    )
    betas = np.load("mystudy/data/mydata/sub-01/sub-01_betas.npy")
    np.testing.assert_array_equal(betas, responses)
    assert yaml.safe_load(Path("mystudy/params.yaml").read_text())["splits"]["n_folds"] == 5

    Path("mydata").rename("first")
    Path("mystudy").rename("first-study")
    (tmp_path / "mydata/images").mkdir(parents=True)
    for name in NAMES:
        pictures[shown[0]].save(f"mydata/images/{name}")
    glmsingle(tmp_path / "mydata/sub-01", "npy", rng.permutation(np.repeat(np.arange(N), 2)))
    assert cli.main(commands[1].split()) == 0
    assert tells(capsys.readouterr().out, "V1 (30), FFA (15)", "DESIGNINFO.npy count the stimuli")
    np.savez("features.npz", ids=NAMES, words=values(N, 3))
    Path("mystudy").rename("second-study")
    assert cli.main(commands[2].split()) == 0


@pytest.mark.slow
def test_two_commands_lead_from_a_folder_of_files_to_a_report(tmp_path):
    folder, n = tmp_path / "mydata", 30
    (folder / "images").mkdir(parents=True)
    latent = rng.standard_normal((n, 3))
    y, x = np.mgrid[:64, :64] / 64
    for number, (pitch, shift, level) in enumerate(latent):
        wave = 128 + 60 * np.sin(2 * np.pi * (2 + 6 * abs(pitch)) * x + 3 * shift * y) + 30 * level
        picture = np.stack([wave, wave[::-1], wave.T], axis=-1)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / f"images/scene{number:02d}.png")
    for subject, own, rois in (("sub-01", range(0, 25), ("V1", "LOC")), ("sub-02", range(5, 30), ("V1",))):
        order = rng.permutation([*own, *list(own)[::2]])
        put(folder / subject / "order.txt", "\n".join(f"scene{number:02d}" for number in order))
        for roi in rois:
            put(folder / subject / f"{roi}.npy", latent[order] @ values(3, 8) + 0.7 * values(len(order), 8))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def command(*words, cwd=tmp_path):
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("cinevox", "new", "mystudy", "--data", "mydata")
    study = tmp_path / "mystudy"
    assert tells(command("make", "repro", cwd=study), "mini-lite0-each-ridge", "validation", "mini-lite0-stack-ridge")
    page = (study / "report/index.html").read_text()
    assert "mydata" in page and "2 regions" in page and "FFA" not in page and "Algonauts" not in page
    metrics = json.loads((study / "metrics/mini-lite0-stack-ridge.json").read_text())
    assert metrics["validation"]["score"] > 0.2  # the images drive the responses
    reached = json.loads((study / "data/source_code/fits/mini-lite0-each-ridge.json").read_text())
    assert {"cinevox.fitting.fits", "cinevox.fitting.regressors.ridge", "stages.fits"} <= set(reached)
    lines = command("git", "status", "--short", cwd=study).splitlines()
    untracked = {line.split()[1].partition("/")[0] for line in lines if line.startswith("??")}
    assert untracked == {"dvc.lock", "metrics"}

    assert "data/mydata" not in command("dvc", "status", "validation", cwd=study)
    Image.new("RGB", (64, 64)).save(folder / "images/scene00.png")
    assert "data/mydata" in command("dvc", "status", "validation", cwd=study)  # links are followed

"""OpenNeuro ds005165 as one fetches it: both versions, both layouts of a pickle, what is wrong with a folder."""

import pickle
import shutil

import nibabel
import numpy as np
import pytest

import layout
import record
import small_run
from cinevox import validation
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.files.pickles.images import Image
from cinevox.measured.datasets import _ds005165, open_dataset
from conftest import tells

VERSIONS = ("A", "B")


@pytest.fixture(scope="module", params=VERSIONS)
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record") / "ds"
    return folder, request.param, record.make(folder, request.param)


@pytest.fixture
def version_b(tmp_path):
    return tmp_path / "ds", record.make(tmp_path / "ds", "B", videos=False)


def fails(action):
    with pytest.raises(FileError) as caught:
        action()
    return str(caught.value)


def test_what_there_is(whole):
    folder, version, _ = whole
    dataset = open_dataset(record.wanted(folder, version))
    assert dataset.subjects == record.SUBJECTS and len(dataset.clips) == 17
    assert dataset.rois("mini", "sub-01") == ("FFA", "V1", "V4") and dataset.rois("full", "sub-01") == ("WB",)
    assert dataset.has_test_responses("mini") and dataset.has_test_responses("full")
    assert dataset.grid.shape == record.VOLUMES[version]
    origin = {"A": [-96.5, -132.5, -78.5], "B": [-76, -112, -78]}[version]
    np.testing.assert_array_equal(np.array(dataset.grid.affine)[:3, 3], origin)


def test_responses_are_those_of_the_files(whole):
    """An ROI of the challenge's name is its parts side by side, by Python's own unpickler."""
    folder, version, _ = whole
    dataset = open_dataset(record.wanted(folder, version))
    parts = {"A": ("V1v", "V1d"), "B": ("lV1v", "rV1v", "lV1d", "rV1d")}[version]
    for part, where in (("train", slice(None)), ("test", slice(None))):
        contents = [pickle.loads(record.path_of(folder, version, "sub-02", roi).read_bytes()) for roi in parts]
        expected = np.concatenate([content[f"{part}_data_allvoxel"] for content in contents], axis=2)[where]
        found = dataset.responses(part, "mini", "sub-02", "V1")
        assert found.values.dtype == np.float32 and (found.subject, found.roi) == ("sub-02", "V1")
        np.testing.assert_array_equal(found.values, expected.astype(np.float32))
    content = pickle.loads(record.path_of(folder, version, "sub-01", "WB").read_bytes())
    expected = content["train_data_allvoxel"] if version == "A" else content[0]
    assert set(dataset.arrays("train", "full", "sub-01", "WB")) == {"train", "voxel_mask"}
    assert set(dataset.arrays("test", "full", "sub-01", "WB")) == {"test"}
    np.testing.assert_array_equal(dataset.arrays("train", "full", "sub-01", "WB")["train"], expected)
    mask = content["voxel_mask"] if version == "A" else content[2].get_fdata()
    np.testing.assert_array_equal(layout.voxel_mask(dataset, "sub-01"), mask == 1)


def test_training_and_test_responses_come_apart(whole):
    folder, version, truth = whole
    dataset = open_dataset(record.wanted(folder, version))
    train, test = (dataset.responses(part, "mini", "sub-01", "V4").mean() for part in ("train", "test"))
    names = ("hV4",) if version == "A" else ("lhV4", "rhV4")
    trials = np.concatenate([truth["sub-01", name] for name in names], axis=2)
    np.testing.assert_allclose(test, trials[12:].mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(train[9:12], trials[9:12, :3].mean(axis=1), rtol=1e-5, atol=1e-6)


def test_validation_of_a_good_folder(whole, tmp_path):
    folder, version, _ = whole
    found = validation.check_folder(record.wanted(folder, version), layout.limits(), tmp_path / "docs")
    assert found.errors == found.warnings == ()
    assert found.to_json()["n_files"] == {"clips": 17, "train_responses": 8, "masks": 2, "test_responses": 8}


def test_validation_names_the_file_in_parts(version_b):
    folder, _ = version_b
    path = record.path_of(folder, "B", "sub-01", "rFFA")
    content = pickle.loads(path.read_bytes())
    content["train_data_allvoxel"][3, 1, 2] = np.nan
    record.save(path, content)
    wanted = record.wanted(folder, "B", tracks=["mini"], subjects=["sub-01"])
    told = [str(check) for check in validation.check_folder(wanted, layout.limits()).errors if check.suite != "clips"]
    assert len(told) == 1 and "sub-01_roi-{lFFA,rFFA}_betas_normalized.pkl (n_not_finite 1)" in told[0]


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
@pytest.mark.parametrize("version", VERSIONS)
def test_every_protocol(tmp_path, version, protocol):
    record.make(tmp_path / "ds", version, protocol=protocol, videos=False)
    dataset = open_dataset(record.wanted(tmp_path / "ds", version))
    assert dataset.responses("train", "mini", "sub-01", "FFA").values.shape[:2] == (12, 3)
    assert layout.voxel_mask(dataset, "sub-02").sum() == record.N_WB


def test_a_dict_as_python_2_wrote_it(tmp_path):
    truth = record.make(tmp_path / "ds", "A", videos=False)
    values = truth["sub-01", "FFA"]
    content = {"train_data_allvoxel": values[:12, :3], "test_data_allvoxel": values[12:].astype(np.float32)}
    io.write_pickle(record.path_of(tmp_path / "ds", "A", "sub-01", "FFA"), content, protocol=2)
    found = open_dataset(record.wanted(tmp_path / "ds", "A")).arrays("test", "mini", "sub-01", "FFA")["test"]
    np.testing.assert_array_equal(found, values[12:].astype(np.float32))


@pytest.mark.parametrize(
    ("there", "roi", "parts"),
    [
        (("V1v", "V1d"), "V1", ("V1v", "V1d")),
        (("lV1v", "rV1v", "lV1d", "rV1d"), "V1", ("lV1v", "rV1v", "lV1d", "rV1d")),
        (("lV1v", "rV1v", "lV1d"), "V1", ()),
        (("hV4",), "V4", ("hV4",)),
        (("lhV4", "rhV4"), "hV4", ("lhV4", "rhV4")),
        (("lIPS1-2-3", "rIPS1-2-3"), "IPS1-2-3", ("lIPS1-2-3", "rIPS1-2-3")),
        (("lFFA", "rFFA"), "rFFA", ("rFFA",)),
        (("lFFA",), "FFA", ()),
        (("V1", "V1v", "V1d"), "V1", ("V1",)),
    ],
)
def test_an_roi_is_itself_or_all_of_its_parts(there, roi, parts):
    assert _ds005165.parts_of(roi, there) == parts


def test_the_largest_rois_are_told():
    there = ("lV1v", "rV1v", "lV1d", "rV1d", "lhV4", "rhV4", "lV2v", "rV2v", "rOFA", "BMDgeneral")
    assert _ds005165.askable(there) == ("BMDgeneral", "V1", "V2v", "V4", "rOFA")
    assert _ds005165.askable(("V1v", "V1d", "hV4", "LOC")) == ("LOC", "V1", "V4")


def test_one_hemisphere_is_asked_for_by_its_own_name(version_b):
    folder, truth = version_b
    dataset = open_dataset(record.wanted(folder, "B"))
    found = dataset.arrays("test", "mini", "sub-02", "rFFA")["test"]
    np.testing.assert_array_equal(found, truth["sub-02", "rFFA"][12:])
    record.path_of(folder, "B", "sub-02", "lFFA").unlink()
    said = fails(lambda: dataset.responses("train", "mini", "sub-02", "FFA"))
    assert tells(
        said, "sub-02_roi-FFA_betas", "no such file", "lFFA", "there is V1, V4, WB, rFFA", "set dataset.subjects"
    )


def test_stimuli_in_another_order_are_put_in_the_clips_order(version_b):
    folder, truth = version_b
    path = record.path_of(folder, "B", "sub-01", "WB")
    values, names, image = pickle.loads(path.read_bytes())
    mixed = np.random.default_rng(3).permutation(len(names))
    record.save(path, (values[mixed], [names[i] for i in mixed], image))
    dataset = open_dataset(record.wanted(folder, "B"))
    np.testing.assert_array_equal(dataset.arrays("train", "full", "sub-01", "WB")["train"], values)
    record.save(path, (values, [*names[:-1], names[0]], image))
    said = fails(lambda: dataset.arrays("train", "full", "sub-01", "WB"))
    assert tells(said, "12 train responses", "12 numbered stimuli, 1 to 11", "expected", "12 clips 1 to 12", "once")


def test_clips_that_are_missing_are_no_other_clips(version_b):
    folder, _ = version_b
    (folder / "stimuli" / "0003.mp4").unlink()
    dataset = open_dataset(record.wanted(folder, "B"))
    assert "complete the folder of clips" in fails(lambda: dataset.arrays("train", "full", "sub-01", "WB"))


# The grid of version B is read, never assumed


def test_the_affine_is_that_of_the_files(version_b):
    folder, _ = version_b
    shutil.rmtree(folder / record.B / "GLM" / "mask")
    dataset = open_dataset(record.wanted(folder, "B"))
    np.testing.assert_array_equal(dataset.grid.affine, record.AFFINE_B)  # of the image in the tuple
    shifted = record.AFFINE_B + np.eye(4, k=3)
    record.write_mask(folder, "groupMask_space-MNI152.nii", np.ones(record.VOLUMES["B"], np.int8), shifted)
    dataset = open_dataset(record.wanted(folder, "B"))
    np.testing.assert_array_equal(dataset.grid.affine, shifted)
    assert "they are of different grids" in fails(lambda: dataset.arrays("train", "full", "sub-01", "WB"))


def test_a_pickle_without_an_image_takes_the_mask_beside_it(version_b):
    folder, truth = version_b
    shutil.rmtree(folder / record.B / "GLM" / "sub-01")
    values = truth["sub-01", "WB"]
    path = folder / record.B / "prepared_allvoxel_pkl" / "sub-01" / "sub-01_roi-WB_betas_normalized.pkl"
    record.save(path, {"train_data_allvoxel": values[:12, :3], "test_data_allvoxel": values[12:]})
    record.write_mask(folder, "groupMask_space-MNI152.nii", np.ones(record.VOLUMES["B"], np.int8))
    dataset = open_dataset(record.wanted(folder, "B"))
    assert dataset.file("train", "full", "sub-01", "WB") == path
    own = nibabel.load(folder / record.B / "GLM" / "mask" / "sub-01_mask-nonans_space-MNI152.nii").get_fdata()
    np.testing.assert_array_equal(layout.voxel_mask(dataset, "sub-01"), own == 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_mask_there_are_scores_and_no_maps(tmp_path, version):
    folder = tmp_path / "ds"
    truth = record.make(folder, version, videos=False, masks=False)
    for subject in record.SUBJECTS:
        values = truth[subject, "WB"]
        shutil.rmtree(folder / record.B / "GLM", ignore_errors=True)
        name = {"A": record.path_of(folder, "A", subject, "WB"), "B": record.path_of(folder, "B", subject, "lFFA")}
        path = name[version].with_name(name[version].name.replace("lFFA", "WB"))
        record.save(path, {"train_data_allvoxel": values[:12, :3], "test_data_allvoxel": values[12:]})
    dataset = open_dataset(record.wanted(folder, version))
    assert layout.voxel_mask(dataset, "sub-01") is None
    assert (dataset.grid is None) == (version == "B")
    found = validation.check_folder(record.wanted(folder, version), layout.limits())
    assert "masks" not in found.to_json()["n_files"]
    assert {check.suite for check in found.errors} == {"clips"}  # they are empty files here


def test_a_broken_mask_file(version_b):
    folder, _ = version_b
    for path in (folder / record.B / "GLM" / "mask").glob("*.nii"):
        path.write_bytes(path.read_bytes()[:400])
    dataset = open_dataset(record.wanted(folder, "B"))
    assert "not a NIfTI mask" in fails(lambda: dataset.grid)


# What is wrong with a folder


def test_nothing_there(tmp_path):
    assert "no such folder; fetch it again from the record" in fails(
        lambda: open_dataset(record.wanted(tmp_path / "ds", "A"))
    )
    said = fails(lambda: open_dataset(record.wanted(tmp_path, "B")))
    assert "no stimuli/*.mp4 (dataset.clips): the clips are not in the record" in said
    assert f"no responses in {record.B} (dataset.responses)" in said


def test_a_folder_too_deep_is_no_version(whole):
    folder, version, _ = whole
    deeper = {"A": f"{record.A}/sub-01", "B": f"{record.B}/prepared_allvoxel_pkl"}[version]
    assert f"no responses in {deeper} (dataset.responses)" in fails(
        lambda: open_dataset(record.wanted(folder, version, responses=deeper))
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"train": np.zeros((12, 3, 6))}, "holds 'train'; expected the key 'train_data_allvoxel'"),
        ({}, "holds nothing; expected the key 'train_data_allvoxel'"),
        ("text", "holds a str; expected a dict or a tuple of responses"),
        ({"train_data_allvoxel": np.zeros((12, 6))}, "'train_data_allvoxel' is float64 of shape (12, 6); expected"),
        ((), "the first of the tuple is a NoneType; expected numbers"),
        (([1, 2], ["vid0001"]), "the first of the tuple is a list; expected numbers"),
    ],
)
def test_pickles_of_something_else(tmp_path, content, said):
    record.make(tmp_path / "ds", "A", videos=False)
    path = record.save(record.path_of(tmp_path / "ds", "A", "sub-01", "FFA"), content)
    dataset = open_dataset(record.wanted(tmp_path / "ds", "A"))
    message = fails(lambda: dataset.responses("train", "mini", "sub-01", "FFA"))
    assert message.startswith(f"{path}: ") and said in message and "fetch it again from the record" in message


def test_parts_that_do_not_fit_together(version_b):
    folder, truth = version_b
    values = truth["sub-01", "rFFA"]
    path = record.path_of(folder, "B", "sub-01", "rFFA")
    record.save(path, {"train_data_allvoxel": values[:11, :3], "test_data_allvoxel": values[12:]})
    dataset = open_dataset(record.wanted(folder, "B"))
    said = fails(lambda: dataset.responses("train", "mini", "sub-01", "FFA"))
    assert "{lFFA,rFFA}" in said and "(12, 3, 6), (11, 3, 6)" in said


def test_a_subject_that_is_not_there(whole):
    folder, version, _ = whole
    dataset = open_dataset(record.wanted(folder, version))
    said = fails(lambda: dataset.responses("train", "mini", "sub-09", "V1"))
    assert "of sub-09 there is nothing; subjects are sub-01, sub-02" in said


# Images of nibabel in a pickle are arrays, and nothing is run


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
def test_images_however_nibabel_holds_them(tmp_path, protocol):
    data = (np.random.default_rng(0).random((4, 5, 6)) < 0.4).astype(np.int8)
    made = nibabel.Nifti1Image(data, record.AFFINE_B)
    nibabel.save(made, tmp_path / "mask.nii")
    loaded, cached = nibabel.load(tmp_path / "mask.nii"), nibabel.load(tmp_path / "mask.nii")
    cached.get_fdata()
    for image in (made, loaded, cached):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps([image], protocol))
        [found] = io.read_pickle(tmp_path / "a.pkl")
        assert isinstance(found, Image)
        np.testing.assert_array_equal(found.affine, record.AFFINE_B)
        assert (found.data is None) if image is loaded else np.array_equal(found.data, data)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x80\x02cnibabel.nifti1\nNifti1Image\n)\x81}b.", "an image without an affine"),
        (b"\x80\x02cnibabel.nifti1\nNifti1Image\n)\x81.", "an unfinished array"),
        (b"\x80\x02cnibabel.nifti1\nNifti1Image\n(K\x01t\x81.", "a class of its own"),
        (b"\x80\x02cnibabel.nifti1\nNifti1Header\n)\x81}b.", "a nibabel.Nifti1Header that is no part of an image"),
        (b"\x80\x02cnibabel.nifti1\nNifti1Image\n)R.", "calls nibabel.Nifti1Image"),
        (b"\x80\x02cnibabel.nifti1\nload\n)R.", "asks for nibabel.nifti1.load"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "type 'V4'; expected numbers"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, raw, said):
    (tmp_path / "a.pkl").write_bytes(raw)
    assert said in fails(lambda: io.read_pickle(tmp_path / "a.pkl"))


# The flow


@pytest.mark.slow
def test_the_flow_from_clips_to_the_report(tmp_path, monkeypatch):
    """The parameters point at the folder, and DVC names the stages; they run here (version B, whose grid differs)."""
    from test_stages import Repository, small_params

    version = "B"
    rows = ("mini-efficientnet_lite0-layer-ridge", "full-efficientnet_lite0-layer-ridge")

    def real_params():
        document = small_params()
        wanted = record.wanted("data/bold_moments", version).model_dump(mode="json")
        document["dataset"] = wanted
        document["simulation"]["datasets"] = []
        document["storage"] = {"remote": "private"}  # the clips may not be passed on
        document["validation"] |= {"clip_size": [32, 32], "fps": [5, 30]}
        document["experiments"] = {
            "voxelwise": {row: document["experiments"]["voxelwise"][row] for row in rows},
            "roiwise": {},
            "joint": {},
            "ensembles": {},
        }
        document["bases"], document["submission"]["rows"] = {}, {"mini": rows[0]}
        document["encoding"]["rows"] = [rows[0]]
        document["reduction"]["n_components"] = 5
        document["report"] |= {"subject": "sub-02", "brain_row": rows[1]}
        return document

    repository = Repository(tmp_path)
    record.make(tmp_path / "data" / "bold_moments", version, n_train=24, n_test=10)
    repository.write(real_params())
    names = repository.run("dvc", "stage", "list", "--name-only").split()  # in the order of the flow
    assert {"validation", "report", "submission@mini", f"encoding@{rows[0]}"} <= set(names)
    repository.repro("source_code")
    monkeypatch.chdir(tmp_path)
    small_run.run_stages(name for name in names if name not in ("source_code", "gate", "tracking"))
    for track, rois in (("mini", ["V1", "V4", "FFA"]), ("full", ["WB"])):
        metrics = repository.json(f"metrics/{track}-efficientnet_lite0-layer-ridge.json")
        assert [name for name in metrics["test"] if name in ("V1", "V4", "FFA", "WB")] == rois
        with np.load(tmp_path / "data" / "ceiling" / track / "reliability.npz") as found:
            assert found["test"].mean() > 0.9  # ten repetitions of noise half as large as the signal
    maps = list((tmp_path / "report" / "maps").rglob("sub-01*.nii*"))
    assert maps and nibabel.load(maps[0]).shape[:3] == record.VOLUMES[version]
    np.testing.assert_allclose(nibabel.load(maps[0]).affine, record.AFFINE_B)
    assert "no fault" in repository.run("cinevox", "check-submission", "submission/mini_track.zip")

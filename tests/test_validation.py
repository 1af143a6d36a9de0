"""What validation says of folders that are wrong in one way each, and of several ways at once."""

import json
import pickle
import re
import shutil
import socket
from importlib import resources

import numpy as np
import pytest

import layout
from cinevox import validation
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project import plugins
from cinevox.project.params import Base, Network
from cinevox.validation import consistency, inspection


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return layout.make(tmp_path_factory.mktemp("data") / "study")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "study")


def check(folder, docs=None, wanted=None, **changed):
    return validation.check_folder(layout.wanted(folder, **wanted or {}), layout.limits(**changed), docs)


def test_a_good_folder(whole, tmp_path):
    found = check(whole)
    assert found.errors == found.warnings == ()
    found.require()
    assert (found.n_clips, found.n_train_clips) == (17, layout.N_TRAIN)
    assert found.to_json()["n_files"] == {"clips": 17, "train_responses": 6, "masks": 2, "test_responses": 6}
    io.write_json(tmp_path / "first.json", found.to_json())
    io.write_json(tmp_path / "second.json", check(whole).to_json())
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_only_what_is_asked_for_is_looked_at(folder):
    layout.train_file(folder, "sub02", "WB").write_bytes(b"broken")
    shutil.rmtree(folder / "test_responses")
    wanted = layout.wanted(folder, tracks=["mini"], subjects=["sub01"])
    found = validation.check_folder(wanted, layout.limits())
    assert found.errors == () and found.to_json()["n_files"] == {"clips": 17, "train_responses": 2}


def test_files_that_nobody_asked_for_do_not_matter(folder):
    """A pilot stopped early, a copy of some rows, a list, what macOS leaves, and a subject that was not fetched."""
    before = check(folder)
    track = layout.train_file(folder, "sub01", "V1").parents[1]
    for name, content in {
        "pilot/V1.pkl": {"train": np.zeros((9, 3, 2))}, "sub01/V1_first8.pkl": {"train": np.zeros((8, 3, 2))},
        "sub01/names.pkl": ["V1", "FFA"],
    }.items():  # fmt: skip
        (track / name).parent.mkdir(exist_ok=True)
        (track / name).write_bytes(pickle.dumps(content))
    (track / "sub01" / "._V1.pkl").write_bytes(b"\x00\x05\x16\x07")
    (track / "sub03").mkdir()
    (track / "sub03" / "V1.pkl").symlink_to("nowhere")
    assert check(folder) == before


# Damage, one kind at a time: what is done, then suite, expectation, file, and what was found


def clip(folder, number):
    return next((folder / layout.CLIPS).glob(f"{number:04d}_*"))


def changed(part, roi, change, subject="sub01"):
    """Rewrite a subject's responses of an ROI."""

    def damage(folder):
        path = (layout.train_file if part == "train" else layout.test_file)(folder, subject, roi)
        content = io.read_pickle(path)
        io.write_pickle(path, content | {part: change(content[part])})

    return damage


def rewritten_mask(change):
    def damage(folder):
        path = layout.train_file(folder, "sub01", "WB")
        content = io.read_pickle(path)
        path.write_bytes(pickle.dumps(change(dict(content))))

    return damage


def with_value(values, value):
    values = values.copy()
    values[4, 1, 2] = value
    return values


def with_trials(values, value, repetitions=1):
    values = values.copy()
    values[4, repetitions] = value
    return values


def with_constant(values):
    values = values.copy()
    values[:, :, 3] = 0.5
    return values


def with_duplicate(values):
    return np.concatenate([values, values[:, :, :1]], axis=2)


def against_itself(values):
    values = values.copy()
    values[:, 0] = -values[:, 1:].mean(axis=1)
    return values


def cut(path_of, share):
    def damage(folder):
        path = path_of(folder)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


def cut_behind_its_index(folder):
    """The box with the frames reaches to the file's end, as some write it: only the index knows how many there were."""
    path = clip(folder, 3)
    layout.write_clip(path, movflags="faststart", noise=True)
    content = path.read_bytes()
    at = content.index(b"mdat") - 4
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])
    cut(lambda folder: path, 0.7)(folder)


def swap_rois(folder):
    """FFA's file gets V1's voxels."""
    shutil.copy(layout.train_file(folder, "sub01", "V1"), layout.train_file(folder, "sub01", "FFA"))
    shutil.copy(layout.test_file(folder, "sub01", "V1"), layout.test_file(folder, "sub01", "FFA"))


def moved_mask(content):
    return content | {"voxel_mask": np.moveaxis(content["voxel_mask"], 0, 2)}


def other_values(content):
    return content | {"voxel_mask": content["voxel_mask"] + 2 * (np.arange(78) == 3)[:, None, None]}


V1, FFA, WB = ("participants_data_v2021/" + name for name in ("mini_track/sub01/V1.pkl", "mini_track/sub01/FFA.pkl",
                                                              "full_track/sub01/WB.pkl"))  # fmt: skip
V1_TEST = "test_responses/mini_track/sub01/V1.pkl"
ERRORS = {
    "clip cut off": (
        cut(lambda folder: clip(folder, 3), 0.5),
        "clips", "a clip can be opened", "AlgonautsVideos268_All_30fpsmax/0003_0-1-2-3.mp4", "cut off: 1,0",
    ),
    "clip cut off behind its index": (
        cut_behind_its_index,
        "clips", "as many frames as it announces", "0003_0-1-2-3.mp4", "n_frames_announced 15",
    ),
    "clip empty": (
        lambda folder: clip(folder, 3).write_bytes(b""),
        "clips", "a clip can be opened", "0003_", "Invalid data found",
    ),
    "clip missing": (
        lambda folder: clip(folder, 5).unlink(),
        "clips", "one more than that of the clip before", "0006_0-1-2-6.mp4", "step 2",
    ),
    "clip twice": (
        lambda folder: shutil.copy(clip(folder, 5), folder / layout.CLIPS / "0005_again.mp4"),
        "clips", "one more than that of the clip before", "0005_again.mp4", "step 0",
    ),
    "clip without number": (
        lambda folder: clip(folder, 17).rename(folder / layout.CLIPS / "holiday.mp4"),
        "clips", "begins with its number", "holiday.mp4", "name holiday.mp4",
    ),
    "clip of another size": (
        lambda folder: layout.write_clip(clip(folder, 2), size=48),
        "clips", "a clip is 32 pixels wide", "0002_0-1-2-2.mp4", "width 48",
    ),
    "clip too short": (
        lambda folder: layout.write_clip(clip(folder, 2), n_frames=5),
        "clips", "a clip lasts 2.5 to 3.5 seconds", "0002_0-1-2-2.mp4", "seconds 1",
    ),
    "clip too fast": (
        lambda folder: layout.write_clip(clip(folder, 2), n_frames=180, fps=60),
        "clips", "a clip has 5.0 to 30.0 frames a second", "0002_0-1-2-2.mp4", "fps 60",
    ),
    "ROI missing": (
        lambda folder: layout.train_file(folder, "sub01", "V1").unlink(),
        "train_responses", "can be read", V1, "no such file; of sub01 there is FFA",
    ),
    "subject missing": (
        lambda folder: shutil.rmtree(folder / layout.RESPONSES / "mini_track" / "sub01"),
        "train_responses", "can be read", V1, "in mini_track there is sub02",
    ),
    "pickle cut off": (
        cut(lambda folder: layout.train_file(folder, "sub01", "V1"), 0.9),
        "train_responses", "can be read", V1, "refused: it is cut off",
    ),
    "pickle that runs": (
        lambda folder: layout.train_file(folder, "sub01", "V1").write_bytes(b"cos\nsystem\n(S'false'\ntR."),
        "train_responses", "can be read", V1, "refused: it asks for os.system",
    ),
    "two axes": (
        lambda folder: io.write_pickle(layout.train_file(folder, "sub01", "V1"), {"train": np.zeros((12, 7))}),
        "train_responses", "can be read", V1, "'train' is float64 of shape (12, 7); expected numbers of shape",
    ),
    "booleans": (
        changed("train", "V1", lambda values: values > 0),
        "train_responses", "float32 or float64", V1, "dtype bool",
    ),
    "repetitions all alike": (
        changed("train", "V1", lambda values: np.repeat(values.mean(axis=1, keepdims=True), 3, axis=1)),
        "train_responses", "and at most 0.999", V1, "split_half 1",
    ),
    "one subject for another": (
        lambda folder: shutil.copy(layout.train_file(folder, "sub02", "V1"), layout.train_file(folder, "sub01", "V1")),
        "train_responses", "no two files hold the same responses", V1, f"same_as {V1.replace('1/V1', '2/V1')}",
    ),
    "the last clips missing": (
        lambda folder: [clip(folder, number).unlink() for number in (16, 17)],
        "clips", "a clip can be opened", "0017*.mp4", "is missing of 12 training and 5 test clips",
    ),
    "integers": (
        changed("train", "V1", lambda values: (100 * values).astype(np.int16)),
        "train_responses", "float32 or float64", V1, "dtype int16",
    ),
    "NaN": (
        changed("train", "V1", lambda values: with_value(values, np.nan)),
        "train_responses", "every response is a finite number", V1, "n_not_finite 1",
    ),
    "infinity": (
        changed("train", "V1", lambda values: with_value(values, np.inf)),
        "train_responses", "every response is a finite number", V1, "n_not_finite 1",
    ),
    "no voxels": (
        changed("train", "V1", lambda values: values[:, :, :0]),
        "train_responses", "there is at least one voxel", V1, "n_voxels 0",
    ),
    "a stimulus missing": (
        changed("train", "V1", lambda values: values[:-1]),
        "train_responses", "as many training clips as in the other files", V1, "n_stimuli 11, n_stimuli_expected 12",
    ),
    "two repetitions": (
        changed("train", "V1", lambda values: values[:, :2]),
        "train_responses", "every clip was shown 3 times", V1, "n_repetitions 2",
    ),
    "a turned repetition": (
        changed("train", "V1", against_itself),
        "train_responses", "split-half r of the voxels is at least -0.2", V1, "split_half -1",
    ),
    "not of this brain": (
        changed("train", "V1", lambda values: values + 1),
        "train_responses", "a voxel of the subject's whole brain", V1, "n_outside 7",
    ),
    "one ROI for another": (
        swap_rois, "train_responses", "no voxel is in two ROIs", FFA, "n_shared 7",
    ),
    "no mask": (
        rewritten_mask(lambda content: {"train": content["train"]}),
        "masks", "holds a voxel_mask", WB, "there is no voxel_mask in it",
    ),
    "axes of the mask": (
        rewritten_mask(moved_mask), "masks", "the volume's shape, 78 x 93 x 71", WB, "shape 93 x 71 x 78",
    ),
    "values of the mask": (
        rewritten_mask(other_values), "masks", "0 and 1 alone", WB, "n_other 6603",
    ),
    "voxels without a place": (
        changed("train", "WB", lambda values: values[:, :, 1:]),
        "masks", "as many ones as the file has voxels", WB, "n_ones 25, n_voxels 24",
    ),
    "test clips missing": (
        changed("test", "V1", lambda values: values[1:]),
        "test_responses", "responses to every test clip", V1_TEST, "n_stimuli 4, n_stimuli_expected 5",
    ),
    "test voxels missing": (
        changed("test", "V1", lambda values: values[:, :, 1:]),
        "test_responses", "the voxels of the training file", V1_TEST, "n_voxels 6, n_voxels_expected 7",
    ),
    "one test repetition": (
        changed("test", "V1", lambda values: values[:, :1]),
        "test_responses", "more than once, if it was in another", V1_TEST, "n_repetitions 1, n_repetitions_least 2",
    ),
    "test file missing": (
        lambda folder: layout.test_file(folder, "sub01", "V1").unlink(),
        "test_responses", "can be read", V1_TEST, "no such file; of sub01 there is FFA",
    ),
}  # fmt: skip
WARNINGS = {
    "a voxel that does not vary": (
        changed("train", "V1", with_constant), "train_responses", "every voxel varies", V1, "n_constant 1",
    ),
    "a voxel twice": (
        changed("train", "WB", with_duplicate), "train_responses", "the same responses", WB, "n_duplicates 1",
    ),
    "another order": (
        changed("train", "V1", lambda values: values[:, :, ::-1]),
        "train_responses", "Fortran order", V1, "n_unordered 6",
    ),
    "test clips that nothing confirms": (
        lambda folder: [shutil.rmtree(folder / "test_responses"), clip(folder, 17).unlink()],
        "clips", "say how many there are", "0016_0-1-2-16.mp4", "unconfirmed test clip 4 of 4",
    ),
    "clip of another length": (
        lambda folder: layout.write_clip(clip(folder, 2), n_frames=17),
        "clips", "a clip lasts about as long as the others", "0002_0-1-2-2.mp4", "seconds_unlike_others 3.4",
    ),
    "no test clips": (
        lambda folder: [
            shutil.rmtree(folder / "test_responses"), *(clip(folder, number).unlink() for number in range(13, 18)),
        ],
        "train_responses", "clips beyond those of the training responses", V1, "n_clips 12, n_stimuli 12",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*ERRORS, *WARNINGS])
def test_damage_is_found_and_named(folder, name):
    damage, suite, expected, file, found = (ERRORS | WARNINGS)[name]
    damage(folder)
    summary = check(folder)
    failed = summary.errors if name in ERRORS else summary.warnings
    [told] = [entry for entry in failed if entry.suite == suite and expected in entry.expected]
    assert any(file in example.file and found in str(example) for example in told.examples), str(told)
    if name in ERRORS:
        with pytest.raises(InputError) as caught:
            summary.require()
        line = next(line for line in str(caught.value).splitlines() if expected in line)
        assert line.startswith(f"  {suite}: expected: ") and file in line and found in line
        assert line.endswith(told.cure) and str(folder / file) not in line


def test_trials_that_were_not_measured(folder):
    """A fault in each file; what else there may be is in test_repetitions."""
    leaked = io.read_pickle(layout.train_file(folder, "sub02", "V1"))["train"][:5]
    damages = [
        ("train", "sub01", "V1", lambda v: v[:, [0, 1, 1]], "made_up copied: 12 pairs of repetitions, of 12 stimuli"),
        ("train", "sub01", "FFA", lambda v: with_trials(v, 0), "filled: 1 of 36 trials: stimulus 5 repetition 2"),
        ("train", "sub01", "WB", lambda v: with_trials(v, v[4, ::2].mean(axis=0)), "imputed: 1 stimulus: stimulus 5"),
        ("train", "sub02", "V1", lambda v: with_trials(v, np.nan), "missing 1 of 36 trials: stimulus 5 repetition 2"),
        ("train", "sub02", "FFA", lambda v: 1e-46 * v.astype(float), "no voxel varies in float32"),
        ("train", "sub02", "WB", lambda v: np.where(np.arange(25) == 3, v[:, :1], v), "noiseless: 1 of 25 voxels"),
        ("test", "sub01", "V1", lambda v: 1e39 * v.astype(float), "n_not_finite"),
        ("test", "sub01", "FFA", lambda v: with_trials(v, np.nan, slice(None)), "1 of 5 stimuli: stimulus 5 have no"),
        ("test", "sub01", "WB", lambda v: with_trials(v, v[2, 0]), "repetition 1 = stimulus 5 repetition 2"),
        ("test", "sub02", "V1", lambda v: np.concatenate([leaked, v[:, 3:]], axis=1), "same_as 14 trials of"),
        (
            "test",
            "sub02",
            "FFA",
            lambda v: np.where(np.arange(10)[:, None] == 1, v, np.nan),
            "only 0 of 5 stimuli have",
        ),
    ]
    for part, subject, roi, change, _ in damages:
        changed(part, roi, change, subject)(folder)
    told = [(e.file, str(e)) for check in check(folder).errors for e in check.examples]
    for part, subject, roi, _, found in damages:
        path = (layout.train_file if part == "train" else layout.test_file)(folder, subject, roi)
        assert any(path == folder / file and found in said for file, said in told), found


def test_the_cures_of_such_trials_cure(folder):
    """Missing trials declared, copies made missing or cut off; NaN in a part of a trial is never missing."""
    changed("train", "V1", lambda v: np.where(np.arange(3)[:, None] == 2, np.nan, v[:, [0, 1, 1]]))(folder)
    changed("train", "V1", lambda v: with_trials(v, np.nan), "sub02")(folder)
    told = check(folder, wanted={"missing_repetitions": "skip", "tracks": ["mini"]})
    [warning] = told.warnings
    assert told.errors == () and warning.n_unexpected == 2 and "Declared by" in str(warning)
    changed("train", "V1", lambda v: with_value(v[:, :2], np.nan))(folder)
    changed("train", "V1", lambda v: v[:, :2], "sub02")(folder)
    wanted = {"missing_repetitions": "skip", "tracks": ["mini"], "rois": ["V1"]}
    [error] = check(folder, wanted=wanted, n_repetitions=2).errors
    assert [(e.file[-12:], e.found) for e in error.examples] == [("sub01/V1.pkl", {"n_not_finite": 1})]


def test_clips_of_the_published_study(folder):
    """The challenge's 1102 are 1000 + 102; what is missing or too many is named, whoever has the test responses."""
    spec = plugins.load("datasets", "algonauts2021")
    train = {
        ("train", "mini", "sub01", "V1"): consistency.Inspected({"file": "V1.pkl", "track": "mini", "n_stimuli": 1000})
    }

    def compared(numbers):
        rows = [{"file": f"c/{n:04d}_a.mp4", "name": f"{n:04d}_a.mp4", "number": n, "fault": None} for n in numbers]
        return {row["file"]: row["fault"] for row in consistency.compare(rows, train, spec) if row["fault"]}

    assert compared(range(1, 1103)) == {} and compared(range(1, 1001)) == {}
    told = "is missing of 1,000 training and 102 test clips"
    assert compared(range(1, 1101)) == {"c/1101*.mp4": told, "c/1102*.mp4": told}
    assert compared([n for n in range(1, 1103) if n != 7]) == {"c/0007*.mp4": told}
    assert compared(range(1, 1104)) == {"c/1103_a.mp4": "the study has 1,102 clips, and this is one more"}
    assert compared(range(1, 900)).keys() == {f"c/{n:04d}*.mp4" for n in range(900, 1001)}
    assert train["train", "mini", "sub01", "V1"].row["n_stimuli_expected"] == 1000


def test_too_few_clips(folder):
    for number in range(10, 18):
        clip(folder, number).unlink()
    told = [entry for entry in check(folder).errors if "at least as many clips as responses" in entry.expected]
    assert "n_clips 9, n_stimuli 12" in str(told[0])


def test_the_odd_file_is_named_and_not_the_others(folder):
    changed("train", "V1", lambda values: values[:-1])(folder)
    [told] = [entry for entry in check(folder).errors if "as in the other files" in entry.expected]
    assert told.n_unexpected == 1 and told.n_files == 6


def test_nothing_can_be_read(folder):
    for path in [*folder.rglob("*.pkl"), *folder.rglob("*.mp4")]:
        path.write_bytes(b"nothing")
    summary = check(folder)
    assert {(entry.suite, entry.n_unexpected) for entry in summary.errors} == {
        ("clips", 17),
        ("train_responses", 6),
        ("test_responses", 6),
    }
    clips = next(entry for entry in summary.errors if entry.suite == "clips")
    assert len(clips.examples) == 10 and "and 12 more. Fetch the clip again." in str(clips)


def test_every_fault_at_once(folder):
    for name in ("clip cut off", "two repetitions", "NaN", "test voxels missing", "axes of the mask"):
        ERRORS[name][0](folder)
    with pytest.raises(InputError) as caught:
        check(folder).require()
    first, *lines = str(caught.value).splitlines()
    assert re.fullmatch(rf"{re.escape(str(folder))}: \d+ of \d+ checks failed", first)
    for word in ("0003_0-1-2-3.mp4", "n_repetitions 2", "n_not_finite 1", "n_voxels 6", "93 x 71 x 78"):
        assert any(word in line for line in lines), word


def test_limits_are_parameters(whole):
    assert [entry.expected for entry in check(whole, clip_size=(268, 300)).errors] == [
        "a clip is 268 pixels wide",
        "a clip is 300 pixels high",
    ]
    assert any("shown 4 times" in entry.expected for entry in check(whole, n_repetitions=4).errors)
    assert any("at least 0.99" in entry.expected for entry in check(whole, min_split_half=0.99).errors)


def test_split_half_against_numpy(whole):
    from cinevox.measured.datasets import open_dataset

    wanted = layout.wanted(whole)
    dataset = open_dataset(wanted)
    rows = inspection.tables(dataset, wanted)["train_responses"]
    values = dataset.responses("train", "mini", "sub02", "FFA").values
    expected = np.mean([np.corrcoef(values[:, 0, v], values[:, 1:, v].mean(axis=1))[0, 1] for v in range(4)])
    [row] = [row for row in rows if row["subject"] == "sub02" and row["roi"] == "FFA"]
    assert row["split_half"] == pytest.approx(expected, abs=1e-4)
    assert (row["n_outside"], row["n_shared"], row["n_unordered"]) == (0, 0, 0)


def test_pages_are_written_and_nothing_is_fetched(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))
    check(whole, tmp_path / "pages")
    names = {path.name for path in (tmp_path / "pages").rglob("*.html")}
    assert {"index.html", *(f"files-{suite}.html" for suite in validation.SUITES)} <= names
    page = next((tmp_path / "pages").rglob("files-clips.html")).read_text()
    assert "one more than that of the clip before it" in page


def test_suites_can_be_read_by_a_person():
    known = validation.limits_of(layout.limits(), (78, 93, 71)) | {"min_reliability": 0.1}
    names = (*validation.TABLES, *validation.SUITES, *validation.RESULTS)
    folder = resources.files("cinevox.validation") / "expectations"
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(f"{name}.json" for name in names)
    for name in names:
        suite = json.loads((folder / f"{name}.json").read_text())
        assert suite["name"] == name and set(suite["meta"]) == {"row", "about"}
        for entry in suite["expectations"]:
            assert set(entry) == {"type", "kwargs", "description", "severity", "meta"}
            assert entry["severity"] in ("critical", "warning") and {"cure"} <= set(entry["meta"]) <= {"cure", "told"}
            assert entry["description"].format_map(known) and entry["meta"]["cure"].endswith(".")
            for value in entry["kwargs"].values():
                assert not isinstance(value, dict) or value["$PARAMETER"] in known


# Names of plug-ins


def test_plugins_of_the_default_parameters(default_params):
    validation.check_plugins(
        default_params.dataset.name, default_params.networks, default_params.regressors, default_params.bases
    )


def untrained(model=None):
    return Network(weights="random", file=None, sha256=None, n_frames=2, seed=0, model=model)


def test_models_that_no_library_has_are_told_with_those_close_to_them():
    asked = {"alexnet": "timm/resnet18", "mine": "timm/test_vit", "other": "timm/resnet_18", "theirs": "tim/resnet18"}
    with pytest.raises(InputError) as caught:
        validation.check_plugins("insilico", {name: untrained(model) for name, model in asked.items()}, {}, {})
    alexnet, other, theirs = str(caught.value).splitlines()[1:]
    assert (
        alexnet == "  networks.alexnet.model is timm/resnet18, and alexnet is a network of its own; choose another key"
    )
    assert other.startswith("  networks.other: timm/resnet_18: timm ") and "resnet18," in other
    assert theirs.startswith(
        "  networks.theirs.model is tim/resnet18: there is no library 'tim'; there are array, timm, transformers"
    )
    base = Base(network="mine", features="frozen", n_frames=2)
    with pytest.raises(InputError, match=r"bases\.mine-frozen: test_vit \(timm\) is no chain of blocks"):
        validation.check_plugins("insilico", {"mine": untrained(asked["mine"])}, {}, {base.name: base})


def test_unknown_names_and_options_are_told_together():
    with pytest.raises(InputError) as caught:
        validation.check_plugins(
            "algonauts", {"alexnett": untrained()}, {"ridge": {"alpha": 1.0}, "las": {}, "lasso": {}, "linear": {}}, {}
        )
    first, *lines = str(caught.value).splitlines()
    assert first == "params.yaml: plug-ins that cannot be used"
    assert lines[0] == "  datasets: there is no 'algonauts'; there are " + ", ".join(plugins.names("datasets"))
    assert lines[1].startswith("  networks: there is no 'alexnett'; there are alexnet, ")
    assert lines[2].startswith("  regressors: there is no 'las'; there are ")
    assert "  regressors.ridge: does not know alpha and needs alphas, per; its options are alphas, per" in lines
    assert any(line.startswith("  regressors.lasso: needs n_alphas, alpha_ratio, tolerance") for line in lines)
    assert len(lines) == 5


def test_a_regressor_may_have_a_name_of_ones_own():
    ridge = {"kind": "ridge", "alphas": [1.0], "per": "voxel"}
    validation.check_plugins("insilico", {}, {"mine": ridge}, {})
    with pytest.raises(InputError) as caught:
        validation.check_plugins(
            "insilico", {}, {"lasso": ridge, "mine": {**ridge, "kind": "rigde"}, "other": {**ridge, "alpha": 1}}, {}
        )
    unknown, lasso, other = str(caught.value).splitlines()[1:]
    assert unknown.startswith("  regressors: there is no 'rigde'; there are ")
    assert lasso == "  regressors.lasso.kind is ridge, and lasso is a regressor of its own; choose another key"
    assert other.startswith("  regressors.other: does not know alpha; its options are alphas, per")


@pytest.mark.parametrize(
    ("network", "features", "message"),
    [
        ("vgg16", "frozen", r"bases\.vgg16-frozen: VGG-16 is no chain of blocks"),
        ("alexnet", "tuned5", r"bases\.alexnet-tuned5: AlexNet has 5 blocks, and 5 are to be tuned; .* at most tuned4"),
    ],
)
def test_a_network_that_cannot_be_a_base(network, features, message):
    base = Base(network=network, features=features, n_frames=3)
    with pytest.raises(InputError, match=message):
        validation.check_plugins("insilico", {}, {}, {base.name: base})


def test_a_value_that_a_regressor_refuses():
    with pytest.raises(InputError, match=r"regressors\.ridge: .*alpha"):
        validation.check_plugins("insilico", {}, {"ridge": {"alphas": [-1.0], "per": "voxel"}}, {})

"""Conversion: the same numbers as in the files, in float32, whole or not at all, and read by the voxel."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import layout
from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.measured import conversion, response_store
from cinevox.measured.datasets import open_dataset
from cinevox.measured.responses import Block, Columns
from conftest import ROOT, tells

EVERY = [("mini", subject, roi) for subject in layout.SUBJECTS for roi in layout.ROIS]
EVERY += [("full", subject, "WB") for subject in layout.SUBJECTS]


@pytest.fixture
def folder(tmp_path):
    return layout.make(tmp_path / "study", videos=False)


def run(folder, part="train", progress=lambda items, _total, _label: items, **changed):
    wanted = layout.wanted(folder, **changed)
    target, unfinished = folder.parent / "conversion" / part, folder.parent / "unfinished"
    conversion.convert(open_dataset(wanted), wanted, part, target, unfinished, progress)
    assert not list(unfinished.iterdir())
    return response_store.read(target)


def plainly(path, part):
    with path.open("rb") as stream:
        return pickle.load(stream, encoding="latin1")[part]


def file_of(folder, part, subject, roi):
    return (layout.train_file if part == "train" else layout.test_file)(folder, subject, roi)


def same_as_the_file(found, folder, part, track, subject, roi):
    expected = plainly(file_of(folder, part, subject, roi), part)
    trials, mean = found.trials(track, subject, roi).values, found.mean(track, subject, roi)
    assert trials.dtype == mean.dtype == np.float32
    assert isinstance(trials, np.memmap) and isinstance(mean, np.memmap)
    np.testing.assert_array_equal(trials, expected.astype(np.float32))
    rounded = expected.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(mean, rounded.mean(axis=1).astype(np.float32))


# The numbers


@pytest.mark.parametrize("part", ["train", "test"])
def test_every_array_is_the_files(folder, part):
    found = run(folder, part)
    assert set(found.entries) == set(EVERY)
    for key in EVERY:
        same_as_the_file(found, folder, part, *key)
    for subject in layout.SUBJECTS:
        mask = found.voxel_mask(subject)
        if part == "test":
            assert mask is None
        else:
            assert mask.dtype == bool
            np.testing.assert_array_equal(mask, plainly(layout.train_file(folder, subject, "WB"), "voxel_mask") == 1)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<i4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_any_order_type_and_protocol(folder, rng, dtype, order, protocol):
    values = np.array(1000 * rng.standard_normal((12, 3, 7)), dtype=dtype, order=order)
    path = layout.train_file(folder, "sub01", "V1")
    path.write_bytes(pickle.dumps({"train": values}, protocol))
    found = run(folder, tracks=["mini"])
    same_as_the_file(found, folder, "train", "mini", "sub01", "V1")
    source = found.entries["mini", "sub01", "V1"]["source"]
    assert (source["order"], source["shape"]) == (order, [12, 3, 7])
    assert np.dtype(source["dtype"]) == values.dtype.newbyteorder("=")


@pytest.mark.parametrize("block", [1, 12 * 3 * 4 * 3, 10**9])
def test_blocks_do_not_change_the_numbers(tmp_path, rng, block):
    values = rng.standard_normal((12, 3, 7))
    conversion.write_responses(tmp_path, values, block)
    np.testing.assert_array_equal(np.load(tmp_path / "trials.npy"), values.astype(np.float32))
    expected = values.astype(np.float32).mean(axis=1, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "mean.npy"), expected)
    assert np.load(tmp_path / "trials.npy", mmap_mode="r").flags.f_contiguous  # a voxel's responses lie together


def test_the_manifest_says_where_from_and_what(folder):
    run(folder)
    target = folder.parent / "conversion" / "train"
    manifest = json.loads((target / "manifest.json").read_text())
    study = {"name": "algonauts2021", "title": "Algonauts 2021", "in_silico": False, "stimuli": "clips"}
    assert (manifest["part"], manifest["study"]) == ("train", study)
    assert [(e["track"], e["subject"], e["roi"]) for e in manifest["responses"]] == EVERY
    for entry in manifest["responses"]:
        source = folder / entry["source"]["file"]
        assert entry["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        for array in entry["arrays"].values():
            written = np.load(target / array["file"], mmap_mode="r")
            assert (list(written.shape), written.dtype.name) == (array["shape"], array["dtype"])
            assert written.flags.f_contiguous == (array["order"] == "F")
            assert array["sha256"] == hashlib.sha256((target / array["file"]).read_bytes()).hexdigest()
    listed = {array["file"] for entry in manifest["responses"] for array in entry["arrays"].values()}
    there = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert there == listed | {"manifest.json"}


def test_means_of_the_clips_of_each_split(folder, rng):
    train, test = run(folder), run(folder, "test")
    columns = Columns(tuple(Block(s, roi, layout.SIZES[roi]) for s in layout.SUBJECTS for roi in layout.ROIS))
    clips = {"validation": np.array([3, 7]), "test": np.arange(12, 17), "outer-1": np.array([0, 11])}
    found = {split: response_store.measured(train, test, "mini", columns, split, rows) for split, rows in clips.items()}
    for name, rows in clips.items():
        part, first = ("test", 12) if name == "test" else ("train", 0)
        expected = [
            plainly(file_of(folder, part, s, roi), part).astype(np.float64).mean(axis=1)[rows - first]
            for s in layout.SUBJECTS
            for roi in layout.ROIS
        ]
        assert found[name].flags.c_contiguous and found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], np.concatenate(expected, axis=1), rtol=1e-6)
    _, blocks = train.means("mini", [(block.subject, block.roi) for block in columns.blocks])
    assert blocks == columns and train.n_stimuli == 12


def test_without_test_responses_the_manifest_is_empty(tmp_path):
    found = run(layout.make(tmp_path / "study", videos=False, test=False), "test")
    assert not found.entries and not found.has("mini") and found.n_stimuli == 0
    with pytest.raises(FileError, match="no responses of sub01 V1 in the mini track; of it there are none; run `dvc"):
        found.trials("mini", "sub01", "V1")


def test_test_responses_do_not_reach_the_training_part(folder):
    before = run(folder).entries
    for path in (folder / "test_responses").rglob("*.pkl"):
        path.unlink()
    assert run(folder).entries == before


# Whole or not at all


def killed_after(count):
    def progress(items, _total, _label):
        for number, item in enumerate(items, 1):
            yield item
            if number == count:
                raise KeyboardInterrupt

    return progress


def test_a_killed_run_leaves_nothing_half_written_and_goes_on(folder, monkeypatch):
    target = folder.parent / "conversion" / "train"
    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=killed_after(2))
    assert not target.exists()
    changed = layout.train_file(folder, "sub01", "V1")
    io.write_pickle(changed, {"train": -plainly(changed, "train")})
    again, write = [], conversion.write_responses
    monkeypatch.setattr(conversion, "write_responses", lambda path, *a: again.append(path.name) or write(path, *a))
    found = run(folder)
    assert len(again) == len(EVERY) - 1  # V1, which was done, is another file now; FFA is not done again
    for key in EVERY:
        same_as_the_file(found, folder, "train", *key)


def test_a_process_killed_in_the_middle_of_a_file_leaves_nothing_of_it(folder):
    """Killed as the system kills: no handler runs, what was being written stays under its temporary name."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        import layout
        from cinevox.files import io
        from cinevox.measured import conversion
        from cinevox.measured.datasets import open_dataset
        calls = []
        def forget(_):
            calls.append(1)
            if len(calls) == 18:  # in the second file
                os.kill(os.getpid(), signal.SIGKILL)
        io.forget, conversion.BLOCK = forget, 12 * 3 * 4 * 2
        folder = Path(sys.argv[1])
        wanted, target = layout.wanted(folder), folder.parent / "conversion" / "train"
        conversion.convert(open_dataset(wanted), wanted, "train", target, folder.parent / "unfinished")
    """)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", script, folder], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder.parent / "conversion").exists()
    assert list(folder.parent.rglob("FFA/*.npy.part")) and not list(folder.parent.rglob("FFA/*.npy"))
    assert len(list(folder.parent.rglob("V1/*.npy"))) == 2
    found = run(folder)
    assert not list(folder.parent.rglob("*.part"))
    for key in EVERY:
        same_as_the_file(found, folder, "train", *key)


def test_another_choice_of_subjects_does_not_take_up_what_was_left(folder):
    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=killed_after(3))
    found = run(folder, subjects=["sub02"])
    assert {subject for _, subject, _ in found.entries} == {"sub02"}
    assert not list((folder.parent / "conversion").rglob("sub01"))


def test_a_later_run_replaces_all(folder):
    run(folder)
    assert set(run(folder, tracks=["mini"], rois=["FFA"]).entries) == {("mini", s, "FFA") for s in layout.SUBJECTS}
    assert not list((folder.parent / "conversion").rglob("V1"))


def test_responses_that_are_no_float32_are_refused_all_at_once(folder):
    values = np.ones((12, 3, 7))
    values[2, 1, 3], values[4, 0, :2], values[5, 2, 6] = np.nan, -np.inf, 1e300
    io.write_pickle(layout.train_file(folder, "sub01", "V1"), {"train": values})
    io.write_pickle(layout.train_file(folder, "sub02", "FFA"), {"train": np.full((12, 3, 2), 4e38)})
    with pytest.raises(InputError) as caught:
        run(folder)
    head, first, second, cure = str(caught.value).splitlines()
    assert tells(head, f"{folder}", "2 of 6", "float32")
    assert tells(first, "sub01/V1.pkl", "252", "3 NaN or infinite", "1 too large", "float64")
    assert tells(second, "sub02/FFA.pkl", "of 72", "72 too large", "float64") and "NaN" not in second
    assert tells(cure, "finite", "-3.4e38 and 3.4e38", "leave them out", "dataset.subjects, dataset.rois")
    assert not (folder.parent / "conversion").exists()


def test_declared_missing_trials_are_averaged_around(folder):
    """Not declared they are refused, and so is NaN in a part of a trial, or in all trials of a clip."""
    path = layout.train_file(folder, "sub01", "V1")
    values = plainly(path, "train").copy()
    values[3, 1] = np.nan
    io.write_pickle(path, {"train": values})
    with pytest.raises(InputError, match="of 252 responses 7 NaN or infinite"):
        run(folder, tracks=["mini"])
    found = run(folder, tracks=["mini"], missing_repetitions="skip")
    np.testing.assert_array_equal(found.trials("mini", "sub01", "V1").values, values)
    expected = values.astype(np.float64).mean(axis=1)
    expected[3] = values[3, [0, 2]].astype(np.float64).mean(axis=0)
    np.testing.assert_array_equal(found.mean("mini", "sub01", "V1"), expected.astype(np.float32))
    same_as_the_file(found, folder, "train", "mini", "sub02", "V1")
    for where, told in (((5, 0, 2), "1 NaN"), ((3,), "21 NaN")):
        worse = values.copy()
        worse[where] = np.nan
        io.write_pickle(path, {"train": worse})
        with pytest.raises(InputError, match=f"of 252 responses {told}"):
            run(folder, tracks=["mini"], missing_repetitions="skip")


def test_files_that_do_not_agree_and_clips_that_are_not_there(folder):
    found = run(folder, tracks=["mini"])
    for clips in ([-1, 2], [3, 12]):
        with pytest.raises(FileError, match=r"responses to 12 clips, and those at -?\d+ to \d+ are asked for"):
            found.means("mini", [("sub01", "V1")], np.array(clips))
    path = layout.train_file(folder, "sub01", "V1")
    io.write_pickle(path, {"train": plainly(path, "train")[:9]})
    with pytest.raises(InputError, match="different numbers of clips: sub01 V1 9, sub01 FFA 12, sub02 V1 12"):
        run(folder, tracks=["mini"])


def test_a_file_that_nobody_asked_for_moves_no_row(folder):
    """The test clips' rows are those after the training responses that were asked for, whatever lies beside them."""
    before = run(folder, tracks=["mini"])
    small = layout.train_file(folder, "pilot", "V1")
    io.write_pickle(small, {"train": np.zeros((9, 3, 2), np.float32)})
    after, test = run(folder, tracks=["mini"]), run(folder, "test", tracks=["mini"])
    assert before.entries == after.entries and after.n_stimuli == layout.N_TRAIN
    columns = Columns((Block("sub01", "V1", layout.SIZES["V1"]),))
    found = response_store.measured(after, test, "mini", columns, "test", np.arange(12, 17))
    np.testing.assert_array_equal(found, test.mean("mini", "sub01", "V1"))


def test_a_missing_file_is_named(folder):
    layout.train_file(folder, "sub02", "FFA").unlink()
    with pytest.raises(FileError, match="sub02/FFA.pkl: no such file; of sub02 there is V1"):
        run(folder)


# Memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("protocol", "order"), [("python2", "C"), (2, "C"), (4, "C"), (4, "F")])
def test_a_large_file_takes_the_memory_of_some_blocks(tmp_path, protocol, order):
    """200 MB in a process of its own; protocol 2 of Python 3 holds them as text."""
    path = tmp_path / "WB.pkl"
    values = np.asarray(np.random.default_rng(0).standard_normal((1000, 3, 8500)), order=order)
    if protocol == "python2":
        io.write_pickle(path, {"train": values})
    else:
        path.write_bytes(pickle.dumps({"train": values}, protocol))
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from cinevox.files import io
        from cinevox.measured import conversion
        def peak():
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
        path, before = Path(sys.argv[1]), peak()
        values = io.read_pickle(path, mapped=True)["train"]
        conversion.write_responses(path.parent, values, 2**22)
        print(peak() - before)
    """)
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "trials.npy", mmap_mode="r")[:, 1], values[:, 1].astype("f4"))
    assert path.stat().st_size > 200e6
    assert float(done.stdout) < 80  # MB

"""A full disk: seen before work begins where sizes are known, and one message where it is not."""

import errno
import logging
import os
import pickle
import shutil
import sys

import joblib
import numpy as np
import pytest
import torch

import _cli
from cinevox import cli
from cinevox.errors import InputError
from cinevox.files import disk, io
from cinevox.fitting.transfer.training import replace_file
from conftest import ROOT


def full(path):
    """Let a file that is written as a whole go to a device that has no room."""
    path.parent.mkdir(exist_ok=True)
    path.with_name(f"{path.name}.part").symlink_to("/dev/full")


@pytest.mark.parametrize(
    ("name", "write", "needed"),
    [
        ("a.npy", lambda path: io.write_array(path, np.zeros((300, 1000))), "2.4 MB are needed"),
        ("a.npz", lambda path: io.write_arrays(path, x=np.zeros(10**6, np.float32)), "4.0 MB are needed"),
        ("a.json", lambda path: io.write_json(path, ["x" * 10**5]), "100.0 kB are needed"),
        ("a.pkl", lambda path: io.write_pickle(path, {"x": np.zeros(10**6)}), "more is needed"),
        ("a.pt", lambda path: replace_file(path, {"x": torch.zeros(10**6)}), "more is needed"),
    ],
)
def test_whoever_writes_says_folder_need_and_room(tmp_path, name, write, needed):
    path = tmp_path / "results" / name
    write(path)
    before = path.read_bytes()
    full(path)
    with pytest.raises(disk.DiskFullError) as raised:
        write(path)
    assert str(raised.value).startswith(f"{path.parent}: the disk is full: {needed}, ")
    assert "are free; free some space" in str(raised.value)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]  # what was there stays
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # as a worker sends it


def test_arrays_have_their_space_before_they_are_filled(tmp_path):
    files = {tmp_path / "a.npy": ((7, 1000), "float16"), tmp_path / "b.npy": ((3, 2**17), np.uint8)}
    disk.allocate(files)
    for path, (shape, dtype) in files.items():
        found = np.load(path)
        assert found.shape == shape and found.dtype == dtype and not found.any()
        assert path.stat().st_blocks * 512 >= found.nbytes


def test_no_room_is_seen_before_anything_is_made(tmp_path, monkeypatch):
    files = {tmp_path / "a.npy": ((7, 1000), "float16"), tmp_path / "b.npy": ((3, 2**50), np.uint8)}
    with pytest.raises(disk.DiskFullError, match=r"3377699.7 GB are needed, [0-9.]+ GB are free"):
        disk.allocate(files)
    assert not list(tmp_path.iterdir())


def test_room_that_somebody_else_took_meanwhile(tmp_path, monkeypatch):
    def none_left(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", none_left)
    with pytest.raises(disk.DiskFullError, match="14.0 kB are needed"):
        disk.allocate({tmp_path / "a.npy": ((7, 1000), "float16")})
    assert not list(tmp_path.iterdir())


def test_where_the_system_takes_no_space_it_is_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    disk.allocate({tmp_path / "a.npy": ((5, 10**6), "float32")})
    found = np.load(tmp_path / "a.npy")
    assert found.shape == (5, 10**6) and not found.any()
    assert (tmp_path / "a.npy").stat().st_size == found.nbytes + 128


def _fill(_):
    raise OSError(errno.ENOSPC, "No space left on device", "/tmp/somewhere/array.npy")


@pytest.fixture
def stage(tmp_path, monkeypatch, caplog):
    """Run a function as a stage; what it says, and its exit code."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/features.py"])
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "A stage", raising=False)
    caplog.set_level(logging.ERROR)

    def run(main):
        with pytest.raises(SystemExit) as ended:
            _cli.stage(main)
        return ended.value.code, caplog.text

    return run


@pytest.mark.parametrize("backend", ["sequential", "loky"])
def test_a_stage_ends_in_one_message_also_from_a_worker(stage, backend):
    def main(_):
        with joblib.parallel_config(backend=backend):
            joblib.Parallel(n_jobs=2)(joblib.delayed(_fill)(k) for k in range(2))

    code, said = stage(main)
    assert code == 1 and "features: /tmp/somewhere: the disk is full: more is needed, " in said and "Trace" not in said


def test_a_library_that_wraps_the_error_is_understood(stage):
    def main(_):
        try:
            _fill(0)
        except OSError as error:
            raise RuntimeError("iostream error") from error

    assert stage(main)[0] == 1


def test_other_errors_keep_their_traceback(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/features.py"])
    with pytest.raises(OSError, match="else"):
        _cli.stage(lambda _: (_ for _ in ()).throw(OSError(errno.EACCES, "something else")))


def test_a_command_ends_in_one_message(monkeypatch, capsys):
    monkeypatch.setitem(cli.COMMANDS, "rows", (_fill, {}))
    assert cli.main(["rows"]) == 2
    assert capsys.readouterr().err.startswith("cinevox rows: /tmp/somewhere: the disk is full: ")
    assert issubclass(disk.DiskFullError, InputError)

"""Files in and out: arrays, JSON, and pickles that may come from anywhere."""

import bz2
import collections
import hashlib
import json
import lzma
import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinevox.errors import FileError, InputError
from cinevox.files import digests, io

RNG = np.random.default_rng(0)
CONTENT = {
    "train": RNG.normal(size=(5, 3, 7)).astype(np.float32),
    "fortran": np.asfortranarray(RNG.normal(size=(5, 3, 7))),
    "permuted": RNG.normal(size=(5, 3, 7)).transpose(1, 2, 0),
    "mask": np.array([[1, 0], [0, 1]], dtype=np.uint8),
    "booleans": np.array([True, False]),
    "empty": np.empty((0, 4)),
    "long": RNG.normal(size=(30, 40)),
    "number": np.float64(3.5),
    "ordered": collections.OrderedDict([("x", 1)]),
    "list": [1, 2.5, None, True, -(10**12), (1, (2,)), "é"],
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def same(first, second):
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and np.array_equal(first, second)
    return first == second


# What is read


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_python_3(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    found = io.read_pickle(tmp_path / "a.pkl")
    assert list(found) == list(CONTENT)
    assert all(same(CONTENT[key], found[key]) for key in CONTENT)
    assert found["train"].flags.writeable


# made with Python 2.7's opcodes and numpy 1's names: {'train': array([[1., 2.]], dtype=float32), 'n': 3L}
PYTHON_2 = {
    0: b"(dp1\nS'train'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n("
    b"cnumpy\nndarray\np4\n(I0\ntp5\nS'b'\np6\ntp7\nRp8\n"
    b"(I1\n(I1\nI2\ntp9\ncnumpy\ndtype\np10\n(S'f4'\np11\nI0\nI1\ntp12\nRp13\n(I3\nS'<'\np14\nNNNI-1\nI-1\nI0\ntp15\nb"
    b"I00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np16\ntp17\nbsS'n'\np18\nL3L\ns.",
    1: b"}q\x01(U\x05trainq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03(cnumpy\nndarray\nq\x04(K\x00tq\x05"
    b"U\x01bq\x06tq\x07Rq\x08(K\x01(K\x01K\x02tq\x09cnumpy\ndtype\nq\x0a(U\x02f4q\x0bK\x00K\x01tq\x0cRq\x0d(K\x03U\x01<q\x0eNNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tq\x0fbI00\nU\x08\x00\x00\x80?\x00\x00\x00@q\x10tq\x11bU\x01nq\x12L3L\nu.",
    2: b"\x80\x02}q\x01(U\x05trainq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05"
    b"U\x01bq\x06\x87q\x07Rq\x08(K\x01K\x01K\x02\x86q\x09cnumpy\ndtype\nq\x0aU\x02f4q\x0bK\x00K\x01\x87q\x0cRq\x0d(K\x03U\x01<q\x0eNNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb\x89U\x08\x00\x00\x80?\x00\x00\x00@q\x10tq\x11bU\x01nq\x12\x8a\x01\x03u.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_pickles_of_python_2(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(PYTHON_2[protocol])
    found, expected = io.read_pickle(tmp_path / "a.pkl"), pickle.loads(PYTHON_2[protocol], encoding="latin1")
    assert found["n"] == expected["n"] == 3
    assert same(found["train"], expected["train"]) and same(found["train"], np.array([[1, 2]], np.float32))


@pytest.mark.parametrize(("protocol", "how"), [(2, {"encoding": "latin1"}), (3, {})])
def test_what_is_written_opens_in_python(tmp_path, protocol, how):
    arrays = {key: value for key, value in CONTENT.items() if isinstance(value, np.ndarray)}
    io.write_pickle(tmp_path / "a.pkl", {**arrays, "nested": {"sub01": CONTENT["train"]}}, protocol)
    raw = (tmp_path / "a.pkl").read_bytes()
    for found in (pickle.loads(raw, **how), io.read_pickle(tmp_path / "a.pkl")):
        assert list(found) == [*arrays, "nested"]
        assert all(same(arrays[key], found[key]) for key in arrays)
        assert same(found["nested"]["sub01"], CONTENT["train"])
    assert b"numpy._core" not in raw  # numpy 1 has no such module


def test_only_numbers_are_written(tmp_path):
    with pytest.raises(ValueError, match="an array of object and 8 bytes; expected numbers"):
        io.write_pickle(tmp_path / "a.pkl", {"a": np.array([None])})
    with pytest.raises(ValueError, match="protocol is 4; expected 2 or 3"):
        io.write_pickle(tmp_path / "a.pkl", {}, protocol=4)
    assert not list(tmp_path.iterdir())


# What is refused

MARKER = "cinevox-was-run"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
FLOAT32 = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECTS = b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
RUN = f"S'touch {MARKER}'\n".encode()


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def array_of(shape, data, dtype=FLOAT32):
    return RECONSTRUCT + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


HOSTILE = {
    "os.system": (b"cos\nsystem\n(" + RUN + b"tR.", "asks for os.system"),
    "by inst": (b"(" + RUN + b"ios\nsystem\n.", "a class of its own"),
    "by obj": (b"(cos\nsystem\n" + RUN + b"o.", "asks for os.system"),
    "by newobj": (b"\x80\x02cnumpy\nndarray\n)\x81.", "a class of its own"),
    "builtins eval": (pickle.dumps(Call(eval, f"open('{MARKER}','w')")), "asks for builtins.eval"),
    "getattr": (pickle.dumps(Call(getattr, "a", "upper")), "asks for builtins.getattr"),
    "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", "asks for numpy.ndarray.dumps"),
    "numpy that runs": (
        b"cnumpy.testing._private.utils\nrunstring\n(tR.",
        "asks for numpy.testing._private.utils.runstr",
    ),
    "numpy.load": (b"cnumpy\nload\n(" + RUN + b"tR.", "asks for numpy.load"),
    "ourselves": (b"ccinevox.files.io\nwrite_array\n(tR.", "asks for cinevox.files.io.write_array"),
    "extension code": (b"\x80\x02\x82\x01.", "a class of its own"),
    "persistent id": (b"Pelsewhere\n.", "outside the file"),
    "binary persistent id": (b"\x80\x02K\x01Q.", "outside the file"),
    "out-of-band buffer": (b"\x80\x05\x97.", "no instruction"),
    "build on a function": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x0c__defaults__Ns\x86b.",
        "changes the insides of a _Symbol",
    ),
    "build on a dtype's class": (b"\x80\x02cnumpy\ndtype\n}U\x01aK\x01sb.", "changes the insides of a _Symbol"),
    "build on a dict": (b"\x80\x02}}U\x0c__class__K\x01sb.", "changes the insides of a dict"),
    "build twice": (b"\x80\x02" + FLOAT32 + b"}b.", "changes the insides of a"),
    "call of ndarray": (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ft\x85R.", "calls ndarray with unusual"),
    "call of text": (b"\x80\x02U\x01a)R.", "no function of numpy"),
    "array subclass": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n(K\x00tU\x01btR.",
        "asks for numpy.matrix",
    ),
    "array of objects": (array_of(b"(K\x01t", b"(lNa", OBJECTS), "type 'O8'; expected numbers"),
    "pickled objects": (pickle.dumps(np.array([{}, None], dtype=object)), "type 'O8'; expected numbers"),
    "records": (pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "O")])), "type 'V12'; expected numbers"),
    "dates": (pickle.dumps(np.zeros(2, "datetime64[s]")), "type 'M8'; expected numbers"),
    "scalar of objects": (b"cnumpy.core.multiarray\nscalar\n(" + OBJECTS + b"U\x08aaaaaaaatR.", "type 'O8'"),
    "huge shape": (
        array_of(b"(" + b"J\xff\xff\xff\x7f" * 4 + b"t", b"U\x04aaaa"),
        f"needs {4 * (2**31 - 1) ** 4} bytes, and there are 4",
    ),
    "huge shape without data": (array_of(b"(J\xff\xff\xff\x7ft", b"U\x00"), "needs 8589934588 bytes, and there are 0"),
    "negative shape": (array_of(b"(J\xff\xff\xff\xfft", b"U\x04aaaa"), "without a shape"),
    "shape of text": (array_of(b"(U\x01at", b"U\x04aaaa"), "without a shape"),
    "too little data": (array_of(b"(K\x02t", b"U\x04aaaa"), "shape (2,) needs 8 bytes, and there are 4"),
    "no data": (b"\x80\x02" + RECONSTRUCT + b".", "unfinished array"),
    "unfinished inside": (b"\x80\x02}U\x01a" + RECONSTRUCT + b"s.", "unfinished array"),
    "a function as content": (b"\x80\x02cnumpy\ndtype\n\x85.", "a function"),
    "long bytes announced": (
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "9223372036854775807 more bytes expected",
    ),
    "long text announced": (b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x10.", "more bytes expected"),
    "long buffer announced": (b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x10.", "more bytes expected"),
    "negative length": (b"T\xff\xff\xff\xff.", "-1 more bytes expected"),
    "long frame": (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "a frame is longer"),
    "huge integer": (b"\x80\x02\x8b\x40\x00\x00\x00" + b"\x01" * 64 + b".", "an integer of 64 bytes"),
    "long number in text": (b"L" + b"9" * 5000 + b"L\n.", "a number of 5001 characters"),
    "memo far away": (b"\x80\x02Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.", "damaged"),
    "deep nesting": (b"(" * 300_000 + b"t" * 300_000 + b".", "more than 200000 instructions"),
    "many lists": (b"]" * 1_000_000, "more than 200000 instructions"),
    "many copies": (
        b"\x80\x02c_codecs\nencode\nq\x00X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x01U\x06latin1q\x02"
        b"(" + b"h\x00h\x01h\x02\x86R" * 1000 + b"t.",
        "repeats the same data over and over",
    ),
    "another codec": (b"\x80\x02c_codecs\nencode\nU\x01aU\x03zip\x86R.", "calls encode with unusual arguments"),
    "tuple keys": (b"\x80\x02}))\x86Ns.", "text or integer keys"),
    "set on a list": (b"\x80\x02]K\x01K\x02s.", "text or integer keys"),
    "append to a dict": (b"\x80\x02}K\x01a.", "appends to a dict"),
    "below the mark": (b"K\x01(\x85.", "damaged near byte"),
    "nothing": (b"", "it is empty"),
    "no end": (b"\x80\x02N", "cut off"),
    "nothing left": (b".", "ends in the middle"),
    "protocol 9": (b"\x80\x09N.", "protocol 9; expected 0 to 5"),
    "random text": (b"hello, world", "refused"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "compressed with gzip"),
    "zip": (b"PK\x03\x04abc", "zip archive"),
    "web page": (b"<!DOCTYPE html>", "a web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    "npy": (b"\x93NUMPY\x01\x00", ".npy file"),
    "bzip2": (bz2.compress(b"abc"), "compressed with bzip2"),
    "xz": (lzma.compress(b"abc"), "compressed with xz"),
    "zlib": (zlib.compress(b"abc"), "compressed with zlib, as `joblib.dump"),
    "mat": (b"MATLAB 5.0 MAT-file" + bytes(100), "a MATLAB .mat file: read it with scipy.io.loadmat"),
    "netCDF": (b"CDF\x01" + bytes(20), "a netCDF file"),
    "torch.save": (b"PK\x03\x04" + bytes(26) + b"archive/data.pkl", "a file of torch.save: read it with torch.load"),
    "joblib": (b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n.", "written by joblib: read it with joblib.load"),
    "pandas": (b"\x80\x02cpandas\nDataFrame\n.", "it asks for pandas.DataFrame; it holds a table of pandas: save"),
    "bytes keys": (b"\x80\x03}C\x05trainNs.", "its keys are bytes"),
    "git-annex": (b"/annex/objects/MD5E-s1--0.pkl\n", "a git-annex pointer"),
    "AppleDouble": (b"\x00\x05\x16\x07\x00\x02", "a file that macOS keeps beside another one"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused_and_why(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    raw, reason = HOSTILE[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(raw)
    with pytest.raises(FileError) as caught:
        io.read_pickle(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: refused: ") and reason in message
    assert "nothing in it was run. Fetch the file again" in message and "\n" not in message
    assert len(message) < 600
    assert isinstance(caught.value, InputError)
    assert names(tmp_path) == ["a.pkl"]


def test_shared_references_do_not_explode(tmp_path):
    nested = b"\x80\x02]" + b"2\x86" * 50_000 + b"."  # (x, x) of (x, x) of ...: 2**50000 leaves, if walked
    (tmp_path / "a.pkl").write_bytes(nested)
    assert isinstance(io.read_pickle(tmp_path / "a.pkl"), tuple)


def test_cut_at_every_tenth(tmp_path):
    for protocol in range(6):
        whole = pickle.dumps(CONTENT, protocol=protocol)
        for tenth in range(10):
            path = tmp_path / "a.pkl"
            path.write_bytes(whole[: len(whole) * tenth // 10])
            with pytest.raises(FileError, match="refused: it is (cut off|empty)"):
                io.read_pickle(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileError, match=r"b\.pkl: no such file"):
        io.read_pickle(tmp_path / "b.pkl")
    with pytest.raises(FileError, match="not a file"):
        io.read_pickle(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="not a file"):
        io.read_pickle(tmp_path / "pipe")


GOOD = [pickle.dumps({key: CONTENT[key] for key in ("train", "mask", "number", "list")}, protocol=p) for p in range(6)]
GADGETS = [
    b"cos\nsystem\n",
    RUN,
    b"R",
    b"b",
    b"\x93",
    b"\x81",
    b"i",
    b"(",
    b"t",
    b"0",
    b"2",
    b"\x94",
    b".",
    b"\x82\x01",
]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_pickles_run_nothing(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    raw = bytearray(data.draw(st.sampled_from([*GOOD, *PYTHON_2.values()])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw)))
        insert = data.draw(st.one_of(st.sampled_from(GADGETS), st.binary(min_size=0, max_size=4)))
        raw[at : at + data.draw(st.integers(0, 4))] = insert
    (folder / "a.pkl").write_bytes(raw)
    before = Path.cwd()
    os.chdir(folder)
    try:
        plain(io.read_pickle(folder / "a.pkl"))
    except FileError as error:
        assert "refused" in str(error)
    finally:
        os.chdir(before)
    assert names(folder) == ["a.pkl"]


def plain(item):
    kinds = (dict, list, tuple, str, bytes, bytearray, int, float, bool, type(None), np.generic, np.ndarray)
    assert isinstance(item, kinds)
    assert not isinstance(item, np.ndarray) or item.dtype.kind in "biufcSU"
    for part in item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ():
        plain(part)


# Arrays


def test_an_array_and_its_shape(tmp_path):
    path = tmp_path / "new" / "a.npy"
    io.write_array(path, CONTENT["train"])
    found = io.read_array(path, (5, None, 7), "n_clips, n_repetitions, n_voxels")
    assert isinstance(found, np.memmap) and same(np.asarray(found), CONTENT["train"])
    with pytest.raises(FileError) as caught:
        io.read_array(path, (5, 4, None), "n_clips, n_repetitions, n_voxels")
    assert str(caught.value) == (
        f"{path}: shape (5, 3, 7), expected (5, 4, 'any') (n_clips, n_repetitions, n_voxels); run `dvc repro`"
    )
    with pytest.raises(FileError, match="expected"):
        io.read_array(path, (5, 3))


@pytest.mark.parametrize("shape", [(), (0, 4), (3, 0)])
def test_arrays_of_odd_shapes(tmp_path, shape):
    io.write_array(tmp_path / "a.npy", np.ones(shape))
    assert io.read_array(tmp_path / "a.npy", shape).shape == shape


def test_broken_arrays(tmp_path):
    for reader, name in ((io.read_array, "a.npy"), (io.read_arrays, "a.npz"), (io.read_json, "a.json")):
        path = tmp_path / name
        with pytest.raises(FileError, match="no such file; `dvc repro` makes it"):
            reader(path)
        for raw in (b"", b"\xff\xfehello"):
            path.write_bytes(raw)
            with pytest.raises(FileError, match="delete it and run `dvc repro`"):
                reader(path)
        path.unlink()
        path.mkdir()
        with pytest.raises(FileError, match="not "):
            reader(path)
    cut, objects = tmp_path / "cut.npy", tmp_path / "objects.npy"
    io.write_array(cut, np.ones(1000))
    cut.write_bytes(cut.read_bytes()[:500])
    np.save(objects, np.array([None]), allow_pickle=True)
    for path in (cut, objects):
        with pytest.raises(FileError, match=r"not a \.npy file"):
            io.read_array(path)
    with pytest.raises(ValueError, match="Object arrays"):
        io.write_array(tmp_path / "new.npy", np.array([None]))
    assert not (tmp_path / "new.npy").exists() and not (tmp_path / "new.npy.part").exists()


def test_named_arrays_are_the_same_bytes_again(tmp_path):
    for name in ("a.npz", "b.npz"):
        io.write_arrays(tmp_path / name, train=CONTENT["train"], mask=CONTENT["mask"])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = io.read_arrays(tmp_path / "a.npz")
    assert list(found) == ["train", "mask"] and same(found["train"], CONTENT["train"])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    io.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        io.write_json(path, {"a": object()})
    with pytest.raises(ValueError):
        io.write_array(path, np.array([None]))
    assert io.read_json(path) == {"a": 1} and names(tmp_path) == ["a.json"]


# JSON


def test_json_is_strict_and_plain(tmp_path):
    content = {
        "b": np.float32(0.5),
        "a": [np.nan, -np.inf, float("nan"), np.array([[1.0, np.nan]])],
        3: (np.int64(2), np.True_, None, tmp_path / "x"),
    }
    path = tmp_path / "new" / "a.json"
    io.write_json(path, content)
    text = path.read_text()
    assert text.endswith("}\n") and "NaN" not in text
    expected = {"b": 0.5, "a": [None, None, None, [[1.0, None]]], "3": [2, True, None, (tmp_path / "x").as_posix()]}
    assert json.loads(text) == io.read_json(path) == expected
    assert list(io.read_json(path)) == ["b", "a", "3"]


def test_json_too_deep(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(FileError, match="not JSON"):
        io.read_json(tmp_path / "a.json")


def test_lengths_are_little_endian(tmp_path):
    """The writer's lengths against the format's definition, beyond one byte."""
    io.write_pickle(tmp_path / "a.pkl", {"a": np.zeros(1000, np.float32)})
    assert b"T" + struct.pack("<I", 4000) in (tmp_path / "a.pkl").read_bytes()


def test_rows_of_an_array_are_overwritten_in_place(tmp_path, rng):
    path, values = tmp_path / "a.npy", rng.standard_normal((7, 2, 3)).astype(np.float16)
    io.write_array(path, values)
    io.write_rows(path, 2, new := np.ones((3, 2, 3), dtype=np.float16))
    expected = np.concatenate([values[:2], new, values[5:]])
    np.testing.assert_array_equal(io.read_array(path), expected)
    for start, rows in ((5, new), (0, new.astype(np.float32)), (0, new[:, 0])):
        with pytest.raises(ValueError, match=r"a\.npy: float.* from row . on, expected float16 \(7, 2, 3\)"):
            io.write_rows(path, start, rows)


# Large arrays in pickles, and arrays written as they come

LARGE = RNG.normal(size=(1000, 3, 400))  # 9.6 MB


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", ["python2", *range(6)])
def test_mapped_arrays_are_the_same_and_take_no_memory(tmp_path, protocol, order):
    path, content = tmp_path / "a.pkl", {"train": np.asarray(LARGE, order=order), "mask": CONTENT["mask"]}
    if protocol == "python2":
        io.write_pickle(path, content)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    tracemalloc.start()
    found = io.read_pickle(path, mapped=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(same(content[key], found[key]) for key in content)
    if protocol != 0:
        assert peak < (6 * 2**20 if protocol in (1, 2) else 2**17)  # where it is text, pieces of 1 MB
        assert not found["train"].flags.writeable
    io.forget(found["train"])  # and the pages come back
    assert all(same(content[key], found[key]) for key in content)
    assert names(tmp_path) == ["a.pkl"]


@pytest.mark.parametrize("mapped", [True, False])
def test_long_text_that_is_no_latin1_is_refused(tmp_path, mapped):
    text = ("a" * (2**20 - 1) + "é€").encode()
    for ending in (text, text[:-4], text[:-1]):
        raw = b"\x80\x02c_codecs\nencode\nX" + struct.pack("<I", len(ending)) + ending + b"U\x06latin1\x86R."
        (tmp_path / "a.pkl").write_bytes(raw)
        if ending == text[:-4]:  # not long any more
            continue
        with pytest.raises(FileError, match=r"damaged near byte .* \(Unicode"):
            io.read_pickle(tmp_path / "a.pkl", mapped=mapped)


@pytest.mark.parametrize("mapped", [True, False])
def test_long_text_on_its_way_to_an_array_is_no_content(tmp_path, mapped):
    text = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20
    for raw, said in (
        (b"\x80\x02c_codecs\nencode\n" + text + b"q\x010" + b"0h\x01.", "unfinished array"),
        (b"\x80\x02}c_codecs\nencode\n" + text + b"q\x010" + b"0h\x01K\x01s.", "text or integer keys"),
        (b"\x80\x02c_codecs\nencode\nq\x00" + text + b"q\x01U\x06latin1q\x020" + b"00(" + b"h\x00h\x01h\x02\x86R" * 2
         + b"t.", "repeats the same data"),
    ):  # fmt: skip
        (tmp_path / "a.pkl").write_bytes(raw)
        with pytest.raises(FileError, match=said):
            io.read_pickle(tmp_path / "a.pkl", mapped=mapped)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + text + b".")
    assert io.read_pickle(tmp_path / "a.pkl", mapped=mapped) == "a" * 2**20


def test_an_array_that_is_written_as_it_comes(tmp_path):
    values = np.asarray(LARGE, dtype="<f4", order="F")
    path = tmp_path / "new" / "a.npy"
    with io.streamed(path, values.shape, values.dtype) as stream:
        for start in range(0, 400, 150):
            stream.write(values[:, :, start : start + 150].T.tobytes())
        assert names(path.parent) == ["a.npy.part"]
    found = io.read_array(path, values.shape)
    assert same(found, values) and found.flags.f_contiguous
    with (
        pytest.raises(ValueError, match=r"b\.npy: 132 bytes written, expected 140"),
        io.streamed(tmp_path / "b.npy", (3,), values.dtype) as stream,
    ):
        stream.write(b"1234")
    assert not list(tmp_path.glob("b.npy*"))


# Digests of large files


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", 0)  # as of a file that was written some seconds ago
    path, memo = tmp_path / "large.npy", tmp_path / "memo.json"
    path.write_bytes(b"one")
    first = digests.remembered_digests(memo)
    assert first.of(path) == hashlib.sha256(b"one").hexdigest()
    digests.remember_digests(memo, first)
    with monkeypatch.context() as patch:
        patch.setattr(io, "sha256", lambda _: pytest.fail("read again"))
        second = digests.remembered_digests(memo)
        assert second.of(path) == second.of(path) == first.of(path)
    assert second.used == first.used  # what is kept is of files that are still looked at
    memo.write_text('["broken"')
    assert digests.remembered_digests(memo).of(path) == first.of(path)


@pytest.mark.parametrize("settled", [0, digests.SETTLED])
def test_an_edit_of_the_same_size_and_time_is_seen(tmp_path, monkeypatch, settled):
    """In place and of another file in its place, with the time stamp of before."""
    monkeypatch.setattr(digests, "SETTLED", settled)
    path, other, memo = tmp_path / "large.npy", tmp_path / "other.npy", tmp_path / "memo.json"
    path.write_bytes(b"one")
    stat = path.stat()
    for content, written in ((b"one", path), (b"two", path), (b"six", other)):
        written.write_bytes(content)
        if written == other:
            other.replace(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if settled == 0:  # its clock has ticked meanwhile
            while (entry := tmp_path / "clock").write_bytes(b"") or entry.stat().st_ctime_ns <= path.stat().st_ctime_ns:
                pass
        found = digests.remembered_digests(memo)
        assert found.of(path) == hashlib.sha256(content).hexdigest()
        assert bool(found.used) == (settled == 0)
        digests.remember_digests(memo, found)

"""Hostile and broken files: nothing runs, nothing is written elsewhere, the message names file, cause and cure."""

import ast
import gzip
import io as streams
import os
import pickle
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import layout
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.fitting.transfer.checkpoints import read_checkpoint
from cinevox.measured.datasets import open_dataset
from cinevox.project import plugins
from cinevox.project.params import Network
from cinevox.stimuli import frames
from cinevox.stimuli.networks import _loading, _weights
from cinevox.validation import inspection
from conftest import ROOT

CANARY = "canary"
NEVER_RUN = "nothing in it was run"


class Touch:
    """Runs a command where an unpickler obeys."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


class Build:
    """Functions within functions, and a state that is set by one."""

    def __reduce__(self):
        return np.ndarray, ((1,),), {"__setstate__": Touch()}


def responses(values=None):
    values = np.ones((4, 3, 2), np.float32) if values is None else values
    return pickle.dumps({"train": values}, protocol=2)


def tenth(raw, number):
    return raw[: len(raw) * number // 10]


def npy(array, allow_pickle=False):
    stream = streams.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npy_header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(name, content, compression=zipfile.ZIP_STORED):
    stream = streams.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def deflated(raw):
    """A zip, its parts compressed."""
    stream = streams.BytesIO()
    with zipfile.ZipFile(streams.BytesIO(raw)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part))
    return stream.getvalue()


def checkpoint(content, **options):
    stream = streams.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def changed_shape(raw):
    """A tensor of 4 numbers that announces 40,000."""
    stream = streams.BytesIO()
    with zipfile.ZipFile(streams.BytesIO(raw)) as source, zipfile.ZipFile(stream, "w") as target:
        for part in source.infolist():
            content = source.read(part)
            if part.filename.endswith("data.pkl"):
                content = content.replace(b"K\x04\x85", b"M\x40\x9c\x85")
            target.writestr(part.filename, content)
    return stream.getvalue()


def clip(path):
    layout.write_clip(path, noise=True)
    return path.read_bytes()


def picture(kind):
    from PIL import Image

    stream = streams.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, format=kind)
    return stream.getvalue()


BOMB = gzip.compress(bytes(30_000_000))  # 29 kB
STATE = {"a": torch.zeros(4)}
READERS = {
    "pkl": io.read_pickle,
    "npy": io.read_array,
    "npz": io.read_arrays,
    "json": io.read_json,
    "pth": lambda path: _weights_of(path),
    "pt": read_checkpoint,
    "mp4": lambda path: frames.read_clip(path, 2, 32, "direct"),
}
CURES = ("fetch it again", "Fetch the file again", "Fetch it again", "delete it and run", "Delete it and", "convert it")
HOSTILE = {  # what: (extension, content, or a function of a free path that makes it; what is said)
    **{f"call, protocol {p}": ("pkl", pickle.dumps(Touch(), protocol=p), "asks for") for p in range(6)},
    **{f"nested call, protocol {p}": ("pkl", pickle.dumps([Build()], p), "calls ndarray") for p in range(6)},
    "call of Python 2": ("pkl", b"cposix\nsystem\np1\n(S'touch canary'\ntR.", "asks for posix.system"),
    "call by text of Python 2": (
        "pkl", b"c__builtin__\neval\n(S'open(\"canary\",\"w\")'\ntR.", "asks for __builtin__.eval",
    ),
    "objects": ("pkl", responses(np.array([Touch()], dtype=object)), "expected numbers"),
    "gzip bomb": ("pkl", BOMB, "compressed with gzip"),
    "zip bomb": ("pkl", zipped("a", bytes(10**7), zipfile.ZIP_DEFLATED), "a zip archive"),
    "wrong magic": ("pkl", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "an mp4": ("pkl", clip, "refused"),
    **{f"responses, {n} tenths": ("pkl", tenth(responses(), n), "it is ") for n in range(10)},
    "npy of objects": ("npy", npy(np.array([Touch()], dtype=object), allow_pickle=True), "not a .npy file"),
    "npy that is a pickle": ("npy", pickle.dumps(Touch()), "not a .npy file"),
    "npy of a huge shape": ("npy", npy_header((2**40, 2**20)) + b"aaaa", "not a .npy file"),
    "npy with code for a header": ("npy", npy_header("__import__('os').system('touch canary')"), "not a .npy file"),
    "npy, gzip bomb": ("npy", BOMB, "not a .npy file"),
    **{f"npy, {n} tenths": ("npy", tenth(npy(np.ones(50)), n), "not a .npy file") for n in range(10)},
    "npz of objects": ("npz", zipped("a.npy", npy(np.array([Touch()], dtype=object), True)), "not an .npz file"),
    "npz of a huge shape": ("npz", zipped("a.npy", npy_header((2**44,)) + b"aaaa"), "not an .npz file"),
    "npz bomb": ("npz", zipped("a.npy", npy(np.zeros(10**7)), zipfile.ZIP_DEFLATED), "unpacks to 80000128 bytes"),
    **{f"npz, {n} tenths": ("npz", tenth(zipped("a.npy", npy(np.ones(50))), n), "not an .npz file") for n in range(10)},
    "json bomb": ("json", b"[" * 100_000, "not JSON"),
    "weights that call": ("pth", checkpoint({"a": Touch()}), "(it asks for posix.system); nothing in it was run"),
    "weights that call, old format": (
        "pth", checkpoint({"a": Touch()}, _use_new_zipfile_serialization=False), NEVER_RUN,
    ),
    "weights that are a plain pickle": ("pth", pickle.dumps(Touch()), NEVER_RUN),
    "weights with a whole module": ("pth", checkpoint(torch.nn.Linear(2, 2)), NEVER_RUN),
    "weights of a huge shape": ("pth", changed_shape(checkpoint(STATE)), NEVER_RUN),
    "weights, zip bomb": ("pth", deflated(checkpoint({"a": torch.zeros(3_000_000)})), "unpacks to"),
    "weights, gzip bomb": ("pth", BOMB, NEVER_RUN),
    **{f"weights, {n} tenths": ("pth", tenth(checkpoint(STATE), n), NEVER_RUN) for n in range(10)},
    "network that calls": ("pt", checkpoint({"base": Touch()}), "(it asks for posix.system); nothing in it was run"),
    "network, zip bomb": ("pt", deflated(checkpoint({"state": torch.zeros(3_000_000)})), "unpacks to"),
    "network of other content": ("pt", checkpoint({"base": 3}), NEVER_RUN),
    **{f"network, {n} tenths": ("pt", tenth(checkpoint(STATE), n), NEVER_RUN) for n in range(10)},
    "clip that is text": ("mp4", b"no clip at all", "no video"),
    "clip that is nothing": ("mp4", b"", "no video"),
    "clip that is a picture": ("mp4", picture("PNG"), "it is a PNG image, and its name ends in .mp4"),
    "clip that is a moving picture": ("mp4", picture("GIF"), "it is a GIF image"),
    "clip that is an AVI": ("mp4", lambda path: clip(path.with_suffix(".avi")), "it is an AVI or WAV file"),
    "clip that is a Matroska": ("mp4", lambda path: clip(path.with_suffix(".mkv")), "it is a Matroska or WebM file"),
    "clip that names other files": ("mp4", b"ffconcat version 1.0\nfile other.mp4\n", "a playlist, which names other"),
    "clip that names an address": ("mp4", b"#EXTM3U\n#EXTINF:3,\nhttp://127.0.0.1:9/a.mp4\n", "a playlist, which"),
    "clip that is a pickle": ("mp4", pickle.dumps(Touch()), "no video"),
    "clip, gzip bomb": ("mp4", BOMB, "compressed with gzip"),
    "clip of an unknown kind": ("xyz", b"abc", "a clip's name ends in one of .mp4"),
}  # fmt: skip


def _weights_of(path):
    spec = plugins.load("networks", "squeezenet")
    given = Network(weights="file", file=path, sha256=None, n_frames=1, seed=0)
    return _loading.load("squeezenet", spec, _weights.locate("squeezenet", spec, given))


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_refused_in_a_paragraph(tmp_path, monkeypatch, what):
    kind, content, said = HOSTILE[what]
    folder = tmp_path / "data"
    folder.mkdir()
    layout.write_clip(folder / "other.mp4")
    path = folder / f"file.{kind}"
    path.write_bytes(content if isinstance(content, bytes) else content(tmp_path / "made.mp4"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as caught:
        READERS.get(kind, READERS["mp4"])(path)
    message = str(caught.value)
    assert str(path) in message and said in message, message
    assert "weights_only" not in message  # torch's own words advise to trust the file
    assert any(cure in message for cure in CURES) and "\n" not in message and len(message) < 700, message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_clip_cut_anywhere_is_refused(tmp_path, tenths):
    """With its index at the end, as most are, and before the frames, where some can still be read."""
    for name, options in (("behind.mp4", {}), ("before.mp4", {"movflags": "faststart"})):
        path = tmp_path / name
        layout.write_clip(path, noise=True, **options)
        path.write_bytes(tenth(path.read_bytes(), tenths))
        with pytest.raises(InputError, match=r"(behind|before)\.mp4: (no video|damaged|cut off|\d+ of \d+ frames)"):
            frames.read_clip(path, 2, 32, "direct")
        row = inspection._clip(path, tmp_path)
        assert row["fault"] or row["n_frames"] != row["n_frames_announced"]


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    folder = layout.make(tmp_path / "study", test=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    pickled, film = layout.train_file(folder, "sub01", "V1"), folder / layout.CLIPS / "0003_0-1-2-3.mp4"
    for path in (pickled, film):
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)
    dataset = open_dataset(layout.wanted(folder))
    with pytest.raises(InputError, match=r"V1\.pkl: a link out of .*study, to .*outside.*V1\.pkl; put the file itself"):
        dataset.responses("train", "mini", "sub01", "V1")
    found = inspection.tables(dataset, layout.wanted(folder))
    faults = [row["fault"] for suite in ("clips", "train_responses") for row in found[suite] if row["fault"]]
    assert len(faults) == 2 and all("a link out of" in fault for fault in faults)
    (tmp_path / "elsewhere").symlink_to(folder)  # the folder itself may be one, and links may stay inside
    layout.train_file(folder, "sub01", "FFA").rename(folder / "FFA.pkl")
    layout.train_file(folder, "sub01", "FFA").symlink_to(folder / "FFA.pkl")
    assert open_dataset(layout.wanted(tmp_path / "elsewhere")).responses("train", "mini", "sub01", "FFA").n_voxels == 4


@pytest.mark.parametrize("store", ["cache/files/md5/0c", "annex/objects/0c/f2/key", "elsewhere"])
def test_links_into_a_store_are_followed(tmp_path, store):
    """As DVC's `cache.type: symlink` and git-annex leave a file, and as files are linked one by one."""
    folder = layout.make(tmp_path / "study", test=False)
    place = tmp_path / store
    place.mkdir(parents=True)
    everything = [path for path in folder.rglob("*") if path.is_file()]
    linked = everything if store == "elsewhere" else everything[-3:] + everything[:2]
    for number, path in enumerate(linked):
        path.rename(place / f"{number:030x}")
        path.symlink_to(place / f"{number:030x}")
    found = inspection.tables(open_dataset(layout.wanted(folder)), layout.wanted(folder))
    assert not [row for rows in found.values() for row in rows if row["fault"]]


def test_a_link_to_nothing_says_how_to_fetch_it(tmp_path):
    folder = layout.make(tmp_path / "study", videos=False, test=False)
    path = layout.train_file(folder, "sub01", "V1")
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/aa/bb/key")
    with pytest.raises(InputError, match=r"V1\.pkl: a link to .*key, which is not there; fetch it .*`git annex get`"):
        open_dataset(layout.wanted(folder)).responses("train", "mini", "sub01", "V1")


WORDS = [
    b"(", b"t", b"R", b"b", b"s", b"u", b"a", b"e", b"0", b"1", b"2", b"]", b"}", b")", b"N", b"l", b"d", b"\x85",
    b"\x86", b"\x87", b"\x81", b"\x93", b"\x94", b"i", b"o", b"Q", b"\x80\x02", b"\x80\x04", b"K\x03", b"M\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"U\x04aaaa", b"X\x01\x00\x00\x00a", b"C\x02ab", b"T\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"\x96" + b"\x01" * 8,
    b"q\x00", b"h\x00", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"g0\n", b"p0\n", b"I7\n", b"L9L\n", b"S'a'\n",
    b"cos\nsystem\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n", b"c_codecs\nencode\n", b"S'touch canary'\n", b"U\x02f4", b"U\x02O8",
    b"\x95" + b"\x01" * 8,
]  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(words=st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=3)), max_size=60), ends=st.booleans())
def test_any_sequence_of_instructions_ends_soon_and_small(tmp_path_factory, words, ends):
    """From the language itself, not from good files: within a second and 8 MB, data or a refusal."""
    folder = tmp_path_factory.getbasetemp() / "words"
    folder.mkdir(exist_ok=True)
    path = folder / "a.pkl"
    path.write_bytes(b"".join(words) + (b"." if ends else b""))
    before, started = Path.cwd(), time.process_time()
    os.chdir(folder)
    tracemalloc.start()
    try:
        io.read_pickle(path)
    except InputError as error:
        assert "refused" in str(error) and str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        os.chdir(before)
    assert peak < 8e6 and time.process_time() - started < 1
    assert [entry.name for entry in folder.iterdir()] == ["a.pkl"]


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keywords = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            yield ast.unparse(node.func), keywords


def test_nothing_here_reads_with_trust():
    """No `allow_pickle`, torch's files as weights only, and no unpickler but the workers' own messages."""
    known = {"src/cinevox/parallel/cluster.py": {"pickle.loads", "cloudpickle.dumps"}}  # between our own processes
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        for call, words in calls(path):
            if call in ("np.load", "numpy.load"):
                assert words.get("allow_pickle") is False, name
            if call == "torch.load":
                assert words.get("weights_only") is True, name
            risky = call.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle")
            if risky and call.split(".")[1] in ("load", "loads", "Unpickler", "dumps"):
                assert call in known.get(name, ()), f"{name}: {call}"
            assert words.get("allow_pickle") is not True and call not in ("pd.read_pickle", "yaml.unsafe_load"), name

"""Features that the user brings: read alike from every kind of file, and refused with all faults at once."""

from __future__ import annotations

import io as bytes_io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import small_run
import trials_study
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.files.digests import Digests
from cinevox.files.labelled_arrays import _parts, digest_of, open_arrays
from cinevox.project import params
from cinevox.project.params import FeatureMap, Network
from cinevox.project.paths import Paths
from cinevox.project.source_code import SourceCode
from cinevox.project.stage_instances import instances
from cinevox.scoring import outcomes
from cinevox.stimuli import brought_features
from cinevox.stimuli.brought_features import BroughtFeaturesError
from cinevox.stimuli.networks._libraries import array

CLIPS = ["0001_dog.mp4", "0002_cat.mp4", "0003_cow.MOV"]
STEMS = ["0001_dog", "0002_cat", "0003_cow"]
ORDER = [2, 0, 3, 1]  # of the rows in a file: the clips', and one of no clip in between
IDS = [[*STEMS, "9999_other"][row] for row in ORDER]
MAPS = np.random.default_rng(0).standard_normal((4, 2, 3))  # of three clips and the other one
WORDS = np.arange(8.0).reshape(4, 2)


def asked(path, sha256=None):
    return Network(weights="none", file=path, sha256=sha256, n_frames=1, seed=0, model="array")


def read(path, clips=CLIPS):
    return brought_features.read("mine", asked(path), clips)


def refused(path, clips=CLIPS, sha256=None):
    with pytest.raises(BroughtFeaturesError) as caught:
        brought_features.read("mine", asked(path, sha256), clips)
    assert f"networks.mine: {path}" in str(caught.value)
    return str(caught.value)


def npz(path, compressed=False, **arrays):
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def table(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_an_npz_file_are_the_layers_in_the_order_of_the_clips(tmp_path, compressed, monkeypatch):
    monkeypatch.setattr(brought_features, "BLOCK_VALUES", 12)  # two clips of maps at once
    path = npz(tmp_path / "my.npz", compressed, ids=np.array(IDS), maps=MAPS[ORDER], **{"words.v2": WORDS[ORDER]})
    found = read(path)
    assert list(found) == ["maps", "words.v2"] and {values.dtype for values in found.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(found["maps"], MAPS[:3].reshape(3, 6).astype(np.float32))
    np.testing.assert_array_equal(found["words.v2"], WORDS[:3])
    assert brought_features.layers("mine", asked(path)) == {"maps": 6, "words.v2": 2}
    spec = array.SPEC("", asked(path))
    assert (spec.layers, spec.title, spec.is_fixed) == (("maps", "words.v2"), "my.npz", True)
    with pytest.raises(InputError, match="nothing computes them for another clip"):
        spec.build()


@pytest.mark.parametrize(
    ("suffix", "text"), [(".ids.txt", "\n".join(f"{name}.mp4" for name in IDS) + "\n"), (".ids.json", json.dumps(IDS))]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_file_has_its_ids_beside_it(tmp_path, suffix, text, order):
    path = tmp_path / "maps.npy"
    np.save(path, np.asarray(MAPS[ORDER], order=order))
    path.with_suffix(suffix).write_text(text)
    np.testing.assert_array_equal(read(path)["maps"], MAPS[:3].reshape(3, 6).astype(np.float32))
    assert isinstance(open_arrays(path).read("maps"), np.memmap)


def test_parquet_has_columns_of_numbers_and_of_lists(tmp_path):
    lists = pa.FixedSizeListArray.from_arrays(MAPS[ORDER].ravel(), 6)
    path = table(
        tmp_path / "words.parquet",
        **{"a": WORDS[ORDER, 0], "id": pa.array(IDS).dictionary_encode(), "maps": lists},
        **{"maps.2": pa.array(MAPS[ORDER, 0].tolist()), "b": WORDS[ORDER, 1].astype(np.int16)},
    )
    found = read(path)
    assert list(found) == ["words", "maps", "maps.2"]
    np.testing.assert_array_equal(found["words"], WORDS[:3])
    np.testing.assert_array_equal(found["maps"], MAPS[:3].reshape(3, 6).astype(np.float32))
    np.testing.assert_array_equal(found["maps.2"], MAPS[:3, 0].astype(np.float32))
    assert list(read(table(tmp_path / "first.parquet", clip=pa.array(IDS), b=WORDS[ORDER, 1]))) == ["first"]


def test_the_numbers_of_rows_that_pandas_writes_are_no_feature(tmp_path):
    rows = pd.DataFrame({"id": IDS, "a": WORDS[ORDER, 0], "b": WORDS[ORDER, 1]}).iloc[::-1]
    rows.to_parquet(tmp_path / "words.parquet")
    np.testing.assert_array_equal(read(tmp_path / "words.parquet")["words"], WORDS[:3])


def test_nothing_is_written_where_a_space_names_no_array(tmp_path):
    path = npz(tmp_path / "my.npz", ids=np.array(IDS), maps=MAPS[ORDER])
    with pytest.raises(
        InputError, match="networks.mine: .*/my.npz cannot be .*\n  params.spaces has the layer nope; it has maps"
    ):
        brought_features.write("mine", asked(path), CLIPS, tmp_path / "out", [FeatureMap("nope", "none", "mean")])
    assert not (tmp_path / "out").exists()


def test_the_files_are_those_of_a_network(tmp_path):
    path = npz(tmp_path / "my.npz", ids=np.array(IDS), maps=MAPS[ORDER])
    brought_features.write("mine", asked(path, io.sha256(path)[:8]), CLIPS, tmp_path / "out")
    written = io.read_array(tmp_path / "out/maps.npy", (3, 6), "n_clips, n_features")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, read(path)["maps"])
    sidecar = io.read_json(tmp_path / "out/features.json")
    assert sidecar["layers"] == [{"name": "maps", "n_features": 6}]
    assert (sidecar["dtype"], sidecar["over_frames"], sidecar["network"]) == ("float32", "mean", "mine")
    weights = sidecar["weights"]
    assert (weights["policy"], weights["official"], weights["sha256"]) == ("none", False, io.sha256(path))
    assert "unverified" not in weights  # the parameters have its checksum
    assert brought_features.sidecar("mine", asked(path))["weights"] == weights | {"unverified": True}


def test_all_faults_are_told_at_once(tmp_path):
    bad = MAPS[ORDER].copy()
    bad[1, 0, 0], bad[2] = np.nan, np.inf  # the first clip, and the one of no clip
    path = npz(
        tmp_path / "my.npz",
        ids=np.array([STEMS[2], STEMS[0], STEMS[2], "x"]),
        bad=bad,
        objects=np.array([{}, 1, 2, 3], dtype=object),
        short=WORDS[:3],
        text=np.array(IDS),
        **{"../out": WORDS},
    )
    told = refused(path, sha256="01234567")
    for fault in (
        "objects holds Python objects; save numpy.asarray(objects, dtype=numpy.float32)",
        "text holds <U10; expected numbers",
        "an array is called '../out.npy'; expected letters",
        "short has shape (3, 2); expected (4, ...), a row for each of the 4 ids",
        "ids that stand there more than once: 0003_cow",
        "1 of 3 clips have no id in it: 0002_cat.mp4",
        "bad is missing, NaN, infinite or beyond float32 in 2 clips: 0001_dog.mp4, 0003_cow.MOV",
        "expected 01234567, so it is another file",
    ):
        assert fault in told
    with pytest.raises(BroughtFeaturesError, match="more than once"):
        brought_features.write("mine", asked(path), CLIPS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faults_of_ids(tmp_path):
    arrays = {"maps": MAPS[ORDER]}
    assert "there is no array ids, only maps" in refused(npz(tmp_path / "1.npz", **arrays))
    assert "ids is int64 (4,); expected text" in refused(npz(tmp_path / "2.npz", ids=np.arange(4), **arrays))
    assert "ids is object (4,)" in refused(npz(tmp_path / "3.npz", ids=np.array(IDS, dtype=object), **arrays))
    told = refused(npz(tmp_path / "4.npz", ids=np.array(["a", "b", "c", "a.mp4"]), **arrays))
    assert "ids that differ in their suffixes only: a" in told
    assert "3 of 3 clips have no id in it: 0001_dog.mp4, 0002_cat.mp4, 0003_cow.MOV; its ids are a, b, c and 1" in told
    assert "there are no arrays beside the ids" in refused(npz(tmp_path / "5.npz", ids=np.array(IDS)))
    assert "clips that differ in their suffixes only: a" in refused(tmp_path / "4.npz", ["a.mp4", "a.png"])
    assert "ids that are empty or missing" in refused(table(tmp_path / "a.parquet", id=["", None], b=[1.0, 2.0]))
    np.save(tmp_path / "maps.npy", MAPS)
    assert "no files of ids beside it; expected one, maps.ids.txt or maps.ids.json" in refused(tmp_path / "maps.npy")
    (tmp_path / "maps.ids.json").write_text('{"a": 1}')
    with pytest.raises(BroughtFeaturesError, match=r"maps.ids.json: expected a list of text"):
        read(tmp_path / "maps.npy")


def test_faults_of_parquet(tmp_path):
    told = refused(table(tmp_path / "t.parquet", id=IDS, a=[[1.0], [2.0, 3.0], None, [4.0]], b=IDS, t=[[1]] * 4))
    assert "column 'a' has lists of lengths 1, 2, missing; expected one length" in told
    assert "column 'b' holds string; expected numbers or lists of numbers" in told
    told = refused(table(tmp_path / "u.parquet", id=IDS, a=[1.0, None, 2.0, 3.0], b=[True, False, None, True]))
    assert "u is missing, NaN, infinite or beyond float32 in 1 clips: 0001_dog.mp4" in told
    told = refused(table(tmp_path / "v.parquet", a=[1.0]))
    assert "expected a column id of text, and no two of one name; found a (double)" in told


def header(shape, dtype="<f8"):
    stream = bytes_io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_hostile_headers_allocate_nothing(tmp_path, monkeypatch):
    """Each announces more than it holds; a terabyte would be asked for, were it believed."""
    path = tmp_path / "maps.npy"
    path.write_bytes(header((4, 10**12)) + bytes(64))
    (tmp_path / "maps.ids.txt").write_text("\n".join(IDS))
    assert "a header announces float64 (4, 1000000000000), 32,000,000,000,000 bytes; 64 bytes follow" in refused(path)
    path = tmp_path / "my.npz"
    ids = bytes_io.BytesIO()
    np.save(ids, np.array(IDS))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", ids.getvalue())
        archive.writestr("maps.npy", header((4, 10**12)))
    assert "announces float64 (4, 1000000000000)" in refused(path)
    monkeypatch.setattr(_parts, "SMALL", 10**6)
    path = npz(path, compressed=True, ids=np.array(IDS), maps=np.zeros((4, 50_000)))
    assert "and unpacks to 1.6 MB; save it uncompressed" in refused(path)
    repeated = table(tmp_path / "t.parquet", id=IDS, maps=np.zeros((4, 100_000)).tolist())
    assert "and unpacks to 3.2 MB; save it uncompressed" in refused(repeated)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.npz", b"PK\x03\x04 cut", "cannot be read (File is not a zip file); save it again"),
        ("my.npy", b"<html></html>", "it is a web page or XML"),
        ("my.parquet", b"\x89HDF\r\n", "it is an HDF5 file"),
        ("my.csv", b"a,b", "expected a name that ends in .npz or .npy or .parquet"),
    ],
)
def test_files_of_another_kind(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "my.ids.txt").write_text("a")
    assert message in refused(tmp_path / name)
    assert "no such file; expected one of arrays" in refused(tmp_path / "other.npz")


def test_damaged_numbers_are_seen(tmp_path):
    path = npz(tmp_path / "my.npz", ids=np.array(IDS), maps=np.arange(40_000.0).reshape(4, -1))
    content = path.read_bytes()
    middle = content.index(np.float64(20_000).tobytes())
    path.write_bytes(content[:middle] + b"damaged!" + content[middle + 8 :])
    assert "maps cannot be read (Bad CRC-32" in refused(path)


def test_a_digest_follows_the_content_of_the_file_and_its_ids(tmp_path):
    path, digests = tmp_path / "maps.npy", Digests()
    assert digest_of(path, digests) == ""
    np.save(path, MAPS)
    ids = path.with_suffix(".ids.txt")
    found = []
    for text in ("a", "b"):
        ids.write_text(text)
        found.append(digest_of(path, digests))
    np.save(path, MAPS + 1)
    found.append(digest_of(path, digests))
    assert len({*found, ""}) == 4
    assert digest_of(path, Digests()) == found[-1]


@pytest.mark.parametrize(
    "changed",
    [{"weights": "random"}, {"file": None}, {"model": None}, {"model": None, "weights": "random"}],
)
def test_parameters_of_brought_features_agree(changed):
    good = {"weights": "none", "file": "my.npz", "sha256": None, "n_frames": 1, "seed": 0, "model": "array"}
    assert Network.model_validate(good).model == "array"
    with pytest.raises(ValueError, match="model: array"):
        Network.model_validate(good | changed)


def test_a_study_of_images_that_are_not_here_is_fitted_to_brought_features(tmp_path, monkeypatch):
    """The stages from frames to scores: no stimulus has a file, and subjects saw different ones."""
    monkeypatch.chdir(tmp_path)
    trials_study.make(Path("study"), images=False)
    ids = [*trials_study.TRAIN, *trials_study.TEST]
    values = np.random.default_rng(0).standard_normal((len(ids), 6))
    order = np.random.default_rng(1).permutation(len(ids))
    path = npz(Path("mine.npz"), ids=np.array(ids)[order], words=values[order])
    row = "mini-mine-layer-ridge"
    document = small_run.document([row])
    document["networks"] = {"mine": asked(path).model_dump(mode="json")}
    document["dataset"] |= trials_study.wanted("study").model_dump(mode="json") | {"tracks": ["mini"]}
    document["reduction"]["n_components"], document["frames"]["counts"] = 3, [1]
    document["splits"] |= {"validation_fraction": 0.4, "n_folds": 2}  # 5 stimuli of a subject make two folds
    document["report"]["subject"] = "sub-01"
    paths = Paths()
    paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
    settings = params.load(paths.params)
    io.write_json(paths.validation / "clips.json", {"n_clips": 16, "n_train_clips": 12, "seconds": [0.0, 0.0]})
    for each in instances(settings, SourceCode({}, {})):
        io.write_bytes(paths.source_code(each.stage, each.instance), each.text(SourceCode({}, {})).encode())
    io.write_array(paths.frames(1) / "frames.npy", np.zeros(3))  # of before the images were deleted
    for stage in ("frames@1", "features@mine", "conversion@train", "conversion@test", "reduction@mine"):
        small_run.run_stage(stage, settings, paths)
    assert [path.name for path in paths.frames(1).iterdir() if path.suffix != ".json"] == []
    np.testing.assert_array_equal(io.read_array(paths.features("mine") / "words.npy"), values.astype(np.float32))
    for stage in ("ceiling@mini", f"fits@{row}", f"scores@{row}", f"selection@{row}"):
        small_run.run_stage(stage, settings, paths)
    scores = outcomes.read(paths.selection(row), settings.experiments.rows[row]).scores["test"]
    assert list(scores.rois) == ["V1", "FFA"]
    assert {name: tuple(own.rois) for name, own in scores.subjects.items()} == trials_study.ROIS
    with pytest.raises(InputError, match="not all of the 16 stimuli are on this disk, and this network needs them"):
        small_run.load("frames").Run("frames", "1", settings, paths, None).frames(1)

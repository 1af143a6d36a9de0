"""Encoding models: videos in, exactly the submission's responses out; kept as arrays, read as data."""

import json
import shutil
from dataclasses import replace
from itertools import product

import av
import numpy as np
import pytest
import torch

import small_encoding
from cinevox.encoding import build, description, store
from cinevox.encoding.clips import Predictor, found_in
from cinevox.encoding.model import Roiwise
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.files.io import FileError
from cinevox.fitting import transfer
from cinevox.fitting.transfer.heads import RoiNetwork
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Base, Head, Network
from cinevox.stimuli.frames import Clip, FramesError
from cinevox.stimuli.networks import _loading, _weights, spec_of
from cinevox.stimuli.videos import Limits
from regression_problems import OPTIONS
from small_encoding import COLUMNS, N_TRAIN

WIDE = Limits(megabytes=10, megapixels=1, frames=100)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return small_encoding.study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """Random weights are drawn once for all that use it: the statistics of a video network take seconds."""
    load, loaded = _loading.load, {}

    def once(network, spec, weights):
        if (network, weights) not in loaded:
            loaded[network, weights] = load(network, spec, weights)
        return loaded[network, weights]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loading, "load", once)
        yield small_encoding.joint_study(tmp_path_factory.mktemp("joint"))


@pytest.fixture(scope="session")
def kept(study, tmp_path_factory):
    """An encoding model in its folder."""
    folder = tmp_path_factory.mktemp("encoding")
    store.write(folder, small_encoding.encoding(study))
    return folder


@pytest.fixture
def copy(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "copy")


def predicted(encoding, clips):
    return np.concatenate([found.responses for found in Predictor(encoding)(clips)])


# The same responses as the submission


@pytest.mark.parametrize("regressor", sorted(OPTIONS))
def test_video_files_give_what_the_submission_predicts(study, tmp_path, regressor):
    store.write(tmp_path, small_encoding.encoding(study, "layer", regressor))
    (expected,) = small_encoding.refitted(study, "layer", regressor).predicted
    found = predicted(store.read(tmp_path), study.clips[N_TRAIN:])
    assert found.dtype == np.float32 and np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("word", "regressor"),
    [
        *product(["pair", "all", "layer_raw", "pair_raw", "layer_poly2", "pair_poly2"], ["ridge", "res"]),
        ("pair_raw", "banded_ridge"),
    ],
)
def test_so_do_pairs_raw_features_and_polynomial_terms(study, tmp_path, word, regressor):
    store.write(tmp_path, small_encoding.encoding(study, word, regressor))
    (expected,) = small_encoding.refitted(study, word, regressor).predicted
    np.testing.assert_allclose(predicted(store.read(tmp_path), study.clips[N_TRAIN:]), expected, atol=5e-5)


@pytest.mark.parametrize("word", ["layer", "layer_raw"])
def test_so_do_features_of_every_frame(tmp_path, word):
    study = small_encoding.study(tmp_path, over_frames="none")
    store.write(tmp_path / "kept", small_encoding.encoding(study, word))
    (expected,) = small_encoding.refitted(study, word, "ridge").predicted
    np.testing.assert_allclose(predicted(store.read(tmp_path / "kept"), study.clips[N_TRAIN:]), expected, atol=5e-5)


@pytest.mark.parametrize(
    ("together", "regressor"),
    [
        ("stack", "ridge"), ("stack", "best"), ("mean", "res"), ("concat", "ridge"), ("banded", "banded_ridge"),
        ("each", "ridge"),
    ],
)  # fmt: skip
def test_so_do_pooled_spaces_of_several_networks_together(joint, tmp_path, together, regressor):
    """One of them sees clips, and more frames than the other."""
    store.write(tmp_path, small_encoding.encoding(joint, together, regressor))
    encoding = store.read(tmp_path)
    (expected,) = small_encoding.refitted(joint, together, regressor).predicted
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(predicted(encoding, joint.clips[N_TRAIN:]), expected, atol=5e-5)


def test_a_clip_passes_the_networks_in_use_alone_and_gives_their_pooled_maps_alone(joint):
    stack = Predictor(small_encoding.encoding(joint, "stack"))
    own = {found.network: list(found.outputs) for found in stack.extractions}
    assert own == {"squeezenet": ["features.6.max2", "features.3.avg.0-6_4-11.2-8.max"], "r3d_18": ["stem.max2.max"]}
    [found] = stack(joint.clips[:1])
    assert found.clips[0].indices == (0, 1, 3, 5)  # two frames of one network, four of the other
    content = [path.read_bytes() for path in joint.clips[:3]]
    responses, _ = stack.of_bytes(content, WIDE)
    np.testing.assert_allclose(responses[:1], found.responses, atol=1e-5)
    each = small_encoding.encoding(joint, "each")  # whose voxels chose two of its candidates
    assert [source.network for source in each.about.sources] == ["squeezenet"]
    assert each.about.shapes == {"pooled": [joint.features["pooled"].shape[1]], "components": [4]}


def test_the_file_of_a_networks_weights_may_be_given_and_is_refused_where_there_are_none(joint, tmp_path):
    encoding, file = small_encoding.encoding(joint, "stack"), tmp_path / "squeezenet.pth"
    images, film = encoding.about.sources
    drawn = _weights.locate("squeezenet", spec_of("squeezenet"), images.settings)
    torch.save(_loading.load("squeezenet", spec_of("squeezenet"), drawn).state_dict(), file)
    settings = Network(weights="file", file=tmp_path / "gone.pth", sha256=None, n_frames=2, seed=0)
    weights = images.weights | {"policy": "file", "sha256": io.sha256(file)}
    moved = images.model_copy(update={"settings": settings, "weights": weights})
    encoding = replace(encoding, about=encoding.about.model_copy(update={"sources": [moved, film]}))
    [found] = Predictor(encoding, {"squeezenet": file})(joint.clips[N_TRAIN:])
    (expected,) = small_encoding.refitted(joint, "stack", "ridge").predicted
    np.testing.assert_allclose(found.responses, expected, atol=5e-5)
    for given, message in (
        ({}, "squeezenet: no weights at .*gone.pth"),
        ({"squeezenet": joint.clips[0]}, "squeezenet: .*0000.mp4 has sha256 .* expected"),
        ({"alexnet": file}, "no network alexnet; expected weights of squeezenet, r3d_18"),
        ({"squeezenet": file, "r3d_18": file}, "r3d_18: it was used with random weights; give it no file"),
    ):
        with pytest.raises(InputError, match=message):
            _ = Predictor(encoding, given).extractions


def test_a_transfer_network_predicts_as_it_did_in_training(tmp_path, rng):
    head = Head(lstm=[3], voxel_lstm=False, fully_connected=[4], lstm_dropout=0.2, dropout=0.2, sequence="frame",
                standardize=False)  # fmt: skip
    base = Base(network="alexnet", features="frozen", n_frames=2)
    activations = rng.standard_normal((5, 2, 12)).astype(np.float16)
    columns, expected, files = Columns((Block("s", "V1", 3), Block("s", "V2", 2))), [], []
    for number, block in enumerate(columns.blocks):
        network = RoiNetwork((3, 2, 2), block.n_voxels, head, None, None, number).eval()
        files.append(tmp_path / f"{block.subject}-{block.roi}.pt")
        content = {"base": base.model_dump(), "head": head.model_dump(), "map_shape": (3, 2, 2)}
        torch.save(content | {"n_voxels": block.n_voxels, "state": network.state_dict()}, files[-1])
        with torch.inference_mode():
            expected.append(network(torch.from_numpy(activations).float()).numpy())
    settings = small_encoding.params_of_transfer(keep_weights="all")
    model = build.roiwise("row", tmp_path, columns, settings)
    np.testing.assert_allclose(model({"avgpool": activations}), np.hstack(expected), atol=1e-6)
    swapped = Roiwise(model.files[::-1], columns.blocks, "float32")
    with pytest.raises(transfer.TransferError, match=r"s-V2.pt predicts 2 voxels; expected 3"):
        swapped({"avgpool": activations})
    files[1].unlink()
    with pytest.raises(InputError, match=r"(?s)s-V2 .*\(1 of 2.*keep_weights to all.* `dvc"):
        build.roiwise("row", tmp_path, columns, settings)


# Kept as arrays


def test_what_is_kept_is_arrays_and_json_and_the_same_every_time(study, kept, tmp_path):
    store.write(tmp_path, small_encoding.encoding(study))
    files = sorted(path.name for path in kept.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    assert {name.rpartition(".")[2] for name in files} == {"npy", "json"}
    for name in files:
        assert (kept / name).read_bytes() == (tmp_path / name).read_bytes()


def test_what_maps_share_is_there_once(study, tmp_path):
    """`best` has a map for each ROI, and those of res hold the training features."""
    store.write(tmp_path, small_encoding.encoding(study, "layer", "res"))
    content = json.loads((tmp_path / "encoding.json").read_text())
    assert len(content["parts"]) == 2
    store.write(tmp_path / "best", small_encoding.encoding(study, "layer", "best"))
    maps = [
        found for space in json.loads((tmp_path / "best/encoding.json").read_text())["parts"] for found in space["maps"]
    ]
    means = [found["arrays"]["x_mean"] for found in maps if found["kind"] == "linear"]
    assert len(means) == 8 and len(set(means)) == 2


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda c: c.pop("parts"), "broken .*'parts'.*dvc repro encoding@mini-squeezenet-layer-ridge"),
        (
            lambda c: c["about"].update(source=c["about"].pop("sources")[0]),  # of an earlier version
            "no description of an encoding model .sources: Field required.*make it again: `dvc repro encoding@",
        ),
        (lambda c: c["about"].pop("split"), "no description of an encoding model .split: Field required"),
        (lambda c: c["about"].update(track="both"), "track: Input should be 'mini' or 'full'"),
        (lambda c: c["parts"][0]["maps"][0].update(kind="pickle"), "no map of kind 'pickle'; expected one of linear"),
        (lambda c: c["parts"][0]["maps"][0]["arrays"].pop("coef"), "a linear map of x_mean, y_mean; expected"),
        (lambda c: c["about"]["regions"].pop(), "arrays of other voxels"),
        (lambda c: c["voxels"].update(q="../../../etc/passwd"), "copy/passwd: no such file"),
    ],
)
def test_a_broken_description_is_refused(copy, breaks, message):
    content = json.loads((copy / "encoding.json").read_text())
    breaks(content)
    (copy / "encoding.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        store.read(copy)


def test_a_missing_or_pickled_array_is_refused(copy):
    array = next(copy.glob("coef-*.npy"))
    with array.open("wb") as stream:
        np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match="not a .npy file"):
        store.read(copy)
    array.unlink()
    with pytest.raises(FileError, match="no such file"):
        store.read(copy)


def test_other_weights_than_those_it_was_fitted_with_are_refused(copy, study):
    content = json.loads((copy / "encoding.json").read_text())
    content["about"]["sources"][0]["weights"]["sha256"] = "ab" * 32
    (copy / "encoding.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"squeezenet: its weights have sha256 .* fitted with abababab"):
        predicted(store.read(copy), study.clips[:1])


def test_pictures_brought_to_other_numbers_are_refused(copy, study):
    """As those of a model of timm would be by another version of its configuration."""
    content = json.loads((copy / "encoding.json").read_text())
    content["about"]["sources"][0]["images"][0][2] = 0.5
    (copy / "encoding.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"squeezenet is another .*: mean is \[.*0.406\] and was \[.*0.5\]\. Give it"):
        predicted(store.read(copy), study.clips[:1])


# Clips of any kind


def test_several_clips_are_as_one_by_one_and_faults_are_told_apart(kept, study, tmp_path, monkeypatch):
    monkeypatch.setattr("cinevox.encoding.clips.CLIPS_AT_ONCE", 2)
    encoding, bad = store.read(kept), tmp_path / "bad.mp4"
    bad.write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    found = list(Predictor(encoding)([*study.clips[:2], bad, study.clips[2]]))
    assert [[path.name for path in part.paths] for part in found] == [["0000.mp4", "0001.mp4"], ["0002.mp4"]]
    assert [len(part.faults) for part in found] == [0, 1] and "a playlist" in found[1].faults[0]
    alone = np.concatenate([predicted(encoding, [path]) for path in study.clips[:3]])
    np.testing.assert_allclose(np.concatenate([part.responses for part in found]), alone, atol=1e-5)


def test_another_length_size_and_rate_are_taken(kept, tmp_path):
    path = tmp_path / "other.mp4"
    small_encoding.layout.write_clip(path, n_frames=31, fps=25, size=48)
    [found] = Predictor(store.read(kept))([path])
    assert (found.clips[0].n_decoded, found.clips[0].fps, found.clips[0].indices) == (31, 25.0, (0, 30))
    assert np.isfinite(found.responses).all() and found.responses.shape == (1, COLUMNS.n_voxels)


@pytest.mark.parametrize("fps", [1, 2, 3])
def test_a_slow_clip_is_whole(kept, tmp_path, fps):
    """Its last frame stands for long: the announced end lies that much behind where it begins."""
    small_encoding.layout.write_clip(tmp_path / "slow.mp4", n_frames=6, fps=fps)
    [found] = Predictor(store.read(kept))([tmp_path / "slow.mp4"])
    assert found.faults == () and found.clips[0].n_decoded == 6


def test_trust_that_was_measured_on_the_choosing_clips_is_told(kept):
    about = store.read(kept).about
    assert not [said for said in about.cautions if "flatters" in said]
    flattered = about.model_copy(update={"split": "validation", "chosen_here": True})
    assert [said.partition(":")[0] for said in flattered.cautions[-2:]] == [
        "Validation clips", "Chosen on the same clips",
    ]  # fmt: skip
    assert about.model_copy(update={"split": "nested"}).measured_on == "clips of the outer folds"


def test_a_strip_is_refused_before_it_is_scaled(kept, tmp_path):
    """40,000 x 2 pixels are few, and become 5 million x 256 where the shorter side counts."""
    limits = Limits(megabytes=1, megapixels=9, frames=100)
    with pytest.raises(FramesError, match="40000 x 2; a frame may be 8 times as long as wide"):
        Predictor(store.read(kept)).of_bytes([strip(tmp_path)], limits)


def strip(folder):
    path = folder / "strip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = 40000, 2, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((2, 40000, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_bytes_of_a_clip_are_predicted_as_its_file(kept, study):
    encoding = store.read(kept)
    content = [path.read_bytes() for path in study.clips[:2]]
    responses, clips = Predictor(encoding).of_bytes(content, WIDE)
    np.testing.assert_allclose(responses, predicted(encoding, study.clips[:2]), atol=1e-5)
    assert [(clip.name, clip.seconds) for clip in clips] == [("clip-1.mp4", 0.5), ("clip-2.mp4", 0.5)]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(megabytes=0.001, megapixels=1, frames=100), r"clip-1.mp4: 0.0 MB; at most 0.001 MB are taken"),
        (Limits(megabytes=1, megapixels=0.001, frames=100), r"clip-1.mp4: 32 x 32; at most 0.001 megapixels"),
        (Limits(megabytes=1, megapixels=1, frames=5), r"clip-1.mp4: more than 5 frames"),
    ],
)
def test_what_a_stranger_sends_has_limits(kept, study, limits, message):
    with pytest.raises(FramesError, match=message):
        Predictor(store.read(kept)).of_bytes([study.clips[0].read_bytes()], limits)


def test_bytes_that_are_no_clip_are_refused_without_a_path_of_this_machine(kept):
    with pytest.raises(FramesError) as caught:
        Predictor(store.read(kept)).of_bytes([b"PK\3\4", b"/etc/passwd"], WIDE)
    said = str(caught.value)
    assert (
        said.startswith("clip-1.mp4: it is a zip archive") and "\nclip-2.mp4: no video" in said and "/tmp" not in said
    )


def test_features_of_another_shape_or_none_are_refused_together(kept):
    encoding = store.read(kept)
    first, last = encoding.about.shapes
    with pytest.raises(InputError, match=rf"{first} .*\(3,\).*expected \(4,\).*{last}"):
        encoding.predict({first: np.zeros((1, 3))})
    with pytest.raises(InputError, match=rf"{last} has NaN or infinite features"):
        encoding.predict({first: np.zeros((1, 4)), last: np.full((1, 4), np.nan)})


@pytest.mark.parametrize("name", ["...mp4", "..mp4"])
def test_a_clip_without_a_name_has_no_folder_of_its_own(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"\.mp4: results would lie in the folder '\.+'; give it a name"):
        found_in([tmp_path / name])


def test_clips_are_found_in_folders_and_every_fault_is_told(tmp_path, study):
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    folder.mkdir(), empty.mkdir()
    for name in ("b.mp4", "a.mov", "notes.txt"):
        (folder / name).touch()
    found = [folder / "a.mov", folder / "b.mp4", study.clips[0]]
    assert found_in([folder, study.clips[0]]) == found
    assert found_in([folder, study.clips[0], folder / "b.mp4", folder / ".." / folder.name / "a.mov"]) == found
    with pytest.raises(InputError) as caught:
        found_in([empty, tmp_path / "none.mp4", folder, folder / "a.mov", tmp_path / "a.mp4"])
    assert [line.partition(": ")[2][:20] for line in str(caught.value).splitlines()[:2]] == [
        "no video in it; expe", "no such file or fold",
    ]  # fmt: skip


# What is told of it


def test_regions_say_how_far_to_trust_them(rng):
    values, ceiling = rng.uniform(size=(2, COLUMNS.n_voxels)).astype(np.float32)
    normalized = np.where(np.arange(COLUMNS.n_voxels) < 4, np.nan, values / ceiling)
    responses = rng.standard_normal((40, COLUMNS.n_voxels)).astype(np.float32)
    scored = {"correlation": values, "normalized": normalized}
    none, some, *_ = description.regions(COLUMNS, scored, ceiling, [responses])
    assert (none.n_scored, none.normalized_correlation, none.correlation, none.ceiling) == (0, None, None, None)
    assert (some.n_voxels, some.n_scored) == (4, 3)
    assert some.normalized_correlation == pytest.approx((values / ceiling)[4:7].mean(), rel=1e-6)
    assert some.ceiling == pytest.approx(ceiling[4:7].mean(), rel=1e-6)
    assert (some.low, some.high) == pytest.approx(np.percentile(responses[:, 3:7].mean(axis=1), (5, 95)))


def test_cautions_are_for_simulated_data_and_untrained_networks(study):
    told = small_encoding.encoding(study).about
    assert [caution.partition(":")[0] for caution in told.cautions] == ["Random weights", "In-silico data"]
    sources = [told.sources[0].model_copy(update={"weights": {}})]
    trained = told.model_copy(update={"in_silico": False, "sources": sources})
    assert trained.cautions == []


@pytest.mark.parametrize(
    ("shortest", "longest", "seconds", "n_decoded", "said"),
    [
        (2.9, 3.1, 3.4, 90, ""),  # a tenth more than the longest
        (2.9, 3.1, 2.5, 75, "it lasts 2.5 s, and the model was fitted to clips of 2.9 to 3.1 s"),
        (3.0, 3.0, 12.0, 360, "it lasts 12 s, and the model was fitted to clips of 3 s"),
        (3.0, 3.0, None, 1, "it is a still image, and the model was fitted to clips of 3 s"),
        (0.0, 0.0, None, 1, ""),
        (0.0, 0.0, 3.0, 90, "it lasts 3 s, and the model was fitted to still images"),
        (0.0, 3.0, 2.0, 60, ""),
        (3.0, 3.0, None, 90, ""),  # the file does not say
    ],
)
def test_a_clip_of_another_length_than_the_training_clips_gets_a_caution(
    study, shortest, longest, seconds, n_decoded, said
):
    about = small_encoding.encoding(study).about.model_copy(update={"seconds": (shortest, longest)})
    found = about.cautions_for(Clip("a.mp4", 30.0, n_decoded, (0,), seconds))
    assert len(found) == bool(said) and all(line.startswith(f"a.mp4: {said}") for line in found)
    assert about.cautions_for(Clip("a.mp4", 30.0, 1, (0,), shortest, ("it is odd",))) == ["a.mp4: it is odd."]

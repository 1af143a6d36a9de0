"""Models of transformers: hidden states of tiny random ones, against the library's own `output_hidden_states`."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

import small_encoding
from cinevox.encoding import description
from cinevox.encoding.about import SpaceInput
from cinevox.encoding.clips import Predictor
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets.tracking import models
from cinevox.project.params import FeatureMap, Network
from cinevox.project.paths import Paths
from cinevox.stimuli import features, networks
from cinevox.stimuli.networks import _activations, _loading, _weights
from cinevox.validation import disk_needs

transformers = pytest.importorskip("transformers", reason="transformers is an extra")

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}
WIDE = {"intermediate_size": 48}
FAMILIES = {  # options of the configuration, a larger model that holds this one or None
    "Dinov2Model": ({"image_size": 64, "mlp_ratio": 2}, "Dinov2ForImageClassification"),
    "Dinov2WithRegistersModel": ({"image_size": 64, "mlp_ratio": 2, "num_register_tokens": 5}, None),
    "CLIPVisionModel": ({"image_size": 64, **WIDE}, None),
    "VideoMAEModel": ({"image_size": 32, "num_frames": 4, **WIDE}, "VideoMAEForPreTraining"),
    "VJEPA2Model": (
        {
            "crop_size": 32, "frames_per_clip": 4, "mlp_ratio": 2,
            "pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
        },
        "VJEPA2ForVideoClassification",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_random_state():
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def configuration(kind):
    return getattr(transformers, kind).config_class(**SMALL, **FAMILIES[kind][0])


def entry(kind, folder=None, **settings):
    model = f"transformers/{kind}/owner/name@0123456789abcdef"
    given = {"weights": "file" if folder else "random", "file": folder, "sha256": None, "n_frames": 4, "seed": 0}
    return Network(**{**given, "model": model, **settings})


def loaded(settings):
    spec = networks.spec_of("mine", settings)
    provenance = _weights.locate("mine", spec, settings)
    return spec, _loading.load("mine", spec, _loading.checked("mine", spec, _loading.skeleton(spec), provenance))


def pictures(spec, side):
    """Two pictures, or two clips (n, 3, time, height, width)."""
    return torch.randn(2, 3, *([] if spec.n_frames is None else [spec.n_frames]), side, side)


def one_by_one(tokens, shape):
    """Tokens to their places in a map, row by row and frame by frame, those in front left out."""
    places = torch.cartesian_prod(*map(torch.arange, shape[2:]))
    found = torch.empty(shape)
    for place, values in zip(places.tolist(), tokens[:, tokens.shape[1] - len(places) :].unbind(1)):
        found[(slice(None), slice(None), *place)] = values
    return found


@pytest.mark.parametrize("kind", FAMILIES)
def test_hidden_states_are_those_of_the_library(kind, tmp_path):
    own = getattr(transformers, kind)(configuration(kind)).eval()
    own.save_pretrained(tmp_path)
    spec, module = loaded(entry(kind, tmp_path))
    side = spec.input_size
    given = pictures(spec, side)
    with torch.inference_mode():
        expected = own(given if spec.n_frames is None else given.transpose(1, 2), output_hidden_states=True)
    found = _activations.take(module, spec.layers, given)
    assert [name for name in spec.layers if name != "class_token"] == ["hidden.0", "hidden.1", "hidden.2"]
    for index, tokens in enumerate(expected.hidden_states):
        values = found[f"hidden.{index}"]
        grid = (side // 16,) * 2 if spec.n_frames is None else (2, side // 16, side // 16)
        assert values.shape == (2, 24, *grid)
        torch.testing.assert_close(values, one_by_one(tokens, values.shape), rtol=0, atol=0)
    if "class_token" in spec.layers:
        torch.testing.assert_close(found["class_token"], expected.pooler_output, rtol=0, atol=0)
    else:
        assert spec.n_frames == 4
    meta = torch.empty(given.shape, device="meta")
    assert _activations.shapes(_loading.skeleton(spec), spec.layers, meta) == {
        name: tuple(values.shape[1:]) for name, values in found.items()
    }


def test_numbers_stay_as_they_are_in_the_file_whatever_the_configuration_says(tmp_path):
    own = transformers.Dinov2Model(configuration("Dinov2Model")).eval()
    own.save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {"dtype": "float16"}))
    _, module = loaded(entry("Dinov2Model", tmp_path))
    assert all(torch.equal(values, own.state_dict()[name]) for name, values in module.state_dict().items())
    own.half().save_pretrained(tmp_path)
    _, module = loaded(entry("Dinov2Model", tmp_path))
    assert all(torch.equal(values, own.state_dict()[name].float()) for name, values in module.state_dict().items())


@pytest.mark.parametrize(
    ("file", "edit", "told"),
    [
        ("config.json", {"layer_norm_eps": 0.5}, "layer_norm_eps is 0.5 and was 1e-06"),
        ("preprocessor_config.json", {"image_std": [1, 1, 1], "image_mean": [0, 0, 0.5]},
         r"mean is \[.*0.5\] and was .*; standard deviation"),
        ("config.json", {"dtype": "float16", "architectures": ["Another"]}, ""),
    ],
)  # fmt: skip
def test_an_edited_configuration_makes_another_network(tmp_path, file, edit, told):
    """Nothing takes up its unfinished work, and no encoding model takes it for the one that it was fitted with."""
    transformers.Dinov2Model(configuration("Dinov2Model")).save_pretrained(tmp_path)
    settings, taken = entry("Dinov2Model", tmp_path), FeatureMap("hidden.1", "none", "mean")
    clips = np.zeros((2, 2, 64, 64, 3), dtype=np.uint8)

    def prepared():
        return features.prepare("mine", settings, small_encoding.FEATURES, clips.shape[1:], (), [taken])

    def predictor(sidecar):
        inputs = {"mine": {"space": SpaceInput(map=taken, shape=[1])}}
        params = SimpleNamespace(
            networks={"mine": settings}, features=small_encoding.FEATURES, frames=SimpleNamespace(resize="direct")
        )
        sources = description.sources(params, SimpleNamespace(base=None), {"mine": sidecar}, inputs)
        return Predictor(SimpleNamespace(about=SimpleNamespace(row="a-row", sources=sources)))

    before = prepared()
    sidecar = io.as_read(before.to_json())
    path = tmp_path / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | edit))
    after = prepared()
    assert (after.digest(clips) == before.digest(clips)) == (not told)
    if not told:
        assert predictor(sidecar).extractions[0].outputs == before.outputs
        return
    with pytest.raises(InputError, match=f"mine is another network .*: {told}.*`dvc repro encoding@a-row`"):
        _ = predictor(sidecar).extractions


def test_a_served_model_of_one_brings_what_it_is_built_from(tmp_path):
    """The weights and the configuration beside them, and nothing else of the folder."""
    given, served = tmp_path / "given", tmp_path / "served"
    transformers.Dinov2Model(configuration("Dinov2Model")).save_pretrained(given)
    (given / "pytorch_model.bin").touch()
    settings = entry("Dinov2Model", given)
    shape = (4, 64, 64, 3)
    own = features.prepare("mine", settings, small_encoding.FEATURES, shape, ("hidden.1",))
    files = models.artifacts([own], tmp_path / "encoding", tmp_path / "together")
    assert list(files) == ["encoding", "weights.mine"]
    shutil.copytree(files["weights.mine"], served)
    shutil.rmtree(given)
    assert sorted(path.name for path in served.iterdir()) == ["config.json", "model.safetensors"]
    moved = settings.model_copy(update={"file": served, "sha256": own.weights.sha256})
    found = features.prepare("mine", moved, small_encoding.FEATURES, shape, ("hidden.1",))
    assert (found.weights.sha256, found.n_features) == (own.weights.sha256, own.n_features)
    about = SimpleNamespace(sources=[SimpleNamespace(settings=settings)])
    assert {*models.requirements(about)} - {*models.requirements(SimpleNamespace(sources=[]))} == {
        f"transformers=={transformers.__version__}"
    }


@pytest.mark.parametrize("kind", [kind for kind, (_, larger) in FAMILIES.items() if larger])
def test_weights_are_found_in_a_larger_model(kind, tmp_path):
    larger = getattr(transformers, FAMILIES[kind][1])(configuration(kind)).eval()
    larger.save_pretrained(tmp_path)
    spec, module = loaded(entry(kind, tmp_path / "model.safetensors"))
    own = getattr(larger, larger.base_model_prefix).state_dict()
    assert own.keys() == module.state_dict().keys()
    assert all(torch.equal(values, own[name]) for name, values in module.state_dict().items())


def test_the_pictures_part_of_a_model_of_pictures_and_text(tmp_path):
    words = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9, **WIDE}
    both = transformers.CLIPConfig(vision_config=configuration("CLIPVisionModel").to_dict(), text_config=words)
    whole = transformers.CLIPModel(both).eval()
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1] * 3, "image_std": [0.2] * 3}))
    spec, module = loaded(entry("CLIPVisionModel", tmp_path))
    given = pictures(spec, 64)
    with torch.inference_mode():
        expected = whole.vision_model(given)
    torch.testing.assert_close(_activations.take(module, ["class_token"], given)["class_token"], expected.pooler_output)
    assert (spec.mean, spec.std) == ((0.1,) * 3, (0.2,) * 3)


def test_pictures_of_another_size_pass_and_clips_of_another_are_refused(tmp_path):
    for kind in ("Dinov2Model", "CLIPVisionModel"):
        configuration(kind).save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").touch()
        spec = networks.spec_of("mine", entry(kind, tmp_path))
        shapes = _activations.shapes(_loading.drawn(spec), spec.layers, pictures(spec, 96))
        assert shapes["hidden.1"] == (24, 6, 6)
    configuration("VJEPA2Model").save_pretrained(tmp_path)
    spec = networks.spec_of("mine", entry("VJEPA2Model", tmp_path))
    network = _loading.drawn(spec)
    for clips in (pictures(spec, 64), pictures(spec, 32)[:, :, :3]):
        with pytest.raises(ValueError, match="it takes 32 x 32, and a multiple of 2 frames"):
            network(clips)
    assert _activations.shapes(network, ["hidden.1"], torch.randn(2, 3, 6, 32, 32)) == {"hidden.1": (24, 3, 2, 2)}


def test_random_weights_follow_the_seed_and_take_the_folders_configuration(tmp_path):
    configuration("Dinov2Model").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    spec = networks.spec_of("mine", entry("Dinov2Model", tmp_path))
    first, again, other = (
        _loading.load("mine", spec, _weights.locate("mine", spec, entry("Dinov2Model", seed=seed))).state_dict()
        for seed in (1, 1, 2)
    )
    name = "encoder.layer.0.mlp.fc1.weight"
    assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])
    assert len(networks.spec_of("mine", entry("Dinov2Model")).layers) == 12 + 2  # without a folder: the class's own


def test_the_room_for_its_features_is_that_of_the_folders_configuration(tmp_path):
    """And not of the class's own, which is larger."""
    folder = tmp_path / "given"
    transformers.Dinov2Model(configuration("Dinov2Model")).save_pretrained(folder)
    settings = entry("Dinov2Model", folder, sha256="01234567")
    experiments = SimpleNamespace(voxelwise={})
    params = SimpleNamespace(
        networks={"mine": settings}, frames=SimpleNamespace(size=64), features=small_encoding.FEATURES,
        feature_spaces={}, experiments=experiments,
    )  # fmt: skip
    tokens, n_values = (64 // 16) ** 2, 24
    found = sum(disk_needs._features(Paths(tmp_path), params))
    assert found == 2 * n_values * (3 * tokens + 1)  # float16: three hidden states and the class token


def test_what_is_unverified_is_said(tmp_path, caplog):
    transformers.Dinov2Model(configuration("Dinov2Model")).save_pretrained(tmp_path)
    settings = entry("Dinov2Model", tmp_path)
    spec = networks.spec_of("mine", settings)
    found = _weights.locate("mine", spec, settings)
    assert "networks.mine.sha256 is null" in caplog.text and not found.official and found.unverified
    pinned = settings.model_copy(update={"sha256": found.sha256[:12]})
    assert not _weights.locate("mine", spec, pinned).unverified
    states = [_weights.status({"mine": given})[-1].state for given in (settings, pinned)]
    assert states == ["not verified", "valid"]
    assert spec.weights_page.endswith("/owner/name/tree/0123456789abcdef")


def test_folders_and_names_that_cannot_be_used(tmp_path):
    def refused(settings, message):
        with pytest.raises(InputError, match=message):
            networks.spec_of("mine", settings)

    refused(entry("BertModel"), r"expected transformers/<class>/.* with a class of CLIPVisionModel, Dinov2Model")
    refused(entry("x", model="transformers/Dinov2Model/owner/name"), "@<revision>")
    refused(
        entry("Dinov2Model", weights="pretrained"), r"Fetch config.json and model.safetensors from \S+/owner/name/tree"
    )
    refused(entry("Dinov2Model", tmp_path), "has no config.json and no model.safetensors; expected a folder")
    configuration("Dinov2Model").save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    refused(entry("Dinov2Model", tmp_path), "has no model.safetensors; expected")
    refused(entry("Dinov2Model", tmp_path / "pytorch_model.bin"), "has no config.json and no model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused(entry("Dinov2Model", tmp_path), "Its weights are in several files: load each")
    (tmp_path / "model.safetensors").touch()
    refused(entry("VideoMAEModel", tmp_path), r"config.json: its model_type is dinov2, expected videomae")
    (tmp_path / "config.json").write_text("[]")
    refused(entry("Dinov2Model", tmp_path), "config.json: holds no configuration")


def test_state_dicts_that_do_not_fit_are_told_entry_by_entry(tmp_path):
    transformers.Dinov2Model(configuration("Dinov2Model")).save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del state["layernorm.weight"]
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    shutil.move(tmp_path / "other.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(
        _weights.WeightsError, match=r"lacks entries of this network\n  missing \(1\): layernorm.weight"
    ):
        loaded(entry("Dinov2Model", tmp_path))
    safetensors.torch.save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(_weights.WeightsError, match=r"missing \(43\): "):
        loaded(entry("Dinov2Model", tmp_path))

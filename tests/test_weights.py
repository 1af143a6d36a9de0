"""Weights: found, fetched, checked, refused. Downloads come from a server of this test, on this machine."""

import argparse
import functools
import gzip
import hashlib
import http.server
import io
import math
import pathlib
import pickle
import random
import tarfile
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from cinevox.project import plugins
from cinevox.project.params import Network
from cinevox.stimuli.networks import WeightsSource, _loading, _weights
from cinevox.stimuli.networks._download import DownloadError

SQUEEZENET = plugins.load("networks", "squeezenet")


def asked(policy, file=None, seed=0):
    return Network(weights=policy, file=file, sha256=None, n_frames=1, seed=seed)


def loaded(name, spec, settings, cache=None):
    provenance = _weights.locate(name, spec, settings, cache)
    return _loading.load(name, spec, provenance), provenance


@pytest.fixture(scope="module")
def state():
    return loaded("squeezenet", SQUEEZENET, asked("random"))[0].state_dict()


@pytest.fixture
def checkpoint(tmp_path, state):
    path = tmp_path / "mirror" / "net-00000000.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save(state, path)
    return path


class Handler(http.server.SimpleHTTPRequestHandler):
    def send_header(self, keyword, value):
        if keyword == "Content-Length" and "cut" in self.path:
            value = str(int(value) + 1000)
        super().send_header(keyword, value)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir(exist_ok=True)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()
    thread.join()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def served(server, path, prefix=None, licence="CC0", **options):
    prefix = sha256(path)[:8] if prefix is None else prefix
    return replace(SQUEEZENET, source=WeightsSource(f"{server}/{path.name}", prefix, licence, **options))


def test_download_once_then_from_the_cache(server, checkpoint, state, tmp_path, caplog):
    spec, cache = served(server, checkpoint, licence="CC-BY-NC-4.0", non_commercial=True), tmp_path / "cache"
    with caplog.at_level("INFO"):
        module, provenance = loaded("squeezenet", spec, asked("pretrained"), cache)
    assert "CC-BY-NC-4.0" in caplog.text and "may not be used commercially" in caplog.text
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert provenance.to_json() == {
        "policy": "pretrained",
        "source": f"{server}/{checkpoint.name}",
        "sha256": sha256(checkpoint),
        "official": True,
        "licence": "CC-BY-NC-4.0",
        "non_commercial": True,
        "seed": None,
        "unwrapped": "",
    }
    assert [path.name for path in cache.iterdir()] == [checkpoint.name]
    checkpoint.unlink()
    caplog.clear()
    assert loaded("squeezenet", spec, asked("pretrained"), cache)[1] == provenance
    assert not caplog.text


@pytest.mark.parametrize(
    ("file", "prefix", "message"),
    [
        ("net-00000000.pth", "00000000", r"sha256 [0-9a-f]{16}..., expected 00000000...: not the published file"),
        ("cut.pth", None, r"cut off after \d+ of \d+ bytes"),
        ("elsewhere.pth", "", r"cannot be fetched \(HTTP Error 404"),
    ],
)
def test_a_bad_download_leaves_nothing(server, checkpoint, tmp_path, file, prefix, message):
    path = checkpoint.with_name(file)
    if file == "cut.pth":
        path.write_bytes(checkpoint.read_bytes())
    spec, cache = served(server, path, prefix), tmp_path / "cache"
    with pytest.raises(DownloadError, match=message) as error:
        _weights.locate("squeezenet", spec, asked("pretrained"), cache)
    assert f"{server}/{file}" in str(error.value) and str(cache / file) in str(error.value)
    assert list(cache.iterdir()) == []


def test_without_a_connection_the_error_says_where_to_put_the_file(tmp_path):
    spec = replace(SQUEEZENET, source=WeightsSource("http://127.0.0.1:1/net.pth", "00", "CC0"))
    with pytest.raises(DownloadError, match=r"cannot be fetched .* put it at .*net\.pth"):
        _weights.locate("squeezenet", spec, asked("pretrained"), tmp_path)


def test_an_interrupted_download_leaves_nothing(tmp_path, checkpoint, monkeypatch):
    spec = replace(SQUEEZENET, source=WeightsSource(checkpoint.as_uri(), sha256(checkpoint)[:8], "CC0"))
    monkeypatch.setattr("cinevox.stimuli.networks._download._receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _weights.locate("squeezenet", spec, asked("pretrained"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def interrupt(_url, out):
    out.write(b"half")
    raise KeyboardInterrupt


def test_an_unpublished_checksum_is_recorded_and_checked_afterwards(server, checkpoint, tmp_path, caplog):
    """Until the parameters have it, the run says that it is not verified."""
    spec, cache = served(server, checkpoint, prefix=""), tmp_path / "cache"
    provenance = _weights.locate("squeezenet", spec, asked("pretrained"), cache)
    assert provenance.official and provenance.unverified
    assert f"its own is {provenance.sha256}, which networks.squeezenet.sha256 can hold" in caplog.text
    holding = asked("pretrained").model_copy(update={"sha256": provenance.sha256[:8]})
    assert _weights.locate("squeezenet", spec, holding, cache) == replace(provenance, unverified=False)
    with pytest.raises(_weights.WeightsError, match="expected 01234567; it is another file"):
        _weights.locate("squeezenet", spec, holding.model_copy(update={"sha256": "01234567"}), cache)
    kept = cache / checkpoint.name
    kept.write_bytes(kept.read_bytes() + b"x")
    with pytest.raises(_weights.WeightsError, match=f"expected {provenance.sha256[:16]}.*Delete it and run again"):
        _weights.locate("squeezenet", spec, asked("pretrained"), cache)


def test_a_damaged_file_in_the_cache(tmp_path):
    path = tmp_path / SQUEEZENET.source.file_name
    path.write_bytes(b"damaged")
    found = hashlib.sha256(b"damaged").hexdigest()[:16]
    with pytest.raises(
        _weights.WeightsError, match=f"{path.name} has sha256 {found}..., expected b66bff10...; .*Delete"
    ):
        _weights.locate("squeezenet", SQUEEZENET, asked("pretrained"), tmp_path)


def test_a_file_or_a_folder_of_official_names(checkpoint, state, tmp_path):
    module, provenance = loaded("squeezenet", SQUEEZENET, asked("file", checkpoint))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert (provenance.official, provenance.non_commercial) == (False, None)
    assert provenance.licence.startswith("not known")
    source = WeightsSource(f"https://weights.test/{checkpoint.name}", sha256(checkpoint)[:8], "MIT")
    for given in (checkpoint, checkpoint.parent):
        assert _weights.locate("squeezenet", replace(SQUEEZENET, source=source), asked("file", given)).official
    renamed = checkpoint.rename(tmp_path / "mirror.pth")
    assert _weights.locate("squeezenet", replace(SQUEEZENET, source=source), asked("file", renamed)).licence == "MIT"


def test_missing_files_and_policies():
    with pytest.raises(_weights.WeightsError, match=r"no weights at nowhere.pth; expected .*b66bff10.pth.*Correct net"):
        _weights.locate("squeezenet", SQUEEZENET, asked("file", "nowhere.pth"))
    with pytest.raises(_weights.WeightsError, match=r"networks.squeezenet.weights is package, .*expected pretrained"):
        _weights.locate("squeezenet", SQUEEZENET, asked("package"))
    with pytest.raises(_weights.WeightsError, match="has no published weights; use file"):
        _weights.locate("squeezenet", replace(SQUEEZENET, source=None), asked("pretrained"))
    for policy in ("random", "none"):
        with pytest.raises(ValueError, match=f"sha256 is given, and weights: {policy} reads no file; set it to null"):
            Network(weights=policy, file=None, sha256="01234567", n_frames=1, seed=0)


def test_another_architecture_lists_every_kind_of_difference(tmp_path, state):
    wrong = dict(state) | {"fc.weight": torch.zeros(2)}
    del wrong["features.0.bias"]
    wrong["classifier.1.bias"] = torch.zeros(10)
    torch.save(wrong, tmp_path / "other.pth")
    with pytest.raises(_weights.WeightsError) as error:
        loaded("squeezenet", SQUEEZENET, asked("file", tmp_path / "other.pth"))
    for part in (
        "other.pth holds weights of another architecture",
        "missing (1): features.0.bias",
        "unexpected (1): fc.weight",
        "wrong shape (1): classifier.1.bias (10,), expected (1000,)",
        "expected 52 entries, found 52; point networks.squeezenet.file",
    ):
        assert part in str(error.value)


class Evil:
    def __reduce__(self):
        return (open, ("evil.txt", "w"))


@pytest.mark.parametrize("content", [b"no checkpoint", Evil()])
def test_a_checkpoint_is_never_a_program(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"features.0.weight": content}, path)
    with pytest.raises(_weights.WeightsError, match=r"net.pth cannot be read as a checkpoint .*nothing in it was run"):
        loaded("squeezenet", SQUEEZENET, asked("file", path))
    assert not (tmp_path / "evil.txt").exists()


def test_a_file_without_a_state_dict(tmp_path):
    for content in ([1, 2], {"epoch": 3}, {}, {"state_dict": {0: torch.zeros(1)}}):
        torch.save(content, tmp_path / "list.pth")
        with pytest.raises(_weights.WeightsError, match=r"list.pth holds no state dict"):
            loaded("squeezenet", SQUEEZENET, asked("file", tmp_path / "list.pth"))


def archive(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return path.read_bytes()


def parts_of(checkpoint):
    with zipfile.ZipFile(checkpoint) as made:
        return {part.filename: made.read(part) for part in made.infolist()}


def tar_of(checkpoint):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.add(checkpoint, "net.pth")
    return stream.getvalue()


KINDS = {  # what it is, how it comes about, what the message says
    "empty": (lambda path: b"", "is an empty file", "Delete it and fetch it again"),
    "page": (lambda path: b"\n<!DOCTYPE html><title>Denied</title>", "is a web page", "Open its address in a browser"),
    "answer": (lambda path: b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "a server's answer", "then fetch it again"),
    "lfs": (lambda path: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS pointer", "git lfs pull"),
    "json": (lambda path: b'{"weight_map": {}}', "is JSON text", "Fetch the file again"),
    "gzip": (lambda path: gzip.compress(path.read_bytes()), "is compressed with gzip", "point to the file inside"),
    "tar": (tar_of, "is a tar archive", "Unpack it"),
    "zip of it": (
        lambda path: archive(path, {"net.pth": path.read_bytes()}), "zip archive of other files (net.pth)", "Unpack it",
    ),
    "zipped again": (
        lambda path: archive(path, parts_of(path), zipfile.ZIP_DEFLATED),
        "a compressed zip, which unpacks to", "zip -0 -r",
    ),
    "half": (lambda path: path.read_bytes()[:100_000], "is cut off after 100000 bytes", "fetch it again"),
    "torchscript": (lambda path: archive(path, {"net/constants.pkl": b""}), "TorchScript", "network.state_dict()"),
    "npz": (lambda path: archive(path, {"a.npy": b""}), "NumPy archive", "Convert it to a state dict"),
    "pickle": (lambda path: pickle.dumps({"a": np.zeros(2)}),
               "a pickle that torch.save did not write", "save its tensors"),
    "bit": (
        lambda path: path.read_bytes()[:300_000] + b"bits" + path.read_bytes()[300_004:],
        "the checksum (CRC-32)", "fetch it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_called_what_it_is(checkpoint, tmp_path, kind):
    made, what, cure = KINDS[kind]
    checkpoint.write_bytes(made(checkpoint))
    with pytest.raises(_weights.WeightsError) as error:
        loaded("squeezenet", SQUEEZENET, asked("file", checkpoint))
    message = str(error.value)
    assert str(checkpoint) in message and what in message and cure in message and "nothing in it was run" in message
    status = {entry.network: entry for entry in _weights.status({"squeezenet": asked("file", checkpoint)}, tmp_path)}
    assert status["squeezenet"].state == ("not verified" if kind == "bit" else "no checkpoint")


def test_what_was_zipped_again_is_taken_once_its_parts_are_stored(checkpoint, state):
    archive(checkpoint, parts_of(checkpoint))
    module, _ = loaded("squeezenet", SQUEEZENET, asked("file", checkpoint))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


WRAPPED = {
    "module.": (lambda state: prefixed(state, "module."), "entries without the prefix 'module.'"),
    "_orig_mod.": (lambda state: prefixed(state, "_orig_mod."), "entries without the prefix '_orig_mod.'"),
    "both": (lambda state: prefixed(state, "module._orig_mod."), "entries without the prefix 'module._orig_mod.'"),
    "backbone.": (lambda state: {"state_dict": prefixed(state, "backbone."), "epoch": np.int64(3)},
                  "entry ['state_dict'] without the prefix 'backbone.'"),
    "timm": (lambda state: {"arch": "squeezenet", "args": argparse.Namespace(lr=1), "state_dict": state},
             "entry ['state_dict']"),
    "trainer": (lambda state: {"model": {"weights": state}, "optimizer": {"state": {0: {"step": torch.zeros(1)}}},
                               "folder": pathlib.Path("/runs")}, "entry ['model']['weights']"),
    "parameters": (lambda state: {key: torch.nn.Parameter(value) for key, value in state.items()}, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_state_dict_is_found_inside_and_that_is_said(tmp_path, state, caplog, kind):
    wrap, said = WRAPPED[kind]
    path = tmp_path / "net.pth"
    torch.save(wrap(state), path)
    with caplog.at_level("INFO"):
        module, provenance = loaded("squeezenet", SQUEEZENET, asked("file", path))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert (f"the weights are its {said}" in caplog.text) if said else ("the weights are its" not in caplog.text)
    assert provenance.unwrapped == "", "nothing is read yet"
    checked = _loading.checked("squeezenet", SQUEEZENET, _loading.skeleton(SQUEEZENET), provenance)
    assert checked.to_json()["unwrapped"] == said


@pytest.mark.parametrize("written", ["pathlib", "pathlib._local"])
def test_paths_are_read_as_any_python_writes_them(tmp_path, state, written):
    """Python 3.13 calls their module pathlib._local."""
    path = tmp_path / "net.pth"
    torch.save({"state_dict": state, "folder": pathlib.Path("/runs")}, path, _use_new_zipfile_serialization=False)
    own = f"c{pathlib.PosixPath.__module__}\nPosixPath\n".encode()
    assert own in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(own, f"c{written}\nPosixPath\n".encode()))
    module, _ = loaded("squeezenet", SQUEEZENET, asked("file", path))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_safetensors_are_read(tmp_path, state):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    module, _ = loaded("squeezenet", SQUEEZENET, asked("file", path))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def changed(state, key, value):
    return dict(state) | {key: value}


UNFIT = {
    "twice": (
        lambda state: {"state_dict": state, "state_dict_ema": state},
        "under ['state_dict'] and ['state_dict_ema']", "torch.load(path)['state_dict_ema']",
    ),
    "integers": (lambda state: {key: (value * 100).int() for key, value in state.items()},
                 "wrong type (52): features.0.weight int32,", "floating-point"),
    "quantised": (
        lambda state: changed(state, "features.0.weight",
                              torch.quantize_per_tensor(state["features.0.weight"], 0.01, 0, torch.qint8)),
        "wrong type (1): features.0.weight qint8", "not quantised",
    ),
    "sparse": (lambda state: changed(state, "features.0.weight", state["features.0.weight"].to_sparse()),
               "features.0.weight float32, sparse_coo", "not sparse"),
    "complex": (lambda state: changed(state, "features.0.weight", state["features.0.weight"].to(torch.complex64)),
                "features.0.weight complex64", "floating-point"),
    "meta": (lambda state: changed(state, "features.0.bias", state["features.0.bias"].to("meta")),
             "features.0.bias without numbers", "fetch the original"),
    "nan": (lambda state: changed(state, "features.0.bias", state["features.0.bias"] * math.nan),
            "NaN or infinite (1): features.0.bias", "finite"),
    "overflowed": (lambda state: changed(state, "features.0.weight", (state["features.0.weight"] * 1e7).half()),
                   "NaN or infinite (1): features.0.weight", "finite"),
    "ten classes": (
        lambda state: dict(state) | {
            "classifier.1.weight": torch.zeros(10, 512, 1, 1), "classifier.1.bias": torch.zeros(10)
        },
        "has scores of 10 classes, and this network of 1000", "add a network whose build() makes so many",
    ),
    "no classifier": (lambda state: {key: value for key, value in state.items() if "classifier" not in key},
                      "lacks entries of this network\n  missing (2): classifier.1.bias", "leaves these parts out"),
    "counted": (lambda state: changed(state, "total_ops", torch.zeros(1)),
                "holds more than this network\n  unexpected (1): total_ops", "without those entries"),
    "prefix of most": (lambda state: prefixed(state, "model.") | {"loss.weight": torch.zeros(2)},
                       "under the prefix 'model.', and others", "key.startswith('model.')"),
    "two names": (lambda state: prefixed(state, "model.") | {"features.0.bias": torch.zeros(96)},
                  "under the prefix 'model.', and others", "key.startswith('model.')"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning", "ignore:.*[Qq]uantiz:DeprecationWarning")
def test_a_state_dict_that_does_not_fit_says_how_and_what_to_do(tmp_path, state, kind):
    made, what, cure = UNFIT[kind]
    torch.save(made(state), tmp_path / "net.pth")
    with pytest.raises(_weights.WeightsError) as error:
        loaded("squeezenet", SQUEEZENET, asked("file", tmp_path / "net.pth"))
    assert what in str(error.value) and cure in str(error.value)


def test_entries_that_a_network_now_makes_by_itself_are_left_out(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self, is_saved=False):
            super().__init__()
            self.map = torch.nn.Linear(2, 2)
            self.register_buffer("index", torch.arange(3), persistent=is_saved)

    spec = replace(SQUEEZENET, build=Own, adapt=None, source=None)
    older = Own(is_saved=True).state_dict()
    torch.save(older, tmp_path / "older.pth")
    module, _ = loaded("own", spec, asked("file", tmp_path / "older.pth"))
    assert torch.equal(module.index, torch.arange(3)) and torch.equal(module.map.weight, older["map.weight"])
    torch.save(older | {"index": torch.arange(4)}, tmp_path / "longer.pth")
    with pytest.raises(_weights.WeightsError, match=r"unexpected \(1\): index"):
        loaded("own", spec, asked("file", tmp_path / "longer.pth"))


def test_old_and_half_precision_checkpoints(tmp_path):
    spec = plugins.load("networks", "resnet18")
    state = loaded("resnet18", spec, asked("random"))[0].state_dict()
    old = {key: value.half() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    module, _ = loaded("resnet18", spec, asked("file", tmp_path / "old.pth"))
    assert module.conv1.weight.dtype == torch.float32
    assert torch.equal(module.layer1[0].bn1.running_var, state["layer1.0.bn1.running_var"].half().float())


def test_vonenet_checkpoint_with_its_training_state(tmp_path):
    spec = plugins.load("networks", "vonenet_resnet50")
    state = {key: torch.zeros(value.shape) for key, value in _loading.skeleton(spec).state_dict().items()}
    state["bottleneck.weight"] += 7
    wrapped = {
        "flags": {"lr": 0.1, "image_size": np.int64(224)},
        "epoch": np.float64(70),
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float32(0.1)}]},
    }
    path = tmp_path / "voneresnet50_e70.pth.tar"
    torch.save(wrapped, path)
    module, provenance = loaded("vonenet_resnet50", spec, asked("file", tmp_path))
    assert (module.bottleneck.weight == 7).all() and provenance.file == path


def test_random_weights_depend_on_seed_and_network():
    first, again = (loaded("squeezenet", SQUEEZENET, asked("random", seed=4))[0] for _ in range(2))
    other = loaded("squeezenet", SQUEEZENET, asked("random", seed=5))[0]
    named = loaded("squeezenet_ii", SQUEEZENET, asked("random", seed=4))[0]
    weight = first.features[0].weight
    assert torch.equal(weight, again.features[0].weight)
    assert not torch.equal(weight, other.features[0].weight) and not torch.equal(weight, named.features[0].weight)
    provenance = _weights.locate("squeezenet", SQUEEZENET, asked("random", seed=4))
    assert (provenance.policy, provenance.seed, provenance.official) == ("random", 4, False)


def test_a_constructor_that_draws_from_any_global_generator_is_seeded_and_leaves_them_as_they_were():
    class Drawn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            drawn = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
            self.weight = torch.nn.Parameter(torch.tensor(drawn))

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    spec = replace(SQUEEZENET, build=Drawn, source=None)
    before = states()
    first, again, other = (loaded("drawn", spec, asked("random", seed=seed))[0].weight for seed in (1, 1, 2))
    assert states() == before
    assert torch.equal(first, again) and bool((first != other).all())


def test_random_batch_norm_statistics_keep_depth_at_one_size():
    spec = plugins.load("networks", "resnet50_ssl")
    module, _ = loaded("resnet50_ssl", spec, asked("random"))
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all((norm.running_var > 0).all() and not norm.training for norm in norms)
    assert max(float(norm.running_var.max()) for norm in norms) < 100


@pytest.mark.parametrize(
    "network, digest, block, last",
    [("efficientnet_lite0", "57934424", 7, 15), ("efficientnet_lite1", "77cc7160", 9, 20)],
)
def test_package_weights_are_real(network, digest, block, last):
    spec = plugins.load("networks", network)
    module, provenance = loaded(network, spec, asked("package"))
    assert provenance.source == f"{network.replace('_', '-')}-{digest}.pth" and provenance.sha256.startswith(digest)
    assert provenance.licence == "Apache-2.0" and provenance.non_commercial is False
    packaged = torch.load(spec.package_file(), weights_only=True)
    for ours, theirs in (
        ("conv_stem.weight", "_conv_stem.weight"),
        ("blocks.3.2.conv_dw.weight", f"_blocks.{block}._depthwise_conv.weight"),
        ("blocks.6.0.bn3.running_var", f"_blocks.{last}._bn2.running_var"),
        ("classifier.bias", "_fc.bias"),
    ):
        assert torch.equal(module.state_dict()[ours], packaged[theirs]), f"{ours} is not {theirs}"


def test_cache_folder_is_the_users_choice(tmp_path):
    assert _weights.cache_folder({"CINEVOX_WEIGHTS": str(tmp_path)}) == tmp_path
    assert _weights.cache_folder({}).parts[-2:] == ("cinevox", "weights")


def test_status_of_every_network(tmp_path):
    (tmp_path / SQUEEZENET.source.file_name).write_bytes(b"damaged")
    (tmp_path / "vonealexnet_e70.pth.tar").write_bytes(b"anything")
    used = {"alexnet": asked("random"), "efficientnet_lite0": asked("package"), "vgg16": asked("file", tmp_path)}
    found = {entry.network: entry for entry in _weights.status(used, tmp_path)}
    assert tuple(found) == plugins.names("networks")
    assert {name: found[name].state for name in ("alexnet", "efficientnet_lite0", "squeezenet")} == {
        "alexnet": "random",
        "efficientnet_lite0": "valid",
        "squeezenet": "checksum mismatch",
    }
    assert found["vonenet_alexnet"].state == "not verified"
    assert found["vgg16"].state == "not there"
    assert found["vgg16"].file == str(tmp_path / "vgg16-397923af.pth")
    entry = found["resnet18_swsl"]
    assert (entry.policy, entry.state, entry.size) == ("pretrained", "not there", "44.6 MB")
    assert entry.licence == "CC-BY-NC-4.0 (non-commercial)" and entry.url.endswith("118f1556.pth")
    assert entry.file == str(tmp_path / "semi_weakly_supervised_resnet18-118f1556.pth")


def test_a_file_of_ones_own_is_the_one_that_the_parameters_name(tmp_path, caplog):
    spec = plugins.load("networks", "squeezenet")
    path = tmp_path / "mine.pth"
    torch.save(spec.build().state_dict(), path)
    found = _weights.locate("squeezenet", spec, settings_of(path, None))
    assert found.sha256 in caplog.text and "any file at that path is taken" in caplog.text
    pinned = _weights.locate("squeezenet", spec, settings_of(path, found.sha256[:8]))
    assert replace(pinned, unverified=True) == found != pinned
    assert found.to_json() == pinned.to_json() | {"unverified": True}
    with pytest.raises(_weights.WeightsError, match=r"expected 01234567; it is another file"):
        _weights.locate("squeezenet", spec, settings_of(path, "01234567"))
    for pinned, state in ((None, "not verified"), (found.sha256[:8], "valid"), ("01234567", "checksum mismatch")):
        status = _weights.status({"squeezenet": settings_of(path, pinned)}, tmp_path)
        assert {entry.network: entry.state for entry in status}["squeezenet"] == state


def settings_of(path, sha256):
    return Network(weights="file", file=path, sha256=sha256, n_frames=1, seed=0)

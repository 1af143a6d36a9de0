"""Encoding models in MLflow: registered, and served on this machine as `cinevox register` says."""

import ast
import base64
import contextlib
import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import numpy as np
import psutil
import pytest

import layout
import mlflow_warnings
import small_encoding
from cinevox.encoding import store
from cinevox.encoding.clips import Predictor
from cinevox.errors import InputError
from cinevox.outlets.tracking import models, serving
from cinevox.project.paths import Paths
from conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    *mlflow_warnings.IGNORED,
]

ROW = "mini-efficientnet_lite0-layer-ridge"
PATIENCE_S = 180


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_encoding.study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def project(tmp_path_factory, study, new_record):
    """A folder with parameters, a row's results, its run in the store, and an encoding model under the row's name."""
    import finished_run
    from cinevox.outlets import tracking

    root = tmp_path_factory.mktemp("project")
    settings = finished_run.make(root)
    found = small_encoding.encoding(study)
    store.write(Paths(root).encoding(ROW), found)
    uri = new_record(root)
    settings = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.sync(tracking.gather(Paths(), settings), uri)
    return root, settings


@pytest.fixture(scope="module")
def registered(project):
    root, settings = project
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # which MLflow sets
            patch.setenv(name, "")
            patch.delenv(name)
        yield models.register(Paths(), settings, ROW, "made-up")
        mlflow.set_tracking_uri("")


def folder_of(found):
    mlflow.set_tracking_uri(found.store)
    return Path(mlflow.artifacts.download_artifacts(f"models:/{found.name}/{found.version}"))


def test_it_stands_under_its_rows_run_with_schemas_and_says_what_it_is(project, registered):
    root, settings = project
    client = mlflow.MlflowClient(settings.tracking.uri)
    version = client.get_model_version(registered.name, registered.version)
    run = client.get_run(version.run_id)
    assert (run.data.tags["row"], run.data.tags["level"], run.info.status) == (ROW, "row", "FINISHED")
    assert version.tags["weights_policy"] == "random" and "In-silico data" in version.tags["cautions"]
    assert version.tags["weights_unverified"] == "none"
    folder = folder_of(registered)
    model = mlflow.models.Model.load(folder)
    assert model.signature.outputs.input_names() == ["sub01.V1", "sub01.V2", "sub02.V1", "sub02.V2", "cautions"]
    assert model.signature.inputs.input_names() == ["clip"]
    files = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pickle", ".pt"}
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert needed == models.requirements(store.read(Paths(root).encoding(ROW)).about) and all(
        "==" in line for line in needed
    )


def test_a_row_without_a_run_is_synced_first(project, registered, tmp_path, new_record):
    _, settings = project
    other = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": new_record(tmp_path)})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", other.tracking.uri)
        with pytest.raises(InputError, match=f"row {ROW} has no run in MLflow .*; run `cinevox sync` first"):
            models.register(Paths(), other, ROW, "alone")


@contextlib.contextmanager
def served(found, folder):
    """The printed command, run without this project on the path: the model brings its code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variable, *words = shlex.split(found.commands(port).splitlines()[0])
    environment = os.environ | dict([variable.split("=", 1)]) | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(port, server, folder / "serve.log")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def _wait(port, server, log):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
            return
        time.sleep(0.5)
    raise AssertionError(f"no answer: {log.read_text()}")


def ask(address, records):
    request = urllib.request.Request(
        address, json.dumps({"dataframe_records": records}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)["predictions"]


def refusal(address, records):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(address, records)
    with caught.value as answer:
        return answer.code, json.load(answer)["message"]


def expected(study, encoding, clips):
    [found] = Predictor(encoding)(clips)
    return encoding.means(found.responses)


def test_a_served_model_answers_a_posted_clip_as_predict_does_and_refuses_what_is_none(project, registered, study):
    root, _ = project
    encoding = store.read(Paths(root).encoding(ROW))
    small_encoding.layout.write_clip(root / "long.mp4", n_frames=60, fps=12, size=32)
    clips = [study.clips[0], root / "long.mp4"]
    records = [{"clip": base64.b64encode(path.read_bytes()).decode()} for path in clips]
    example = json.loads((folder_of(registered) / "serving_input_example.json").read_text())["dataframe_split"]["data"]
    with served(registered, root) as address:
        found = ask(address, records)
        [own] = ask(address, [{"clip": clip} for [clip] in example])
        code, message = refusal(address, [{"clip": base64.b64encode(b"#EXTM3U\nfile:///etc/passwd").decode()}])
        assert code == 400 and "clip-1.mp4: it is a playlist" in message
        assert refusal(address, [{"clip": str(clips[0])}])[0] == 400  # a path is no content
        assert refusal(address, records * 9)[0] == 400
        assert "18 clips in a request; expected 1 to 16" in refusal(address, records * 9)[1]
        assert_it_stays_small_and_fast(address, root)
    cautions = [line.pop("cautions") for line in found]
    np.testing.assert_allclose([list(line.values()) for line in found], expected(study, encoding, clips), atol=1e-5)
    assert list(found[0]) == ["sub01.V1", "sub01.V2", "sub02.V1", "sub02.V2"]
    assert cautions[0] == "" and "it lasts 5 s, and the model was fitted to clips of 0.5 s" in cautions[1]
    assert set(own) == {*found[0], "cautions"}


def assert_it_stays_small_and_fast(address, folder):
    """Two kilobytes that ask for gigabytes, more than the clips of a request may be together, and too many at once."""
    [server] = [
        one for one in psutil.process_iter(["cmdline"])
        if one.info["cmdline"] and "cinevox.outlets.tracking.serving:application" in one.info["cmdline"]
        and address.split(":")[2].split("/")[0] in one.info["cmdline"]
    ]  # fmt: skip
    before, began = server.memory_info().rss, time.monotonic()
    layout.write_bomb(folder / "bomb.mp4")
    code, message = refusal(address, [{"clip": base64.b64encode((folder / "bomb.mp4").read_bytes()).decode()}])
    assert code == 400 and "clip-1.mp4: more than 4,000 frames announced (80,000,000)" in message
    place = urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(place.hostname, place.port, timeout=20)) as announced:
        announced.putrequest("POST", place.path)
        announced.putheader("Content-Length", str(serving.MOST_BYTES + 1))
        announced.endheaders()
        assert announced.getresponse().status == 413
    with pytest.raises(urllib.error.HTTPError, match="413"):
        ask(address, [{}] * 2000)
    with contextlib.ExitStack() as stack:
        for _ in range(serving.AT_ONCE):
            stack.enter_context(socket.create_connection((place.hostname, place.port)))
        with pytest.raises(urllib.error.HTTPError, match="503"):
            ask(address, [{}])
    assert time.monotonic() - began < 30 and server.memory_info().rss - before < 200e6


def test_what_is_no_model_is_not_served(project, registered):
    _, settings = project
    for name in ("made-up-none/1", "made-up", "made-up/9", "../../etc"):
        with pytest.raises(InputError, match="expected NAME/VERSION as `cinevox register` prints it"):
            serving.serve(settings.tracking, name, "127.0.0.1", 5999)
    folder = folder_of(models.register(Paths(), settings, ROW, "gone"))
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(InputError, match="gone/1: No such artifact.*; register it again if"):
        serving.serve(settings.tracking, "gone/1", "127.0.0.1", 5999)


def test_what_a_served_model_imports_is_what_it_asks_for(project, study, tmp_path):
    """Run alone: of this project's dependencies, those that its modules import which loading and predicting needs."""
    root, _ = project
    code = (
        "import sys; from pathlib import Path; import cinevox.outlets.tracking.served as served;"
        f"encoding = served.read(Path({str(Paths(root).encoding(ROW))!r}));"
        f"list(served.Predictor(encoding)([Path({str(study.clips[0])!r})]));"
        "ours = [m.__file__ for n, m in sys.modules.items() if n.startswith('cinevox')];"
        "print(*ours, '|', *{name.partition('.')[0] for name in sys.modules})"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, loaded = (part.split() for part in done.stdout.split("|"))
    named = {name for file in files for name in imported_by(Path(file))} & set(loaded)
    owners = metadata.packages_distributions()
    needed = {re.sub("[._]", "-", owner.lower()) for name in named for owner in owners.get(name, ())}
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {re.match(r"[\w-]+", line)[0] for line in ours}
    assert needed & declared <= set(models.NEEDED) <= declared


def imported_by(file):
    """First words of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]

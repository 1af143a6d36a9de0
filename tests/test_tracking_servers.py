"""Tracking beside others: several processes on one database, and real servers that live, die and hang."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

import finished_run
import mlflow_warnings
from cinevox import cli
from cinevox.outlets import tracking
from cinevox.outlets.tracking import writing
from cinevox.project.paths import Paths
from conftest import ROOT

pytestmark = [
    *mlflow_warnings.IGNORED,
]
N_RUNS = 1 + len(finished_run.LAYERS)
SYNC = """
import sys
from pathlib import Path
from cinevox.outlets import tracking
from cinevox.project import params
from cinevox.project.paths import Paths
paths = Paths(Path(sys.argv[1]))
settings = params.load(paths.params)
update = {"tracking": settings.tracking.model_copy(update={"experiment": sys.argv[3]})}
records = tracking.gather(paths, settings.model_copy(update=update), sys.argv[4:] or None)
print("ready", flush=True)
sys.stdin.readline()
print(tracking.sync(records, sys.argv[2]), flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return Paths(root), finished_run.make(root)


@pytest.fixture(autouse=True)
def _no_ambient_store(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


def records(run, experiment, *rows):
    paths, settings = run
    update = {"tracking": settings.tracking.model_copy(update={"experiment": experiment})}
    return tracking.gather(paths, settings.model_copy(update=update), rows or None)


def syncing(run, uri, experiment, *rows):
    """A process that has read its records and waits for a line before it syncs them."""
    command = [sys.executable, "-c", SYNC, str(run[0].root), uri, experiment, *rows]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def at_once(processes):
    """Let them go together; what each says at the end. None may fail."""
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), ends
    assert "locked" not in "".join(said for _, said in ends)
    return [said.strip() for said, _ in ends]


def all_runs(uri, *experiments):
    client = MlflowClient(tracking_uri=uri)
    found = [client.get_experiment_by_name(name) for name in experiments]
    return client.search_runs([item.experiment_id for item in found if item], max_results=5000)


def assert_each_once(uri, experiment, n_rows=3):
    """Every row and feature space has one finished run, each space under its row, with everything in it."""
    runs = all_runs(uri, f"{experiment}-mini", f"{experiment}-full")
    keys = [item.data.tags[writing.KEY] for item in runs]
    assert len(set(keys)) == len(keys) == n_rows * N_RUNS
    assert {item.info.status for item in runs} == {"FINISHED"}
    rows = {item.info.run_id: item.data.tags[writing.KEY] for item in runs if item.data.tags["level"] == "row"}
    for item in runs:
        assert item.data.metrics["score"] is not None and item.data.params["network"]
        if item.data.tags["level"] == "space":
            assert item.data.tags[writing.KEY].startswith(rows[item.data.tags["mlflow.parentRunId"]])


@pytest.mark.slow
def test_processes_write_different_rows_and_the_same_ones_into_a_database_that_is_not_there_yet(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    first, second, third = finished_run.ROWS
    said = at_once([syncing(run, uri, "many", *rows) for rows in ([first], [second], [third], [], [])])
    assert_each_once(uri, "many")
    assert sum(int(line.split("(")[1].split(" runs) created")[0]) for line in said) == 3 * N_RUNS


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """`mlflow server` on 127.0.0.1 that can be killed, stopped, let go on and started again."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return self
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())

    def signal(self, number):
        """To the server and its workers, as a power cut reaches them all."""
        os.killpg(self.process.pid, number)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory, new_record):
    folder = tmp_path_factory.mktemp("server")
    new_record(folder)
    served = Server(folder).start()
    yield served
    served.kill()


@pytest.mark.slow
def test_a_server_takes_rows_once_with_their_files_from_several_processes(run, server):
    at_once([syncing(run, server.uri, "served") for _ in range(2)])
    assert_each_once(server.uri, "served")
    assert tracking.sync(records(run, "served"), server.uri) == tracking.Counts(0, 3, 0)
    client = MlflowClient(tracking_uri=server.uri)
    row = next(item for item in all_runs(server.uri, "served-mini") if item.data.tags["level"] == "row")
    assert row.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {file.path for file in client.list_artifacts(row.info.run_id)} == {
        "scores.csv", "candidates.csv",
    }  # fmt: skip
    assert list((server.folder / "artifacts").rglob("scores.csv"))


@pytest.mark.slow
@pytest.mark.parametrize(("how", "seconds"), [(signal.SIGKILL, 15), (signal.SIGSTOP, 6)])
def test_a_server_that_ends_in_the_middle_costs_nothing_but_a_later_sync(run, server, monkeypatch, how, seconds):
    name = f"ends-{how.name}"
    ours = records(run, name)
    log, calls = writing.log, []

    def ends(*arguments):
        calls.append(arguments)
        if len(calls) == N_RUNS + 3:  # in the second row
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # not before: a busy server takes longer
            server.signal(how)
        return log(*arguments)

    monkeypatch.setattr(writing, "log", ends)
    began = time.monotonic()
    with pytest.raises(tracking.StoreError, match=r"no MLflow server answers at http://127\.0\.0\.1:\d+ "):
        tracking.sync(ours, server.uri)
    with pytest.raises(tracking.StoreError, match="no MLflow server answers"):
        tracking.sync(ours, server.uri)
    assert time.monotonic() - began < 4 * seconds  # MLflow by itself: minutes
    monkeypatch.undo()
    if how == signal.SIGKILL:
        server.kill()
        server.start()
    else:
        server.signal(signal.SIGCONT)
    done = tracking.sync(ours, server.uri)
    assert (done.runs, done.created, done.present) == (2 * N_RUNS, 2, 1)
    assert_each_once(server.uri, name)


@pytest.mark.slow
def test_the_stage_ends_well_while_the_server_is_down(run, tmp_path, monkeypatch):
    finished_run.make(tmp_path)
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "stages" / "tracking.py")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not synced: no MLflow server answers" in done.stderr and "make sync" in done.stderr


def test_credentials_come_from_mlflows_own_variables(run, monkeypatch):
    """A server that only notes who asks, and refuses."""
    seen = []

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path.partition("?")[0], self.headers.get("Authorization")))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as http, ThreadPoolExecutor(1) as pool:
        served = pool.submit(http.serve_forever, 0.05)
        uri = f"http://127.0.0.1:{http.server_port}"
        try:
            for variables in ({"USERNAME": "me", "PASSWORD": "secret"}, {"TOKEN": "letmein"}):
                with monkeypatch.context() as patch:
                    for name, value in variables.items():
                        patch.setenv(f"MLFLOW_TRACKING_{name}", value)
                    with pytest.raises(tracking.StoreError, match="401"):
                        tracking.sync(records(run, "credentials", finished_run.ROWS[0]), uri)
        finally:
            http.shutdown()
            served.result()
    assert [who for _, who in seen] == ["Basic bWU6c2VjcmV0", "Bearer letmein"]


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_the_interface_ends_with_all_its_processes(tmp_path, new_record, told):
    """What it started holds the pipe open: as long as one of them lives, reading goes on."""
    finished_run.make(tmp_path)
    port, environment = free_port(), os.environ | {"MLFLOW_TRACKING_URI": new_record(tmp_path)}
    command = [sys.executable, "-m", "cinevox.cli", "ui", "--port", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, start_new_session=True, **pipes)
    with process:
        assert process.stdout.readline() == "cinevox-mini: nothing yet\n"
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            time.sleep(0.2)
        (os.killpg if told == signal.SIGINT else os.kill)(process.pid, told)  # Ctrl-C reaches all of a terminal's
        process.communicate(timeout=60)


@pytest.mark.parametrize("port", ["0", "99999", "http"])
def test_what_is_no_port_is_refused(capsys, port):
    with pytest.raises(SystemExit):
        cli.main(["ui", "--port", port])
    assert f"argument --port: invalid port value: '{port}'" in capsys.readouterr().err

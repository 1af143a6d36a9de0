"""The store: MLflow's, brought up to date with the records. The only importer of mlflow."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from cinevox.errors import InputError
from cinevox.params import Track, Tracking
from cinevox.tracking import views
from cinevox.tracking.records import Record
from cinevox.tracking.views import SUPERSEDED

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "cinevox.key"
PATIENCE_S = 3.0
BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # what the store takes in one call


class StoreError(InputError):
    """The store can't be reached or refuses; the results are safe in their files, and a later sync adds them."""


@dataclass(frozen=True)
class Counts:
    """What a sync did: runs (rows and feature spaces) made, rows already there, rows marked as superseded."""

    created: int
    present: int
    superseded: int

    def __str__(self) -> str:
        return f"{self.created} runs created, {self.present} rows there already, {self.superseded} superseded"


def resolved(uri: str) -> str:
    """The store to use: MLFLOW_TRACKING_URI goes before the parameter."""
    return os.environ.get("MLFLOW_TRACKING_URI") or uri


def sync(records: Sequence[Record], uri: str) -> Counts:
    """Bring the store up to date: make what is missing, mark what a newer result of the same row replaces.

    Each experiment is searched once. A row is looked for by its key among finished runs, and its run is
    finished last, so a sync that was cut short is taken up by the next one, which discards the half-made row.

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    """
    uri = resolved(uri)
    _reach(uri)
    from mlflow.exceptions import MlflowException  # after the check: importing takes seconds
    from sqlalchemy.exc import SQLAlchemyError

    created = present = superseded = 0
    try:
        client = _client(uri)
        for name in dict.fromkeys(record.experiment for record in records):
            group = [record for record in records if record.experiment == name]
            experiment = _experiment(client, name)
            known = {run.data.tags[KEY]: run for run in _search(client, experiment, "tags.level = 'row'")}
            for record in group:
                run = known.get(record.key)
                if run is not None and run.info.status == "FINISHED":
                    present += 1
                    _mark(client, experiment, run, False)
                else:
                    if run is not None:
                        _delete(client, experiment, run)
                    created += _create(client, experiment, record)
                others = [
                    old for key, old in known.items() if key != record.key and old.data.tags["row"] == record.name
                ]
                superseded += sum(_mark(client, experiment, old, True) for old in others)
            _share_views(client, experiment, group)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError(f"the MLflow store {shown(uri)} refuses: {error}") from None
    return Counts(created, present, superseded)


def shown(uri: str) -> str:
    """The address without a password."""
    parts = urlsplit(uri)
    return uri if parts.password is None else uri.replace(f":{parts.password}@", ":***@")


def _reach(uri: str) -> None:
    """MLflow's client tries an absent server for minutes."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        try:
            socket.create_connection((parts.hostname or "", port), timeout=PATIENCE_S).close()
        except OSError as error:
            raise StoreError(
                f"no MLflow server answers at {shown(uri)} ({error}); start it, or unset MLFLOW_TRACKING_URI"
            ) from None


def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return client.create_experiment(name) if found is None else found.experiment_id


def _search(client: MlflowClient, experiment: str, query: str) -> Iterator[Any]:
    page = client.search_runs([experiment], query, max_results=1000)
    yield from page
    while page.token:
        page = client.search_runs([experiment], query, max_results=1000, page_token=page.token)
        yield from page


def _create(client: MlflowClient, experiment: str, record: Record) -> int:
    """Make a row's run and its feature spaces' runs; how many."""
    extra = {"mlflow.source.name": "dvc repro", "mlflow.source.type": "PROJECT"}
    if os.environ.get("MLFLOW_RUN_ID"):  # under `mlflow run`: that run is the project's, not the row's
        extra["project_run"] = os.environ["MLFLOW_RUN_ID"]
    parent = _begin(client, experiment, record, extra)
    for child in record.children:
        run = _begin(client, experiment, child, extra | {"mlflow.parentRunId": parent})
        client.set_terminated(run)
    client.set_terminated(parent)
    return 1 + len(record.children)


def _begin(client: MlflowClient, experiment: str, record: Record, extra: dict[str, str]) -> str:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    tags = dict(record.tags) | extra | {KEY: record.key, SUPERSEDED: "false"}
    run = client.create_run(experiment, run_name=record.name, tags=tags).info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    metrics += [
        Metric(name, value, now, step) for name, values in record.curves.items() for step, value in enumerate(values, 1)
    ]
    params = [Param(name, value) for name, value in record.params.items()]
    for start in range(0, max(len(metrics), 1), BATCH["metrics"]):
        client.log_batch(run, metrics=metrics[start : start + BATCH["metrics"]])
    for start in range(0, max(len(params), 1), BATCH["params"]):
        client.log_batch(run, params=params[start : start + BATCH["params"]])
    name, digest = record.dataset
    used = Dataset(name=name, digest=digest, source_type="dvc", source=json.dumps({"md5": digest}))
    client.log_inputs(run, [DatasetInput(used, [InputTag("mlflow.data.context", "training")])])
    if record.artifact is not None:
        client.log_artifact(run, str(record.artifact), "best_network")
    return str(run)


def _mark(client: MlflowClient, experiment: str, run: Any, superseded: bool) -> bool:
    """Set the mark on a row's run and its feature spaces'; whether that changed anything."""
    value = str(superseded).lower()
    if run.data.tags.get(SUPERSEDED) == value:
        return False
    for child in _children(client, experiment, run):
        client.set_tag(child.info.run_id, SUPERSEDED, value)
    client.set_tag(run.info.run_id, SUPERSEDED, value)
    return True


def _delete(client: MlflowClient, experiment: str, run: Any) -> None:
    for child in _children(client, experiment, run):
        client.delete_run(child.info.run_id)
    client.delete_run(run.info.run_id)


def _children(client: MlflowClient, experiment: str, run: Any) -> Iterator[Any]:
    return _search(client, experiment, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def _share_views(client: MlflowClient, experiment: str, group: Sequence[Record]) -> None:
    rois = list(
        dict.fromkeys(
            name.removeprefix("chosen.") for record in group for name in record.params if name.startswith("chosen.")
        )
    )
    for name, state in views.states(rois).items():
        client.set_experiment_tag(experiment, views.TAG + name, json.dumps(state))


def ui(settings: Tracking, port: int, say: Callable[[str], None]) -> int:
    """Say where the runs tables are, and serve them on this machine until interrupted; the exit code.

    With a server as the store nothing is started.

    Raises
    ------
    StoreError
        The store can't be reached, or the port is taken.
    """
    uri = resolved(settings.uri)
    _reach(uri)
    served = uri.startswith(("http://", "https://"))
    base = uri if served else f"http://127.0.0.1:{port}"
    client = _client(uri)
    for name in (f"{settings.experiment}-{track}" for track in get_args(Track)):
        found = client.get_experiment_by_name(name)
        say(f"{name}: " + ("nothing yet" if found is None else views.address(base, found.experiment_id)))
    if served:
        return 0
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        raise StoreError(f"port {port} is taken; choose another one with --port")
    words = ["ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run([sys.executable, "-m", "mlflow", *words], check=False).returncode
    return 0

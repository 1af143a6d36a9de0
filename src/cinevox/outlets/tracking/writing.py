"""Writing: one record's run, in as few calls as a server allows."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinevox.outlets.tracking import bulk
from cinevox.outlets.tracking.data import Data
from cinevox.outlets.tracking.history import EXPERIMENT
from cinevox.outlets.tracking.records import FIGURES, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "cinevox.key"
SUPERSEDED = "superseded"
WORKSPACE = "workspace"  # tag of what was synced outside experiments, which a newer result there replaces
SEAL = "row"  # the parameter that is logged last of a row's run
BATCH = {"metrics": 1000, "params": 100, "all": 1000}  # what a server takes in one call


def search(client: MlflowClient, experiment: str, query: str) -> Iterator[Any]:
    """Every run of an experiment that answers to the query, page by page."""
    page = client.search_runs([experiment], query, max_results=1000)
    yield from page
    while page.token:
        page = client.search_runs([experiment], query, max_results=1000, page_token=page.token)
        yield from page


def insist(call: Callable[..., object], *arguments: object) -> None:
    """Of two processes that add the same thing at once, MLflow refuses one; asked again, it finds what is there."""
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        call(*arguments)


def fill(client: MlflowClient, experiment: str, run: str, record: Record) -> None:
    """All of a row's run but for the seal, and the runs of its feature spaces."""
    if record.data is not None:
        _log_data(client, run, record.data)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in record.texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        client.log_artifacts(run, folder)
    attach(client, run, record.files)
    log(client, run, record)
    _add_children(client, experiment, record.children, run)
    # A server that answered too late was asked again, and has made a run that nobody knows.
    unfinished = f"tags.`mlflow.parentRunId` = '{run}' and attributes.status = 'RUNNING'"
    for stray in search(client, experiment, unfinished):
        client.delete_run(stray.info.run_id)


def attach(client: MlflowClient, run: str, files: Mapping[str, Sequence[Path]]) -> None:
    """Put files into the run's folders of these names."""
    for folder, some in files.items():
        for file in some:
            client.log_artifact(run, str(file), folder)


def _log_data(client: MlflowClient, run: str, data: Data) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source, profile = json.dumps(dict(data.source)), json.dumps(dict(data.profile))
    used = Dataset(data.name, data.digest, "dvc", source, data.schema(), profile)
    insist(client.log_inputs, run, [DatasetInput(used, [InputTag("mlflow.data.context", "training")])])


def _add_children(client: MlflowClient, experiment: str, records: Sequence[Record], parent: str) -> None:
    tags = [tags_of(record) | {"mlflow.parentRunId": parent} for record in records]
    if (engine := bulk.database(client)) is not None:
        bulk.add(client, engine, experiment, records, tags)
        return
    for record, own in zip(records, tags):
        run = client.create_run(experiment, run_name=record.name, tags=own).info.run_id
        client.set_terminated(run)  # before it is filled: MLflow reads the whole run for that
        log(client, run, record)


def tags_of(record: Record) -> dict[str, str]:
    """The record's tags and those that every run has."""
    tags = dict(record.tags) | {KEY: record.key, SUPERSEDED: "false"}
    tags |= {"mlflow.source.name": "dvc repro", "mlflow.source.type": "PROJECT"}
    if not any(tag.startswith(EXPERIMENT) for tag in record.tags):
        tags[WORKSPACE] = "true"
    if record.children:
        tags[FIGURES] = str(FIGURES in record.files).lower()
    if record.note:
        tags["mlflow.note.content"] = record.note
    if os.environ.get("MLFLOW_RUN_ID"):  # under `mlflow run`: that run is the project's, not the row's
        tags["project_run"] = os.environ["MLFLOW_RUN_ID"]
    return tags


def log(client: MlflowClient, run: str, record: Record) -> None:
    """Metrics and parameters in as few calls as a server allows."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    metrics += [
        Metric(name, value, now, step) for name, values in record.curves.items() for step, value in enumerate(values, 1)
    ]
    params = [Param(name, value) for name, value in record.params.items() if name != SEAL or not record.children]
    while metrics or params:
        some, params = params[: BATCH["params"]], params[BATCH["params"] :]
        room = min(BATCH["metrics"], BATCH["all"] - len(some))
        client.log_batch(run, metrics=metrics[:room], params=some)
        metrics = metrics[room:]

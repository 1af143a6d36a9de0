"""Writing: one record's run, in as few calls as a server allows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinevox.outlets.tracking.history import EXPERIMENT
from cinevox.outlets.tracking.records import FIGURES, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "cinevox.key"
SUPERSEDED = "superseded"
WORKSPACE = "workspace"  # tag of what was synced outside experiments, which a newer result there replaces
MOST = {"metrics": 900, "params": 100}  # in one call: a server takes 1000 of both together


def search(client: MlflowClient, experiment: str, query: str) -> Iterator[Any]:
    """Every run of an experiment that answers to the query, page by page."""
    token = None
    while token != "":
        page = client.search_runs([experiment], query, max_results=1000, page_token=token)
        yield from page
        token = page.token or ""


def fill(client: MlflowClient, experiment: str, run: str, record: Record) -> None:
    """All of a row's run, and the runs of its feature spaces."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    if record.data:
        inputs = [DatasetInput(Dataset(**record.data), [InputTag("mlflow.data.context", "training")])]
        try:
            client.log_inputs(run, inputs)
        except MlflowException:  # of two processes that add the same data set at once, a server refuses one
            client.log_inputs(run, inputs)
    for name, text in record.texts.items():
        client.log_text(run, text, name)
    attach(client, run, record.files)
    log(client, run, record)
    for child in record.children:
        made = client.create_run(experiment, run_name=child.name, tags=tags_of(child) | {"mlflow.parentRunId": run})
        client.set_terminated(made.info.run_id)  # before it is filled: MLflow reads the whole run for that
        log(client, made.info.run_id, child)


def attach(client: MlflowClient, run: str, files: Mapping[str, Sequence[Path]]) -> None:
    """Put files into the run's folders of these names."""
    for folder, some in files.items():
        for file in some:
            client.log_artifact(run, str(file), folder)


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
    return tags


def log(client: MlflowClient, run: str, record: Record) -> None:
    """Metrics and parameters."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    for name, values in record.curves.items():
        metrics += [Metric(name, value, now, step) for step, value in enumerate(values, 1)]
    params = [Param(name, value) for name, value in record.params.items()]
    while metrics or params:
        client.log_batch(run, metrics=metrics[: MOST["metrics"]], params=params[: MOST["params"]])
        metrics, params = metrics[MOST["metrics"] :], params[MOST["params"] :]

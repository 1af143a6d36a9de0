"""A row's feature spaces written into a database at once.

MLflow's calls take about eight transactions for a run, and make an object of every value. Here all runs of a row become
rows of MLflow's own tables in one transaction. The tables are internal, so this is for the series of MLflow that it was
written for; a server, and any other series, gets the calls. A test holds the two to the same content.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from cinevox.outlets.tracking.records import Record

SERIES = "3.17."


def database(client: MlflowClient) -> Any:
    """The SQLAlchemy engine behind a client; None where runs have to be made by calls."""
    import mlflow
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    return store.engine if type(store) is SqlAlchemyStore and mlflow.__version__.startswith(SERIES) else None


def add(
    client: MlflowClient, engine: Any, experiment: str, records: Sequence[Record], tags: Sequence[Mapping[str, str]]
) -> None:
    """Make a finished run of each record, or of none.

    tags: of each run, all that it has but for its name

    Raises
    ------
    MlflowException
        A name or a value is none that MLflow takes.
    """
    from mlflow.store.tracking.dbmodels import models
    from mlflow.utils.uri import append_to_uri_path

    folder = client.get_experiment(experiment).artifact_location
    now = int(time.time() * 1000)
    rows: dict[Any, list[dict[str, Any]]] = {
        table: [] for table in (models.SqlRun, models.SqlTag, models.SqlParam, models.SqlMetric, models.SqlLatestMetric)
    }
    for record, own in zip(records, tags):
        run = uuid.uuid4().hex
        place = append_to_uri_path(folder, run, "artifacts")
        rows[models.SqlRun].append(_run(run, record.name, int(experiment), place, now))
        named = dict(own) | {"mlflow.runName": record.name}
        values = _checked(record, named, now)
        rows[models.SqlTag] += [{"run_uuid": run, "key": key, "value": value} for key, value in named.items()]
        rows[models.SqlParam] += [{"run_uuid": run, "key": param.key, "value": param.value} for param in values]
        measured = [
            {"run_uuid": run, "key": name, "value": value, "timestamp": now, "step": 0, "is_nan": False}
            for name, value in record.metrics.items()
        ]
        rows[models.SqlMetric] += measured
        rows[models.SqlLatestMetric] += measured
    with engine.begin() as connection:
        for table, content in rows.items():
            if content:
                connection.execute(table.__table__.insert(), content)


def _run(run: str, name: str, experiment: int, place: str, now: int) -> dict[str, Any]:
    same = {"source_type": "UNKNOWN", "source_name": "", "entry_point_name": "", "source_version": ""}
    same |= {"user_id": "unknown", "status": "FINISHED", "lifecycle_stage": "active"}
    own = {"run_uuid": run, "name": name, "experiment_id": experiment, "artifact_uri": place}
    return same | own | {"start_time": now, "end_time": now}


def _checked(record: Record, tags: Mapping[str, str], now: int) -> list[Any]:
    """The parameters as MLflow keeps them, all names and values looked at as its calls do."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.validation import _validate_batch_log_data

    metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    params = [Param(name, value) for name, value in record.params.items()]
    _, params, _ = _validate_batch_log_data(metrics, params, [RunTag(name, value) for name, value in tags.items()])
    return list(params)

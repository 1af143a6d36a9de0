"""The files beside a database, found again after its repository was moved, renamed or copied.

MLflow writes absolute addresses of its files into the database when an experiment is made, and has no call that changes
them. Left alone, a moved repository would write to its old place, and a copy into the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cinevox.outlets.tracking import bulk

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

FOLDER = "mlartifacts"  # beside the database, with a folder for each experiment
DEFAULT = "mlruns"  # MLflow's own, of the experiment that a database begins with; a path, no address


class Moved(Exception):
    """The database's files were elsewhere, and this MLflow's tables are not known here. args: that place."""


def follow(client: MlflowClient, home: Path) -> bool:
    """Let the addresses in a database name the files in the folder that it lies in; whether that changed anything.

    Only addresses of files that cinevox made are followed: `<a folder>/mlartifacts/<experiment>`.

    home: the database's folder, absolute

    Raises
    ------
    Moved
        Addresses are of another place, and they can't be changed.
    """
    from mlflow.entities import ViewType

    found = (_home(experiment) for experiment in client.search_experiments(view_type=ViewType.ALL))
    others = {old for old in found if old is not None and Path(old).resolve() != home.resolve()}
    for old in sorted(others):
        engine = bulk.database(client)
        if engine is None:
            raise Moved(old)
        _replace(engine, old, str(home))
    return bool(others)


def _home(experiment: Experiment) -> str | None:
    """The folder whose `mlartifacts` holds an experiment's files; None where they are anywhere else."""
    address = urlsplit(experiment.artifact_location)
    path = Path(unquote(address.path))
    ours = address.scheme == "file" and not address.netloc and path.parts[-2:] == (FOLDER, experiment.name)
    return str(path.parents[1]) if ours else None


def _replace(engine: Any, old: str, new: str) -> None:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
    from sqlalchemy import func

    columns: tuple[Any, ...] = (
        SqlExperiment.artifact_location, SqlRun.artifact_uri, SqlLoggedModel.artifact_location,
        SqlModelVersion.source, SqlModelVersion.storage_location,
    )  # fmt: skip
    addresses = [f"{(Path(folder) / FOLDER).as_uri()}/" for folder in (old, new)]
    paths = [f"{folder}/{DEFAULT}/" for folder in (old, new)]
    with engine.begin() as connection:
        for before, after in (addresses, paths):
            for column in columns:
                begins = func.substr(column, 1, len(before)) == before
                rest = func.substr(column, len(before) + 1)
                table = column.class_.__table__
                connection.execute(table.update().where(begins).values({column.key: after + rest}))

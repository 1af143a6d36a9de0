"""Where the store is, whether it answers, and whose turn it is to write."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from filelock import FileLock, Timeout

from cinevox.errors import InputError
from cinevox.outlets.tracking import relocation

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
PATIENCE_S = 3.0  # for a server's first answer
TURN_S = 120.0  # for other processes that write into the same file
# MLflow's client tries for minutes; a sync that ends early is taken up by the next one. What the user has set stays.
LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # it says where each run is seen


class StoreError(InputError):
    """The store can't be reached or refuses; the results are safe in their files, and a later sync adds them."""


@dataclass(frozen=True)
class Store:
    """An open store.

    client: MLflow's
    turn: to enter before writing what another process might write too
    artifacts: folder for an experiment's files; None where the server says
    """

    client: MlflowClient
    turn: AbstractContextManager[object]
    artifacts: Path | None


def resolved(uri: str) -> str:
    """The store to use: MLFLOW_TRACKING_URI goes before the parameter; a relative file lies in the main repository.

    DVC runs queued experiments in a copy of the repository that it throws away, and names the main one in DVC_ROOT.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri
    if is_file(uri) and not uri.removeprefix(SQLITE).startswith("/"):
        home = str(_home()).replace("%", "%25").replace("?", "%3F")  # SQLAlchemy takes the path as part of a URL
        return f"{SQLITE}{home}/{uri.removeprefix(SQLITE)}"
    return uri


def is_file(uri: str) -> bool:
    """Whether the store is a database in a file on this machine."""
    return uri.startswith(SQLITE) and uri.removeprefix(SQLITE) not in ("", ":memory:")


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """The address without a password."""
    return _without_password(uri, uri)


def without_login(uri: str) -> str:
    """A server's address without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _without_password(text: str, uri: str) -> str:
    password = urlsplit(uri).password
    return text if password is None else text.replace(f":{password}@", ":***@")


@contextlib.contextmanager
def opened(uri: str) -> Iterator[Store]:
    """The store at a resolved address, made first where it is a file that isn't there.

    Raises
    ------
    StoreError
        It can't be reached, its driver is missing, it stops answering, or refuses.
    """
    if is_server(uri):
        _reach(uri)
    from mlflow.exceptions import MlflowException  # after the check: importing takes seconds
    from sqlalchemy.exc import SQLAlchemyError

    database = Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if is_file(uri) else None
    store = None
    try:
        turn: AbstractContextManager[object] = contextlib.nullcontext()
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
            turn = FileLock(f"{database}.lock", timeout=TURN_S)
        with turn:  # MLflow makes a database's tables without looking whether somebody else does
            client = _client(uri)
            if database is not None:
                _follow(client, database)
        artifacts = None if is_server(uri) else (_home() if database is None else database.parent) / relocation.FOLDER
        store = Store(client, turn, artifacts)
        yield store
    except Timeout:
        raise StoreError(f"another sync has held {database}.lock for {TURN_S:.0f} s; end it, then sync again") from None
    except ImportError as error:
        if store is not None:
            raise
        cure = f"pip install {error.name}" if error.name else "install what it needs"
        raise StoreError(
            f"the MLflow store {shown(uri)} has a driver that can't be imported ({error}); {cure}"
        ) from None
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if isinstance(error, OSError) and store is not None and _is_elsewhere(error, database, store.artifacts):
            raise
        raise StoreError(f"the MLflow store {shown(uri)} refuses: {_without_password(str(error), uri)}") from None


def _follow(client: MlflowClient, database: Path) -> None:
    try:
        relocation.follow(client, database.parent.absolute())
    except relocation.Moved as moved:
        raise StoreError(
            f"{database} keeps its files in {moved.args[0]}, where it was before: this version of MLflow can't be told "
            f"that it was moved. Rename {database.name}, and `make sync` begins a new one"
        ) from None


def _is_elsewhere(error: OSError, *places: Path | None) -> bool:
    """Whether it names files, and none of the store's. Errors of a connection name none."""
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return bool(named) and not any(name.startswith(str(place)) for name in named for place in places if place)


def _home() -> Path:
    return Path(os.environ.get("DVC_ROOT", ".")).absolute()


def _reach(uri: str) -> None:
    """An absent or hanging server is noticed here; what a server answers is for MLflow's client to judge."""
    for name, value in (LIMITS | QUIET).items():
        os.environ.setdefault(name, value)
    address = without_login(uri).rstrip("/") + "/health"
    try:
        urlopen(address, timeout=PATIENCE_S).close()
    except HTTPError as answer:
        answer.close()
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):  # MLflow has its own settings for certificates
            return
        raise StoreError(
            f"no MLflow server answers at {shown(uri)} ({error}); start it, or unset MLFLOW_TRACKING_URI"
        ) from None


def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client

"""The connection to the store: where it is, whose turn it is to write, and what its refusal means."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from cinevox.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"  # the folder of a database's files, beside it
TURN_S = 120.0  # for other processes that write into the same file
# MLflow's client tries for minutes; a sync that ends early is taken up by the next one. A request that is not repeated
# makes no run twice. What the user has set stays.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class StoreError(InputError):
    """The store can't be reached or refuses; the results are safe in their files, and a later sync adds them."""


@dataclass(frozen=True)
class Store:
    """An open store.

    turn: to enter before writing what another process might write too
    artifacts: folder for the experiments' files beside a database in a file; None where the store decides
    """

    client: MlflowClient
    turn: AbstractContextManager[object]
    artifacts: Path | None


def resolved(uri: str) -> str:
    """The store to use: MLFLOW_TRACKING_URI goes before the parameter; a relative file lies in the main repository.

    DVC runs queued experiments in a copy of the repository that it throws away, and names the main one in DVC_ROOT.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri
    place = uri.removeprefix(SQLITE)
    if place == uri or place.startswith("/"):
        return uri
    home = str(Path(os.environ.get("DVC_ROOT", ".")).absolute())  # SQLAlchemy takes the path as part of a URL
    return f"{SQLITE}{home.replace('%', '%25').replace('?', '%3F')}/{place}"


def is_server(uri: str) -> bool:
    """Whether the store is behind HTTP, and not a database."""
    return uri.startswith(("http://", "https://"))


def shown(text: str, uri: str) -> str:
    """A text in which the address may stand, without its password."""
    password = urlsplit(uri).password
    return text if password is None else text.replace(f":{password}@", ":***@")


def without_login(uri: str) -> str:
    """A server's address without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextlib.contextmanager
def opened(uri: str) -> Iterator[Store]:
    """The store at a resolved address, made first where it is a file that isn't there.

    Raises
    ------
    StoreError
        It can't be reached, its driver is missing, it stops answering, or refuses.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # takes seconds
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    turn: AbstractContextManager[object] = contextlib.nullcontext()
    artifacts = None
    if uri.startswith(SQLITE):
        database = Path(unquote(uri.removeprefix(SQLITE).partition("?")[0]))
        database.parent.mkdir(parents=True, exist_ok=True)
        turn, artifacts = FileLock(f"{database}.lock", timeout=TURN_S), database.parent / ARTIFACTS
    try:
        with turn:  # MLflow makes a database's tables without looking whether somebody else does
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
        yield Store(client, turn, artifacts)
    except Timeout as error:
        raise StoreError(
            f"another sync has held {error.lock_file} for {TURN_S:.0f} s; end it, then sync again"
        ) from None
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # a file, which need not be one of the store's
            raise
        raise StoreError(shown(_told(uri, error), uri)) from None


def _told(uri: str, error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    if is_server(uri) and isinstance(cause, OSError):  # such as all errors of requests
        return f"no MLflow server answers at {uri} ({cause}); start it, or unset MLFLOW_TRACKING_URI"
    cure = f"; pip install {error.name}" if isinstance(error, ImportError) and error.name else ""
    return f"the MLflow store {uri} refuses: {error}{cure}"

"""MLflow's server of an encoding model with bounds before it, so that a stranger's request takes a bounded part of it.

MLflow reads a whole request and parses it before the model sees anything. Starlette looks at the size first, and
uvicorn refuses what comes while enough others are at work.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cinevox.errors import InputError
from cinevox.outlets.tracking.connection import opened, resolved
from cinevox.outlets.tracking.models import LIMITS
from cinevox.project.params import Tracking

MOST_VALUES = 1000  # numbers, texts, lists and objects in a request: a clip is one
MOST_BYTES = int(LIMITS.megabytes * 1e6 * 4 / 3) + 64 * MOST_VALUES  # in base64, with what stands around it
UPLOAD_S = 60.0  # for the content of a request
AT_ONCE = 4  # connections, each with one request at a time; uvicorn answers others with 503
FOLDER = "CINEVOX_SERVED_MODEL"  # environment variable: the folder of the model to serve


def application() -> Starlette:
    """The application for a server such as uvicorn: the model of the folder that an environment variable names."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    return bounded(scoring_server.init(mlflow.pyfunc.load_model(os.environ[FOLDER])))


def bounded(application: Starlette) -> Starlette:
    """Let in no request that is larger than one with clips, slower, or made of more values."""
    application.add_middleware(BaseHTTPMiddleware, dispatch=_of_few_values)
    application.add_middleware(RequestBodyLimitMiddleware, max_body_size=MOST_BYTES)  # the last one is asked first
    return application


async def _of_few_values(request: Request, then: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        async with asyncio.timeout(UPLOAD_S):
            body = await request.body()
    except TimeoutError:
        return PlainTextResponse(f"the request did not arrive within {UPLOAD_S:g} s", 408)
    if (found := sum(body.count(sign) for sign in (b",", b"[", b"{"))) > MOST_VALUES:
        return PlainTextResponse(f"{found:,} values in a request; at most {MOST_VALUES:,} are taken", 413)
    return await then(request)


def serve(settings: Tracking, model: str, host: str, port: int) -> None:
    """Become the server of a registered model.

    model: name and version, with a slash between them

    Raises
    ------
    InputError
        There is no such model, it is none of cinevox, or its files are gone.
    """
    uri = resolved(settings.uri)
    with opened(uri):
        import mlflow

        mlflow.set_tracking_uri(uri)
        try:
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}"))
        except mlflow.exceptions.MlflowException as error:
            cure = "expected NAME/VERSION as `cinevox register` prints it; register it again if its files were moved"
            raise InputError(f"{model}: {error.message}; {cure}") from None
    code = folder / "code"
    if not (code / "cinevox" / "outlets" / "tracking" / "serving.py").is_file():
        raise InputError(f"{model}: not registered by this version of cinevox; register it again: `cinevox register`")
    words = ["--factory", f"{__name__}:{application.__name__}", "--app-dir", str(code), "--log-level", "warning"]
    words += ["--limit-concurrency", str(AT_ONCE + 1), "--host", host, "--port", str(port)]
    command = [sys.executable, "-P", "-m", "uvicorn", *words]
    os.execve(sys.executable, command, os.environ | {FOLDER: str(folder)})

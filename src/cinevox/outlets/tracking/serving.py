"""MLflow's server of an encoding model behind an entrance, so that a stranger's request takes a bounded part of it.

MLflow reads a whole request and parses it before the model sees anything. The entrance looks at the size first, lets
few requests work at once, tells the others so, and ends work that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import joblib

from cinevox.errors import InputError
from cinevox.outlets.tracking.connection import opened, resolved
from cinevox.outlets.tracking.models import LIMITS, Input, everywhere
from cinevox.outlets.tracking.views import refuse_port, run_server
from cinevox.project.params import Tracking

AT_ONCE = min(4, joblib.cpu_count())  # requests that are parsed, decoded and predicted
READ_AT_ONCE = 4 * AT_ONCE  # requests whose content is on its way
PATIENCE = 5.0  # seconds that a request waits for its turn
UPLOAD = 60.0  # seconds for the content of a request
DISCARDED = 20  # times the most bytes: what is read of a request that is too large, before it is told so
FOLDER = "CINEVOX_SERVED_MODEL"  # environment variable: the folder of the model to serve
BYTES_OF_A_NUMBER = 32  # in JSON, with what stands around it

# Set by the entrance when whoever asked has gone. MLflow runs the model in a thread with a copy of the context.
GONE: ContextVar[threading.Event | None] = ContextVar("GONE", default=None)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class RefusedError(Exception):
    """A request that is not let in. args: status of HTTP, message"""


class Entrance:
    """An ASGI application before another one.

    most_bytes: of a request's content; most_values: numbers, texts, lists and objects in its JSON
    """

    def __init__(self, application: Application, most_bytes: int, most_values: int) -> None:
        self.application, self.most_bytes, self.most_values = application, most_bytes, most_values
        self._readers, self._workers = asyncio.Semaphore(READ_AT_ONCE), asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.application(scope, receive, send)
            return
        try:
            async with _turn(self._readers, 0):
                body = await self._content(scope, receive)
            async with _turn(self._workers, PATIENCE):
                await self._answer(scope, body, receive, send)
        except RefusedError as error:
            await _refuse(send, *error.args)

    async def _content(self, scope: Message, receive: Receive) -> bytes:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise RefusedError(415, "expected Content-Type: application/json")
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > DISCARDED * self.most_bytes:
            raise self._too_much(f"{announced.decode('latin-1')[:20]} bytes")
        try:
            async with asyncio.timeout(UPLOAD):
                body = await self._received(receive)
        except TimeoutError:
            raise RefusedError(408, f"the request did not arrive within {UPLOAD:g} s") from None
        if (found := sum(body.count(sign) for sign in (b",", b"[", b"{"))) > self.most_values:
            raise self._too_much(f"{found:,} values")
        return bytes(body)

    async def _received(self, receive: Receive) -> bytearray:
        """The content. One that is too large is read and forgotten: else many clients never see the answer."""
        body, n_bytes, more = bytearray(), 0, True
        while more and n_bytes <= DISCARDED * self.most_bytes:
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes <= self.most_bytes:
                body += message.get("body", b"")
            else:
                body.clear()
            more = message.get("more_body", False)
        if n_bytes > self.most_bytes:
            raise self._too_much(f"{n_bytes:,} bytes")
        return body

    def _too_much(self, found: str) -> RefusedError:
        most = f"{self.most_bytes:,} bytes and {self.most_values:,} values"
        return RefusedError(413, f"{found} in a request; at most {most} are taken")

    async def _answer(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        """Let the application answer; say in GONE if the other side goes away before."""
        gone = threading.Event()
        GONE.set(gone)
        content = [{"type": "http.request", "body": body, "more_body": False}]
        end = asyncio.ensure_future(receive())  # behind the content nothing comes but a disconnect
        end.add_done_callback(lambda _: gone.set())

        async def replayed() -> Message:
            return content.pop() if content else await asyncio.shield(end)

        try:
            await self.application(scope, replayed, send)
        finally:
            end.cancel()


@contextlib.asynccontextmanager
async def _turn(places: asyncio.Semaphore, seconds: float) -> AsyncIterator[None]:
    """A place among those at work, waited for some seconds."""
    try:
        async with asyncio.timeout(seconds if places.locked() else None):
            await places.acquire()
    except TimeoutError:
        raise RefusedError(503, "busy with other requests; ask again in a while") from None
    try:
        yield
    finally:
        places.release()


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error_code": "REFUSED", "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] + [(b"retry-after", b"5")] * (status == 503)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def bounds(kind: Input, n_numbers: int) -> tuple[int, int]:
    """Most bytes and most values of a request. n_numbers: that a clip is for the model, where it takes features"""
    from cinevox.encoding.clips import CLIPS_AT_ONCE  # torch: seconds, which `serve` does not need

    around = 1000  # names, and what else stands in a request
    if kind == "clip":
        return math.ceil(LIMITS.megabytes * 1e6 * 4 / 3) + 64 * around, around  # base64
    values = 2 * CLIPS_AT_ONCE * n_numbers + around
    return BYTES_OF_A_NUMBER * values, values


def application() -> Entrance:
    """The application for a server such as uvicorn: the model of the folder that an environment variable names."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(os.environ[FOLDER])
    served = model.unwrap_python_model()
    inputs = served.predictor.encoding.about.source.inputs
    return Entrance(scoring_server.init(model), *bounds(served.input, sum(map(math.prod, inputs.values()))))


def serve(settings: Tracking, model: str, host: str, port: int) -> int:
    """Serve a registered model until interrupted; the exit code.

    model: name and version, with a slash between them

    Raises
    ------
    InputError
        There is no such model, it is none of cinevox, its files are gone, or the port can't be had.
    """
    import mlflow

    refuse_port(port)
    uri = resolved(settings.uri)
    with opened(uri), everywhere(uri):
        try:
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}"))
        except mlflow.exceptions.MlflowException as error:
            cure = "expected NAME/VERSION as `cinevox register` prints it; register it again if its files were moved"
            raise InputError(f"{model}: {error.message}; {cure}") from None
    code = folder / "code"
    if not (code / "cinevox" / "outlets" / "tracking" / "serving.py").is_file():
        raise InputError(f"{model}: not registered by this version of cinevox; register it again: `cinevox register`")
    words = ["--factory", f"{__name__}:{application.__name__}", "--app-dir", str(code), "--log-level", "warning"]
    command = [sys.executable, "-P", "-m", "uvicorn", *words, "--host", host, "--port", str(port)]  # as MLflow does
    return run_server(command, os.environ | {FOLDER: str(folder)})

"""A dask cluster as joblib's workers. Imported only where one is asked for.

Arrays reach the workers as files that they map, never through dask's memory: what dask scatters lies on one
worker and is lost with it. So a task can be run again anywhere, and an array that many tasks share is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import io
import json
import logging
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, KilledWorker, Security
from distributed.client import FutureCancelledError
from distributed.comm import connect
from joblib._dask import DaskDistributedBackend
from numpy.typing import NDArray

from cinevox.errors import InputError

LOG = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for the scheduler to answer, and again for a first worker
LARGE = 1 << 20  # bytes of an array from which it is a file; smaller ones travel with their task


@dataclass(frozen=True)
class Access:
    """The way in which a cluster is reached.

    address: its scheduler's, such as tcp://10.0.0.1:8786
    n_workers: of batch jobs, which come and go, how many there are with all of them; else None
    security: None for what dask's configuration says
    """

    address: str
    n_workers: int | None = None
    security: Security | None = None

    @property
    def name(self) -> str:
        return f"parallel.{'scheduler' if self.n_workers is None else 'jobqueue:'} {self.address}"

    @property
    def cure(self) -> str:
        if self.n_workers is None:
            return (
                "start one with `dask scheduler --host ADDRESS --dashboard-address 127.0.0.1:8787` and give the "
                "address that it prints"
            )
        return "start it with `cinevox cluster`"


def of_jobs(folder: Path) -> Access:
    """The cluster of batch jobs that `cinevox cluster` keeps, from what it left in a folder.

    Raises
    ------
    InputError
        None was started here, or it has ended.
    """
    try:
        said = json.loads((folder / "cluster.json").read_text())
    except (FileNotFoundError, ValueError):
        raise InputError(
            "parallel.jobqueue: no cluster runs here; start one with `cinevox cluster` and leave it running, or run it "
            "for as long as a command takes: `cinevox cluster dvc repro`"
        ) from None
    return Access(said["address"], said["n_workers"], security(folder))


def security(folder: Path) -> Security:
    """TLS with the key pair in a folder, for every role: who has its key belongs to the cluster, nobody else."""
    key, certificate = (str(folder.resolve() / name) for name in ("key.pem", "certificate.pem"))
    files = {f"tls_{role}_{name}": path for role in ("client", "scheduler", "worker")
             for name, path in (("key", key), ("cert", certificate))}  # fmt: skip
    return Security(require_encryption=True, tls_ca_file=certificate, **files)


@contextlib.contextmanager
def workers(access: Access, unfinished: Path) -> Iterator[tuple[Backend, int]]:
    """joblib's backend on a cluster, and how many workers it has; waits until there is one where they are batch jobs.

    unfinished: a folder that every worker sees; the arrays lie there until the end

    Raises
    ------
    InputError
        No scheduler answers there, it has no workers, a worker runs in another folder or with another cinevox,
        workers keep dying on a task, or the scheduler goes away.
    """
    client = _connected(access)
    with client:
        n_workers = _checked(client, access)
        unfinished.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="cluster-", dir=unfinished.resolve()) as folder:
            try:
                yield Backend(client, Files(Path(folder)), access.n_workers), n_workers
            except KilledWorker as error:
                raise InputError(
                    f"{access.name}: {error}\nMost often they ran out of memory: give the workers "
                    "more, or lower fits.batch_voxels"
                ) from error
            except FutureCancelledError as error:
                raise _gone(access) from error


class Files:
    """Arrays as files in a folder, each array once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self._known: dict[int, tuple[weakref.ref[NDArray], tuple[Any, ...]]] = {}

    def map(self, array: NDArray[Any]) -> tuple[Any, ...]:
        """Arguments of `numpy.memmap` that open this array; a memory map of a whole file is its own file."""
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.mode == "r":
            order = "C" if array.flags.c_contiguous else "F"
            return os.fspath(array.filename), array.dtype, "r", array.offset, array.shape, order
        known, found = self._known.get(id(array), (None, ()))
        if known is None or known() is not array:  # an id is used again once its array is gone
            path = self.folder / f"{self.written}.npy"
            np.save(path, array, allow_pickle=False)
            self.written += 1
            found = self.map(np.load(path, mmap_mode="r", allow_pickle=False))
            self._known[id(array)] = weakref.ref(array), found
        return found


class Backend(DaskDistributedBackend):
    """joblib's dask backend, with tasks that carry everything they need."""

    def __init__(self, client: Client, files: Files, n_workers: int | None = None) -> None:
        super().__init__(client=client, wait_for_workers_timeout=PATIENCE)
        self.files, self.n_workers = files, n_workers

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count all workers of batch jobs, not only those of now.

        joblib sends twice as many tasks, so workers that come later find theirs.
        """
        return self.n_workers or super().effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        func.items = [(_Task(call, self.files), (), {}) for call in func.items]
        future = super().submit(func, callback)
        if callback is not None:  # joblib 1.6 waits forever for a task that dask gave up
            future.add_done_callback(lambda done: done.exception() and callback(done))
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        return out.result() if isinstance(out, Future) else super().retrieve_result_callback(out)


class _Task:
    """A call with its arguments, pickled: nothing in it is left for dask to scatter."""

    def __init__(self, call: tuple[Callable, tuple, dict], files: Files) -> None:
        stream = io.BytesIO()
        _Pickler(stream, files).dump(call)
        self.content = stream.getvalue()
        self.__name__ = getattr(call[0], "__name__", "task")  # what dask's pages show

    def __call__(self) -> Any:
        function, args, kwargs = pickle.loads(self.content)
        return function(*args, **kwargs)


class _Pickler(cloudpickle.Pickler):
    def __init__(self, stream: io.BytesIO, files: Files) -> None:
        super().__init__(stream)
        self._files = files

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, np.ndarray) and item.nbytes >= LARGE and not item.dtype.hasobject:
            return np.memmap, self._files.map(item)
        return super().reducer_override(item)


async def greet(access: Access) -> None:
    """See that somebody answers there.

    Raises
    ------
    OSError
        Nobody does within a few seconds, or nobody who speaks the protocol.
    """
    arguments = (access.security or Security()).get_connection_args("client")
    channel = await asyncio.wait_for(connect(access.address, timeout=PATIENCE, **arguments), PATIENCE)
    channel.abort()


def _connected(access: Access) -> Client:
    try:
        asyncio.run(greet(access))  # first: a client that fails to connect keeps trying in the background
        return Client(access.address, timeout=PATIENCE, set_as_default=False, name="cinevox", security=access.security)
    except Exception as error:  # what is there may be no scheduler, and answer anything
        raise InputError(
            f"{access.name}: no dask scheduler answers there within {PATIENCE:g} s "
            f"({str(error) or type(error).__name__}); {access.cure}, or set parallel.backend to loky"
        ) from None


def _gone(access: Access) -> InputError:
    return InputError(
        f"{access.name} went away; start it again, then `dvc repro`: stages that are done are not run again"
    )


def _checked(client: Client, access: Access) -> int:
    """Refuse workers that would not see the same files or not run the same code; the number of threads."""
    if access.n_workers is not None and not client.nthreads():
        LOG.info("%s: waiting for the first of its jobs to start", access.name)
        try:
            client.wait_for_workers(1)
        except OSError as error:
            raise _gone(access) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"{access.name} has no workers; start some with `dask worker {access.address} --nthreads 1` in {Path.cwd()}"
        ) from None
    here, version = str(Path.cwd()), importlib.metadata.version("cinevox")
    folders = client.run(os.getcwd)
    versions = client.run(importlib.metadata.version, "cinevox", on_error="return")
    faults = [
        f"  {worker}: runs in {folder}; start it in {here}, on a file system that all machines share"
        for worker, folder in folders.items()
        if folder != here
    ]
    faults += [
        f"  {worker}: cinevox {found}; install {version}" for worker, found in versions.items() if found != version
    ]
    if faults:
        raise InputError(f"{access.name}: workers that cannot be used\n" + "\n".join(faults))
    return access.n_workers or int(sum(client.nthreads().values()))

"""A dask cluster as joblib's workers. Imported only where one is asked for.

Arrays reach the workers as files that they map, never through dask's memory: what dask scatters lies on one
worker and is lost with it. So a task can be run again anywhere, and an array that many tasks share is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import io
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
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

PATIENCE = 5.0  # seconds for the scheduler to answer, and again for a first worker
LARGE = 1 << 20  # bytes of an array from which it is a file; smaller ones travel with their task


@contextlib.contextmanager
def workers(scheduler: str, unfinished: Path) -> Iterator[tuple[Backend, int]]:
    """joblib's backend on the cluster of this scheduler, and how many threads it has now.

    scheduler: its address, such as tcp://10.0.0.1:8786
    unfinished: a folder that every worker sees; the arrays lie there until the end

    Raises
    ------
    InputError
        No scheduler answers there, it has no workers, a worker runs in another folder or with another cinevox,
        workers keep dying on a task, or the scheduler goes away.
    """
    client = _connected(scheduler)
    with client:
        n_threads = _checked(client, scheduler)
        unfinished.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="cluster-", dir=unfinished.resolve()) as folder:
            try:
                yield Backend(client, Files(Path(folder))), n_threads
            except KilledWorker as error:
                raise InputError(
                    f"parallel.scheduler {scheduler}: {error}\nMost often they ran out of memory: give the workers "
                    "more, or lower fits.batch_voxels"
                ) from error
            except FutureCancelledError as error:
                raise InputError(
                    f"parallel.scheduler {scheduler} went away; start it again, then `dvc repro`: stages that are done "
                    "are not run again"
                ) from error


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

    def __init__(self, client: Client, files: Files) -> None:
        super().__init__(client=client, wait_for_workers_timeout=PATIENCE)
        self.files = files

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


def _connected(scheduler: str) -> Client:
    try:
        # a client that fails to connect keeps trying in the background, so first see who is there
        asyncio.run(asyncio.wait_for(_greet(scheduler), PATIENCE))
        return Client(scheduler, timeout=PATIENCE, set_as_default=False, name="cinevox")
    except Exception as error:  # what is there may be no scheduler, and answer anything
        raise InputError(
            f"parallel.scheduler is {scheduler}: no dask scheduler answers there within {PATIENCE:g} s "
            f"({str(error) or type(error).__name__}); start one with `dask scheduler` and give the address that it "
            "prints, or set parallel.backend to loky"
        ) from None


async def _greet(scheduler: str) -> None:
    channel = await connect(scheduler, timeout=PATIENCE, **Security().get_connection_args("client"))
    channel.abort()


def _checked(client: Client, scheduler: str) -> int:
    """Refuse workers that would not see the same files or not run the same code; the number of threads."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"parallel.scheduler {scheduler} has no workers; start some with `dask worker {scheduler} --nthreads 1` "
            f"in {Path.cwd()}"
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
        raise InputError(f"parallel.scheduler {scheduler}: workers that cannot be used\n" + "\n".join(faults))
    return int(sum(client.nthreads().values()))

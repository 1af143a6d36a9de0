"""The rules of parallel work: steps call joblib's `Parallel()` bare, or `run`; the caller opens the context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from cinevox.project.params import Parallel
from cinevox.project.paths import Paths

FEW = 3e10  # multiply-adds that take one core less time than worker processes take to start


def run(tasks: Iterable[Any], n_operations: float) -> Iterator[Any]:
    """Results of `joblib.delayed` tasks in order; from here where they are too few operations to be worth workers.

    Either way one BLAS thread, so the same bits.
    """
    if n_operations >= FEW:
        yield from joblib.Parallel(return_as="generator")(tasks)
        return
    for function, arguments, named in tasks:
        with threadpool_limits(1):
            result = function(*arguments, **named)
        yield result


@contextlib.contextmanager
def context(settings: Parallel) -> Iterator[int]:
    """Run the bare `joblib.Parallel()` calls inside with these workers, one BLAS thread in each worker process.

    Yields the number of workers. More than one BLAS thread inside a worker costs two to ten times the time
    of the small products that fill most steps; the numbers do not depend on the number of workers. Threads and
    no workers at all leave BLAS as it is: sums in another order, the same numbers to about 1e-7.
    With a dask cluster, `n_jobs` is for what stays on this machine: calls that name threads themselves.

    Raises
    ------
    InputError
        The cluster cannot be used; see docs/parallel.md.
    """
    n_jobs = joblib.cpu_count() if settings.n_jobs == -1 else settings.n_jobs
    if settings.backend == "dask":
        from cinevox.parallel import cluster

        paths = Paths()
        access = cluster.Access(settings.scheduler) if settings.scheduler else cluster.of_jobs(paths.cluster)
        with (
            cluster.workers(access, paths.unfinished) as (backend, n_workers),
            joblib.parallel_config(backend=backend, n_jobs=n_jobs),
        ):
            yield n_workers
        return
    if settings.backend == "sequential" or n_jobs == 1:
        with joblib.parallel_config(backend="sequential", n_jobs=1):
            yield 1
        return
    threads = {"inner_max_num_threads": 1} if settings.backend == "loky" else {}
    with joblib.parallel_config(backend=settings.backend, n_jobs=n_jobs, **threads):
        yield n_jobs

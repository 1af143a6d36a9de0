"""A dask cluster of batch jobs: a scheduler here, workers in jobs of SLURM, PBS, SGE or LSF, kept until the end.

dask_jobqueue writes and submits a job; which jobs there are is looked after here, because its own clusters, adaptive
ones too, leave a job of several worker processes unreplaced once it has ended: they know workers by the name of the
job, and these have names of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import dask
import dask_jobqueue
from dask_jobqueue.core import Job
from distributed import Scheduler, Security

from cinevox.errors import InputError
from cinevox.parallel import cluster
from cinevox.project.params import JobQueue

GRACE = 20.0  # seconds without any worker after which a job counts as ended: dask restarts a killed worker in less
LEAVE = 120  # seconds before its walltime, or a tenth of it, in which a worker hands over what it has
INTERVAL = 1.0  # seconds between looks at the jobs
CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}


def job(settings: JobQueue, address: str, name: str, folder: Path) -> Job:
    """A job that is not yet submitted: one worker process for each core, each with one thread and one BLAS thread.

    address: of the scheduler; name: of the job and the beginning of its workers' names
    folder: where the keys are, and where it writes its log
    """
    if any(character.isspace() for path in (folder.resolve(), sys.executable) for character in str(path)):
        raise InputError(
            f"{folder.resolve()}: batch jobs can't run where a path has a space in it; move the repository"
        )
    account = "account" if settings.system in ("slurm", "pbs") else "project"
    leave = min(LEAVE, settings.seconds // 10)
    walltime = settings.walltime.rpartition(":")[0] if settings.system == "lsf" else settings.walltime
    return getattr(dask_jobqueue, CLUSTERS[settings.system]).job_cls(
        address, name=name, job_name="cinevox",
        cores=settings.cores, processes=settings.cores, memory=settings.memory, walltime=walltime,
        queue=settings.queue, interface=settings.interface, **{account: settings.account},
        job_extra_directives=settings.directives,
        job_script_prologue=[f"cd {shlex.quote(str(Path.cwd()))}", *settings.prologue],
        # a worker has pages of its own, on every address of its machine if it is not told otherwise
        worker_extra_args=["--lifetime", f"{settings.seconds - leave}s", "--dashboard-address", "127.0.0.1:0"],
        log_directory=str(folder.resolve()), protocol="tls://", security=cluster.security(folder),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def kept(settings: JobQueue, folder: Path, say: Callable[[str], object]) -> AsyncIterator[None]:
    """A scheduler and its jobs for as long as the block runs.

    Submits the jobs, leaves address and keys in `folder` for `cluster.of_jobs`, tells `say` how many jobs are up
    whenever that changes, submits another for each that has ended, and cancels all in the end.

    Raises
    ------
    InputError
        A cluster of this folder runs already, there is no such interface, or the batch system takes no job.
    """
    if (there := await _running(folder)) is not None:
        raise InputError(f"a cluster runs here already ({there}); end that one first")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # before the key is written: who reads it can run code on the workers
    made = Security.temporary()
    (folder / "key.pem").write_text(made.tls_scheduler_key)
    (folder / "certificate.pem").write_text(made.tls_scheduler_cert)
    async with _scheduler(settings, folder) as scheduler:
        jobs = _Jobs(lambda name: job(settings, scheduler.address, name, folder), settings.jobs)
        said = {"address": scheduler.address, "n_workers": settings.jobs * settings.cores}
        try:
            await jobs.fill()
            _write(folder / "cluster.json", json.dumps(said))
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_look_after(jobs, scheduler, say))
                yield
                watch.cancel()
        finally:
            (folder / "cluster.json").unlink(missing_ok=True)
            await jobs.end()


def _scheduler(settings: JobQueue, folder: Path) -> Scheduler:
    try:
        with dask.config.set({"distributed.scheduler.http.routes": []}):  # its pages ask nobody for a key
            return Scheduler(
                interface=settings.interface, protocol="tls://", security=cluster.security(folder),
                dashboard=False, dashboard_address="127.0.0.1:0",
            )  # fmt: skip
    except ValueError as error:
        raise InputError(f"parallel.jobqueue.interface: {error}") from None


async def _running(folder: Path) -> str | None:
    """The address of a cluster that left it in the folder and still answers."""
    try:
        access = cluster.of_jobs(folder)
        await cluster.greet(access)
    except (InputError, OSError):
        return None
    return access.address


async def _look_after(jobs: _Jobs, scheduler: Scheduler, say: Callable[[str], object]) -> None:
    said = refused = ""
    while True:
        workers = [str(worker.name) for worker in scheduler.workers.values()]
        n_up, n_unseen = jobs.look(workers, time.monotonic())
        text = f"{n_up} of {jobs.n_jobs} jobs are up, with {len(workers)} workers"
        if n_unseen:
            text += f"; {n_unseen} wait in the queue, or failed to start: their logs say why"
        if text != said:
            say(text)
            said = text
        try:
            await jobs.replace(time.monotonic())
            refused = ""
        except InputError as error:  # a batch system may be away for a while
            if str(error) != refused:
                say(str(error))
            refused = str(error)
        await asyncio.sleep(INTERVAL)


class _Jobs:
    """So many jobs; one that had workers and has none any more is replaced."""

    def __init__(self, make: Callable[[str], Job], n_jobs: int) -> None:
        self._make, self.n_jobs, self._n_made = make, n_jobs, 0
        self._jobs: dict[str, Job] = {}
        self._seen: dict[str, float] = {}

    async def fill(self) -> None:
        """Submit what is missing, one after another: batch systems dislike many at once."""
        while len(self._jobs) < self.n_jobs:
            made = self._make(f"job{self._n_made}")
            try:
                await made
            except FileNotFoundError:
                raise InputError(
                    f"there is no `{made.submit_command}` here; run it where jobs are submitted, or set "
                    "parallel.jobqueue.system"
                ) from None
            except (RuntimeError, ValueError) as error:
                raise InputError(f"the batch system takes no job: {error}") from None
            self._jobs[f"job{self._n_made}"] = made
            self._n_made += 1

    def look(self, workers: Iterable[str], now: float) -> tuple[int, int]:
        """Count the jobs that have workers now, which is remembered, and those that never had any.

        A worker is called `<job>` or `<job>-<process>`.
        """
        up = {name.split("-")[0] for name in workers} & self._jobs.keys()
        self._seen |= dict.fromkeys(up, now)
        return len(up), len(self._jobs.keys() - self._seen.keys())

    async def replace(self, now: float) -> None:
        """Cancel jobs whose workers have been away too long, and submit others. One that has none yet may wait."""
        for name in [name for name in self._jobs if now - self._seen.get(name, now) > GRACE]:
            await self._jobs.pop(name).close()
        await self.fill()

    async def end(self) -> None:
        await asyncio.gather(*(job.close() for job in self._jobs.values()))


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a stage may look at any moment."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)

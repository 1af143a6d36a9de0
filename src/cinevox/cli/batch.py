"""A cluster of batch jobs, for as long as somebody works with it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
from pathlib import Path

from cinevox.cli._screen import Commands
from cinevox.errors import InputError
from cinevox.project import params
from cinevox.project.paths import Paths


def _cluster(chosen: argparse.Namespace) -> int:
    """keep a dask cluster of batch jobs (parallel.jobqueue) until interrupted, or while a command runs

    Stages then find it by themselves. All jobs are cancelled in the end. Exit code: the command's, 0 without one.
    """
    from cinevox.parallel import jobs

    paths = Paths()
    settings = params.load(paths.params).parallel.jobqueue
    if settings is None:
        raise InputError("parallel.jobqueue is null in params.yaml; say there what jobs to ask for (docs/parallel.md)")
    if chosen.script:
        print(jobs.job(settings, "tls://SCHEDULER", "job0", paths.cluster).job_script())
        return 0
    program = chosen.program[1:] if chosen.program[:1] == ["--"] else chosen.program  # argparse keeps it
    if program and shutil.which(program[0]) is None:
        raise InputError(f"there is no command {program[0]}")
    return asyncio.run(_keep(settings, paths.cluster, program))


async def _keep(settings: params.JobQueue, folder: Path, program: list[str]) -> int:
    from cinevox.parallel import jobs

    logging.getLogger("distributed").setLevel(logging.WARNING)  # a line for every connection otherwise
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # by default they would leave the jobs running
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"{settings.system}: {settings.jobs} jobs of {settings.cores} workers; their logs: {folder}/", flush=True)
    async with jobs.kept(settings, folder, lambda text: print(text, flush=True)):
        if program:
            return await _run(program, stop)
        print("`dvc repro` in this folder now uses them; Ctrl-C ends them", flush=True)
        await stop.wait()
        return 0


async def _run(program: list[str], stop: asyncio.Event) -> int:
    """Exit code of a program that is ended when `stop` is set."""
    process = await asyncio.create_subprocess_exec(*program)
    done, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((done, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not done.done():
        process.terminate()
    stopped.cancel()
    code = await done
    return code if code >= 0 else 128 - code


COMMANDS: Commands = {
    "cluster": (
        _cluster,
        {
            "--script": {"action": "store_true", "help": "show a job's script instead, and submit nothing"},
            "program": {"nargs": argparse.REMAINDER, "metavar": "COMMAND ...", "help": "such as: dvc repro"},
        },
    ),
}

"""A cluster of batch jobs: what is asked of the batch system, and that as many jobs as asked for are kept up."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
import yaml
from threadpoolctl import threadpool_limits

from cinevox import cli, parallel
from cinevox.errors import InputError
from cinevox.parallel import cluster, jobs
from cinevox.project import params, plugins
from conftest import ROOT
from test_parallel import blas_threads, fitted, made_problem

LOOPBACK = next(
    name for name, found in psutil.net_if_addrs().items() if "127.0.0.1" in [address.address for address in found]
)
ASKED = {
    "system": "slurm", "jobs": 2, "cores": 2, "memory": "4GiB", "walltime": "04:00:00", "queue": None, "account": None,
    "interface": LOOPBACK, "directives": [], "prologue": [],
}  # fmt: skip


def document(**changes):
    """This repository's parameters with a cluster of batch jobs."""
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    jobqueue = ASKED | changes
    return found | {"parallel": {"backend": "dask", "n_jobs": 1, "scheduler": None, "jobqueue": jobqueue}}


def asked(**changes):
    return params.parse(document(**changes), "p").parallel.jobqueue


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"walltime": yaml.safe_load("12:00:00")}, r"walltime: expected hours:minutes:seconds in quotes.*found 43200"),
        ({"walltime": "04:00"}, "walltime: expected hours:minutes:seconds in quotes"),
        ({"walltime": "00:00:00"}, "jobqueue: walltime is 00:00:00; expected more than nothing"),
        ({"walltime": "01:00:30", "system": "lsf"}, "walltime is 01:00:30; expected .* whole minutes with lsf"),
        ({"memory": "64"}, "jobqueue.memory: .*'64'"),
        ({"system": "condor"}, "jobqueue.system: .*'condor'"),
        ({"jobs": 0}, r"jobqueue.jobs: .*found 0"),
        ({"node": 1}, "jobqueue.node"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(changes, said):
    with pytest.raises(params.ParamsError, match=said):
        asked(**changes)


@pytest.mark.parametrize("changes", [{"backend": "loky"}, {"scheduler": "tcp://127.0.0.1:8786"}])
def test_jobs_stand_where_they_are_used_and_not_beside_a_scheduler(changes):
    found = document()
    found["parallel"] |= changes
    with pytest.raises(
        params.ParamsError, match=r"either scheduler must be an address or jobqueue .*given: .*jobqueue"
    ):
        params.parse(found, "p")


@pytest.mark.parametrize(
    ("system", "directives"),
    [
        ("slurm", ["#SBATCH --cpus-per-task=16", "#SBATCH --mem=64G", "#SBATCH -t 30:00:00", "#SBATCH -p short",
                   "#SBATCH -A lab", "#SBATCH --exclusive"]),
        ("pbs", ["#PBS -l select=1:ncpus=16:mem=64GB", "#PBS -l walltime=30:00:00", "#PBS -q short", "#PBS -A lab",
                 "#PBS --exclusive"]),
        ("sge", ["#$ -l h_rt=30:00:00", "#$ -q short", "#$ -P lab", "#$ --exclusive"]),
        ("lsf", ["#BSUB -n 16", "#BSUB -W 30:00", "#BSUB -q short", '#BSUB -P "lab"', "#BSUB --exclusive"]),
    ],
)  # fmt: skip
def test_a_job_asks_for_what_the_parameters_say(tmp_path, monkeypatch, system, directives):
    monkeypatch.chdir(tmp_path)
    changes = {"cores": 16, "memory": "64GiB", "walltime": "30:00:00", "queue": "short", "account": "lab"}
    changes |= {"system": system, "directives": ["--exclusive"], "prologue": ["module load gcc", "ulimit -n 4096"]}
    lines = jobs.job(asked(**changes), "tls://10.0.0.1:41000", "job3", Path("logs")).job_script().splitlines()
    assert set(directives) <= set(lines)
    at = lines.index(f"cd {tmp_path}")
    assert lines[at + 1 : at + 3] == ["module load gcc", "ulimit -n 4096"]
    words = lines[at + 3].split()
    assert words[:4] == [sys.executable, "-m", "distributed.cli.dask_worker", "tls://10.0.0.1:41000"]
    expected = {
        "--name": "job3", "--nworkers": "16", "--nthreads": "1", "--memory-limit": "4.00GiB", "--interface": LOOPBACK,
        "--lifetime": f"{30 * 3600 - 120}s", "--dashboard-address": "127.0.0.1:0",
        "--tls-key": str(tmp_path / "logs/key.pem"),
    }  # fmt: skip
    assert {option: words[words.index(option) + 1] for option in expected} == expected


def test_a_short_walltime_leaves_a_tenth_of_it_to_go(tmp_path):
    assert "--lifetime 18s" in jobs.job(asked(walltime="00:00:20"), "tls://a:1", "job0", tmp_path).job_script()


class Submitted:
    """A job without a batch system."""

    submit_command = "sbatch"

    def __init__(self, name, refusal=None):
        self.name, self.refusal, self.cancelled = name, refusal, False

    def __await__(self):
        if self.refusal:
            raise self.refusal
        return iter(())

    async def close(self):
        self.cancelled = True


def test_a_job_that_lost_its_workers_is_replaced_and_one_that_waits_is_not():
    made = []

    def make(name):
        made.append(Submitted(name))
        return made[-1]

    async def days():
        kept = jobs._Jobs(make, 3)
        await kept.fill()
        assert kept.look([], now=0) == (0, 3)
        assert kept.look(["job0-0", "job0-1", "job1", "other-1"], now=10) == (2, 1)
        assert kept.look(["job1"], now=10 + jobs.GRACE) == (1, 1)
        await kept.replace(now=10 + jobs.GRACE)
        assert [job.cancelled for job in made] == [False] * 3
        await kept.replace(now=11 + jobs.GRACE)
        assert [job.name for job in made if job.cancelled] == ["job0"]
        assert [job.name for job in made] == ["job0", "job1", "job2", "job3"]
        assert kept.look(["job3-1"], now=1000) == (1, 1)
        await kept.replace(now=1000)
        assert [job.name for job in made if job.cancelled] == ["job0", "job1"]  # job2 still waits in the queue
        await kept.end()
        assert [job.cancelled for job in made] == [True] * 5

    asyncio.run(days())


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (FileNotFoundError("sbatch"), "there is no `sbatch` here; run it where jobs are submitted"),
        (RuntimeError("stderr:\nInvalid account"), "(?s)the batch system takes no job: .*Invalid account"),
        (ValueError("Could not parse job id"), "the batch system takes no job: Could not parse job id"),
    ],
)
def test_a_batch_system_that_takes_no_job_is_told(refusal, said):
    with pytest.raises(InputError, match=said):
        asyncio.run(jobs._Jobs(lambda name: Submitted(name, refusal), 1).fill())


def test_a_stage_without_its_cluster_says_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = params.parse(document(), "p").parallel
    with (
        pytest.raises(InputError, match="no cluster runs here; start one with `cinevox cluster`"),
        parallel.context(settings),
    ):
        pass


def test_a_cluster_that_goes_while_its_first_job_is_waited_for(tmp_path, monkeypatch, caplog):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "PATIENCE", 2.0)
    caplog.set_level("INFO", "cinevox")
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        access = cluster.Access(empty.scheduler_address, n_workers=4)
        end = threading.Timer(1.0, empty.close)
        end.start()
        with pytest.raises(InputError, match="went away; start it again"), cluster.workers(access, tmp_path):
            pass
        end.join()
    assert "waiting for the first of its jobs to start" in caplog.text


def test_the_examples_of_the_documentation_are_parameters(default_params):
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/parallel.md").read_text(), re.DOTALL)
    kinds = []
    for example in examples:
        section = {"jobqueue": None} | yaml.safe_load(example)["parallel"]
        found = params.parse(default_params.model_dump(mode="json") | {"parallel": section}, "docs").parallel
        kinds.append("jobqueue" if found.jobqueue else "scheduler")
    assert kinds == ["jobqueue", "scheduler"]


SBATCH = """#!/bin/bash
test -z "$REFUSED" || { echo "Invalid account" >&2; exit 1; }
cp "$1" "job.$$"  # as sbatch does: the script is gone after it was submitted
setsid bash -c 'exec bash "$0" > "job.$$.log" 2>&1' "job.$$" &
echo $! >> submitted
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
echo "$1" >> cancelled
kill -TERM -- "-$1"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with parameters, and a batch system of this machine: a job is a process group."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document(walltime="00:00:20")))
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    known = [str(ROOT / "tests"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))  # the workers import what they are to do
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(path):
    return path.read_text().split() if path.exists() else []


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(job):
    """Processes of a job, which is a process group."""
    groups = [(p, os.getpgid(p.pid)) for p in psutil.process_iter() if p.is_running() and psutil.pid_exists(p.pid)]
    return [p for p, group in groups if group == int(job) and p.status() != psutil.STATUS_ZOMBIE]


def test_the_script_is_shown_and_nothing_submitted(slurm, capsys):
    assert cli.main(["cluster", "--script"]) == 0
    assert "#SBATCH -t 00:00:20" in capsys.readouterr().out
    assert not (slurm / "submitted").exists()


def test_a_refused_job_ends_the_command_with_what_the_batch_system_said(slurm, monkeypatch, capsys):
    monkeypatch.setenv("REFUSED", "1")
    assert cli.main(["cluster"]) == 2
    assert "the batch system takes no job" in (said := capsys.readouterr().err) and "Invalid account" in said
    monkeypatch.setenv("PATH", os.defpath)
    assert cli.main(["cluster"]) == 2
    assert "there is no `sbatch` here" in capsys.readouterr().err
    (slurm / "params.yaml").write_text(yaml.safe_dump(document(interface="ib99")))
    assert cli.main(["cluster"]) == 2
    assert "parallel.jobqueue.interface: 'ib99' is not a valid network interface" in capsys.readouterr().err
    assert cli.main(["cluster", "--", "no-such-command", "--", "-x"]) == 2
    assert "there is no command no-such-command" in capsys.readouterr().err
    assert cli.main(["cluster", "no-such-command"]) == 2
    assert "there is no command no-such-command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_cluster_lasts_as_long_as_a_command_and_has_its_exit_code(slurm, code, expected):
    assert cli.main(["cluster", sys.executable, "-c", f"open('tmp/cluster/cluster.json'); {code}"]) == expected
    assert sorted(lines(slurm / "cancelled")) == sorted(lines(slurm / "submitted")) != []
    assert not (slurm / "tmp/cluster/cluster.json").exists()
    until(lambda: not any(map(alive, lines(slurm / "submitted"))))


QUICK = """
from cinevox import cli
from cinevox.parallel import jobs
jobs.GRACE = 2
raise SystemExit(cli.main(['cluster']))
"""


@contextlib.contextmanager
def running(folder, **changes):
    """The command as a process of its own, told only to wait less before it replaces a job; yields its settings.

    In the end it is terminated, and every job is cancelled and gone.
    """
    (folder / "params.yaml").write_text(yaml.safe_dump(document(**changes)))
    settings = params.load(folder / "params.yaml").parallel
    with subprocess.Popen([sys.executable, "-c", QUICK], stdout=subprocess.DEVNULL) as command:
        try:
            until((folder / "tmp/cluster/cluster.json").exists)
            until(lambda: any("Registered to" in log.read_text() for log in folder.glob("job.*.log")))
            yield settings
        finally:
            command.terminate()
    assert command.returncode == 0
    assert sorted(lines(folder / "cancelled")) == sorted(lines(folder / "submitted"))
    until(lambda: not any(map(alive, lines(folder / "submitted"))))


@pytest.mark.slow
def test_jobs_fit_the_same_bits_and_one_that_is_killed_is_replaced(slurm, rng):
    spec = plugins.load("regressors", "ridge")
    layers, measured = made_problem(rng)
    with joblib.parallel_config(backend="sequential"), threadpool_limits(1):
        alone = fitted(layers, measured, spec)
    with running(slurm) as settings:
        assert (slurm / "tmp/cluster").stat().st_mode & 0o077 == 0
        with parallel.context(settings) as n_workers:
            assert n_workers == 4
            assert joblib.Parallel()([joblib.delayed(blas_threads)()] * 4) == [{1}] * 4
            found = fitted(layers, measured, spec)
            for name, result in alone.items():
                for part, predicted in result.predicted.items():
                    np.testing.assert_array_equal(found[name].predicted[part], predicted)
            first, second = lines(slurm / "submitted")
            until(lambda: "Registered to" in (slurm / f"job.{first}.log").read_text())
            time.sleep(2 * jobs.INTERVAL)  # until it was seen: a job that never came up is not missed
            os.killpg(int(first), signal.SIGKILL)
            tasks = [joblib.delayed(lambda i: (time.sleep(0.1), i)[1])(i) for i in range(60)]
            assert joblib.Parallel()(tasks) == list(range(60))
            until(lambda: len(lines(slurm / "submitted")) == 3)
            assert lines(slurm / "cancelled") == [first] and alive(second)
        assert cli.main(["cluster"]) == 2  # there is one
    with pytest.raises(InputError, match="no cluster runs here"), parallel.context(settings):
        pass


@pytest.mark.slow
def test_work_goes_on_after_the_walltime_of_every_job(slurm):
    with running(slurm, cores=1, walltime="00:00:10") as settings, parallel.context(settings):
        tasks = [joblib.delayed(lambda i: (time.sleep(0.3), i)[1])(i) for i in range(100)]
        assert joblib.Parallel()(tasks) == list(range(100))
        until(lambda: len(lines(slurm / "submitted")) >= 4)

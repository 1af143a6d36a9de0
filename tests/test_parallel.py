"""Workers: however many there are and wherever they run, and if one dies, the same numbers come out."""

import os
import signal
import socket
import time
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_info, threadpool_limits

from cinevox import parallel
from cinevox.errors import InputError
from cinevox.fitting import fits
from cinevox.fitting.feature_spaces import candidates
from cinevox.fitting.regressors import RegressorSpec
from cinevox.measured.responses import Block, Columns
from cinevox.project import params, plugins
from cinevox.project.params import Parallel, Splits
from cinevox.statistics.splits import partitions, split

SETTINGS = Splits(scheme="random", validation_fraction=0.1, n_folds=3, n_outer_folds=None, seed=0)
[PART] = partitions(split(400, 20, SETTINGS), SETTINGS)
COLUMNS = Columns(tuple(Block(subject, roi, 800) for subject in ("sub01", "sub02") for roi in ("V1", "V2", "V3")))


def settings(backend="sequential", n_jobs=1, scheduler=None):
    return Parallel(backend=backend, n_jobs=n_jobs, scheduler=scheduler, jobqueue=None)


def run(tasks):
    return list(joblib.Parallel(return_as="generator")(tasks))


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_backends_of_this_machine_give_results_in_order(backend):
    with parallel.context(settings(backend, 2)) as n_workers:
        assert n_workers == (1 if backend == "sequential" else 2)
        assert run(joblib.delayed(abs)(-i) for i in range(20)) == list(range(20))


def test_minus_one_is_every_core():
    with parallel.context(settings("threading", -1)) as n_workers:
        assert n_workers == joblib.cpu_count()


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_other_numbers_of_workers_are_refused(n_jobs):
    with pytest.raises(ValueError, match=r"expected -1 \(every core\) or at least 1"):
        settings("loky", n_jobs)


@pytest.mark.parametrize(("backend", "scheduler"), [("dask", None), ("loky", "tcp://127.0.0.1:8786")])
def test_a_scheduler_stands_where_it_is_used(default_params, backend, scheduler):
    document = default_params.model_dump(mode="json")
    document["parallel"] |= {"backend": backend, "scheduler": scheduler}
    with pytest.raises(params.ParamsError, match="either scheduler must be an address or jobqueue say what jobs"):
        params.parse(document, "p")


def blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_processes_have_one_blas_thread():
    with parallel.context(settings("loky", 2)):
        assert run([joblib.delayed(blas_threads)()] * 4) == [{1}] * 4


def product_and_threads(x):
    return x @ x.T, threadpool_info(), os.getpid()


@pytest.mark.parametrize("few", [True, False])
def test_few_operations_run_here_and_many_in_workers_with_the_same_bits(rng, few):
    inputs = [rng.standard_normal((150, 80)).astype(np.float32) for _ in range(6)]
    with parallel.context(settings("loky", 2)):
        tasks = (joblib.delayed(product_and_threads)(x=x) for x in inputs)
        found = list(parallel.run(tasks, 1e3 if few else parallel.FEW))
    assert {process == os.getpid() for _, _, process in found} == {few}
    for (values, pools, _), x in zip(found, inputs, strict=True):
        assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {1}
        with threadpool_limits(1):
            np.testing.assert_array_equal(values, x @ x.T)


def test_results_come_as_they_are_asked_for_and_leave_the_threads_as_they_were():
    begun, before = [], threadpool_info()
    results = parallel.run((joblib.delayed(begun.append)(i) for i in range(3)), 0)
    next(results)
    assert begun == [0] and threadpool_info() == before


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two worker processes that run where the tests then do."""
    from distributed import LocalCluster

    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("cluster"))
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
    ) as found:
        yield found
    os.chdir(before)


@pytest.fixture
def workers(cluster):
    with parallel.context(settings("dask", 3, cluster.scheduler_address)) as n_workers:
        assert n_workers == 2
        yield get_active_backend()[0]
    assert list(Path("tmp/unfinished").iterdir()) == []


def test_a_cluster_gives_results_in_order_from_other_processes(workers):
    found = run(joblib.delayed(lambda i: (i, os.getpid()))(i) for i in range(40))
    assert [i for i, _ in found] == list(range(40))
    assert os.getpid() not in {process for _, process in found}


def test_workers_of_a_cluster_have_one_blas_thread(workers):
    assert run([joblib.delayed(blas_threads)()] * 4) == [{1}] * 4


def test_threads_asked_for_by_name_stay_here(workers):
    """Features: their threads share one network, or a GPU that is here."""
    local = joblib.Parallel(backend="threading", return_as="generator")
    assert set(local(joblib.delayed(os.getpid)() for _ in range(10))) == {os.getpid()}
    assert local.n_jobs == 3


def once_deadly(flag):
    """Ridge whose first fit of sub01's V3 kills the process it runs in."""
    ridge = plugins.load("regressors", "ridge")

    class Deadly:
        def __init__(self, alphas, per):
            self.inner = ridge.build({"alphas": alphas, "per": per})

        def fit(self, X, Y, *, folds, bands):
            if round(Y[0, 0]) == 3 and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            self.inner.fit(X, Y, folds=folds, bands=bands)
            self.diagnostics, self.map = self.inner.diagnostics, self.inner.map
            return self

    return RegressorSpec("deadly", Deadly, voxels="roi")


def fitted(layers, measured, spec):
    method = fits.Method(spec, OPTIONS, 3, 10**6)
    found = fits.fit(candidates("layer", list(layers)), layers, measured, COLUMNS, PART, method)
    return {result.candidate.name: result for result in found}


OPTIONS = {"alphas": [1.0, 100.0], "per": "voxel"}


def made_problem(rng):
    layers = {name: rng.standard_normal((420, 700)).astype(np.float32) for name in ("a", "b")}
    measured = rng.standard_normal((400, COLUMNS.n_voxels)).astype(np.float32)
    measured[PART.train[0], [block.start for block in COLUMNS.slices]] = np.arange(1.0, 7.0)
    return layers, measured


@pytest.fixture
def problem(rng):
    return made_problem(rng)


def test_a_worker_killed_in_the_middle_changes_no_number(workers, problem, tmp_path):
    layers, measured = problem
    flag = tmp_path / "killed"
    flag.touch()
    with joblib.parallel_config(backend="sequential"), threadpool_limits(1):
        alone = fitted(layers, measured, once_deadly(flag))
    flag.unlink()
    found = fitted(layers, measured, once_deadly(flag))
    assert flag.exists()
    assert list(found) == list(alone)
    for name, result in found.items():
        assert fits.summary([result.diagnostics]) == fits.summary([alone[name].diagnostics])
        for part in ("validation", "test"):
            np.testing.assert_array_equal(result.predicted[part], alone[name].predicted[part])
    assert workers.files.written == len(layers) + len(COLUMNS.blocks)  # each array once, whatever the tasks


def described(values):
    return type(values).__name__, values.flags.f_contiguous, float(values.sum()), getattr(values, "filename", None)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_opened_where_it_lies(workers, rng, tmp_path, order):
    values = np.asarray(rng.standard_normal((500, 300)), order=order)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = run([joblib.delayed(described)(mapped)] * 3)
    assert found == [("memmap", order == "F", float(values.sum()), str(tmp_path / "x.npy"))] * 3
    assert workers.files.written == 0
    part = run([joblib.delayed(described)(mapped[100:])])
    np.testing.assert_allclose(part[0][2], values[100:].sum())


def test_an_array_that_takes_the_place_of_another_is_not_mistaken_for_it(workers):
    found = run(joblib.delayed(np.max)(np.full(1 << 18, float(i))) for i in range(12))
    assert found == list(map(float, range(12)))
    assert workers.files.written == 12


def test_small_arrays_travel_with_their_task(workers, rng):
    values = rng.standard_normal(1000)
    assert run([joblib.delayed(np.sum)(values)] * 3) == [values.sum()] * 3
    assert workers.files.written == 0


def test_a_users_mistake_arrives_as_it_was_raised(workers):
    with pytest.raises(InputError, match=r"there is no 'rigde'; there are .*ridge"):
        run([joblib.delayed(plugins.load)("regressors", "rigde")])


def refused(scheduler):
    with pytest.raises(InputError) as caught, parallel.context(settings("dask", 1, scheduler)):
        run([joblib.delayed(os.kill)(0, 0)])
    return str(caught.value)


def test_nobody_at_the_address(monkeypatch):
    from cinevox.parallel import cluster as module

    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        message = refused(f"tcp://127.0.0.1:{port}")
        assert message.startswith(f"parallel.scheduler tcp://127.0.0.1:{port}: no dask scheduler answers there")
        assert "start one with `dask scheduler --host ADDRESS --dashboard-address 127.0.0.1:8787` and give" in message
    assert "no dask scheduler answers there within 0.5 s" in refused(f"tcp://127.0.0.1:{port}")
    assert "missing port number" in refused("somewhere")
    assert "unknown address scheme" in refused("http://127.0.0.1:8786")


def test_a_scheduler_without_workers(monkeypatch, tmp_path):
    from distributed import LocalCluster

    from cinevox.parallel import cluster as module

    monkeypatch.setattr(module, "PATIENCE", 0.5)
    monkeypatch.chdir(tmp_path)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        address = empty.scheduler_address
        assert refused(address) == (
            f"parallel.scheduler {address} has no workers; start some with `dask worker {address} --nthreads 1` "
            f"in {tmp_path}"
        )


def test_workers_elsewhere_or_of_another_version_are_named(cluster, monkeypatch, tmp_path):
    from distributed import Client

    here, ask = Path.cwd(), Client.run

    def answer(client, function, *args, **kwargs):
        found = ask(client, function, *args, **kwargs)
        return dict.fromkeys(found, "0.0.1") if args == ("cinevox",) else found

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Client, "run", answer)
    first, *lines = refused(cluster.scheduler_address).splitlines()
    assert first == f"parallel.scheduler {cluster.scheduler_address}: workers that cannot be used"
    assert len(lines) == 4
    assert f"runs in {here}; start it in {tmp_path}, on a file system that all machines share" in lines[1]
    assert f": cinevox 0.0.1; install {version('cinevox')}" in lines[3]


def test_workers_that_keep_dying_on_a_task(cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with (
        pytest.raises(InputError, match=r"(?s)all those workers died .* ran out of memory.*lower fits.batch_voxels"),
        parallel.context(settings("dask", 1, cluster.scheduler_address)),
    ):
        run([joblib.delayed(lambda: os.kill(os.getpid(), signal.SIGKILL))()])


def test_a_scheduler_that_goes_away(monkeypatch, tmp_path):
    from distributed import LocalCluster

    monkeypatch.chdir(tmp_path)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0") as short,
        pytest.raises(InputError, match="went away; start it again, then `dvc repro`"),
        parallel.context(settings("dask", 1, short.scheduler_address)),
    ):
        results = joblib.Parallel(return_as="generator")(joblib.delayed(time.sleep)(0.05) for _ in range(200))
        next(results)
        short.close()
        list(results)

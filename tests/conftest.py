"""Shared by every test: the repository's parameters and a seeded generator."""

import os
import shutil
import time
import warnings
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: threads of their own would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported
# No queue of jobs beside a server of MLflow: eight processes that all import it, and nothing here asks for jobs.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

import numpy as np
import pytest

from cinevox.project import params

ROOT = Path(__file__).parent.parent
BEGAN = float(os.environ.setdefault("PYTEST_BEGAN", str(time.time())))  # workers too: they inherit it
shared = Path()  # a folder of this test session, the same one for its workers; see `_shared_folder`


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory, worker_id):
    global shared
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent


LONGEST = (  # the first two to two workers, and so on, so that at the end none is left alone with one of these
    "test_stages.py", "test_networks.py", "test_models.py", "test_ui.py", "test_bold_moments.py", "test_experiments.py",
    "test_tracking_history.py", "test_tracking_servers.py", "test_tracking.py", "test_encoding.py",
)  # fmt: skip


def pytest_collection_modifyitems(config, items):
    if config.getoption("--within") is None:  # `make check` has an order of its own
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def tells(message, *parts):
    """Whether a message names these things in this order, whatever words stand between: file, found, expected, cure."""
    start = 0
    for part in parts:
        found = message.find(part, start)
        assert found >= 0, f"{part!r} is not told, or not there: {message}"
        start = found + len(part)
    return True


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="FOLDER", help="test_ui.py: look at the last run, and keep the pictures")
    parser.addoption("--within", metavar="SECONDS", type=float, help="leave out the tests that had not begun by then")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    within = item.config.getoption("--within")
    if within is not None and time.time() - BEGAN > within:
        pytest.skip(f"left out, {within:g} seconds were over")


@pytest.fixture
def rng():
    return np.random.default_rng(20211122)


@pytest.fixture(scope="session")
def new_record(tmp_path_factory):
    """Puts an empty database of MLflow's into a folder; making one takes seconds, so that is done once."""
    made = tmp_path_factory.mktemp("record") / "mlflow.db"

    def put(folder: Path) -> str:
        if not made.is_file():
            from cinevox.outlets.tracking.connection import opened

            with warnings.catch_warnings(action="ignore"), opened(f"sqlite:///{made}"):  # of what MLflow uses
                pass
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{shutil.copy(made, folder)}"

    return put


@pytest.fixture(scope="session")
def default_params():
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def paper_params():
    return params.load(ROOT / "params.paper.yaml")

"""Shared by every test: the repository's parameters and a seeded generator."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from cinevox.project import params

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="FOLDER", help="test_ui.py: look at the last run, and keep the pictures")


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

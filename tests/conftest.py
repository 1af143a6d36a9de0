"""Shared by every test: the repository's parameters and a seeded generator."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cinevox.project import params

ROOT = Path(__file__).parent.parent
BEGAN = float(os.environ.setdefault("PYTEST_BEGAN", str(time.time())))  # workers too: they inherit it


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
def default_params():
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def paper_params():
    return params.load(ROOT / "params.paper.yaml")

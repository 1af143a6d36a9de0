"""Shared by every test: the repository's parameters and a seeded generator."""

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
def default_params():
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def paper_params():
    return params.load(ROOT / "params.paper.yaml")

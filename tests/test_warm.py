"""`cinevox warm` compiles every numeric kernel, so that no stage waits for one."""

import subprocess
import sys

import pytest

from conftest import ROOT

SCRIPT = """
import importlib, pkgutil
from numba.core.dispatcher import Dispatcher
import cinevox
from cinevox import cli
from cinevox.fitting.regressors import _solvers
from cinevox.simulation import painting
from cinevox.statistics import significance

assert cli.main(["warm"]) == 0
names = [f"{_solvers.__name__}.{found.name}" for found in pkgutil.iter_modules(_solvers.__path__)]
modules = [significance, painting, *map(importlib.import_module, names)]
kernels = {k for module in modules for k in vars(module).values() if isinstance(k, Dispatcher)}
parts = {name for k in kernels for name in k.py_func.__code__.co_names}  # compiled with what calls them
kernels = {k for k in kernels if k.__name__ not in parts}
assert significance._count in kernels
print(len(kernels), sorted(k.__name__ for k in kernels if not k.signatures))
"""


@pytest.mark.slow
def test_every_kernel_is_compiled():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    n_kernels, _, missing = done.stdout.strip().partition(" ")
    assert int(n_kernels) > 5 and missing == "[]"

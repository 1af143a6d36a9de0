"""The gate: did a change make a score fall by more than chance and the limits allow?

`state` is what is compared, `this_run` that of this run, `baseline` where the base comes from, `intervals` what chance
does to a difference, `verdict` the rule, `tables` how it is told. docs/gate.md has the reasons.
"""

from __future__ import annotations

from cinevox.outlets.gate.baseline import read_baseline, read_revision, write_baseline
from cinevox.outlets.gate.state import GateError
from cinevox.outlets.gate.this_run import read_current
from cinevox.outlets.gate.verdict import Verdict, compare
from cinevox.project.params import Params
from cinevox.project.paths import Paths

__all__ = [
    "GateError",
    "Verdict",
    "compare",
    "judge",
    "read_baseline",
    "read_current",
    "read_revision",
    "write_baseline",
]


def judge(paths: Paths, params: Params, revision: str = "") -> Verdict:
    """Compare this run with the committed baseline, or with that of a git revision; by the limits that the base has.

    params: has the sections dataset, experiments, scores, transfer, regressors, gate

    Raises
    ------
    GateError
        There is nothing to compare with, or this run's metrics are not those of one run.
    FileError
        A file of this run is broken.
    """
    now = read_current(paths, params)
    was = read_revision(paths, revision) if revision else read_baseline(paths.baseline)
    return compare(was, now, revision or paths.baseline.as_posix())

"""What MLflow's interface shows first: columns, charts, an experiment's description, and where it opens.

How a table opens is kept with the experiment as a shared view, in the words of MLflow 3.17's own interface. Tests hold
them to the installed version, and to what a browser shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from cinevox.errors import InputError
from cinevox.outlets.tracking.connection import StoreError, is_server, opened, resolved, without_login
from cinevox.outlets.tracking.measures import COLUMNS
from cinevox.outlets.tracking.records import MEASURE, Record
from cinevox.outlets.tracking.writing import insist
from cinevox.project.params import Track, Tracking
from cinevox.scoring import claims
from cinevox.statistics.metrics import NORMALIZED, PLAIN, Measure

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "mlflow.sharedViewState."  # + name: the experiment tag that holds a view
VIEWS = {  # name -> (level of the runs that are listed, params shown first)
    "default": ("row", ("network", "features", "regressor", "weights", "data")),
    "spaces": ("space", ("network", "space", "regressor", "weights", "data")),
}
CURVES = ("epoch/loss", "epoch/train_correlation", "epoch/validation_correlation")  # of transfer networks
N_BARS = 40  # runs in a chart: the paper has 28 rows


def states(rois: Sequence[str], measure: Measure = NORMALIZED) -> dict[str, dict[str, Any]]:
    """Name -> state of each view.

    rois: whose scores are columns and charts, in this order; measure: what the scores are
    """
    return {name: _state(level, params, rois, measure) for name, (level, params) in VIEWS.items()}


def describe(client: MlflowClient, experiment: str, group: Sequence[Record]) -> None:
    """Give a track's experiment its columns and its description, where they are not there already."""
    prefix = "chosen."
    rois = dict.fromkeys(
        name.removeprefix(prefix) for record in group for name in record.params if name.startswith(prefix)
    )
    measure: Measure = PLAIN if group[0].tags[MEASURE] == PLAIN else NORMALIZED
    wanted = {TAG + name: json.dumps(state) for name, state in states(list(rois), measure).items()}
    wanted["mlflow.note.content"] = note(group, next(iter(rois), "V1"))
    there = client.get_experiment(experiment).tags
    for name, value in wanted.items():
        if there.get(name) != value:
            insist(client.set_experiment_tag, experiment, name, value)


def note(group: Sequence[Record], roi: str) -> str:
    """The description of a track's experiment, in Markdown: how to read its runs; `roi` is one for examples."""
    first = group[0]
    data = "" if first.data is None else f" Data: {first.data.name} (`{first.data.source['path']}`)."
    simulated = any(record.tags["in_silico"] == "true" for record in group)
    in_silico = f"**{claims.IN_SILICO.sentence}** " if simulated else ""
    measure = first.tags[MEASURE]
    name = f"{roi}.{COLUMNS[PLAIN if measure == PLAIN else NORMALIZED]}"
    plain = " The clips were shown once, so there is no noise ceiling to divide by." * (measure == PLAIN)
    return (
        f"{in_silico}One run is one row of the results table; its nested runs are its feature spaces.{data}\n\n"
        f"`score` is the mean {measure} on the split in `tags.reported_split`.{plain} What stands before a slash "
        f"is another split (`validation/score`) or a subject (`sub01/{name}`). `params.data` is the "
        "data set of a run: scores of different ones are not comparable. `params.weights` is `random` for untrained "
        "networks.\n\n"
        "    tags.level = 'row' and tags.superseded = 'false'\n"
        f"    metrics.\"{name}\" > 0.4 and params.network = 'alexnet'\n"
    )


def address(base: str, experiment: str, view: str = "default", charts: bool = False) -> str:
    """Where a view of an experiment (its id) opens: the runs table, or the charts beside the list of runs."""
    place = f"{base.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
    return place + "&compareRunsMode=CHART" * charts


def ui(settings: Tracking, port: int, say: Callable[[str], None]) -> int:
    """Say where the runs tables are, and serve them on this machine until interrupted; the exit code.

    With a server as the store nothing is started.

    Raises
    ------
    StoreError
        The store can't be reached, or the port is taken.
    InputError
        It is no port.
    """
    uri = resolved(settings.uri)
    if not is_server(uri):
        _refuse_number(port)
    base = without_login(uri) if is_server(uri) else f"http://127.0.0.1:{port}"
    with opened(uri) as store:
        for name in (f"{settings.experiment}-{track}" for track in get_args(Track)):
            found = store.client.get_experiment_by_name(name)
            say(f"{name}: " + ("nothing yet" if found is None else address(base, found.experiment_id)))
    if is_server(uri):
        return 0
    refuse_port(port)
    words = ["ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    known = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}  # among the words anybody here could read its password
    return _served([sys.executable, "-m", "mlflow", *words], known)


def refuse_port(port: int) -> None:
    """
    Raises
    ------
    StoreError
        Somebody on this machine listens there.
    InputError
        It is no port.
    """
    _refuse_number(port)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        raise StoreError(f"port {port} is taken; choose another one with --port")


def _refuse_number(port: int) -> None:
    if not 0 < port < 2**16:
        raise InputError(f"--port {port}: expected a number from 1 to {2**16 - 1}")


def _served(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or this process is told to: then with all its processes, at once if told twice."""
    started: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def end(number: int, _: object) -> None:
        told.append(number)
        for process in started:
            _signal(process, signal.SIGTERM if len(told) == 1 else signal.SIGKILL)

    known = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        if told:  # before there was anything to end
            _signal(started[0], signal.SIGTERM)
        code = started[0].wait()
        _signal(started[0], signal.SIGTERM)  # what it left behind
        return 0 if told else code
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Of a process that leads its own group: to all of them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _state(level: str, params: Sequence[str], rois: Sequence[str], measure: Measure) -> dict[str, Any]:
    scores = ["metrics.`score`", *(f"metrics.`{roi}.{COLUMNS[measure]}`" for roi in rois)]
    first = [f"params.`{name}`" for name in params]
    return {
        "searchFilter": f"tags.level = '{level}' and tags.superseded = 'false'",
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "selectedColumns": first + scores,
        "columnOrder": scores + first,
        "columnWidths": dict.fromkeys(first + scores, 150) | dict.fromkeys(scores[1:], 210),
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [_section("scores", measure.capitalize()), _section("training", "Training")],
        "compareRunCharts": list(_charts(rois, measure)),
        "isAccordionReordered": True,
    }


def _section(name: str, title: str) -> dict[str, Any]:
    same = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"cinevox-{name}", "name": title} | same


def _charts(rois: Sequence[str], measure: Measure) -> Iterator[dict[str, Any]]:
    for metric in ("score", *(f"{roi}.{COLUMNS[measure]}" for roi in rois)):
        yield _chart("BAR", "scores", metric)
    for metric in CURVES:
        yield _chart("LINE", "training", metric) | {"selectedMetricKeys": [metric], "xAxisKey": "step"}


def _chart(kind: str, section: str, metric: str) -> dict[str, Any]:
    place = {"uuid": f"cinevox-{metric}", "type": kind, "metricSectionId": f"cinevox-{section}", "metricKey": metric}
    return place | {"runsCountToCompare": N_BARS, "deleted": False, "isGenerated": False}

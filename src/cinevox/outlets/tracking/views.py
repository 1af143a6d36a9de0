"""What MLflow's interface shows first (columns, charts, an experiment's description), where that is, and serving it.

How a table opens is kept with the experiment as a shared view, in the words of MLflow's own interface. Tests hold them
to the installed version, and to what a browser shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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

VIEW = "default"
TAG = f"mlflow.sharedViewState.{VIEW}"  # the experiment tag that holds the view
CURRENT = "tags.level = 'row' and tags.superseded = 'false'"  # the search that it opens with
FIRST = ("network", "features", "regressor", "weights", "data")  # parameters that are columns
CURVES = ("epoch/loss", "epoch/train_correlation", "epoch/validation_correlation")  # of transfer networks
N_BARS = 40  # runs in a chart: the paper has 28 rows


def state(rois: Sequence[str], measure: Measure = NORMALIZED) -> dict[str, Any]:
    """How a track's table of rows opens, best first, and what its charts show.

    rois: whose scores are columns and charts, in this order; measure: what the scores are
    """
    metrics = ["score", *(f"{roi}.{COLUMNS[measure]}" for roi in rois)]
    scores, params = [f"metrics.`{name}`" for name in metrics], [f"params.`{name}`" for name in FIRST]
    same = {"deleted": False, "isGenerated": False}
    chart = same | {"runsCountToCompare": N_BARS}
    bars = [chart | {"type": "BAR", "metricSectionId": "scores", "metricKey": name} for name in metrics]
    lines = [
        chart | {"type": "LINE", "metricSectionId": "training", "metricKey": name, "selectedMetricKeys": [name]}
        for name in CURVES
    ]
    sections = {"scores": measure.capitalize(), "training": "Training"}
    return {
        "searchFilter": CURRENT,
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "selectedColumns": params + scores,
        "columnOrder": scores + params,
        "columnWidths": dict.fromkeys(scores + params, 150) | dict.fromkeys(scores[1:], 210),
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [
            same | {"uuid": name, "name": title, "display": True, "isReordered": True}
            for name, title in sections.items()
        ],
        "compareRunCharts": [one | {"uuid": one["metricKey"], "xAxisKey": "step"} for one in bars + lines],
        "isAccordionReordered": True,
    }


def describe(client: MlflowClient, experiment: str, group: Sequence[Record]) -> None:
    """Give a track's experiment its view and its description, where they are not there already."""
    prefix = "chosen."
    rois = [name.removeprefix(prefix) for record in group for name in record.params if name.startswith(prefix)]
    measure: Measure = PLAIN if group[0].tags[MEASURE] == PLAIN else NORMALIZED
    wanted = {TAG: json.dumps(state(list(dict.fromkeys(rois)), measure))}
    wanted["mlflow.note.content"] = note(group, rois[0] if rois else "V1")
    there = client.get_experiment(experiment).tags
    for name, value in wanted.items():
        if there.get(name) != value:
            insist(client.set_experiment_tag, experiment, name, value)


def note(group: Sequence[Record], roi: str) -> str:
    """The description of a track's experiment, in Markdown: how to read its runs; `roi` is one for examples."""
    first = group[0]
    plain = first.tags[MEASURE] == PLAIN
    name = f"{roi}.{COLUMNS[PLAIN if plain else NORMALIZED]}"
    told = [
        f"**{claims.IN_SILICO.sentence}**" * any(record.tags["in_silico"] == "true" for record in group),
        "One run is one row of the results table; its nested runs are its feature spaces.",
        "" if first.data is None else f"Data: {first.data.name} (`{first.data.source['path']}`).",
        f"`score` is the mean {first.tags[MEASURE]} on the split in `tags.reported_split`.",
        "The clips were shown once, so there is no noise ceiling to divide by." * plain,
        f"What stands before a slash is another split (`validation/score`) or a subject (`sub01/{name}`).",
        "`params.data` is the data set of a run: scores of different ones are not comparable.",
        "`params.weights` is `random` for untrained networks.",
    ]
    searches = f"    {CURRENT}\n    metrics.\"{name}\" > 0.4 and params.network = 'alexnet'\n"
    return " ".join(filter(None, told)) + f"\n\n{searches}"


def address(base: str, experiment: str) -> str:
    """The address at which the runs table of an experiment (its id) opens."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs?{query}"


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
    base = without_login(uri)
    if not is_server(uri):
        refuse_port(port)
        base = f"http://127.0.0.1:{port}"
    with opened(uri) as store:
        for name in (f"{settings.experiment}-{track}" for track in get_args(Track)):
            found = store.client.get_experiment_by_name(name)
            say(f"{name}: " + ("nothing yet" if found is None else address(base, found.experiment_id)))
    if is_server(uri):
        return 0
    words = ["ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    known = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}  # among the words anybody here could read its password
    return run_server([sys.executable, "-m", "mlflow", *words], known)


def refuse_port(port: int) -> None:
    """
    Raises
    ------
    StoreError
        Somebody on this machine listens there.
    InputError
        It is no port.
    """
    if not 0 < port < 2**16:
        raise InputError(f"--port {port}: expected a number from 1 to {2**16 - 1}")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        raise StoreError(f"port {port} is taken; choose another one with --port")


def run_server(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or this process is told to: then with all its processes, at once if told twice."""
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while process.poll() is None:
        if told:
            os.killpg(process.pid, signal.SIGTERM if len(told) == 1 else signal.SIGKILL)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it left behind
    return 0 if told else process.returncode

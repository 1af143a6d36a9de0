"""The first things that MLflow's interface shows: an experiment's description, columns, search and order."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import get_args

from cinevox.outlets.tracking.connection import is_server, opened, resolved, without_login
from cinevox.outlets.tracking.measures import COLUMNS
from cinevox.outlets.tracking.records import MEASURE, Record
from cinevox.project.params import Track, Tracking
from cinevox.scoring import claims
from cinevox.statistics.metrics import NORMALIZED, PLAIN, Measure

VIEW = "default"
TAG = f"mlflow.sharedViewState.{VIEW}"  # the experiment tag that holds the view, in words of MLflow's interface
CURRENT = "tags.level = 'row' and tags.superseded = 'false'"  # the search that it opens with
FIRST = ("network", "features", "regressor", "weights", "data")  # parameters that are columns


def experiment_tags(group: Sequence[Record]) -> dict[str, str]:
    """The description of a track's experiment, and how its table opens: columns, search, best row first."""
    rois = [name.removeprefix("chosen.") for one in group for name in one.params if name.startswith("chosen.")]
    measure: Measure = PLAIN if group[0].tags[MEASURE] == PLAIN else NORMALIZED
    names = [f"{roi}.{COLUMNS[measure]}" for roi in dict.fromkeys(rois)]
    columns = ["metrics.`score`", *(f"metrics.`{name}`" for name in names), *(f"params.`{name}`" for name in FIRST)]
    view = {"searchFilter": CURRENT, "orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns}
    note = _note(group, measure, names[0] if names else "score")
    return {"mlflow.note.content": note, TAG: json.dumps(view | {"columnOrder": columns})}


def _note(group: Sequence[Record], measure: Measure, example: str) -> str:
    """The description in Markdown: how to read the runs, and searches to begin with. example: a metric"""
    told = [
        f"**{claims.IN_SILICO.sentence}**" * any(record.tags["in_silico"] == "true" for record in group),
        "One run is one row of the results table; its nested runs are its feature spaces.",
        f"`score` is the mean {measure} on the split in `tags.reported_split`.",
    ]
    network = group[0].params["network"]
    searches = f"    {CURRENT}\n    metrics.\"{example}\" > 0.4 and params.network = '{network}'\n"
    return " ".join(filter(None, told)) + f"\n\n{searches}"


def address(base: str, experiment: str) -> str:
    """The address at which the runs table of an experiment (its id) opens."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs?{query}"


def ui(settings: Tracking, port: int, say: Callable[[str], None]) -> None:
    """Say where the runs tables are, and become MLflow's server of them on this machine.

    With a server as the store nothing is started.

    Raises
    ------
    StoreError
        The store can't be reached.
    """
    uri = resolved(settings.uri)
    base = without_login(uri) if is_server(uri) else f"http://127.0.0.1:{port}"
    with opened(uri) as store:
        for name in (f"{settings.experiment}-{track}" for track in get_args(Track)):
            found = store.client.get_experiment_by_name(name)
            say(f"{name}: " + ("nothing yet" if found is None else address(base, found.experiment_id)))
    if not is_server(uri):
        words = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        # Among the words anybody here could read the store's password.
        os.execve(sys.executable, words, os.environ | {"MLFLOW_BACKEND_STORE_URI": uri})

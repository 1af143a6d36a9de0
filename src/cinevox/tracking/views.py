"""What MLflow's interface shows first: columns of the runs table, an experiment's description, and where it opens."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from cinevox.params import Track, Tracking
from cinevox.tracking.connection import StoreError, is_server, opened, resolved
from cinevox.tracking.records import Record
from cinevox.tracking.writing import insist

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEWS = {  # share key -> (who is listed, params shown first)
    "default": ("row", ("network", "features", "regressor")),
    "spaces": ("space", ("network", "space", "regressor")),
}


def view_state(level: str, params: Sequence[str], rois: Sequence[str]) -> dict[str, Any]:
    """How the runs table opens, in the words of MLflow 3.17's own interface (tests hold them to that version)."""
    scores = ["metrics.`score`", *(f"metrics.`{roi}.normalized_correlation`" for roi in rois)]
    columns = [f"params.`{name}`" for name in params] + scores
    return {
        "searchFilter": f"tags.level = '{level}' and tags.superseded = 'false'",
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": scores + columns[: len(params)],
        "columnWidths": dict.fromkeys(columns, 150) | dict.fromkeys(scores[1:], 210),
    }


def describe(client: MlflowClient, experiment: str, group: Sequence[Record]) -> None:
    """Give a track's experiment its columns and its description, where they are not there already."""
    prefix = "chosen."
    rois = dict.fromkeys(
        name.removeprefix(prefix) for record in group for name in record.params if name.startswith(prefix)
    )
    wanted = {
        f"mlflow.sharedViewState.{name}": json.dumps(view_state(level, params, list(rois)))
        for name, (level, params) in VIEWS.items()
    }
    wanted["mlflow.note.content"] = note(group)
    there = client.get_experiment(experiment).tags
    for name, value in wanted.items():
        if there.get(name) != value:
            insist(client.set_experiment_tag, experiment, name, value)


def note(group: Sequence[Record]) -> str:
    """The description of a track's experiment, in Markdown: how to read its runs."""
    first = group[0]
    data = "" if first.data is None else f" Data: {first.data.name} (`{first.data.source['path']}`)."
    in_silico = "**In-silico: no finding about the brain.** " * (first.tags["in_silico"] == "true")
    return (
        f"{in_silico}One run is one row of the results table; its nested runs are its feature spaces.{data}\n\n"
        "`score` is the mean normalized correlation on the split in `tags.reported_split`. What stands before a slash "
        "is another split (`validation/score`) or a subject (`sub01/V1.normalized_correlation`).\n\n"
        "    tags.level = 'row' and tags.superseded = 'false'\n"
        "    metrics.\"V1.normalized_correlation\" > 0.4 and params.network = 'alexnet'\n"
    )


def address(base: str, experiment: str, view: str = "default") -> str:
    """Where the runs table of an experiment (its id) opens with its metric columns."""
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def ui(settings: Tracking, port: int, say: Callable[[str], None]) -> int:
    """Say where the runs tables are, and serve them on this machine until interrupted; the exit code.

    With a server as the store nothing is started.

    Raises
    ------
    StoreError
        The store can't be reached, or the port is taken.
    """
    uri = resolved(settings.uri)
    base = uri if is_server(uri) else f"http://127.0.0.1:{port}"
    with opened(uri) as store:
        for name in (f"{settings.experiment}-{track}" for track in get_args(Track)):
            found = store.client.get_experiment_by_name(name)
            say(f"{name}: " + ("nothing yet" if found is None else address(base, found.experiment_id)))
    if is_server(uri):
        return 0
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        raise StoreError(f"port {port} is taken; choose another one with --port")
    words = ["ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run([sys.executable, "-m", "mlflow", *words], check=False).returncode
    return 0

"""MLflow at the paper's size: rows with their feature spaces, ten subjects, nine regions; made-up scores.

Everybody writes the same records, into a database of his own made beforehand. A rival writes a few runs of them,
and its time is scaled up.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from _harness import Case, Contender, main

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

import mlflow
from mlflow import MlflowClient

from cinevox.fitting.feature_spaces import candidates
from cinevox.outlets import tracking
from cinevox.outlets.tracking import records, writing
from cinevox.outlets.tracking.measures import ROI_METRICS, ROW_METRICS, SPACE_METRICS
from cinevox.project import dvc_lock, identity, params
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN
from cinevox.project.plugins import load
from cinevox.statistics.metrics import NORMALIZED

ROOT = Path(__file__).parents[1]
EXPERIMENT = "bench"
N_WRITERS = 4
numbers = count()


def paper(n_rows: int) -> list[tracking.Record]:
    """Records of rows of the paper, with all that a real one has but for files."""
    settings = params.load(ROOT / "params.paper.yaml")
    leaves = {name.removeprefix("."): value for name, value in dvc_lock.flat("", identity.plain(dict(settings)))}
    rng = np.random.default_rng(0)
    return [
        _row(row, leaves, settings.dataset.subjects, rng) for row in list(settings.experiments.rows.values())[:n_rows]
    ]


def _row(row: params.Row, leaves: dict, subjects: Sequence[str], rng: np.random.Generator) -> tracking.Record:
    rois = MINI_ROIS if row.track == "mini" else (WHOLE_BRAIN,)
    if isinstance(row, params.RoiwiseRow):
        spaces = ["frozen"]
    else:
        found = candidates(row.features, load("networks", row.network).layers)
        spaces = [space.name for space in found]
    own = {"row": row.name, "track": row.track, "network": row.network, "features": row.features}
    texts = own | records._settings(leaves, row, (row.network,))
    tags = {f"tag_{number}": "0123456789abcdef" for number in range(12)}
    tags |= {"row": row.name, records.MEASURE: NORMALIZED}

    def scored(names: Sequence[str], of_roi: Sequence[str]) -> dict[str, float]:
        found = [*names, *(f"{roi}.{name}" for roi in rois for name in of_roi)]
        found += ["validation/score", *(f"validation/{roi}.normalized_correlation" for roi in rois)]
        found += [f"{subject}/{roi}.normalized_correlation" for subject in subjects for roi in rois]
        return dict(zip(found, rng.random(len(found)).tolist()))

    children = tuple(
        tracking.Record(
            space, f"{row.name}/{space}", EXPERIMENT, texts | {"space": space}, scored(("score",), SPACE_METRICS),
            tags | {"level": "space"},
        )
        for space in spaces
    )  # fmt: skip
    return tracking.Record(
        row.name, row.name, EXPERIMENT, texts, scored(ROW_METRICS, ROI_METRICS),
        tags | {"level": "row", "in_silico": "true", "reported_split": "test"}, note="A row.\n" * 40, children=children,
        texts={"scores.csv": "roi,score\n" * 20},
    )  # fmt: skip


def fresh(given: Sequence[tracking.Record]) -> list[tracking.Record]:
    """The same records as rows that nobody has stored: no run replaces another."""
    number = next(numbers)
    return [
        dataclasses.replace(
            row,
            key=f"{number}/{row.key}",
            tags={**row.tags, "row": f"{row.name}-{number}"},
            children=tuple(dataclasses.replace(child, key=f"{number}/{child.key}") for child in row.children),
        )
        for row in given
    ]


def studies(given: Sequence[tracking.Record], n_runs: int = 670) -> list[tracking.Record]:
    """The same rows of several studies, until there are at least so many runs."""
    found: list[tracking.Record] = []
    while sum(row.n_runs for row in found) < n_runs:
        row = given[len(found) % len(given)]
        name = f"{row.name}-{len(found)}"
        found.append(dataclasses.replace(row, name=name, key=name, tags={**row.tags, "row": name}))
    return found


def flat(given: Sequence[tracking.Record], n_runs: int) -> list[tracking.Record]:
    return [run for row in given for run in (row, *row.children)][:n_runs]


def one_by_one(uri: str, runs: Sequence[tracking.Record]) -> None:
    """As people write it: a call for every value."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    for record in runs:
        run = client.create_run(experiment, run_name=record.name).info.run_id
        for name, value in record.metrics.items():
            client.log_metric(run, name, value)
        for name, value in record.params.items():
            client.log_param(run, name, value)
        for name, value in writing.tags_of(record).items():
            client.set_tag(run, name, value)
        client.set_terminated(run)


def fluent(uri: str, runs: Sequence[tracking.Record]) -> None:
    """The fluent interface, a call for each kind."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    for record in runs:
        with mlflow.start_run(run_name=record.name, tags=writing.tags_of(record)):
            mlflow.log_metrics(dict(record.metrics))
            mlflow.log_params(dict(record.params))
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow leaves its address to processes that it starts


def bring(uri: str, given: Sequence[tracking.Record]) -> None:
    tracking.sync(given, uri)


def together(pool: ProcessPoolExecutor, uri: str, given: Sequence[tracking.Record]) -> None:
    """Every writer has rows of its own."""
    for done in [pool.submit(bring, uri, given[number::N_WRITERS]) for number in range(N_WRITERS)]:
        done.result()


def case(
    title: str,
    uri: str,
    given: Sequence[tracking.Record],
    share_of: int,
    more: Sequence[Contender] = (),
    repeats: int = 5,
) -> Case:
    n_runs = sum(row.n_runs for row in given)
    few = flat(given, share_of)
    rivals = [
        Contender(
            "fluent log_metrics, log_params", partial(fluent, uri, few), share=len(few) / n_runs, repeats=repeats
        ),
        Contender(
            "client, a call for every value",
            partial(one_by_one, uri, few),
            share=len(few) / n_runs,
            repeats=min(3, repeats),
        ),
    ]
    ours = Contender("cinevox sync", lambda: bring(uri, fresh(given)), repeats=repeats)
    target = "4 times a call for every value" if "sqlite" in title else ""
    return Case(f"{title}, {n_runs} runs", ours, [*more, *rivals], target=target, n_items=n_runs, unit="runs")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """`mlflow server` with two workers."""
    port = 20000 + os.getpid() % 20000
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    words += ["--backend-store-uri", database(folder), "--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            time.sleep(0.2)
        yield uri
    finally:
        process.terminate()
        process.wait()


def database(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def cases(quick: bool, folder: Path, pool: ProcessPoolExecutor) -> Iterator[Case]:
    everything = paper(28)
    some = everything[1:2] if quick else everything[1:4]
    uri = database(folder / "one")
    bring(uri, fresh(some[:1]))
    several = Contender(
        f"cinevox sync, {N_WRITERS} processes, rows of their own", lambda: together(pool, uri, fresh(some))
    )
    yield case("sqlite", uri, some, 2 if quick else 4, [several])
    with server(folder / "served") as served:
        bring(served, fresh(some[:1]))
        yield case("an HTTP server with two workers", served, some[:1], 1 if quick else 2, repeats=2)
    uri = database(folder / "all")
    stored = some if quick else studies(everything)
    bring(uri, stored)
    n_runs = sum(row.n_runs for row in stored)
    again = Contender("cinevox sync", partial(bring, uri, stored))
    yield Case(f"a second sync, nothing to do, {n_runs} runs", again, [], n_items=n_runs, unit="runs")


def mean(values: Callable[[tracking.Record], int]) -> float:
    runs = flat(paper(28), 10**6)
    return sum(map(values, runs)) / len(runs)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(N_WRITERS, get_context("spawn")) as workers:
        main(
            "tracking",
            lambda quick: cases(quick, Path(temporary), workers),
            note=f"A run has {mean(lambda run: len(run.metrics)):.0f} metrics, {mean(lambda run: len(run.params)):.0f} "
            f"parameters and {mean(lambda run: len(writing.tags_of(run))):.0f} tags on average. Not timed: making the "
            "database, importing MLflow. Ours also keeps a table with each row and looks for each row's key.",
        )

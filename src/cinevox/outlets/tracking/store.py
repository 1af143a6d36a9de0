"""The store, brought up to date with the records: each row exactly once, however many processes write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cinevox.outlets.tracking import views
from cinevox.outlets.tracking.connection import ARTIFACTS, Store, opened, resolved
from cinevox.outlets.tracking.history import EXPERIMENT
from cinevox.outlets.tracking.records import FIGURES, Record
from cinevox.outlets.tracking.writing import KEY, SUPERSEDED, WORKSPACE, attach, fill, search, tags_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABANDONED_MS = 3_600_000  # an unfinished run that was begun so long ago is nobody's


@dataclass
class Counts:
    """Counts of a sync: rows made, already there, marked as superseded; runs made (of rows and feature spaces)."""

    created: int = 0
    present: int = 0
    superseded: int = 0
    runs: int = 0

    def __str__(self) -> str:
        made = f"{self.created} row{'s' * (self.created != 1)} ({self.runs} runs) created"
        return f"{made}, {self.present} there already, {self.superseded} superseded"


def sync(records: Sequence[Record], uri: str, tick: Callable[[int], object] = lambda n: None) -> Counts:
    """Bring the store up to date: make what is missing, mark what a newer result of the same row replaces.

    A row is looked for by its key among finished runs, and its run is finished last. So a sync that was cut short is
    taken up by the next one, which deletes what was half made.

    tick: told each time how many more runs are in the store

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    """
    counts = Counts()
    with opened(resolved(uri)) as store:
        for name in dict.fromkeys(record.experiment for record in records):
            group = [record for record in records if record.experiment == name]
            experiment = _experiment(store, name, views.experiment_tags(group))
            for record in group:
                with store.turn:
                    made, n_superseded = _bring(store.client, experiment, record)
                counts.created, counts.present = counts.created + made, counts.present + (not made)
                counts.runs += made * record.n_runs
                counts.superseded += n_superseded
                tick(record.n_runs)
    return counts


def _experiment(store: Store, name: str, tags: Mapping[str, str]) -> str:
    """The id of the experiment of this name, made or restored where it is not there, with these tags.

    MLflow keeps absolute addresses of an experiment's files, and has no call that changes them. Of a repository that
    was moved, renamed or copied they are in the old place, where somebody else may live by now. Such an experiment
    gets another name (`<name> of <old place> (<its id>)`), and its own one a new experiment with its files here.
    """
    from mlflow.exceptions import MlflowException

    client, here = store.client, store.artifacts and (store.artifacts / name).resolve()
    with store.turn:
        found = client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        if found is not None and here is not None:
            address = urlsplit(found.artifact_location)
            place = Path(unquote(address.path))
            if address.scheme == "file" and place.parts[-2:] == (ARTIFACTS, name) and place.resolve() != here:
                client.rename_experiment(found.experiment_id, f"{name} of {place.parents[1]} ({found.experiment_id})")
                found = None
        if found is None:
            try:
                return str(client.create_experiment(name, here.as_uri() if here else None, dict(tags)))
            except MlflowException:  # on a server, somebody else was quicker if it is there now
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        for tag, value in tags.items():
            if found.tags.get(tag) != value:
                client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _bring(client: MlflowClient, experiment: str, record: Record) -> tuple[bool, int]:
    """Make a row's run, or give the one that is there what came later; whether it was made, and how many it replaces.

    What an experiment made stands beside what the workspace has: it replaces nothing, and nothing replaces it.
    """
    row = record.tags["row"]
    runs = list(search(client, experiment, f"tags.level = 'row' and tags.row = '{row}'"))
    found = _kept(client, [run for run in runs if run.data.tags[KEY] == record.key])
    made = found is None and _add(client, experiment, record)
    if found is not None:
        _refresh(client, found, record)
    if WORKSPACE not in tags_of(record):
        return made, 0
    others = [run for run in runs if run.data.tags[KEY] != record.key and run.info.status == "FINISHED"]
    return made, sum(_mark(client, run, True) for run in others if WORKSPACE in run.data.tags)


def _add(client: MlflowClient, experiment: str, record: Record) -> bool:
    """Make a row's run with its feature spaces; False if another process was quicker."""
    from mlflow.exceptions import MlflowException

    run = client.create_run(experiment, run_name=record.name, tags=tags_of(record)).info.run_id
    try:
        fill(client, experiment, run, record)
        client.set_terminated(run)
    except MlflowException:
        mine = client.get_run(run)
        if mine.info.lifecycle_stage == "active":
            raise
        _delete(client, mine)  # again: spaces may have been added since
        return False
    kept = _kept(client, list(search(client, experiment, f"tags.level = 'row' and tags.`{KEY}` = '{record.key}'")))
    return bool(kept is not None and kept.info.run_id == run)


def _kept(client: MlflowClient, runs: Sequence[Any]) -> Any | None:
    """Keep one of a row's finished runs with the same key, and delete what it replaces; None where none is finished.

    A server has no turns: so whoever has finished a run looks for others. The one that was begun last stays, and all
    that were begun before it go, finished or not, which every process sees alike. One that was begun later and is not
    finished is still being written, unless that takes an hour.
    """

    def begun(run: Any) -> tuple[int, str]:
        return run.info.start_time, run.info.run_id

    finished = [run for run in runs if run.info.status == "FINISHED"]
    if not finished:
        return None
    kept = max(finished, key=begun)
    for run in runs:
        if run is not kept and (begun(run) < begun(kept) or run.info.start_time < time.time() * 1000 - ABANDONED_MS):
            _delete(client, run)
    return kept


def _refresh(client: MlflowClient, run: Any, record: Record) -> None:
    """Give a run that is there what came later: experiments that came to it too, figures that were drawn since."""
    for name, value in tags_of(record).items():
        if name.startswith((EXPERIMENT, WORKSPACE)) and run.data.tags.get(name) != value:
            client.set_tag(run.info.run_id, name, value)
    if FIGURES in record.files and run.data.tags.get(FIGURES) != "true":
        attach(client, run.info.run_id, {FIGURES: record.files[FIGURES]})
        client.set_tag(run.info.run_id, FIGURES, "true")
    _mark(client, run, False)


def _mark(client: MlflowClient, run: Any, superseded: bool) -> bool:
    """Set the mark on a row's run and its feature spaces'; whether that changed anything."""
    value = str(superseded).lower()
    if run.data.tags.get(SUPERSEDED) == value:
        return False
    for one in (*_children(client, run), run):
        client.set_tag(one.info.run_id, SUPERSEDED, value)
    return True


def _delete(client: MlflowClient, run: Any) -> None:
    """Put a row's run and those of its feature spaces into MLflow's trash."""
    for one in (*_children(client, run), run):  # the row last: as long as it is there, its spaces can be found
        client.delete_run(one.info.run_id)


def _children(client: MlflowClient, run: Any) -> Iterator[Any]:
    return search(client, run.info.experiment_id, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")

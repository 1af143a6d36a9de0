"""The store, brought up to date with the records: each row exactly once, however many processes write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cinevox.outlets.tracking import views
from cinevox.outlets.tracking.connection import ARTIFACTS, Store, opened, resolved
from cinevox.outlets.tracking.history import EXPERIMENT
from cinevox.outlets.tracking.records import FIGURES, Record
from cinevox.outlets.tracking.writing import KEY, SEAL, SUPERSEDED, WORKSPACE, attach, fill, insist, search, tags_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

DISCARDED = "discarded"  # another value of the seal: the run is nobody's
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # of another value, or to write into a deleted run


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

    Each experiment is searched once; a row is looked for by its key among finished runs, and its run is finished
    last. So a sync that was cut short is taken up by the next one, which discards what was half made.

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
            experiment = experiment_id(store, name)
            known = _finished(store.client, experiment)
            for record in group:
                if found := known.get(record.key):
                    _refresh(store.client, _settle(store.client, found), record)
                    counts.present += 1
                else:
                    with store.turn:
                        made = _add(store.client, experiment, record)
                    counts.created, counts.present = counts.created + made, counts.present + (not made)
                    counts.runs += made * record.n_runs
                counts.superseded += sum(_mark(store.client, old, True) for old in _replaced(known, record))
                tick(record.n_runs)
            views.describe(store.client, experiment, group)
    return counts


def delete(client: MlflowClient, run: Any) -> None:
    """Put a row's run and those of its feature spaces into MLflow's trash."""
    for one in (*_children(client, run), run):  # the row last: as long as it is there, its spaces can be found
        client.delete_run(one.info.run_id)


def experiment_id(store: Store, name: str) -> str:
    """The experiment of this name, made or restored where it is not there.

    MLflow keeps absolute addresses of an experiment's files, and has no call that changes them. Of a repository that
    was moved, renamed or copied they are in the old place, where somebody else may live by now. Such an experiment
    gets another name (`<name> of <old place> (<its id>)`), and its own one a new experiment with its files here.
    """
    from mlflow.exceptions import MlflowException

    client = store.client
    with store.turn:
        found = client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        if found is not None and (old := _elsewhere(store, found)):
            client.rename_experiment(found.experiment_id, f"{name} of {old} ({found.experiment_id})")
            found = None
        if found is None:
            folder = None if store.artifacts is None else (store.artifacts / name).absolute().as_uri()
            try:
                return str(client.create_experiment(name, folder))
            except MlflowException:  # on a server, somebody else was quicker if it is there now
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
    return str(found.experiment_id)


def _elsewhere(store: Store, experiment: Experiment) -> Path | None:
    """The repository that an experiment's files are in, if it is another one; only of files that cinevox made."""
    address = urlsplit(experiment.artifact_location)
    place = Path(unquote(address.path))
    ours = address.scheme == "file" and place.parts[-2:] == (ARTIFACTS, experiment.name)
    if store.artifacts is None or not ours or place.parent.resolve() == store.artifacts.resolve():
        return None
    return place.parents[1]


def _finished(client: MlflowClient, experiment: str) -> dict[str, list[Any]]:
    """Key -> finished runs of rows, of which there should be one."""
    found: dict[str, list[Any]] = {}
    for run in search(client, experiment, "tags.level = 'row' and attributes.status = 'FINISHED'"):
        found.setdefault(run.data.tags[KEY], []).append(run)
    return found


def _refresh(client: MlflowClient, run: Any, record: Record) -> None:
    """Give a run that is there what came later: experiments that came to it too, figures that were drawn since."""
    for name, value in tags_of(record).items():
        if name.startswith((EXPERIMENT, WORKSPACE)) and run.data.tags.get(name) != value:
            insist(client.set_tag, run.info.run_id, name, value)
    if FIGURES in record.files and run.data.tags.get(FIGURES) != "true":
        attach(client, run.info.run_id, {FIGURES: record.files[FIGURES]})
        client.set_tag(run.info.run_id, FIGURES, "true")
    _mark(client, run, False)


def _add(client: MlflowClient, experiment: str, record: Record) -> bool:
    """Make a row's run with its feature spaces; False if another process was quicker.

    A server has no turns, and can't make a run only if there is none with its key. But it never changes a parameter:
    so the row's name, logged last, seals a run, and an unsealed one is discarded by giving it another name.
    """
    from mlflow.exceptions import MlflowException

    same_key = f"tags.level = 'row' and tags.`{KEY}` = '{record.key}'"
    if any(run.info.status == "FINISHED" for run in search(client, experiment, same_key)):
        return False
    run = client.create_run(experiment, run_name=record.name, tags=tags_of(record)).info.run_id
    try:
        fill(client, experiment, run, record)
        client.log_param(run, SEAL, record.name)
    except MlflowException as error:
        if error.error_code not in REFUSALS or not _is_discarded(client, run):
            raise
        delete(client, client.get_run(run))  # again: spaces may have been added since
        return False
    client.set_terminated(run)
    return bool(_settle(client, list(search(client, experiment, same_key))).info.run_id == run)


def _settle(client: MlflowClient, runs: Sequence[Any]) -> Any:
    """Keep one of a row's runs with the same key and delete the others.

    Whoever has sealed a run does this afterwards. Of two sealed runs at least one process knows both, and all keep
    the one with the lowest id; so that one is never deleted.
    """
    sealed = [run for run in runs if _is_sealed(client, run)]
    kept = min(sealed, key=lambda run: run.info.run_id)
    for run in runs:
        if run is not kept:
            delete(client, run)
    if kept.info.status != "FINISHED":  # who sealed it died before it could say so
        client.set_terminated(kept.info.run_id)
    return kept


def _is_sealed(client: MlflowClient, run: Any) -> bool:
    """Whether a run is complete; if it is not, it can't become so any more."""
    from mlflow.exceptions import MlflowException

    if run.info.status == "FINISHED":
        return True
    try:
        client.log_param(run.info.run_id, SEAL, DISCARDED)
    except MlflowException as error:
        if error.error_code not in REFUSALS:
            raise
        return not _is_discarded(client, run.info.run_id)
    return False


def _is_discarded(client: MlflowClient, run: str) -> bool:
    found = client.get_run(run)
    return bool(found.info.lifecycle_stage == "deleted" or found.data.params.get(SEAL) == DISCARDED)


def _replaced(known: Mapping[str, Sequence[Any]], record: Record) -> Iterator[Any]:
    """Runs of the same row with another result of the workspace, if this one is the workspace's.

    What an experiment made stands beside: it replaces nothing, and nothing replaces it.
    """
    if WORKSPACE in tags_of(record):
        others = (run for key, runs in known.items() if key != record.key for run in runs)
        yield from (run for run in others if run.data.tags["row"] == record.name and WORKSPACE in run.data.tags)


def _mark(client: MlflowClient, run: Any, superseded: bool) -> bool:
    """Set the mark on a row's run and its feature spaces'; whether that changed anything."""
    value = str(superseded).lower()
    if run.data.tags.get(SUPERSEDED) == value:
        return False
    for one in (*_children(client, run), run):
        client.set_tag(one.info.run_id, SUPERSEDED, value)
    return True


def _children(client: MlflowClient, run: Any) -> Iterator[Any]:
    return search(client, run.info.experiment_id, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")

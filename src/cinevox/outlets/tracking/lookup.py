"""Runs looked up and removed: by row, by run, by experiment, by revision."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from cinevox.errors import InputError
from cinevox.outlets.tracking import history
from cinevox.outlets.tracking.connection import Store, is_server, opened, resolved, shown
from cinevox.outlets.tracking.history import Revision
from cinevox.outlets.tracking.store import delete
from cinevox.outlets.tracking.writing import KEY, SUPERSEDED, search
from cinevox.project.params import Track, Tracking
from cinevox.project.paths import Paths


@dataclass(frozen=True)
class Entry:
    """A row's run, as the store has it.

    state: current, superseded, or unfinished (a sync was cut short)
    experiments: DVC's, as far as the run is tagged with them
    """

    run: str
    row: str
    key: str
    score: float | None
    split: str
    state: str
    commit: str
    dirty: bool
    params_hash: str
    experiments: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A run, and the experiments and commits that hold its result; `here`: the workspace does."""

    entry: Entry
    revisions: tuple[Revision, ...]
    here: bool


def listed(settings: Tracking, row: str | None = None) -> list[Entry]:
    """Every row's runs in the store (or one row's), the superseded ones too, by row and then the newest first.

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        There is no run of that row.
    """
    with opened(resolved(settings.uri)) as store:
        runs = list(_rows(store, settings))
    return [_entry(run) for run in (runs if row is None else _of_row(runs, row))]


def remove(settings: Tracking, row: str, apply: bool) -> list[Entry]:
    """The runs of a row, which are put into MLflow's trash with those of its feature spaces if `apply`.

    A later sync makes the row's current run anew; `mlflow gc` frees the space.

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        There is no run of that row.
    """
    with opened(resolved(settings.uri)) as store:
        mine = _of_row(list(_rows(store, settings)), row)
        for run in mine if apply else ():
            with store.turn:
                delete(store.client, run)
    return [_entry(run) for run in mine]


def emptying(settings: Tracking) -> str:
    """The command that empties MLflow's trash (without a password); of a server it needs the store behind it, too."""
    uri = resolved(settings.uri)
    behind = "STORE" if is_server(uri) else shown(uri)  # as `mlflow server` was given it
    return shlex.join(["mlflow", "gc", "--backend-store-uri", behind, "--tracking-uri", shown(uri)])


def find(paths: Paths, settings: Tracking, word: str) -> list[Found]:
    """Runs that a word names, each with the revisions that hold its result.

    word: a row, a run's id (or how it begins; a feature space's leads to its row), an experiment of DVC's, a revision

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        The word names nothing.
    """
    with opened(resolved(settings.uri)) as store:
        runs = {run.info.run_id: run for run in _rows(store, settings)}
        tag = history.tag_of(word)
        keys = set(history.keys_at(paths, _revision(paths, word)).values())
        named = set(_run_ids(store, settings, word)) | {
            name for name, run in runs.items() if word == run.data.tags["row"] or tag in run.data.tags
        }
        entries = [_entry(run) for name, run in runs.items() if name in named or run.data.tags[KEY] in keys]
    if not entries:
        raise InputError(
            f"nothing is named {word!r}; expected a row, a run's id, an experiment (dvc exp list) or a git revision "
            "with a dvc.lock; `cinevox runs list` shows the runs, `cinevox sync` adds those missing"
        )
    here = set(history.keys_here(paths).values())
    return [Found(entry, tuple(history.holders(paths, entry.key)), entry.key in here) for entry in entries]


def _revision(paths: Paths, word: str) -> str:
    """An experiment's commit, by its name; any other word as it is."""
    return next((found.sha for found in history.experiments(paths.root) if found.experiment == word), word)


def _of_row(runs: Sequence[Any], row: str) -> list[Any]:
    mine = [run for run in runs if run.data.tags["row"] == row]
    if not mine:
        there = ", ".join(dict.fromkeys(run.data.tags["row"] for run in runs))
        raise InputError(f"no run of the row {row!r}; there are runs of {there or 'none'}")
    return mine


def _rows(store: Store, settings: Tracking) -> Iterator[Any]:
    for experiment in _experiments(store, settings):
        found = search(store.client, experiment, "tags.level = 'row'")
        yield from sorted(found, key=lambda run: (run.data.tags["row"], -run.info.start_time))


def _experiments(store: Store, settings: Tracking) -> Iterator[str]:
    for track in get_args(Track):
        found = store.client.get_experiment_by_name(f"{settings.experiment}-{track}")
        if found is not None and found.lifecycle_stage == "active":
            yield found.experiment_id


def _run_ids(store: Store, settings: Tracking, word: str) -> Iterator[str]:
    """Rows' runs whose id, or a feature space's, begins with the word."""
    if len(word) < 4 or not word.isalnum():
        return
    for experiment in _experiments(store, settings):
        for run in search(store.client, experiment, f"attributes.run_id LIKE '{word}%'"):
            yield run.data.tags.get("mlflow.parentRunId", run.info.run_id)


def _entry(run: Any) -> Entry:
    tags = run.data.tags
    prefix = history.EXPERIMENT
    return Entry(
        run=run.info.run_id,
        row=tags["row"],
        key=tags[KEY],
        score=run.data.metrics.get("score"),
        split=tags["reported_split"],
        state=_state(run),
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("dirty") == "true",
        params_hash=tags["params_hash"],
        experiments=tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)),
    )


def _state(run: Any) -> str:
    if run.info.status != "FINISHED":
        return "unfinished: `cinevox sync`"
    return "current" if run.data.tags.get(SUPERSEDED) == "false" else "superseded"

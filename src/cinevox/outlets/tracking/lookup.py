"""Runs looked up and removed: by row, by run, by experiment, by revision."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from cinevox.errors import InputError
from cinevox.outlets.tracking import history
from cinevox.outlets.tracking.connection import Store, is_server, opened, resolved, shown
from cinevox.outlets.tracking.history import EXPERIMENT, Revision
from cinevox.outlets.tracking.store import delete
from cinevox.outlets.tracking.writing import KEY, SUPERSEDED, search
from cinevox.project.params import Track, Tracking
from cinevox.project.paths import Paths


@dataclass(frozen=True)
class StoredRun:
    """A row's run, as the store has it.

    state: current, superseded, or unfinished (a sync was cut short)
    experiments: DVC's, as far as the run is tagged with them
    revisions: experiments and commits that hold its result; here: whether the workspace does; both as `find` finds them
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
    revisions: tuple[Revision, ...] = ()
    here: bool = False


def listed(settings: Tracking, row: str | None = None) -> list[StoredRun]:
    """Every row's runs in the store (or one row's), the superseded ones too, by row and then the newest first.

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        There is no run of that row.
    """
    with opened(resolved(settings.uri)) as store:
        return [_entry(run) for run in _rows(store, settings, row)]


def remove(settings: Tracking, row: str, apply: bool) -> list[StoredRun]:
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
        mine = _rows(store, settings, row)
        for run in mine if apply else ():
            with store.turn:
                delete(store.client, run)
    return [_entry(run) for run in mine]


def emptying(settings: Tracking) -> str:
    """The command that empties MLflow's trash (without a password); of a server it needs the store behind it, too."""
    uri = resolved(settings.uri)
    address = shown(uri, uri)
    behind = "STORE" if is_server(uri) else address  # as `mlflow server` was given it
    return shlex.join(["mlflow", "gc", "--backend-store-uri", behind, "--tracking-uri", address])


def find(paths: Paths, settings: Tracking, word: str) -> list[StoredRun]:
    """Runs that a word names, each with the revisions that hold its result.

    word: a row, a run's id (or how it begins; a feature space's leads to its row), an experiment of DVC's, a revision

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        The word names nothing.
    """
    named = {found.experiment: found.sha for found in history.experiments(paths.root)}
    keys = set(history.keys_at(paths, named.get(word, word)).values())
    with opened(resolved(settings.uri)) as store:
        tag, ids = history.tag_of(word), _run_ids(store, settings, word)
        entries = [
            _entry(run)
            for run in _rows(store, settings)
            if run.info.run_id in ids or run.data.tags[KEY] in keys or run.data.tags["row"] == word
            or tag in run.data.tags
        ]  # fmt: skip
    if not entries:
        raise InputError(
            f"nothing is named {word!r}; expected a row, a run's id, an experiment (dvc exp list) or a git revision "
            "with a dvc.lock; `cinevox runs list` shows the runs, `cinevox sync` adds those missing"
        )
    here, revisions = set(history.keys_here(paths).values()), history.revisions(paths)
    return [
        replace(one, here=one.key in here, revisions=tuple(held for held, keys in revisions if one.key in keys))
        for one in entries
    ]


def _rows(store: Store, settings: Tracking, row: str | None = None) -> list[Any]:
    """Runs of every row, or of one."""
    runs: list[Any] = []
    for experiment in _experiments(store, settings):
        found = search(store.client, experiment, "tags.level = 'row'")
        runs += sorted(found, key=lambda run: (run.data.tags["row"], -run.info.start_time))
    mine = [run for run in runs if row in (None, run.data.tags["row"])]
    if row is not None and not mine:
        there = ", ".join(dict.fromkeys(run.data.tags["row"] for run in runs))
        raise InputError(f"no run of the row {row!r}; there are runs of {there or 'none'}")
    return mine


def _experiments(store: Store, settings: Tracking) -> Sequence[str]:
    found = [store.client.get_experiment_by_name(f"{settings.experiment}-{track}") for track in get_args(Track)]
    return [one.experiment_id for one in found if one is not None and one.lifecycle_stage == "active"]


def _run_ids(store: Store, settings: Tracking, word: str) -> set[str]:
    """Rows' runs whose id, or a feature space's, begins with the word."""
    if len(word) < 4 or not word.isalnum():
        return set()
    query = f"attributes.run_id LIKE '{word}%'"
    runs = (run for name in _experiments(store, settings) for run in search(store.client, name, query))
    return {run.data.tags.get("mlflow.parentRunId", run.info.run_id) for run in runs}


def _entry(run: Any) -> StoredRun:
    tags = run.data.tags
    state = "current" if tags.get(SUPERSEDED) == "false" else "superseded"
    return StoredRun(
        run=run.info.run_id,
        row=tags["row"],
        key=tags[KEY],
        score=run.data.metrics.get("score"),
        split=tags["reported_split"],
        state=state if run.info.status == "FINISHED" else "unfinished: `cinevox sync`",
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("dirty") == "true",
        params_hash=tags["params_hash"],
        experiments=tuple(tag.removeprefix(EXPERIMENT) for tag in tags if tag.startswith(EXPERIMENT)),
    )

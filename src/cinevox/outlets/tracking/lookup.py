"""Runs looked up by row, by run, by experiment, by revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from cinevox.errors import InputError
from cinevox.outlets.tracking import history
from cinevox.outlets.tracking.connection import opened, resolved
from cinevox.outlets.tracking.history import Revision
from cinevox.outlets.tracking.writing import KEY, SUPERSEDED, search
from cinevox.project.params import Track, Tracking
from cinevox.project.paths import Paths


@dataclass(frozen=True)
class StoredRun:
    """A row's run, as the store has it.

    commit: what it was made with; empty if git was not asked
    revisions: experiments and commits that hold its result; here: whether the workspace does
    """

    run: str
    row: str
    score: float | None
    split: str
    superseded: bool
    commit: str
    revisions: tuple[Revision, ...]
    here: bool


def find(paths: Paths, settings: Tracking, word: str) -> list[StoredRun]:
    """Runs that a word names, each with the revisions that hold its result.

    word: a row, a row's run by its id (or how that begins), an experiment of DVC's, a revision

    Raises
    ------
    StoreError
        The store can't be reached or refuses.
    InputError
        The word names nothing.
    """
    named = {found.experiment: found.sha for found in history.experiments(paths.root)}
    keys = set(history.keys_at(paths, named.get(word, word)).values())
    here, revisions = set(history.keys_here(paths).values()), history.revisions(paths)
    entries = []
    with opened(resolved(settings.uri)) as store:
        found = [store.client.get_experiment_by_name(f"{settings.experiment}-{track}") for track in get_args(Track)]
        for one in (one for one in found if one is not None):
            for run in search(store.client, one.experiment_id, "tags.level = 'row' and attributes.status = 'FINISHED'"):
                tags, key = run.data.tags, run.data.tags[KEY]
                is_named = tags["row"] == word or (len(word) > 3 and run.info.run_id.startswith(word))
                if not (is_named or key in keys or history.tag_of(word) in tags):
                    continue
                entries.append(
                    StoredRun(
                        run=run.info.run_id,
                        row=tags["row"],
                        score=run.data.metrics.get("score"),
                        split=tags["reported_split"],
                        superseded=tags[SUPERSEDED] == "true",
                        commit=tags.get("mlflow.source.git.commit", ""),
                        revisions=tuple(held for held, brought in revisions if key in brought),
                        here=key in here,
                    )
                )
    if not entries:
        raise InputError(
            f"nothing is named {word!r}; expected a row, its run's id, an experiment (dvc exp list) or a git revision "
            "with a dvc.lock; `cinevox sync` adds the runs that are missing"
        )
    return entries

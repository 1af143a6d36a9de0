"""Study repositories: `cinevox new` makes one around somebody's data, and `cinevox update` brings its flow up to date.

The data stay where they are. A trials table, Algonauts 2021 and BOLD Moments are linked to as they are; of loose files
(images or clips, arrays of voxels, masks, GLMsingle output) a trials table is written, with links to the stimuli.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cinevox.errors import InputError
from cinevox.own_study import facts, layouts, loose, parameters, repository, table
from cinevox.project.params import parse, text
from cinevox.project.paths import Paths

__all__ = ["Made", "new", "require_current", "rewrite"]


@dataclass(frozen=True)
class Made:
    """A study repository that was made.

    understood: what is there, a sentence each; guesses: what nothing says, and how to correct it
    """

    folder: Path
    understood: tuple[str, ...]
    guesses: tuple[str, ...]
    rows: tuple[str, ...]


def new(
    study: Path,
    data: Path,
    features: Path | None = None,
    progress: Callable[[Iterable, int, str], Iterable] = lambda items, _total, _label: items,
) -> Made:
    """Make a study repository, whole or not at all; nothing in `data` changes.

    features: arrays with an id for each stimulus, for stimuli that are not on this disk (docs/adding.md)
    progress: passes blocks of betas through, given their number and a label

    Raises
    ------
    InputError
        `study` exists; `data` is not there, or cannot be understood: every fault is named.
    """
    if study.exists() and not (study.is_dir() and not any(study.iterdir())):
        raise InputError(f"{study}: exists; name a new folder for the study repository")
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; name the one that has the study's data")
    if study.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{study}: lies in {data}, which is left as it is; name a folder outside of it")
    if data.resolve().is_relative_to(study.resolve()):
        raise InputError(f"{data}: lies in {study}, which is to be made; name another folder for the study repository")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", data.resolve().name).strip("-_") or "study"
    found = layouts.recognised(data)
    own = loose.understand(data) if found is None else None
    work = study.with_name(f"{study.name}.unfinished")
    shutil.rmtree(work, ignore_errors=True)
    try:
        target = work / "data" / name
        target.parent.mkdir(parents=True)
        if own is not None:
            table.write(own, target, name, progress)
            found = layouts.of_table(target, own.understood, own.guesses)
        else:
            assert found is not None
            target.symlink_to(data.resolve(), target_is_directory=True)
        known = facts.of(found, target, f"data/{name}", features)
        repository.write(work, study.name, known)
        values = parameters.write(work / "params.yaml", study.name, known)
        parse(text.read_file(Paths(work).params), str(study / "params.yaml"))
        repository.start(work)
        if study.exists():
            study.rmdir()
        work.rename(study)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Made(study, known.understood, known.guesses, values)


def require_current(study: Path) -> None:
    """Require that tables of loose files, whose betas are copies, are of the files as they are now.

    Raises
    ------
    InputError
        Files changed since a table was written.
    """
    for path in sorted((study / "data").glob("*")):
        if not path.is_symlink() and (differ := table.changed(path)[1]):
            raise InputError(
                f"{', '.join(differ)}: changed since {path} was made; `cinevox update --data` writes it anew"
            )


def rewrite(study: Path) -> tuple[str, ...]:
    """Write tables of loose files anew; returns what was understood and guessed, a sentence each.

    Raises
    ------
    InputError
        There is no such table, or its files cannot be understood now: then the table stays.
    """
    told: list[str] = []
    for path in sorted((study / "data").glob("*")):
        source = None if path.is_symlink() else table.changed(path)[0]
        if source is None:
            continue
        if not source.is_dir():
            raise InputError(f"{source}: no such folder, and {path} was made from it")
        own = loose.understand(source)
        fresh = path.with_name(f"{path.name}.anew")
        shutil.rmtree(fresh, ignore_errors=True)
        table.write(own, fresh, path.name, lambda items, _total, _label: items)
        kept = table.keep_corrections(path, fresh)
        shutil.rmtree(path)
        fresh.rename(path)
        told += [f"{path}: written anew from {source}", *own.understood, *own.guesses, *kept]
    if not told:
        raise InputError(f"{study / 'data'}: no table there that was made of loose files")
    return tuple(told)

"""DVC's experiments: beside one another, and their parameters put back into the form of the file in git."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cinevox.cli._screen import Commands, new_table, number, show
from cinevox.errors import FileError, InputError
from cinevox.project import git
from cinevox.project.params import text
from cinevox.project.paths import Paths
from cinevox.scoring import claims, row_metrics
from cinevox.scoring.origin import Origin, differences

OTHER_DATA, PLAIN_R = " †", " plain r"


@dataclass(frozen=True)
class _Experiment:
    """One column: a commit, the workspace or an experiment."""

    name: str
    rev: str  # as git knows it, or `workspace`
    state: str  # of a queued, running or failed one; empty where there are results
    params: Mapping[str, Any]  # dotted name -> value
    scores: Mapping[str, float | None]  # row -> the metric asked for
    origins: Mapping[str, Origin | None] = field(default_factory=dict)  # row -> its data and weights, where recorded
    plain: frozenset[str] = frozenset()  # rows scored in plain correlations


def _experiments(chosen: argparse.Namespace) -> None:
    """DVC's experiments beside one another: what was changed, and each row's score

    `dvc exp show` has a column for every parameter and for every number of every row. This has a line for each row and
    for each parameter that differs. The first column is the commit; the others show how far they are from it. A row
    that was not run with a column's parameters has no score there.
    """
    base, workspace, *others = _found(chosen.metric, chosen.all)
    others = others[: chosen.last]
    if not any((workspace.params, workspace.scores) == (other.params, other.scores) for other in (base, *others)):
        others.insert(0, workspace)
    columns = [base, *others]
    found = [score for column in columns for score in column.scores.values()]
    if found and not any(score is not None for score in found):
        raise InputError(f"--metric {chosen.metric}: no row has it; expected score or a region such as V1")
    as_found, columns = columns, [_own(column) for column in columns]
    base, *others = columns
    table = new_table("", *(f"{column.name}\n{column.state}" if column.state else column.name for column in columns))
    for name in dict.fromkeys(name for column in columns for name in column.params):
        values = [_written(column.params.get(name)) for column in columns]
        if len(set(values)) > 1:
            table.add_row(name, *values)
    table.add_row()
    for row in dict.fromkeys(row for column in columns for row in column.scores):
        was = base.scores.get(row)
        cells = [_cell(base, other, row) if row in other.scores else "–" for other in others]
        table.add_row(row, number(was) + PLAIN_R * (row in base.plain and was is not None), *cells)
    show(table)
    measures = "normalized correlation"
    if any(column.plain for column in columns):
        measures += ", plain correlation (r) where it says so"
    print(f"{chosen.metric}: {measures}; in brackets the change from {base.name}.")
    for line in _marks(columns):
        print(line)
    if columns != as_found:
        print("–: not run with the parameters of that column.")
    if not others:
        print("No experiments yet: `dvc exp run -S reduction.n_components=50` makes one.")


def _found(metric: str, everything: bool) -> Iterator[_Experiment]:
    """The commit first, then the workspace and the experiments, as DVC lists them.

    everything: those of other commits too; DVC's own `--all-commits` reads every commit, half a second each
    """
    revisions = dict.fromkeys([git.answer(Path(), "rev-parse", "HEAD").strip() or "HEAD", *_bases(everything)])
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", *(f"--rev={revision}" for revision in revisions)]
    workspace, first, *earlier = json.loads(_answer(subprocess.run(command, capture_output=True, check=False)))
    yield _read(first, metric)
    yield _read(workspace, metric)
    for commit in (first, *earlier):
        for experiment in commit["experiments"] or ():
            state = (experiment["executor"] or {}).get("state", "")
            yield _read(experiment["revs"][0], metric, state if state != "success" else "")


def _bases(everything: bool) -> list[str]:
    """Commits that experiments were made from, those of the newest first; then those of queued and failed ones."""
    if not everything:
        return []
    refs = git.answer(Path(), "for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/exps").splitlines()
    done = ["".join(ref.split("/")[2:4]) for ref in refs]
    kept = [git.answer(Path(), "reflog", "--format=%gs", f"refs/exps/celery/{name}") for name in ("stash", "failed")]
    waiting = re.findall(r"dvc-exp:[0-9a-f]+:([0-9a-f]{40}):", "".join(kept))
    return [sha for sha in (*done, *waiting) if re.fullmatch("[0-9a-f]{40}", sha)]


def _read(entry: Mapping[str, Any], metric: str, state: str = "") -> _Experiment:
    rev, data = entry["rev"], entry["data"]
    name = entry["name"] or (rev if rev == "workspace" else rev[:7])
    if data is None:
        return _Experiment(name, rev, "failed" if entry["error"] else state, {}, {})
    values = next(iter(data["params"].values()))["data"]
    scores: dict[str, float | None] = {}
    origins, plain, broken = {}, set(), ""
    for row in (row for group in values["experiments"].values() for row in group):
        block = data["metrics"].get(Paths().metrics(row).as_posix(), {}).get("data")
        if block and not state:
            try:
                found = row_metrics.parse(block)
            except ValueError:
                scores[row], broken = None, "broken metrics"
                continue
            scores[row], origins[row] = found.values.get(metric), found.origin
            plain |= {row} if found.is_plain else set()
    return _Experiment(name, rev, state.lower() or broken, dict(_flat(values)), scores, origins, frozenset(plain))


def _own(column: _Experiment) -> _Experiment:
    """Without the scores that its dvc.lock says were made with other parameters than its params.yaml has."""
    from cinevox.project import dvc_lock

    stages = _document(column.rev, Paths().lock).get("stages", {}) if column.scores else {}
    now = _document(column.rev, Paths().params) if stages else {}
    scores = dict(column.scores)
    for row in scores:
        made = dvc_lock.made(stages, row)
        if made is not None and (made.broken or dvc_lock.differing(made, now)):
            scores[row] = None
    return replace(column, scores=scores)


def _document(rev: str, path: Path) -> Mapping[str, Any]:
    """A YAML file as a revision or the workspace has it; empty where it has none."""
    if rev == "workspace":
        written = path.read_text() if path.is_file() else ""
    else:
        written = git.answer(Path(), "show", "--end-of-options", f"{rev}:./{path}")
    return text.read(written) or {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _written(value: Any) -> str:
    return "–" if value is None else json.dumps(value) if isinstance(value, list) else str(value)


def _cell(base: _Experiment, other: _Experiment, row: str) -> str:
    """A row's score, with its change where both are of the same data."""
    was, now = base.scores.get(row), other.scores[row]
    plain = PLAIN_R * (row in other.plain and now is not None)
    if now is not None and _other_data(base, other, row):
        return number(now) + plain + OTHER_DATA
    return _change(None if (row in other.plain) != (row in base.plain) else was, now) + plain


def _other_data(base: _Experiment, other: _Experiment, row: str) -> bool:
    a, b = base.origins.get(row), other.origins.get(row)
    return a is not None and b is not None and bool(differences(a, b) or a.n_voxels != b.n_voxels)


def _marks(columns: Sequence[_Experiment]) -> Iterator[str]:
    """Find the scores that are no results, by the record that was made with each."""
    base, *others = columns
    if any(_other_data(base, other, row) for other in others for row in other.scores):
        yield f"{OTHER_DATA.strip()}: of other data than {base.name}'s score, so no change is given."
    known = [
        (column, row, origin)
        for column in columns
        for row, origin in column.origins.items()
        if origin is not None and column.scores.get(row) is not None
    ]
    if random := dict.fromkeys(row for _, row, origin in known if origin.untrained):
        yield claims.UNTRAINED.of(random)
    if simulated := dict.fromkeys(column.name for column, _, origin in known if origin.in_silico):
        yield claims.IN_SILICO.of(simulated)


def _change(was: float | None, now: float | None) -> str:
    return number(now) if was is None or now is None or was == now else f"{now:.3f} ({now - was:+.3f})"


def _tidy(chosen: argparse.Namespace) -> None:
    """put params.yaml back into the form of the file in git, with the values that it has now

    `dvc exp run -S` and `dvc exp apply` stretch its lists, wrap its lines and move its comments.
    """
    paths = Paths()
    form = _answer(git.run(Path(), "show", "--end-of-options", f"{chosen.like}:./{paths.params}"))
    try:
        values = text.read_file(paths.params)
    except (FileNotFoundError, FileError) as error:
        raise InputError(f"nothing was changed: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{paths.params} is no YAML mapping; take it from git: git checkout {paths.params}")
    paths.params.write_text(text.rewritten(form, values))
    changed = _answer(git.run(Path(), "diff", "--shortstat", "--", str(paths.params))).strip()
    print(f"{paths.params}: {changed or 'as in git'}")


def _answer(done: subprocess.CompletedProcess[bytes]) -> str:
    """Run a command and return what it printed. Errors: InputError, with what it complained of."""
    if done.returncode:
        raise InputError(done.stderr.decode().strip() or f"{' '.join(done.args)} ended with {done.returncode}")
    return done.stdout.decode()


COMMANDS: Commands = {
    "experiments": (
        _experiments,
        {
            "--metric": {"default": "score", "help": "score (the row's), or a region such as V1 (default score)"},
            "--last": {"type": int, "default": 5, "help": "so many experiments at most (default 5)"},
            "--all": {"action": "store_true", "help": "of every commit, not only of the one checked out"},
        },
    ),
    "tidy": (_tidy, {"--like": {"metavar": "REVISION", "default": "HEAD", "help": "whose form (default HEAD)"}}),
}

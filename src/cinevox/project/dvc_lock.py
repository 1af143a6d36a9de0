"""A row in dvc.lock: its key, and the parameters and the code that its result was made with.

They may be others than those in the workspace: whoever edits and syncs before running again, or syncs late because
the server was down, would else record a result under settings that never made it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cinevox.files import io
from cinevox.project import identity
from cinevox.project.params import EnsembleRow, JointRow, NetworkRow, Row, load
from cinevox.project.params import text as texts
from cinevox.project.paths import Paths

ENDS = ("scores", "selection")  # stages whose entries make a row's key; both have the row's name after an @
CODE = f"{Paths().source_code('any').parent.as_posix()}/"  # in it the code that stages can load
UNRELATED = {  # sections that no score follows from
    "validation", "storage", "parallel", "report", "submission", "encoding", "gate", "tracking",
}  # fmt: skip
ENTRY = re.compile(
    rf"^  ['\"]?((?:{'|'.join(ENDS)})(?:-roiwise|-joint|-ensembles)?@[^\n]+?)['\"]?:\n((?:    .*\n|\n)+)", re.M
)

Stages = Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """The way in which a row's result came about, from the data on.

    params: dotted name of every leaf of params.yaml that counted -> its value then
    tracked: names of the sections and leaves that counted
    code: file of `Paths.source_code` -> DVC's md5 of it then
    broken: a file or folder of the workspace that was made again after what was made from it; None as a rule
    """

    params: Mapping[str, Any]
    tracked: frozenset[str]
    code: Mapping[str, str]
    broken: str | None


def keys(stages: Stages) -> dict[str, str]:
    """Row -> hash of what made it: parameters and dependencies of its last two stages; of rows that have both."""
    entries: dict[str, list[Any]] = {}
    for end in ENDS:
        for name, entry in stages.items():
            stage, _, row = name.partition("@")
            if stage.partition("-")[0] == end:
                entries.setdefault(row, []).append([entry.get("params"), entry.get("deps")])
    return {row: identity.digest([row, made]) for row, made in entries.items() if len(made) == len(ENDS)}


def ends(text: str) -> Stages:
    """Only the stages that make keys, of the text of a dvc.lock: a fraction of the time that all of it takes."""
    found: Stages = texts.read("".join(f"{json.dumps(name)}:\n{body}" for name, body in ENTRY.findall(text)))
    return found or {}


def made(stages: Stages, row: str, networks: Collection[str] | None = None) -> Made | None:
    """Everything that a row comes from; None where DVC did not run it.

    networks: those that the row stands on. A row of named spaces depends on the folder of all networks, and dvc.lock
        keeps those that the parameters have no more; None takes all of them
    """
    found = [
        name
        for end in ENDS
        for name in (f"{end}{group}@{row}" for group in ("", "-roiwise", "-joint", "-ensembles"))
        if name in stages
    ]
    if not found:
        return None
    outs = {out["path"]: (name, out.get("md5")) for name, entry in stages.items() for out in entry.get("outs", ())}
    params: dict[str, Any] = {}
    code: dict[str, str] = {}
    tracked, broken = set(), None
    for stage in found:  # and those before it, which are added on the way: the nearest speaks first
        for name, value in stages[stage].get("params", {}).get("params.yaml", {}).items():
            tracked.add(name)
            params = dict(flat(name, value)) | params
        for dep in stages[stage].get("deps", ()):
            path, md5 = dep["path"], dep.get("md5")
            if path in outs and outs[path][1] != md5:
                broken = path
            if path.startswith(CODE):
                code.setdefault(path, md5)
                continue
            sources = {source for out, (source, _) in outs.items() if _overlap(out, path)}
            found += sorted({name for name in sources if _took(stages[stage], stage, name, networks)} - set(found))
    return Made(params, frozenset(tracked), code, broken)


def _took(entry: Mapping[str, Any], stage: str, source: str, networks: Collection[str] | None) -> bool:
    """Whether a stage read what another one made, where it depends on the folder of all and reads some.

    These are ensembles, which read their rows, and rows of named spaces, which read their networks.
    """
    kind, _, row = stage.partition("@")
    if kind == "fits-joint" and networks is not None:
        step, _, network = source.partition("@")
        return step not in ("features", "reduction") or network in networks
    if kind != "ensembles":
        return True
    members = entry.get("params", {}).get("params.yaml", {}).get(f"experiments.ensembles.{row}.rows", ())
    return source.partition("@")[2] in (*members, "train")


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def differing(then: Made, now: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name -> value then, of all leaves that differ from `now` (params.yaml); None for what was not there."""
    present = {leaf: value for name in then.tracked for leaf, value in flat(name, _at(now, name))}
    known = dict(then.params)
    return {leaf: known.get(leaf) for leaf in known | present if known.get(leaf) != present.get(leaf)}


def _at(document: Any, name: str) -> Any:
    for word in name.split("."):
        document = document.get(word) if isinstance(document, Mapping) else None
    return document


def flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted name -> value of every leaf; lists are leaves."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(f"{prefix}.{key}", inner)
    else:
        yield prefix, value


def changed(code: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Stages of a row that can load other code now. code: of `Made`; now: `stage_instances.digests`"""
    differ = (path for path, md5 in code.items() if now.get(path) != md5)
    return [path.removeprefix(CODE).removesuffix(".json").replace("/", "@") for path in differ]


def other_parameters(paths: Paths, stages: Stages, rows: Mapping[str, Row]) -> dict[str, tuple[str, ...]]:
    """Row -> parameters that made its result and have another value in params.yaml now; none where DVC did not run it.

    A file or folder of the workspace that was made again, without what follows from it, is named too, and a feature
    space that the result was made with and that means another one now: DVC has spaces in no list of parameters.

    stages: of dvc.lock
    """
    now = texts.read(paths.params.read_text()) if stages else {}
    found: dict[str, tuple[str, ...]] = {}
    for name, row in rows.items():
        networks, spaces = _stands_on(paths, row)
        then = made(stages, name, networks)
        leaves = [] if then is None else [leaf for leaf in differing(then, now) if concerns(leaf, row, networks)]
        broken = [then.broken] if then is not None and then.broken else []
        found[name] = (*leaves, *spaces, *broken)
    return found


def _stands_on(paths: Paths, row: Row) -> tuple[Collection[str], list[str]]:
    """Networks of the row now and of its result, and spaces of the result that have another meaning now."""
    if isinstance(row, EnsembleRow):
        rows = load(paths.params).experiments.rows
        members = [_stands_on(paths, rows[name]) for name in row.rows]
        return {name for own, _ in members for name in own}, [name for _, changed in members for name in changed]
    if not isinstance(row, JointRow):
        return ((row.network,) if isinstance(row, NetworkRow) else ()), []
    index = paths.scores(row.name) / "index.json"
    then: dict[str, Any] = io.read_json(index)["provenance"].get("named", {}) if index.is_file() else {}
    now = {name: io.as_read(space.to_json()) for name, space in load(paths.params).spaces_of(row).items()}
    changed = [f"spaces.{name}" for name in then | now if then and then.get(name) != now.get(name)]
    return {space["network"] for space in (*then.values(), *now.values())}, changed


def concerns(leaf: str, row: Row, networks: Collection[str]) -> bool:
    """Whether a score of the row follows from this leaf of the parameters. networks: those that the row stands on"""
    section, _, rest = leaf.partition(".")
    if isinstance(row, EnsembleRow):
        return _concerns_a_member(section, rest, row, networks)
    own = {"regressors": row.regressor, "heads": row.regressor, "bases": row.base}
    if section == "networks":
        return rest.partition(".")[0] in networks
    if section in own:
        return rest.partition(".")[0] == own[section]
    if section == "experiments":
        return row.name in rest.split(".") and not rest.endswith(".reported")
    return section not in UNRELATED


def _concerns_a_member(section: str, rest: str, row: EnsembleRow, networks: Collection[str]) -> bool:
    """The same of an ensemble; the names of its members say what regressor, head and base they have."""
    if section == "experiments":
        return bool({row.name, *row.rows} & {*rest.split(".")}) and not rest.endswith(".reported")
    if section in ("regressors", "heads", "bases"):
        key = rest.partition(".")[0]
        return any(f"-{key}-" in f"{name}-" for name in row.rows)
    if section == "networks":
        return rest.partition(".")[0] in networks
    return section not in UNRELATED

"""The split of a study: which stimuli train and which test."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cinevox.measured.trials_table.layout import SPLITS, STIMULI
from cinevox.measured.trials_table.stimuli import PARTS, Stimuli
from cinevox.measured.trials_table.tables import N_TOLD, Faults
from cinevox.measured.trials_table.trials import Trials
from cinevox.project.params.sections import TestSplit

WARNINGS = ("copies",)  # rules that may be broken
OF_TRIALS = ("session", "run")  # columns of the trials by which a split can go


@dataclass(frozen=True)
class Split:
    """The stimuli of each part, by id. where: the file or the parameter that says so; faults: what is wrong with it"""

    where: str
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    faults: Faults = field(default_factory=dict)

    def part(self, name: str) -> tuple[str, ...]:
        return self.train if name == "train" else self.test


def split_of(
    stimuli: Stimuli,
    test: TestSplit | None = None,
    together: str | None = None,
    trials: Mapping[str, Trials] | None = None,
) -> Split:
    """The split that the study, or else `test`, asks for; ids in the order of text. Never raises for bad input.

    together: a column whose values a random split holds together, and of which none may be on both sides
    trials: of the subjects that are asked for, for a split by session or run
    """
    if test is None:
        found = _by_column(stimuli)
    elif test.file is not None:
        found = _by_file(stimuli, test.file)
    elif test.column is not None:
        found = _by_values(stimuli, test.column, test.values or [], trials or {})
    else:
        found = _at_random(stimuli, test.fraction or 0, test.seed, together)
    known = set(stimuli.ids)
    sides = dict.fromkeys(found.test, "test") | dict.fromkeys(found.train, "train")
    leaks = [f"{one} and {other}" for one, other in stimuli.same if {sides.get(one), sides.get(other)} == set(PARTS)]
    copies = [
        f"{one} and {other}" for one, other in stimuli.same if sides.get(one) and sides.get(one) == sides.get(other)
    ]
    faults: Faults = {
        "unknown_stimulus": _listed([key for key in (*found.train, *found.test) if key not in known]),
        "both": _listed(sorted(set(found.train) & set(found.test))),
        "same_content": _listed(leaks),
        "copies": _listed(copies),
        "apart": _apart(stimuli, sides, together),
        "no_training": None if found.train else "no stimulus trains",
    }
    train, own = tuple(sorted(set(found.train))), tuple(sorted(set(found.test)))
    return Split(found.where, train, own, {"fault": None} | faults | found.faults)


def _listed(found: Collection[str]) -> str | None:
    names = list(dict.fromkeys(found))
    more = f", and {len(names) - N_TOLD:,} more" if len(names) > N_TOLD else ""
    return f"{', '.join(names[:N_TOLD])}{more}" if names else None


def _by_column(stimuli: Stimuli) -> Split:
    where = f"{STIMULI} (split)"
    if "split" not in stimuli.table.frame:
        return Split(where, stimuli.ids)
    named = stimuli.table.frame["split"]
    train, test = (tuple(stimuli.table.frame["stimulus_id"][named == part]) for part in PARTS)
    return Split(where, train, test)


def _by_file(stimuli: Stimuli, name: str) -> Split:
    where, path = f"{SPLITS}/{name}.json", stimuli.folder / SPLITS / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        there = _listed(sorted(each.stem for each in path.parent.glob("*.json"))) or "none"
        return Split(where, faults={"fault": f"is not there; splits are {there}"})
    except (OSError, ValueError, RecursionError) as error:
        return Split(where, faults={"fault": f"is not JSON ({error})"})
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in PARTS):
        return Split(where, faults={"fault": 'expected {"train": [ids], "test": [ids]}'})
    others = [repr(key) for part in PARTS for key in content[part] if not isinstance(key, str)]
    train, test = (tuple(key for key in content[part] if isinstance(key, str)) for part in PARTS)
    told = {"not_text": _listed(others)} | ({"no_training": None} if others else {})
    return Split(where, train, test, told)


def _by_values(stimuli: Stimuli, column: str, values: Collection[str], trials: Mapping[str, Trials]) -> Split:
    where = f"dataset.test (column {column})"
    in_table = column in stimuli.table.frame
    if not in_table and column not in OF_TRIALS:
        there = ", ".join(stimuli.table.frame.columns)
        fault = f"{STIMULI} has the columns {there}; by {' and '.join(OF_TRIALS)} the trials can be split too"
        return Split(where, faults={"fault": fault, "no_training": None})
    has: dict[str, set[str]] = {key: set() for key in stimuli.ids}
    if in_table:
        has |= {key: {columns.get(column, "")} for key, columns in stimuli.columns.items()}
    for each in () if in_table else trials.values():
        for key, value in zip(each.used["stimulus_id"], each.used[column]):
            has.setdefault(str(key), set()).add(str(value))
    wanted = set(values)
    known = set().union(*has.values())
    faults: Faults = {}
    if missing := sorted(wanted - known):
        told = _listed(sorted(known - {""})) or "nothing"
        faults["fault"] = f"no {'stimulus' if in_table else 'trial'} has {', '.join(missing)}; there is {told}"
    test = tuple(key for key, own in has.items() if own & wanted)
    others = ("train",) if column == "split" else None  # in this column the others have names of their own
    train = tuple(key for key, own in has.items() if own - wanted and (others is None or own & set(others)))
    return Split(where, train, test, faults)


def _at_random(stimuli: Stimuli, fraction: float, seed: int, together: str | None) -> Split:
    """Draw groups of stimuli, those with the same value of `together`, until the fraction is reached."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key in sorted(stimuli.ids):
        value = stimuli.columns[key].get(together or "")
        groups.setdefault(("value", value) if value is not None else ("id", key), []).append(key)
    order = np.random.default_rng(seed).permutation(len(groups))
    keys, wanted = sorted(groups), round(fraction * len(stimuli.ids))
    test: list[str] = []
    for number in order:
        if len(test) >= max(1, wanted):
            break
        test += groups[keys[number]]
    chosen = set(test)
    return Split(
        f"dataset.test (fraction {fraction:g})", tuple(key for key in stimuli.ids if key not in chosen), tuple(test)
    )


def _apart(stimuli: Stimuli, sides: Mapping[str, str], together: str | None) -> str | None:
    """Values of the column `together` that stand on both sides."""
    if together is None:
        return None
    if together not in stimuli.table.frame:
        return f"{STIMULI} has no column {together} (dataset.together)"
    found: dict[str, set[str]] = {}
    for key, side in sides.items():
        if (value := stimuli.columns.get(key, {}).get(together)) is not None:
            found.setdefault(value, set()).add(side)
    return _listed([f"{together} {value}" for value, both in sorted(found.items()) if len(both) > 1])


def named_splits(folder: Path) -> tuple[str, ...]:
    """The splits that the study has files of."""
    return tuple(sorted(path.stem for path in (folder / SPLITS).glob("*.json")))

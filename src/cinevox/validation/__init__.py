"""Validation: every file of the data set is what it should be, before any long work.

`inspection` makes tables of the data set with one row per file, `step_results` of what the steps make of it, and
`judgement` (Great Expectations) judges both by the suites in `expectations/*.json`. To ask for more, add an
expectation there; its `kwargs` may name a limit as {"$PARAMETER": ...}, see `limits_of`: one of
params.validation, or else of what the data set's plug-in expects.
Severity `critical` stops the run, `warning` (odd, but usable) is reported.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cinevox.errors import InputError
from cinevox.measured.datasets import Stimulus, is_trial_data, open_dataset, stimuli_of
from cinevox.project import params as settings
from cinevox.project import plugins
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.stimuli.networks import spec_of
from cinevox.validation import consistency, inspection, step_results, trials_tables
from cinevox.validation.judgement import Check, Example, Summary, judge

__all__ = [
    "RESULTS",
    "SUITES",
    "TABLES",
    "Check",
    "Example",
    "Summary",
    "check_folder",
    "check_plugins",
    "check_results",
    "groups",
    "limits_of",
    "require_none_missing",
]

SUITES = ("clips", "train_responses", "masks", "test_responses")
TABLES = trials_tables.SUITES  # of a trials table, before the others
RESULTS = ("ceilings", "features", "components", "predictions")


def check_plugins(
    dataset: str,
    networks: Mapping[str, settings.Network],
    regressors: Mapping[str, Mapping[str, Any]],
    bases: Mapping[str, settings.Base],
) -> None:
    """Every name in the parameters is a plug-in or a library's model, every regressor takes its options, every base can
    be one.

    Raises
    ------
    InputError
        One or more do not; the message has all of them, with the names there are.
    """
    own = [name for name, network in networks.items() if network.model is None]
    kinds = {key: plugins.regressor_of(key, options) for key, options in regressors.items()}
    named = [name for name, _ in kinds.values()]
    asked: dict[plugins.Kind, Iterable[str]] = {"datasets": [dataset], "networks": own, "regressors": named}
    faults = []
    for kind, wanted in asked.items():
        known = plugins.names(kind)
        unknown = [name for name in wanted if name not in known]
        faults += [f"{kind}: there is no {name!r}; there are {', '.join(known)}" for name in unknown]
    for name, network in networks.items():
        faults += [] if network.model is None else _model_faults(name, network.model, network)
    known = plugins.names("regressors")
    for key, (name, options) in kinds.items():
        if key in known and name != key:
            faults.append(f"regressors.{key}.kind is {name}, and {key} is a regressor of its own; choose another key")
        elif name in known:
            faults += _option_faults(key, name, options)
    for name, base in bases.items():
        if base.network in plugins.names("networks") or (base.network in networks and base.network not in own):
            try:
                spec_of(base.network, networks.get(base.network)).divided(base.n_tuned)
            except InputError as error:
                faults.append(f"bases.{name}: {error}")
    if faults:
        raise InputError("params.yaml: " + "\n  ".join(["plug-ins that cannot be used", *faults]))


def _model_faults(name: str, model: str, network: settings.Network) -> list[str]:
    """Say why a library's model can't be used; torch and the library are imported."""
    library = model.partition("/")[0]
    if library not in (known := plugins.names("libraries")):
        return [f"networks.{name}.model is {model}: there is no library {library!r}; there are {', '.join(known)}"]
    if name in plugins.names("networks"):
        return [f"networks.{name}.model is {model}, and {name} is a network of its own; choose another key"]
    try:
        spec_of(name, network)
    except InputError as error:
        return [f"networks.{name}: {error}"]
    return []


def _option_faults(key: str, name: str, options: Mapping[str, Any]) -> list[str]:
    make = plugins.load("regressors", name).make
    takes = inspect.signature(make).parameters
    unknown = [option for option in options if option not in takes]
    missing = [option for option, what in takes.items() if what.default is what.empty and option not in options]
    told = [f"{verb} {', '.join(which)}" for verb, which in (("does not know", unknown), ("needs", missing)) if which]
    if told:
        return [f"regressors.{key}: {' and '.join(told)}; its options are {', '.join(takes) or 'none'}"]
    try:
        make(**options)
    except (TypeError, ValueError) as error:
        return [f"regressors.{key}: {error}"]
    return []


def check_folder(wanted: settings.Dataset, limits: settings.Validation, docs: Path | None = None) -> Summary:
    """Check the files that `wanted` asks for; with `docs`, write Great Expectations' pages there.

    Raises
    ------
    InputError
        The folder cannot be opened at all. What is wrong inside it is in the summary; see `Summary.require`.
    """
    dataset, expected = open_dataset(wanted), plugins.load("datasets", wanted.name).expected
    asked = limits.model_dump()
    limits = limits.model_copy(
        update={name: asked[name] or value for name, value in vars(expected).items() if name in asked}
    )
    first = trials_tables.tables(wanted) if wanted.name == trials_tables.NAME else {}
    found = judge(first, {}, docs) if first else ()
    if any(not check.success and check.level == "error" for check in found):
        return Summary(wanted.folder.as_posix(), found)  # nothing can be read by tables that are wrong
    tables = first | inspection.tables(dataset, wanted)
    shape = dataset.grid.shape if "masks" in tables and dataset.grid else (0, 0, 0)
    checks = judge(
        {name: tables[name] for name in (*TABLES, *SUITES) if name in tables},
        limits_of(limits, shape, expected.numbered),
        docs,
    )
    rows, stimuli = tables["train_responses"], stimuli_of(dataset)
    n_train = dataset.n_train if is_trial_data(dataset) else consistency.n_training_clips(rows)
    return Summary(
        wanted.folder.as_posix(),
        checks,
        inspection.scale(rows),
        len(stimuli),
        n_train,
        min((row["n_repetitions"] for row in rows if "n_repetitions" in row), default=0),
        inspection.lengths(tables.get("clips", [])),
        together=groups(wanted, stimuli, n_train),
        missing=tuple(stimulus.id for stimulus in stimuli if stimulus.file is None),
    )


def require_none_missing(missing: Sequence[str], networks: Mapping[str, settings.Network]) -> None:
    """Require that no network needs a stimulus that is not on this disk. missing: ids of those

    Raises
    ------
    InputError
        Networks do.
    """
    if need := [name for name, network in networks.items() if network.model != "array"]:
        raise InputError(
            f"{len(missing)} stimuli are not on this disk ({', '.join(missing[:4])}), and these networks need them: "
            f"{', '.join(need)}; fetch their files, or bring features as arrays (networks.<name>.model: array, "
            "docs/spaces.md) and take these networks out of params.yaml"
        )


def groups(wanted: settings.Dataset, stimuli: Sequence[Stimulus], n_train: int | None) -> tuple[int, ...]:
    """Number the group of each training stimulus by `dataset.together`; none without it.

    Raises
    ------
    InputError
        Stimuli have no such column, or a group has training and test stimuli.
    """
    column = wanted.together
    if column is None or n_train is None:
        return ()
    if without := [stimulus.id for stimulus in stimuli if not stimulus.columns.get(column)]:
        known = ", ".join(dict.fromkeys(name for stimulus in stimuli for name in stimulus.columns)) or "none"
        raise InputError(
            f"params.yaml: dataset.together is {column}, and {len(without)} of {len(stimuli)} stimuli have no value of "
            f"it ({', '.join(without[:4])}); columns of the stimuli are {known}; name one of these, or null"
        )
    values = [stimulus.columns[column] for stimulus in stimuli]
    if both := sorted(set(values[:n_train]) & set(values[n_train:])):
        raise InputError(
            f"params.yaml: dataset.together is {column}, and training and test stimuli share {len(both)} of its "
            f"values: {', '.join(both[:4])}; divide the stimuli by it (dataset.test), or choose another column"
        )
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return tuple(numbers[value] for value in values[:n_train])


def check_results(paths: Paths, params: Params, docs: Path | None = None) -> Summary:
    """Check what the steps made: ceilings, features, components, predictions.

    Of features and predictions at most `results.READ_VALUES` of an array are read.

    params: has the sections dataset, splits, reduction, spaces, ceiling, networks, bases, experiments
    """
    tables = step_results.tables(paths, params)
    reliable = params.ceiling.min_reliability
    checks = judge({name: tables[name] for name in RESULTS if tables[name]}, {"min_reliability": reliable}, docs)
    return Summary(paths.data.as_posix(), checks)


def limits_of(limits: settings.Validation, volume: tuple[int, int, int], numbered: bool = True) -> dict[str, Any]:
    """The names that suites may use as {"$PARAMETER": name} and, in braces, in their descriptions.

    An expectation with a parameter that is None is left out: one that nothing is known for, or, of those that hold
    the files to each other, one that a limit is known for.
    """
    grid = " x ".join(map(str, volume))
    nothing = (None, None)
    (width, height), (min_seconds, max_seconds), (min_fps, max_fps) = (
        value or nothing for value in (limits.clip_size, limits.clip_seconds, limits.fps)
    )
    return {
        "name": "^[0-9]{4,}[_.]" if numbered else None,
        "steps": [1] if numbered else None,
        "name_as_most": None if numbered else "name_form_commonest",
        "width": width,
        "height": height,
        "size_as_most": "size_commonest" if limits.clip_size is None else None,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
        "min_fps": min_fps,
        "max_fps": max_fps,
        "n_repetitions": limits.n_repetitions,
        "repetitions_as_most": "n_repetitions_commonest" if limits.n_repetitions is None else None,
        "min_split_half": limits.min_split_half,
        "volume": grid,
        "volumes": [grid],
    }

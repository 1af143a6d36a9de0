"""Validation: every file of the data set is what it should be, before any long work.

`inspection` makes tables with one row per file, Great Expectations judges them by the suites in
`expectations/*.json`. To ask for more, add an expectation there; its `kwargs` may name a limit of
params.validation as {"$PARAMETER": ...}, see `limits_of`. Severity `critical` stops the run, `warning` is reported.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from cinevox import params as settings
from cinevox import plugins
from cinevox.datasets import open_dataset
from cinevox.errors import InputError
from cinevox.validation import inspection

SUITES = ("clips", "train_responses", "masks", "test_responses")
N_EXAMPLES, N_TOLD = 10, 5  # files named in the summary, and in a message
COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


@dataclass(frozen=True)
class Example:
    """A file that breaks an expectation, and the values it does so with."""

    file: str
    found: Mapping[str, Any]

    def __str__(self) -> str:
        values = ", ".join(str(value) if key == "fault" else f"{key} {value}" for key, value in self.found.items())
        return f"{self.file} ({values})"


@dataclass(frozen=True)
class Check:
    """One expectation and what came of it. level: error or warning."""

    suite: str
    expected: str
    level: str
    success: bool
    n_files: int
    n_unexpected: int
    examples: tuple[Example, ...]
    cure: str

    def __str__(self) -> str:
        more = self.n_unexpected - N_TOLD
        files = ", ".join(map(str, self.examples[:N_TOLD])) + (f" and {more} more" if more > 0 else "")
        return f"expected: {self.expected}; {self.n_unexpected} of {self.n_files} files differ: {files}. {self.cure}"


@dataclass(frozen=True)
class Summary:
    """Every check of one folder."""

    folder: str
    checks: tuple[Check, ...]

    @property
    def errors(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.success and check.level == "error")

    @property
    def warnings(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.success and check.level == "warning")

    def require(self) -> None:
        """Stop here if anything is unusable.

        Raises
        ------
        InputError
            At least one error; the message has all of them, with files, what was found, and the cures.
        """
        if self.errors:
            lines = [f"  {check.suite}: {check}" for check in self.errors]
            raise InputError(f"{self.folder}: {len(lines)} of {len(self.checks)} checks failed\n" + "\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "n_files": {check.suite: check.n_files for check in self.checks},
            "n_errors": len(self.errors),
            "n_warnings": len(self.warnings),
            "checks": [asdict(check) for check in self.checks],
        }


def check_plugins(
    dataset: str,
    networks: Iterable[str],
    regressors: Mapping[str, Mapping[str, Any]],
    bases: Mapping[str, settings.Base],
) -> None:
    """Every name in the parameters is a plug-in, every regressor takes its options, every base can be one.

    Raises
    ------
    InputError
        One or more do not; the message has all of them, with the names there are.
    """
    asked = {"datasets": [dataset], "networks": networks, "regressors": regressors}
    faults = []
    for kind, wanted in asked.items():
        known = plugins.names(f"cinevox.{kind}")
        unknown = [name for name in wanted if name not in known]
        faults += [f"{kind}: there is no {name!r}; there are {', '.join(known)}" for name in unknown]
    known = plugins.names("cinevox.regressors")
    for name, options in regressors.items():
        if name in known:
            faults += _option_faults(name, options)
    for name, base in bases.items():
        if base.network in plugins.names("cinevox.networks"):
            try:
                plugins.load("cinevox.networks", base.network).divided(base.n_tuned)
            except InputError as error:
                faults.append(f"bases.{name}: {error}")
    if faults:
        raise InputError("params.yaml: " + "\n  ".join(["plug-ins that cannot be used", *faults]))


def _option_faults(name: str, options: Mapping[str, Any]) -> list[str]:
    make = plugins.load("cinevox.regressors", name).make
    takes = inspect.signature(make).parameters
    unknown = [option for option in options if option not in takes]
    missing = [option for option, what in takes.items() if what.default is what.empty and option not in options]
    told = [f"{verb} {', '.join(which)}" for verb, which in (("does not know", unknown), ("needs", missing)) if which]
    if told:
        return [f"regressors.{name}: {' and '.join(told)}; its options are {', '.join(takes) or 'none'}"]
    try:
        make(**options)
    except (TypeError, ValueError) as error:
        return [f"regressors.{name}: {error}"]
    return []


def check_folder(wanted: settings.Dataset, limits: settings.Validation, docs: Path | None = None) -> Summary:
    """Check the files that `wanted` asks for; with `docs`, write Great Expectations' pages there.

    Raises
    ------
    InputError
        The folder cannot be opened at all. What is wrong inside it is in the summary; see `Summary.require`.
    """
    dataset = open_dataset(wanted)
    tables = inspection.tables(dataset, wanted)
    shape = dataset.grid.shape if "masks" in tables and dataset.grid else (0, 0, 0)
    suites = [_suite(name, limits_of(limits, shape)) for name in SUITES if name in tables]
    judge = _Judge(docs)
    checks = [check for suite in suites for check in judge.checks(suite, pd.DataFrame(tables[suite["name"]]))]
    judge.publish()
    return Summary(wanted.folder.as_posix(), tuple(checks))


def limits_of(limits: settings.Validation, volume: tuple[int, int, int]) -> dict[str, Any]:
    """The names that suites may use as {"$PARAMETER": name} and, in braces, in their descriptions."""
    grid = " x ".join(map(str, volume))
    return {
        "width": limits.clip_size[0],
        "height": limits.clip_size[1],
        "min_seconds": limits.clip_seconds[0],
        "max_seconds": limits.clip_seconds[1],
        "min_fps": limits.fps[0],
        "max_fps": limits.fps[1],
        "n_repetitions": limits.n_repetitions,
        "min_split_half": limits.min_split_half,
        "volume": grid,
        "volumes": [grid],
    }


def _suite(name: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """A suite with the limits in their places."""
    suite = json.loads((resources.files("cinevox.validation") / "expectations" / f"{name}.json").read_text())
    for expectation in suite["expectations"]:
        expectation["description"] = expectation["description"].format_map(limits)
        expectation["kwargs"] = {
            key: limits[value["$PARAMETER"]] if isinstance(value, dict) else value
            for key, value in expectation["kwargs"].items()
        }
    return suite


class _Judge:
    """Great Expectations in memory: nothing is stored but the pages asked for, and nothing is sent."""

    def __init__(self, docs: Path | None) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports deprecated modules
            import great_expectations as gx  # three seconds, and workers that inspect files need none of it
            from great_expectations.data_context.types import base
        in_memory = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = base.DataContextConfig(
            store_backend_defaults=in_memory,
            progress_bars=base.ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        )
        self.gx, self.docs = gx, docs
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.source = self.context.data_sources.add_pandas("files")

    def checks(self, suite: dict[str, Any], table: pd.DataFrame) -> list[Check]:
        """Judge one table by one suite."""
        name = suite["name"]
        mentioned = [_columns(expectation) for expectation in suite["expectations"]]
        table = table.reindex(columns=list(dict.fromkeys([*table, *(c for each in mentioned for c in each)])))
        batch = self.source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        validation = self.context.validation_definitions.add(
            self.gx.ValidationDefinition(
                name=name, data=batch, suite=self.context.suites.add(self.gx.ExpectationSuite(**suite))
            )
        )
        judged = validation.run(
            batch_parameters={"dataframe": table},
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["file"]},
        )
        rows = table.set_index("file")
        return [_check(name, each, rows) for each in judged.results]

    def publish(self) -> None:
        """Write the pages: an index, the suites, and what came of them."""
        if self.docs is None:
            return
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(self.docs.absolute())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site: Any = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": backend}
        self.context.add_data_docs_site("pages", site)
        self.context.build_data_docs()


def _columns(expectation: Mapping[str, Any]) -> list[str]:
    return [expectation["kwargs"][key] for key in COLUMN_ARGUMENTS if key in expectation["kwargs"]]


def _check(suite: str, judged: Any, rows: pd.DataFrame) -> Check:
    config = judged.expectation_config
    if "unexpected_count" not in judged.result:
        raise RuntimeError(f"{suite}: {config.type} {config.kwargs} could not be judged: {judged.exception_info}")
    files = [entry["file"] for entry in judged.result["unexpected_index_list"] or ()]
    columns = _columns({"kwargs": config.kwargs})
    return Check(
        suite=suite,
        expected=config.description,
        level="warning" if config.severity == "warning" else "error",
        success=bool(judged.success),
        n_files=len(rows),
        n_unexpected=len(files),
        examples=tuple(
            Example(file, {column: _tidy(rows.at[file, column]) for column in columns}) for file in files[:N_EXAMPLES]
        ),
        cure=config.meta["cure"],
    )


def _tidy(value: Any) -> Any:
    """A cell as one would write it: pandas makes floats of integers beside missing values."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""The judge: Great Expectations on tables with one row per file, by the suites in `expectations/*.json`.

The only importer of great_expectations.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from cinevox.errors import InputError

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
    """Every check of one folder.

    scale: of a data set, the standard deviation of each file's training responses, by `<track>/<subject>/<roi>`
    n_clips, n_train_clips: of a data set; how many clips there are, and how many of them its training responses are to,
        None where these do not agree, which is an error
    n_repetitions: of a data set, how often every training clip was shown at least
    seconds: of a data set, the length of each clip; 0 of a still image
    together: the number of each training stimulus's group, which no split divides; empty where there are none
    missing: stimuli without a file on this disk
    """

    folder: str
    checks: tuple[Check, ...]
    scale: Mapping[str, float] = field(default_factory=dict)
    n_clips: int = 0
    n_train_clips: int | None = None
    n_repetitions: int = 0
    seconds: tuple[float, ...] = ()
    together: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()

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

    def to_metrics(self) -> dict[str, int]:
        """Three numbers for `dvc metrics`."""
        files = {check.suite: check.n_files for check in self.checks}
        return {"files": sum(files.values()), "errors": len(self.errors), "warnings": len(self.warnings)}

    def to_text(self) -> str:
        """Everything that was found, errors first, a paragraph each."""
        n_errors, n_warnings = _counted(self.errors, "error"), _counted(self.warnings, "warning")
        found = ((n_errors, self.errors), (f"{n_warnings} (odd, but usable)", self.warnings))
        parts = [
            "\n".join([what, *(f"  {check.suite}: {check}" for check in checks)]) for what, checks in found if checks
        ]
        files = ", ".join(f"{n} {suite.replace('_', ' ')}" for suite, n in self.to_json()["n_files"].items())
        return "\n\n".join([*parts, f"{self.folder}: {len(self.checks)} checks of {files}: {n_errors}, {n_warnings}"])


def _counted(checks: Sequence[Check], what: str) -> str:
    return f"{len(checks)} {what}" + "s" * (len(checks) != 1)


def judge(
    tables: Mapping[str, list[dict[str, Any]]], limits: Mapping[str, Any], docs: Path | None
) -> tuple[Check, ...]:
    """Judge tables by the suites of their names; with `docs`, write Great Expectations' pages there.

    tables: suite -> one row per file, each with `file` and the columns that the suite's expectations name
    limits: what suites may name as {"$PARAMETER": name}
    """
    bench = _Judge(docs)
    suites = [_suite(name, limits) for name in tables]
    checks = [check for suite in suites for check in bench.checks(suite, pd.DataFrame(tables[suite["name"]]))]
    bench.publish()
    return tuple(checks)


def _suite(name: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """A suite with the limits in their places, without the expectations whose limit is None."""
    suite = json.loads((resources.files("cinevox.validation") / "expectations" / f"{name}.json").read_text())
    suite["expectations"] = [each for each in suite["expectations"] if not _unlimited(each["kwargs"], limits)]
    for expectation in suite["expectations"]:
        expectation["description"] = expectation["description"].format_map(limits)
        expectation["kwargs"] = {
            key: limits[value["$PARAMETER"]] if isinstance(value, dict) else value
            for key, value in expectation["kwargs"].items()
        }
    return suite


def _unlimited(kwargs: Mapping[str, Any], limits: Mapping[str, Any]) -> bool:
    return any(isinstance(value, dict) and limits[value["$PARAMETER"]] is None for value in kwargs.values())


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
    columns = [*_columns({"kwargs": config.kwargs}), *config.meta.get("told", ())]
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

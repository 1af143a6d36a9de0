"""Checks: ceilings, features, components, predictions are what they should be, before anyone reads the scores."""

from _cli import Run, stage
from cinevox.files import io
from cinevox.validation import check_results


def main(run: Run) -> None:
    target = io.folder(run.paths.checks)
    found = check_results(run.paths, run.params, docs=target / "data_docs")
    io.write_json(target / "summary.json", found.to_json())
    io.write_json(run.paths.metrics("checks"), found.to_metrics())
    for check in found.warnings:
        run.log.warning("warning: %s: %s", check.suite, check)
    found.require()


if __name__ == "__main__":
    stage(main, "dataset", "splits", "reduction", "spaces", "ceiling", "networks", "bases", "experiments")

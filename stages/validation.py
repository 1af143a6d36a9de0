"""Validation: every file of the data set is what it should be, before any long work."""

from typing import Any

from _cli import Run, stage
from cinevox.files import io
from cinevox.measured import imported_ceilings
from cinevox.measured.datasets import open_dataset
from cinevox.project import remote_guard
from cinevox.validation import check_folder, check_plugins, require_none_missing


def main(run: Run) -> None:
    params, target = run.params, io.folder(run.paths.validation)
    check_plugins(params.dataset.name, params.networks, params.regressors, params.bases)
    remote_guard.require(run.paths, params)
    found = check_folder(params.dataset, params.validation, docs=target / "data_docs")
    io.write_json(target / "summary.json", found.to_json())
    io.write_json(target / "scale.json", found.scale)
    io.write_json(run.paths.metrics("validation"), found.to_metrics())
    for check in found.warnings:
        run.log.warning("warning: %s: %s", check.suite, check)
    found.require()
    if params.ceiling.imported:
        imported_ceilings.require(open_dataset(params.dataset), params.dataset, params.ceiling)
    if params.bases:
        params.transfer.check_repetitions(found.n_repetitions)
    if found.missing:
        require_none_missing(found.missing, params.networks)
    train = found.seconds[: found.n_train_clips] or (0.0,)
    clips: dict[str, Any] = {"n_clips": found.n_clips, "n_train_clips": found.n_train_clips}
    clips |= {"seconds": [min(train), max(train)]} | ({"together": found.together} if found.together else {})
    io.write_json(target / "clips.json", clips)


if __name__ == "__main__":
    stage(main, "dataset", "validation", "ceiling", "networks", "regressors", "bases", "transfer", "storage")

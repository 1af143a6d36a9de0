"""Fits: one row's regressor on each of its candidates; writes predictions for the clips left out."""

import _spaces
from _inputs import Run, stage
from cinevox.fitting import prediction_store
from cinevox.fitting.fits import Method, fit
from cinevox.statistics.splits import Indices, partitions, split


def main(run: Run) -> None:
    row, settings = run.params.experiments.rows[run.instance], run.params.dataset
    spaces = _spaces.of_row(run, row)
    measured, columns = run.responses("train").means(row.track, settings.blocks(row.track))
    parts = split(*run.n_clips(), run.params.splits)
    target = run.paths.predictions(row.name)
    clips: dict[str, Indices] = {}
    diagnostics: dict[str, dict] = {}
    for part in partitions(parts, run.params.splits):
        method = Method.of(row.regressor, run.params)
        fitted = fit(spaces.candidates, spaces.fitted(part), measured, columns, part, method)
        for result in run.progress(fitted, len(spaces.candidates), f"{row.name} {part.folder}".strip()):
            for name, predicted in result.predicted.items():
                prediction_store.write(target, result.candidate.name, name, predicted)
            diagnostics.setdefault(result.candidate.name, result.diagnostics)
        clips |= part.predicted
    for flag in ("not_converged", "empty", "constant", "alpha_lowest", "alpha_highest"):
        if count := sum(found.get(flag, 0) for found in diagnostics.values()):
            of = len(diagnostics) * columns.n_voxels
            run.log.warning("%s: %s: %d of %d fits (voxel x feature space)", run.log.name, flag, count, of)
    provenance = row.model_dump(exclude={"reported"}) | {
        "n_components": spaces.n_components(),
        "weights": spaces.weights(),
    }
    if spaces.named:
        provenance["named"] = {name: space.to_json() for name, space in spaces.named.items()}
    prediction_store.write_index(
        target, prediction_store.Index(tuple(diagnostics), clips, columns, provenance, diagnostics)
    )
    sources = [folder(name) for name in spaces.networks for folder in (run.paths.features, run.paths.reduction)]
    run.made(target, *sources, run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "regressors", "fits", "experiments",
          instances=lambda params: {**params.experiments.voxelwise, **params.experiments.joint})  # fmt: skip

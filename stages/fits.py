"""Fits: one row's regressor on each of its candidates; writes predictions for the clips left out."""

import _spaces
from _inputs import Run, stage
from cinevox.fitting import prediction_store
from cinevox.fitting.fits import fit
from cinevox.fitting.method import Method
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
            if result.candidate.name in diagnostics:
                continue  # what is told of a candidate is of the first partition, the training clips
            diagnostics[result.candidate.name] = dict(result.diagnostics)
            if result.weights is not None:
                names = result.candidate.spaces
                prediction_store.write_weights(target, result.weights, names)
                diagnostics[result.candidate.name] |= prediction_store.mean_weights(result.weights, names, columns)
        clips |= part.predicted
    provenance = row.model_dump(exclude={"reported"}) | {
        "n_components": spaces.n_components(),
        "weights": spaces.weights(),
    }
    if spaces.named:
        provenance["named"] = {name: space.to_json() for name, space in spaces.named.items()}
    index = prediction_store.Index(tuple(diagnostics), clips, columns, provenance, diagnostics)
    n_fits = sum(map(index.n_voxels_of, index.spaces))
    for flag in ("not_converged", "empty", "constant", "alpha_lowest", "alpha_highest"):
        if count := sum(found.get(flag, 0) for found in diagnostics.values()):
            run.log.warning("%s: %s: %d of %d fits (voxel x feature space)", run.log.name, flag, count, n_fits)
    prediction_store.write_index(target, index)
    sources = [folder(name) for name in spaces.networks for folder in (run.paths.features, run.paths.reduction)]
    run.made(target, *sources, run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "regressors", "fits", "experiments",
          instances=lambda params: {**params.experiments.voxelwise, **params.experiments.joint})  # fmt: skip

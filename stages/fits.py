"""Fits: one row's regressor on each of its feature spaces; writes predictions for the clips left out."""

from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import feature_spaces, prediction_store
from cinevox.fitting.fits import Method, fit
from cinevox.statistics.splits import Indices, partitions, split


def main(run: Run) -> None:
    row, settings = run.params.experiments.rows[run.instance], run.params.dataset
    reduced = io.read_json(run.paths.reduction(row.network) / "reduction.json")
    candidates = feature_spaces.candidates(row.features, list(reduced["layers"]))
    measured, columns = run.responses("train").means(row.track, settings.blocks(row.track))
    parts = split(*run.n_clips(), run.params.splits)
    target = run.paths.predictions(row.name)
    clips: dict[str, Indices] = {}
    diagnostics: dict[str, dict] = {}
    for part in partitions(parts, run.params.splits):
        raw = candidates[0].raw
        folder = run.paths.features(row.network) if raw else run.paths.reduction(row.network) / part.folder
        layers = {layer: io.read_array(folder / f"{layer}.npy") for layer in reduced["layers"]}
        fitted = fit(candidates, layers, measured, columns, part, Method.of(row.regressor, run.params))
        for result in run.progress(fitted, len(candidates), f"{row.name} {part.folder}".strip()):
            for name, predicted in result.predicted.items():
                prediction_store.write(target, result.space.name, name, predicted)
            diagnostics.setdefault(result.space.name, result.diagnostics)
        clips |= part.predicted
    for flag in ("not_converged", "empty", "constant", "alpha_lowest", "alpha_highest"):
        if count := sum(found.get(flag, 0) for found in diagnostics.values()):
            of = len(diagnostics) * columns.n_voxels
            run.log.warning("%s: %s: %d of %d fits (voxel x feature space)", run.log.name, flag, count, of)
    provenance = row.model_dump(exclude={"reported"}) | {
        "n_components": {layer: entry["n_components"] for layer, entry in reduced["layers"].items()},
        "weights": reduced["features"]["weights"],
    }
    prediction_store.write_index(
        target, prediction_store.Index(tuple(diagnostics), clips, columns, provenance, diagnostics)
    )
    run.made(target, run.paths.features(row.network), run.paths.reduction(row.network), run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "regressors", "fits", "experiments",
          instances=lambda params: params.experiments.voxelwise)  # fmt: skip

"""Transfer: one row's networks, one per subject and ROI; writes predictions for validation and test clips."""

from dataclasses import replace

import numpy as np

from _cli import Run, stage
from cinevox import io, metrics, predictions, transfer
from cinevox.datasets import open_dataset
from cinevox.responses import side_by_side
from cinevox.splits import split


def main(run: Run) -> None:
    row, settings = run.params.experiments.roiwise[run.instance], run.params.transfer
    base, dataset = run.params.bases[row.base], open_dataset(run.params.dataset)
    folder, target = run.paths.base(row.base), run.paths.transfer(row.name)
    sidecar = io.read_json(folder / "base.json")
    activations = io.read_array(folder / f"{sidecar['layer']}.npy", (len(dataset.clips), base.n_frames, None))
    blocks = [(subject, roi) for subject in run.params.dataset.subjects
              for roi in run.params.dataset.track_rois(row.track)]  # fmt: skip
    measured, columns = side_by_side(dataset.responses("train", row.track, *block) for block in blocks)
    parts = split(len(measured), len(dataset.clips) - len(measured), run.params.splits)
    head, reliability = run.params.heads[row.regressor], None
    if settings.voxel_weights == "reliability":
        trials = (dataset.responses("train", row.track, *block).values[parts.train] for block in blocks)
        reliability = np.concatenate([metrics.split_half_reliability(values) for values in trials])
    problem = transfer.prepare(
        row.name, base, run.params.networks[base.network], sidecar, activations, parts, head, settings
    )
    trained, best = [], -np.inf
    with run.ticks(transfer.n_ticks(columns, settings), row.name) as tick:
        for found in transfer.train(problem, measured, reliability, columns, run.paths.unfinished / "transfer", tick):
            best = transfer.keep_weights(target / "checkpoints", base, problem, found, best)
            trained.append(replace(found, state={}))
    clips = {name: parts[name] for name in ("validation", "test") if len(parts[name])}
    for name in clips:
        predictions.write(target, row.features, name, np.hstack([found.predicted[name] for found in trained]))
    transfer.curves(trained).to_csv(target / "curves.csv", index=False)
    provenance = row.model_dump(exclude={"reported"}) | {
        "weights": sidecar["features"]["weights"],
        "chosen_on": "validation",  # the best epoch is
    }
    diagnostics = {row.features: transfer.diagnostics(trained)}
    predictions.write_index(target, predictions.Index((row.features,), clips, columns, provenance, diagnostics))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "networks", "bases", "heads", "transfer", "experiments",
          instances=lambda params: params.experiments.roiwise)  # fmt: skip

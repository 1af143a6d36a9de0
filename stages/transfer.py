"""Transfer: one row's networks, one per subject and ROI; writes predictions for validation and test clips."""

from dataclasses import replace

import numpy as np

from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store, transfer
from cinevox.statistics import metrics
from cinevox.statistics.splits import split


def main(run: Run) -> None:
    row, settings = run.params.experiments.roiwise[run.instance], run.params.transfer
    base, responses = run.params.bases[row.base], run.responses("train")
    folder, target = run.paths.base(row.base), run.paths.predictions(row.name)
    sidecar = io.read_json(folder / "base.json")
    activations = io.read_array(folder / f"{sidecar['layer']}.npy", (sum(run.n_clips()), base.n_frames, None))
    blocks = run.params.dataset.blocks(row.track)
    measured, columns = responses.means(row.track, blocks)
    parts = split(*run.n_clips(), run.params.splits)
    head, reliability = run.params.heads[row.regressor], None
    settings.check_repetitions(min(responses.trials(row.track, *block).values.shape[1] for block in blocks))
    if settings.voxel_weights == "reliability":
        trials = (responses.trials(row.track, *block).values[parts.train] for block in blocks)
        reliability = np.concatenate([metrics.split_half_reliability(values) for values in trials])
    problem = transfer.prepare(
        row.name, base, run.params.networks[base.network], sidecar, activations, parts, head, settings
    )
    trained, best = [], -np.inf
    with run.ticks(transfer.n_ticks(columns, settings), row.name) as tick:
        for found in transfer.train(problem, measured, reliability, columns, run.paths.unfinished / "transfer", tick):
            best = transfer.keep_weights(run.paths.checkpoints(row.name), base, problem, found, best)
            trained.append(replace(found, state={}))
    clips = {name: parts[name] for name in ("validation", "test") if len(parts[name])}
    for name in clips:
        prediction_store.write(target, row.features, name, np.hstack([found.predicted[name] for found in trained]))
    transfer.curves(trained).to_csv(target / "curves.csv", index=False)
    provenance = row.model_dump(exclude={"reported"}) | {
        "weights": {base.network: sidecar["features"]["weights"]},
        "chosen_on": "validation",  # the best epoch is
    }
    diagnostics = {row.features: transfer.diagnostics(trained)}
    prediction_store.write_index(
        target, prediction_store.Index((row.features,), clips, columns, provenance, diagnostics)
    )
    io.write_json(target / "base.json", sidecar)
    run.made(target, folder, run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "networks", "bases", "heads", "transfer", "experiments",
          instances=lambda params: params.experiments.roiwise)  # fmt: skip

"""Transfer: one row's networks, one per subject and ROI; writes predictions for validation and test clips."""

from dataclasses import replace

import numpy as np

import _cohorts
import _splits
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store, transfer
from cinevox.measured.responses import Block, Columns


def main(run: Run) -> None:
    row, settings = run.params.experiments.roiwise[run.instance], run.params.transfer
    base, responses = run.params.bases[row.base], run.responses("train")
    folder, target = run.paths.base(row.base), run.paths.predictions(row.name)
    sidecar = io.read_json(folder / "base.json")
    activations = io.read_array(folder / f"{sidecar['layer']}.npy", (sum(run.n_clips()), base.n_frames, None))
    head, cohorts, parts = run.params.heads[row.regressor], run.cohorts(row.track), _splits.split(run)
    _cohorts.require_enough(run, cohorts)
    blocks = [block for cohort in cohorts for block in cohort.blocks]
    settings.check_repetitions(min(responses.trials(row.track, *block).values.shape[1] for block in blocks))
    columns, trained, clips, best = list[Block](), [], [], -np.inf
    for cohort in cohorts:
        measured, own = responses.means(row.track, cohort.blocks)
        seen, shown = cohort.split(parts), activations if cohort.rows is None else activations[cohort.rows]
        trials = (responses.trials(row.track, *block).values[seen.train] for block in cohort.blocks)
        reliability = transfer.reliability(trials, settings)
        network, names = run.params.networks[base.network], [n for n in ("validation", "test") if len(seen[n])]
        problem = transfer.prepare(row.name, base, network, sidecar, shown, seen, head, settings)
        with run.ticks(transfer.n_ticks(own, settings), " ".join([row.name, cohort.name]).strip()) as tick:
            new = []
            for found in transfer.train(problem, measured, reliability, own, run.paths.unfinished / "transfer", tick):
                best = transfer.keep_weights(run.paths.checkpoints(row.name), base, problem, found, best)
                new.append(replace(found, state={}))
        for name in names:
            predicted = np.hstack([found.predicted[name] for found in new])
            prediction_store.write(target, row.features, name, predicted, cohort.name)
        trained += new
        columns += own.blocks
        clips.append({name: cohort.everywhere(seen[name]) for name in names})
    transfer.curves(trained).to_csv(target / "curves.csv", index=False)
    provenance = row.model_dump(exclude={"reported"}) | {
        "weights": {base.network: sidecar["features"]["weights"]},
        "chosen_on": "validation",  # the best epoch is
    }
    diagnostics = {row.features: transfer.diagnostics(trained)}
    index = prediction_store.of_cohorts(
        (row.features,), cohorts, clips, Columns(tuple(columns)), provenance, diagnostics
    )
    prediction_store.write_index(target, index)
    io.write_json(target / "base.json", sidecar)
    run.made(target, folder, run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "networks", "bases", "heads", "transfer", "experiments",
          instances=lambda params: params.experiments.roiwise)  # fmt: skip

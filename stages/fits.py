"""Fits: one row's regressor on each of its candidates; writes predictions for the clips left out."""

from dataclasses import replace

import numpy as np

import _spaces
import _splits
from _inputs import Run, stage
from cinevox.fitting import prediction_store
from cinevox.fitting.fits import Fit, fit, summary
from cinevox.fitting.method import Method
from cinevox.measured.responses import Block, Columns
from cinevox.statistics.splits import Indices


def main(run: Run) -> None:
    row, target = run.params.experiments.rows[run.instance], run.paths.predictions(run.instance)
    spaces, method = _spaces.of_row(run, row), Method.of(row.regressor, run.params)
    responses, cohorts, wanted = run.responses("train"), run.cohorts(row.track), _splits.partitions(run)
    local = [[cohort.partition(part, method.n_folds) for part in wanted] for cohort in cohorts]  # before any fit
    blocks: list[Block] = []
    clips: list[dict[str, Indices]] = []
    found: dict[str, list[Fit]] = {}
    for cohort, own in zip(cohorts, local):
        measured, columns = responses.means(row.track, cohort.blocks)
        shown = _spaces.shown(run, cohort)
        predicts: dict[str, Indices] = {}
        for part, seen in zip(wanted, own):
            fitted = fit(spaces.candidates, spaces.fitted(part), measured, columns, seen, method, shown=shown)
            label = " ".join(word for word in (row.name, part.folder, cohort.name) if word)
            for result in run.progress(fitted, len(spaces.candidates), label):
                for name, predicted in result.predicted.items():
                    prediction_store.write(target, result.candidate.name, name, predicted, cohort.name)
                if part is wanted[0]:  # what is told of a candidate is of the training clips
                    found.setdefault(result.candidate.name, []).append(replace(result, predicted={}))
            predicts |= {name: cohort.everywhere(rows) for name, rows in seen.predicted.items()}
        blocks += columns.blocks
        clips.append(predicts)
    columns, diagnostics = Columns(tuple(blocks)), {}
    for name, results in found.items():
        diagnostics[name] = summary([result.diagnostics for result in results])
        if weights := [result.weights for result in results if result.weights is not None]:
            names, every = results[0].candidate.spaces, np.concatenate(weights)
            prediction_store.write_weights(target, every, names)
            diagnostics[name] |= prediction_store.mean_weights(every, names, columns)
    provenance = row.model_dump(exclude={"reported"}) | spaces.provenance()
    index = prediction_store.of_cohorts(tuple(diagnostics), cohorts, clips, columns, provenance, diagnostics)
    n_fits = sum(map(index.n_voxels_of, index.spaces))
    for flag in ("not_converged", "empty", "constant", "alpha_lowest", "alpha_highest"):
        if count := sum(told.get(flag, 0) for told in diagnostics.values()):
            run.log.warning("%s: %s: %d of %d fits (voxel x feature space)", run.log.name, flag, count, n_fits)
    prediction_store.write_index(target, index)
    sources = [folder(name) for name in spaces.networks for folder in (run.paths.features, run.paths.reduction)]
    run.made(target, *sources, run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "dataset", "splits", "regressors", "fits", "experiments",
          instances=lambda params: {**params.experiments.voxelwise, **params.experiments.joint})  # fmt: skip

"""Scores: one row's predictions against measured responses, per feature space, subject, ROI and voxel."""

from functools import partial

import numpy as np
import pandas as pd
from joblib import delayed
from numpy.typing import NDArray

import _cohorts
from _ceilings import noise_ceilings
from _inputs import Run, stage
from cinevox import parallel
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.scoring import draws, scores
from cinevox.scoring.scores import SpaceScore
from cinevox.statistics.splits import ceiling_split


def main(run: Run) -> None:
    source, target = run.paths.predictions(run.instance), run.paths.scores(run.instance)
    index, settings = prediction_store.read_index(source), run.params.scores
    ceilings, predicted = noise_ceilings(run, index.row.track), partial(prediction_store.read, source)
    arrays: dict[str, NDArray[np.float32]] = {}
    replicates, tables = {}, {"subjects": list[pd.DataFrame](), "rois": list[pd.DataFrame]()}
    for name in (name for name in index.clips if name != "test" or name in ceilings):
        ceiling, recorded = ceilings[ceiling_split(name)], _cohorts.measured(run, index, [name])
        n_drawn = 0 if name.startswith("inner") else settings.n_bootstraps  # inner folds choose and are not reported
        parts = []
        for cohort in index.cohorts:
            resamples, _ = draws.drawn(index, cohort, name, settings.seed, n_drawn)
            responses = recorded[cohort.name, name]
            limits = None if ceiling is None else ceiling[cohort.where]
            tasks = (
                delayed(scores.score_own)(
                    responses, predicted(cohort, space, name), limits, cohort.columns, index.rois_of(space), resamples
                )
                for space in index.spaces
            )
            results = parallel.run(tasks, 10.0 * resamples.size * responses.shape[1] * len(index.spaces))
            parts.append([*run.progress(results, len(index.spaces), f"{run.instance} {name} {cohort.name}".strip())])
        found: list[SpaceScore] = [scores.side_by_side(each) for each in zip(*parts)]
        for space, result in zip(index.spaces, found):
            of_rois = scores.roi_table(result, index.columns.rois, settings.confidence)
            for table, lines in (("subjects", result.blocks), ("rois", of_rois)):
                tables[table].append(lines.assign(space=space, split=name))
        arrays |= scores.of_voxels(found, name)
        replicates[name] = np.stack([result.replicates for result in found])
    for name, each in tables.items():
        pd.concat(each).set_index(["space", "split"]).to_csv(io.folder(target) / f"{name}.csv")
    io.write_arrays(target / "voxels.npz", **arrays)
    io.write_arrays(target / "replicates.npz", **replicates)
    prediction_store.write_index(target, index)
    run.made(target, source, run.paths.ceiling(index.row.track))


if __name__ == "__main__":
    stage(main, "ceiling", "scores", instances=lambda params: params.experiments.rows)

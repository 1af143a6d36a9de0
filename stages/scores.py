"""Scores: one row's predictions against measured responses, per feature space, subject, ROI and voxel."""

import numpy as np
import pandas as pd
from joblib import delayed

from _ceilings import noise_ceilings
from _inputs import Run, stage
from cinevox import parallel
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured.response_store import measured
from cinevox.scoring import scores
from cinevox.scoring.scores import SpaceScore
from cinevox.statistics import metrics
from cinevox.statistics.splits import ceiling_split, generator


def main(run: Run) -> None:
    source, target = run.paths.predictions(run.instance), run.paths.scores(run.instance)
    index, settings = prediction_store.read_index(source), run.params.scores
    track, arrays, replicates = index.row.track, {}, {}
    tables: dict[str, list[pd.DataFrame]] = {"subjects": [], "rois": []}
    ceilings = noise_ceilings(run, track)
    recorded = run.responses("train"), run.responses("test")
    for name in (name for name in index.clips if name != "test" or name in ceilings):
        ceiling = ceilings[ceiling_split(name)]
        drawn = 0 if name.startswith("inner") else settings.n_bootstraps  # inner folds choose and are not reported
        parts = []  # of each cohort the scores of each space
        for cohort in index.cohorts:
            responses = measured(*recorded, track, cohort.columns, name, cohort.clips[name])
            rng = generator(settings.seed, *cohort.names(name))
            resamples = metrics.resampled_clips(len(responses), drawn, rng)
            limits = None if ceiling is None else ceiling[cohort.where]
            tasks = (
                delayed(scores.score_own)(
                    responses,
                    prediction_store.read(source, cohort, space, name),
                    limits,
                    cohort.columns,
                    cohort.columns.of_rois(index.rois_of(space)),
                    resamples,
                )
                for space in index.spaces
            )
            results = parallel.run(tasks, 10.0 * resamples.size * responses.shape[1] * len(index.spaces))
            told = " ".join(part for part in (run.instance, name, cohort.name) if part)
            parts.append(list(run.progress(results, len(index.spaces), told)))
        found: list[SpaceScore] = [scores.side_by_side(each) for each in zip(*parts)]
        for space, result in zip(index.spaces, found):
            label = {"space": space, "split": name}
            tables["subjects"].append(result.blocks.assign(**label))
            rois = scores.roi_table(result, index.columns.rois, settings.confidence)
            tables["rois"].append(rois.assign(**label))
        arrays[f"{name}.correlation"] = np.stack([result.correlation for result in found])
        if ceiling is not None:
            arrays[f"{name}.normalized"] = np.stack([np.asarray(result.normalized) for result in found])
        replicates[name] = np.stack([result.replicates for result in found])
    for name, parts in tables.items():
        pd.concat(parts).set_index(["space", "split"]).to_csv(io.folder(target) / f"{name}.csv")
    io.write_arrays(target / "voxels.npz", **arrays)
    io.write_arrays(target / "replicates.npz", **replicates)
    prediction_store.write_index(target, index)
    run.made(target, source, run.paths.ceiling(track))


if __name__ == "__main__":
    stage(main, "ceiling", "scores", instances=lambda params: params.experiments.rows)

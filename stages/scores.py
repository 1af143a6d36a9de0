"""Scores: one row's predictions against measured responses, per feature space, subject, ROI and voxel."""

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from _cli import Run, stage
from cinevox import io, metrics, predictions, scores
from cinevox.datasets import Part, open_dataset
from cinevox.responses import side_by_side


def main(run: Run) -> None:
    source, target = run.paths.predictions(run.instance), run.paths.scores(run.instance)
    index = predictions.read_index(source)
    track, settings = index.provenance["track"], run.params.scores
    reliability = io.read_arrays(run.paths.ceiling(track) / "reliability.npz")
    dataset = open_dataset(run.params.dataset)
    tables: dict[str, list[pd.DataFrame]] = {"subjects": [], "rois": []}
    arrays, replicates = {}, {}
    for name in (name for name in index.clips if name in reliability):
        part: Part = "train" if name == "validation" else "test"
        responses, _ = side_by_side(
            dataset.responses(part, track, block.subject, block.roi) for block in index.columns.blocks
        )
        rows = index.clips[name] - (0 if part == "train" else dataset.n_train_clips)
        ceiling, _ = metrics.noise_ceiling(
            reliability[name], run.params.ceiling.policy, run.params.ceiling.min_reliability
        )
        resamples = metrics.resampled_clips(len(rows), settings.n_bootstraps, np.random.default_rng(settings.seed))
        task = delayed(scores.score)
        found = Parallel(return_as="generator")(
            task(responses[rows], predictions.read(source, index, space, name), ceiling, index.columns, resamples)
            for space in index.spaces
        )
        found = list(run.progress(found, len(index.spaces), f"{run.instance} {name}"))
        for space, result in zip(index.spaces, found):
            label = {"space": space, "split": name}
            tables["subjects"].append(result.blocks.assign(**label))
            rois = scores.roi_table(result, index.columns.rois, settings.confidence)
            tables["rois"].append(rois.assign(**label))
        arrays[f"{name}.correlation"] = np.stack([result.correlation for result in found])
        arrays[f"{name}.normalized"] = np.stack([result.normalized for result in found])
        replicates[name] = np.stack([result.replicates for result in found])
    for name, parts in tables.items():
        pd.concat(parts).set_index(["space", "split"]).to_csv(io.folder(target) / f"{name}.csv")
    io.write_arrays(target / "voxels.npz", **arrays)
    io.write_arrays(target / "replicates.npz", **replicates)
    predictions.write_index(target, index)


if __name__ == "__main__":
    stage(main, "dataset", "ceiling", "scores", instances=lambda params: params.experiments.rows)

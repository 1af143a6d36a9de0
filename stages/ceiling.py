"""Ceiling: the reliability of every voxel of one track, from repeated responses to the same clips."""

import numpy as np
from numpy.typing import NDArray

from _inputs import Run, stage
from cinevox.files import io
from cinevox.measured import imported_ceilings
from cinevox.measured.ceiling import estimated, imported, reliability
from cinevox.measured.responses import Responses
from cinevox.project.params import Track
from cinevox.statistics.metrics import resampled_clips
from cinevox.statistics.splits import generator
from cinevox.statistics.trials import present


def main(run: Run) -> None:
    track: Track = next(track for track in run.params.dataset.tracks if track == run.instance)
    train, test = run.responses("train"), run.responses("test")
    settings, confidence, seed = run.params.ceiling, run.params.scores.confidence, run.params.scores.seed

    def read(subject: str, roi: str) -> tuple[Responses, Responses | None]:
        return train.trials(track, subject, roi), test.trials(track, subject, roi) if test.has(track) else None

    def draw(split: str, n_stimuli: int) -> NDArray[np.float64]:
        drawn = settings.n_bootstraps if imported_ceilings.of_split(settings, split) is None else 0
        return resampled_clips(n_stimuli, drawn, generator(seed, "ceiling", split))

    def estimate(split: str, shown: Responses) -> NDArray[np.float64] | None:
        asked = imported_ceilings.of_split(settings, split)
        if asked is None:
            return estimated(settings.estimator, split, shown)
        values = (train if split == "validation" else test).ceiling(track, shown.subject, shown.roi)
        return imported(values, asked, present(shown.values).sum(axis=1))

    found = reliability(read, train.blocks(track), estimate, draw, confidence)
    io.write_arrays(run.paths.ceiling(track) / "reliability.npz", **found.by_split)
    io.write_json(run.paths.ceiling(track) / "index.json", found.to_json())
    run.made(run.paths.ceiling(track), run.paths.conversion("train"), run.paths.conversion("test"))


if __name__ == "__main__":
    stage(main, "dataset", "ceiling", "scores", instances=lambda params: params.dataset.tracks)

"""Ceiling: the reliability of every voxel of one track, from repeated responses to the same clips."""

from _cli import Run, stage
from cinevox import io
from cinevox.ceiling import reliability
from cinevox.datasets import open_dataset


def main(run: Run) -> None:
    track, settings = run.instance, run.params.dataset
    dataset = open_dataset(settings)

    def read(subject, roi):
        return dataset.train_responses(track, subject, roi), dataset.test_responses(track, subject, roi)

    found = reliability(read, settings.subjects, settings.track_rois(track))
    io.write_arrays(run.paths.ceiling(track) / "reliability.npz", **found.by_split)
    io.write_json(
        run.paths.ceiling(track) / "index.json",
        {"columns": found.columns.to_json(), "n_repetitions": found.n_repetitions},
    )


if __name__ == "__main__":
    stage(main, "dataset")

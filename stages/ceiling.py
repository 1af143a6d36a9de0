"""Ceiling: the reliability of every voxel of one track, from repeated responses to the same clips."""

from _cli import Run, stage
from cinevox import io
from cinevox.ceiling import reliability
from cinevox.datasets import open_dataset
from cinevox.params import Track
from cinevox.responses import Responses


def main(run: Run) -> None:
    settings = run.params.dataset
    track: Track = next(track for track in settings.tracks if track == run.instance)
    dataset = open_dataset(settings)

    def read(subject: str, roi: str) -> tuple[Responses, Responses | None]:
        train = dataset.responses("train", track, subject, roi)
        return train, dataset.responses("test", track, subject, roi) if dataset.has_test_responses(track) else None

    found = reliability(read, settings.subjects, settings.track_rois(track))
    io.write_arrays(run.paths.ceiling(track) / "reliability.npz", **found.by_split)
    io.write_json(
        run.paths.ceiling(track) / "index.json",
        {"columns": found.columns.to_json(), "n_repetitions": found.n_repetitions},
    )


if __name__ == "__main__":
    stage(main, "dataset", instances=lambda params: params.dataset.tracks)

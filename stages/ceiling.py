"""Ceiling: the reliability of every voxel of one track, from repeated responses to the same clips."""

from _inputs import Run, stage
from cinevox.files import io
from cinevox.measured.ceiling import reliability
from cinevox.measured.responses import Responses
from cinevox.project.params import Track


def main(run: Run) -> None:
    track: Track = next(track for track in run.params.dataset.tracks if track == run.instance)
    train, test = run.responses("train"), run.responses("test")

    def read(subject: str, roi: str) -> tuple[Responses, Responses | None]:
        return train.trials(track, subject, roi), test.trials(track, subject, roi) if test.has(track) else None

    found = reliability(read, train.blocks(track))
    io.write_arrays(run.paths.ceiling(track) / "reliability.npz", **found.by_split)
    io.write_json(
        run.paths.ceiling(track) / "index.json",
        {"columns": found.columns.to_json(), "n_repetitions": found.n_repetitions},
    )
    run.made(run.paths.ceiling(track), run.paths.conversion("train"), run.paths.conversion("test"))


if __name__ == "__main__":
    stage(main, "dataset", instances=lambda params: params.dataset.tracks)

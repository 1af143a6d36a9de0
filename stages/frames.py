"""Frames of every clip: the instance is their number per clip."""

from __future__ import annotations

from _cli import Run, stage
from cinevox.measured.datasets import open_dataset
from cinevox.stimuli import frames


def main(run: Run) -> None:
    settings = run.params.frames
    dataset = run.params.dataset
    clips = open_dataset(dataset).clips
    count = int(run.instance)
    frames.write(clips, count, settings.size, settings.resize, run.paths.frames(count), run.progress)
    run.made(run.paths.frames(count))


if __name__ == "__main__":
    stage(main, "dataset", "frames", instances=lambda params: params.frames.counts)

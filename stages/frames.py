"""Frames of every clip: the instance is their number per clip."""

from __future__ import annotations

from _cli import Run, stage
from cinevox import frames
from cinevox.datasets import open_dataset
from cinevox.errors import InputError


def main(run: Run) -> None:
    settings = run.params.frames
    if run.instance not in map(str, settings.counts):
        raise InputError(f"{run.instance!r} is not in frames.counts; there are {', '.join(map(str, settings.counts))}")
    dataset = run.params.dataset
    clips = open_dataset(dataset).clips
    count = int(run.instance)
    frames.write(clips, count, settings.size, settings.resize, run.paths.frames(count), run.progress)


if __name__ == "__main__":
    stage(main, "dataset", "frames")

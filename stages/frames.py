"""Frames of every clip: the instance is their number per clip."""

from __future__ import annotations

from _cli import Run, stage
from cinevox.measured.datasets import open_dataset, stimuli_of
from cinevox.stimuli import frames


def main(run: Run) -> None:
    settings, count = run.params.frames, int(run.instance)
    stimuli, target = stimuli_of(open_dataset(run.params.dataset)), run.paths.frames(count)
    names, files = [stimulus.id for stimulus in stimuli], [stimulus.file for stimulus in stimuli if stimulus.file]
    if len(files) < len(names):
        frames.write_names(names, target)
        run.log.info("%s: %d of %d stimuli are on this disk: no frames", run.log.name, len(files), len(names))
    else:
        frames.write(files, count, settings.size, settings.resize, target, run.progress, names)
    run.made(target)


if __name__ == "__main__":
    stage(main, "dataset", "frames", instances=lambda params: params.frames.counts)

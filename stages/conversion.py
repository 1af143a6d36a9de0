"""Conversion: responses of one part, training or test, from the data set's files into arrays that are memory-mapped."""

from typing import get_args

from _cli import Run, stage
from cinevox.measured import imported_ceilings
from cinevox.measured.conversion import convert
from cinevox.measured.datasets import open_dataset
from cinevox.measured.responses import Part


def main(run: Run) -> None:
    part: Part = next(part for part in get_args(Part) if part == run.instance)
    settings, target = run.params.dataset, run.paths.conversion(part)
    ceiling = imported_ceilings.of_split(run.params.ceiling, imported_ceilings.SPLITS[part])
    convert(open_dataset(settings), settings, part, target, run.paths.unfinished / "conversion", run.progress, ceiling)
    run.made(target)


if __name__ == "__main__":
    stage(main, "dataset", "ceiling", instances=lambda _: get_args(Part))

"""Selection: one row's feature space per ROI, the row's scores with that choice, and its metrics file."""

from collections.abc import Mapping

import pandas as pd

import _cohorts
from _ceilings import noise_ceilings
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.project.params import JointRow, NetworkRow, Row
from cinevox.scoring import outcomes, row_metrics, selection
from cinevox.scoring.origin import Origin
from cinevox.stimuli.networks import layer_per_roi


def main(run: Run) -> None:
    source, target = run.paths.scores(run.instance), run.paths.selection(run.instance)
    index = prediction_store.read_index(source)
    candidates = selection.Candidates(
        index,
        Origin.of(index, run.responses("train")),
        pd.read_csv(source / "subjects.csv"),
        io.read_arrays(source / "voxels.npz"),
        io.read_arrays(source / "replicates.npz"),
    )
    ceilings = noise_ceilings(run, index.row.track)
    splits = *ceilings, *candidates.outer
    settings, published = run.params.selection, _published(index.row)
    if isinstance(index.row, JointRow) and published:
        settings = settings.model_copy(update={"policy": "given"})
    found = selection.select(
        candidates,
        settings,
        published,
        _cohorts.measured(run, index, splits),
        _cohorts.predicted(run.paths.predictions(run.instance), index, splits),
        ceilings,
        run.params.scores,
    )
    outcomes.write(target, found.outcome)
    io.write_arrays(target / "voxels.npz", **found.arrays())
    row_metrics.write(run.paths.metrics(run.instance), found.outcome)
    run.made(target, source)


def _published(row: Row) -> Mapping[str, str]:
    """The layer of each ROI that the paper chose, or the spaces that a row gives each; none where neither did."""
    if isinstance(row, JointRow):
        return row.given
    return layer_per_roi(row.network) if isinstance(row, NetworkRow) else {}


if __name__ == "__main__":
    stage(main, "ceiling", "scores", "selection", instances=lambda params: params.experiments.rows)

"""Selection: one row's feature space per ROI, the row's scores with that choice, and its metrics file."""

import pandas as pd

from _ceilings import noise_ceilings
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured.response_store import measured
from cinevox.project import plugins
from cinevox.scoring import selection
from cinevox.scoring.origin import KEY, Origin


def main(run: Run) -> None:
    source, target = run.paths.scores(run.instance), run.paths.selection(run.instance)
    index, folder = prediction_store.read_index(source), run.paths.predictions(run.instance)
    track, recorded = index.provenance["track"], (run.responses("train"), run.responses("test"))
    candidates = selection.Candidates(
        index,
        pd.read_csv(source / "subjects.csv"),
        io.read_arrays(source / "voxels.npz"),
        io.read_arrays(source / "replicates.npz"),
    )
    found = selection.select(
        candidates,
        run.params.selection.policy,
        run.params.selection.per,
        plugins.load("networks", index.provenance["network"]).layer_per_roi,
        lambda splits, columns: dict(measured(*recorded, track, columns, {name: index.clips[name] for name in splits})),
        lambda split, space: prediction_store.read(folder, index, space, split),
        noise_ceilings(run, track),
        run.params.scores,
    )
    origin = Origin.of(index, recorded[0]).to_json()
    described = {"row": run.instance, KEY: origin} | dict(found.description)
    io.write_json(target / "selection.json", described)
    io.write_arrays(target / "voxels.npz", **found.arrays())
    io.write_json(run.paths.metrics(run.instance), selection.metrics_of(described))
    run.made(target, source)


if __name__ == "__main__":
    stage(main, "ceiling", "scores", "selection", instances=lambda params: params.experiments.rows)

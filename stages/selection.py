"""Selection: one row's feature space per ROI, the row's scores with that choice, and its metrics file."""

import pandas as pd

from _cli import Run, stage
from cinevox import io, plugins, predictions, selection


def main(run: Run) -> None:
    source = run.paths.scores(run.instance)
    index = predictions.read_index(source)
    policy = run.params.selection.policy
    chosen_on = {
        index.provenance.get("chosen_on"),
        "validation" if policy != "paper" and len(index.spaces) > 1 else None,
    }
    rois, subjects = (pd.read_csv(source / f"{name}.csv") for name in ("rois", "subjects"))
    replicates = io.read_arrays(source / "replicates.npz")
    network = plugins.load("cinevox.networks", index.provenance["network"])
    chosen = selection.choose(rois, policy, network.layer_per_roi)
    scores = {
        name: selection.selected_scores(
            chosen,
            subjects[subjects["split"] == name],
            rois[rois["split"] == name],
            dict(zip(index.spaces, drawn)),
            run.params.scores.confidence,
        )
        | {"chosen_here": name in chosen_on}
        for name, drawn in replicates.items()
    }
    io.write_json(
        run.paths.selection(run.instance) / "selection.json",
        {"row": run.instance, "policy": policy, "chosen": chosen, "scores": scores},
    )
    io.write_json(run.paths.metrics(run.instance), selection.headline(scores))


if __name__ == "__main__":
    stage(main, "scores", "selection", instances=lambda params: params.experiments.rows)

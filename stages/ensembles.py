"""Ensembles: one row made of other rows, each with the feature spaces that it chose; writes predictions as fits do."""

from typing import Any

import numpy as np

import _members
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.fitting.ensembles import Pasted
from cinevox.statistics.splits import inner_of, outer_names, outer_of


def main(run: Run) -> None:
    row, target = run.params.experiments.ensembles[run.instance], run.paths.predictions(run.instance)
    members = _members.of_row(run, row)
    index = members[0].index
    outer = outer_names(index.clips)
    combine = _members.combine(run, row, members, outer or ("validation",))
    clips = {name: rows for name, rows in index.clips.items() if name in outer or outer_of(name) is None}
    for split in clips:  # an outer fold by a combination that was chosen without it; where voxels lie is not chosen
        anew = split in outer and not isinstance(combine, Pasted)
        own = _members.combine(run, row, members, inner_of(split, index.clips)) if anew else combine
        prediction_store.write(target, row.way, split, own([member.predicted(split) for member in members]))
    diagnostics: dict[str, Any]
    if isinstance(combine, Pasted):
        diagnostics = {"n_pasted": int((combine.source >= 0).sum())}
        run.log.info("%s: %d of %d voxels are pasted", run.log.name, diagnostics["n_pasted"], index.columns.n_voxels)
    else:
        shares = zip(row.rows, combine.shares.T)
        diagnostics = {f"weight_{name}": {"min": w.min(), "median": np.median(w), "max": w.max()} for name, w in shares}
        if row.together == "stack":
            diagnostics |= prediction_store.mean_weights(combine.shares, row.rows, index.columns)
    io.write_arrays(target / _members.FILE, **vars(combine))
    chose = row.together == "stack" or any(member.outcome.chosen_on for member in members)
    provenance = row.model_dump(exclude={"reported"}) | {
        "weights": {name: used for member in members for name, used in member.index.provenance["weights"].items()},
        "made_of": {member.row.name: member.outcome.digest for member in members},
        "chosen_on": "validation" if chose else None,  # by the members, or by the weights
    }
    prediction_store.write_index(
        target, prediction_store.Index((row.way,), clips, index.columns, provenance, {row.way: diagnostics})
    )
    run.made(target, *(run.paths.selection(name) for name in row.rows), run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "experiments", instances=lambda params: params.experiments.ensembles)

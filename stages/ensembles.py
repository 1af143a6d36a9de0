"""Ensembles: one row made of other rows, each with the feature spaces that it chose; writes predictions as fits do."""

from dataclasses import replace
from typing import Any

import numpy as np

import _members
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store
from cinevox.fitting.ensembles import Pasted
from cinevox.statistics.splits import inner_of, outer_names, outer_of


def main(run: Run) -> None:
    row, target = run.params.experiments.ensembles[run.instance], run.paths.predictions(run.instance)
    members = _members.of_row(run, row)
    index = members[0].index
    outer = outer_names(index.clips)
    splits = [split for split in index.clips if split in outer or outer_of(split) is None]
    parts = []
    for number, cohort in enumerate(index.cohorts):
        part = _members.combine(run, row, members, outer or ("validation",), number)
        for (
            split
        ) in splits:  # an outer fold by a combination that was chosen without it; where voxels lie is not chosen
            anew = split in outer and not isinstance(part, Pasted)
            own = _members.combine(run, row, members, inner_of(split, cohort.clips), number) if anew else part
            predicted = own([member.predicted(split, number) for member in members])
            prediction_store.write(target, row.way, split, predicted, cohort.name)
        parts.append(part)
    combine = ensembles.side_by_side(parts, [cohort.where.start for cohort in members[-1].index.cohorts])
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
    found = replace(index.only(splits), spaces=(row.way,), provenance=provenance, diagnostics={row.way: diagnostics})
    prediction_store.write_index(target, found)
    run.made(target, *(run.paths.selection(name) for name in row.rows), run.paths.conversion("train"))


if __name__ == "__main__":
    stage(main, "experiments", instances=lambda params: params.experiments.ensembles)

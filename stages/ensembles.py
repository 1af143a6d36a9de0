"""Ensembles: one row made of other rows, each with the feature spaces that it chose; writes predictions as fits do."""

from dataclasses import replace
from typing import Any

import numpy as np

import _members
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import ensembles, prediction_store
from cinevox.fitting.ensembles import Pasted
from cinevox.project.params import WHOLE_BRAIN, EnsembleRow, Track


def main(run: Run) -> None:
    row, target = run.params.experiments.ensembles[run.instance], run.paths.predictions(run.instance)
    members = _members.of_row(run, row)
    index = members[0].index
    parts = [_combine(run, row, members, number) for number in range(len(index.cohorts))]
    for number, (cohort, part) in enumerate(zip(index.cohorts, parts)):
        for split in cohort.clips:
            predicted = part([member.predicted(split, number) for member in members])
            prediction_store.write(target, row.way, split, predicted, cohort.name)
    combine = ensembles.side_by_side(parts, [cohort.where.start for cohort in members[-1].index.cohorts])
    diagnostics: dict[str, Any]
    if isinstance(combine, Pasted):
        diagnostics = {"n_pasted": int((combine.source >= 0).sum())}
        run.log.info("%s: %d of %d voxels are pasted", run.log.name, diagnostics["n_pasted"], index.columns.n_voxels)
    else:
        shares = zip(row.rows, combine.shares.T)
        diagnostics = {f"weight_{name}": {"min": w.min(), "median": np.median(w), "max": w.max()} for name, w in shares}
    io.write_arrays(target / _members.FILE, **vars(combine))
    chose = row.together == "stack" or any(member.outcome.chosen_on for member in members)
    provenance = row.model_dump(exclude={"reported"}) | {
        "weights": {name: used for member in members for name, used in member.index.provenance["weights"].items()},
        "made_of": {member.row.name: member.outcome.digest for member in members},
        "chosen_on": "validation" if chose else None,  # by the members, or by the weights
    }
    found = replace(index, spaces=(row.way,), provenance=provenance, diagnostics={row.way: diagnostics})
    prediction_store.write_index(target, found)
    run.made(target, *(run.paths.selection(name) for name in row.rows), run.paths.conversion("train"))


def _combine(run: Run, row: EnsembleRow, members: list[_members.Member], number: int) -> ensembles.Combination | Pasted:
    """The way in which members predict together for the voxels of one cohort, by number."""
    train, cohorts = run.responses("train"), [member.index.cohorts[number] for member in members]
    columns = [cohort.columns for cohort in cohorts]
    if row.together == "paste":
        tracks: dict[str, Track] = {WHOLE_BRAIN: "full"}
        blocks = [(block.subject, block.roi) for own in columns for block in own.blocks]
        trials = {key: train.trials(tracks.get(key[1], "mini"), *key).values for key in blocks}
        return ensembles.paste(columns[0], columns[1], trials)
    predicted = [member.predicted("validation", number) for member in members]
    if row.together == "mean":
        return ensembles.mean(predicted, columns[0])
    blocks = [(block.subject, block.roi) for block in columns[0].blocks]
    measured, _ = train.means(row.track, blocks, cohorts[0].clips["validation"])
    return ensembles.stack(predicted, measured, columns[0])


if __name__ == "__main__":
    stage(main, "experiments", instances=lambda params: params.experiments.ensembles)

"""Encoding: a row's chosen model as a function of any video, for `cinevox predict` and MLflow."""

from collections.abc import Mapping
from typing import Any

import _final
from _ceilings import noise_ceilings
from _inputs import Run, stage
from _spaces import of_row
from _splits import split
from cinevox.encoding import SECTIONS, build, description, store
from cinevox.encoding.model import EncodingModel, Model
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.scoring import outcomes
from cinevox.scoring.selection.choice import Choice
from cinevox.statistics.splits import ceiling_split


def main(run: Run) -> None:
    name, paths, params = run.instance, run.paths, run.params
    index, folder = prediction_store.read_index(paths.scores(name)), paths.selection(name)
    row, columns, usual = index.row, index.columns, "test" if "test" in index.clips else "validation"
    outcome, chosen = outcomes.read(folder, row), io.read_arrays(folder / "voxels.npz")
    scored, choice = outcome.split, Choice(index.spaces, chosen["space"])
    predicted = [  # by the row's own fit, which has not seen them
        choice.of(cohort.where).predicted(
            {space: prediction_store.read(paths.predictions(name), cohort, space, usual) for space in choice.used},
            slice(None),
        )
        for cohort in index.cohorts
    ]
    if row.base is not None:
        model: Model = build.roiwise(name, paths.checkpoints(name), columns, params.transfer)
        base, n_clips = io.read_json(paths.predictions(name) / "base.json")["features"], len(split(run).train)
        inputs = description.inputs_of_base(params.bases[row.base], base)
        sidecars: Mapping[str, Any] = dict.fromkeys(inputs, base)
    else:
        spaces, n_clips = of_row(run, row), run.n_clips()[0]
        refitted = _final.refitted(run, row, chosen["space"], spaces, keep=True)
        model, sidecars = build.voxelwise(refitted), spaces.features
        inputs = description.inputs_of_spaces(refitted.features, spaces.maps())
        predicted = list(refitted.predicted) if usual == "test" else predicted
    grid, places = description.places(paths, params, row, columns)
    voxels = description.scored(chosen, scored, columns) | places
    sources, ceiling = description.sources(params, row, sidecars, inputs), noise_ceilings(run, row.track)
    about = description.describe(
        params, row, run.responses("train").study, sources=sources, usual=usual, n_usual=len(index.clips[usual]),
        grid=grid, regions=list(description.regions(columns, voxels, ceiling[ceiling_split(scored)], predicted)),
        split=scored, n_clips=n_clips, seconds=run.clip_seconds(), made=description.made(paths, params, SECTIONS),
        measure=outcome.best.measure, chosen_here=outcome.best.chosen_here, chosen=outcome.chosen,
    )  # fmt: skip
    store.write(paths.encoding(name), EncodingModel(about, model, voxels))
    run.made(paths.encoding(name), paths.selection(name))
    for caution in about.cautions:
        run.log.warning("%s: %s", run.log.name, caution)


if __name__ == "__main__":
    stage(main, *SECTIONS, instances=lambda params: params.encoding.rows)

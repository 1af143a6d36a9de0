"""Submission: one track's row, refitted on all training clips, as the challenge takes predictions; checked."""

import numpy as np

import _spaces
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store, refit
from cinevox.fitting.fits import Method
from cinevox.outlets.submission import archive, faults, filling, sidecar
from cinevox.project import package_versions
from cinevox.project.params import Track
from cinevox.scoring import outcomes


def main(run: Run) -> None:
    track: Track = next(track for track in run.params.submission.rows if track == run.instance)
    settings, path, (n_train, n_test) = run.params.submission, run.paths.submission(track), run.n_clips()
    row = settings.rows[track]
    if n_test < 2:
        left_out = f"the data set has {n_test or 'no'} test clip{'s' * (n_test != 1)} to predict"
        archive.pack_nothing(path)
        io.write_json(path.with_suffix(".json"), {"row": row, "track": track, "left_out": left_out})
        run.log.warning("%s: left out: %s (submission.rows: {} in params.yaml asks for none)", run.log.name, left_out)
        return
    index = prediction_store.read_index(run.paths.scores(row))
    wanted = faults.ExpectedPredictions(track, n_test, index.columns)
    if index.row.is_transfer:
        predicted = np.array(prediction_store.read(run.paths.predictions(row), index, index.spaces[0], "test"))
    else:
        predicted = _refitted(run, index)
    filled = filling.fill_constant(predicted, index.columns) if settings.constant == "roi_mean" else {}
    content = archive.content(predicted, index.columns)
    faults.refuse(f"{row}, refitted", faults.content_faults(content, wanted), wanted)
    selected = run.paths.selection(row)
    about = sidecar.describe(index, outcomes.read(selected, index.row), n_train)
    about |= {"constant_filled": filled, "sha256": archive.pack(path, track, content)}
    about |= {"versions": package_versions.read(selected) | {run.log.name: package_versions.installed()}}
    io.write_json(path.with_suffix(".json"), about)
    for reason in about["not_for_the_challenge"]:
        run.log.warning("%s: not for the challenge: %s", run.log.name, reason)


def _refitted(run: Run, index: prediction_store.Index) -> np.ndarray:
    spaces, row = _spaces.of_row(run, index.row), index.row
    blocks = [(block.subject, block.roi) for block in index.columns.blocks]
    return refit.refit(
        spaces.candidates,
        io.read_arrays(run.paths.selection(row.name) / "voxels.npz")["space"],
        spaces.raw(),
        *run.responses("train").means(row.track, blocks),
        spaces.reductions(run.params.reduction), Method.of(row.regressor, run.params), run.progress,
    ).predicted  # fmt: skip


if __name__ == "__main__":
    stage(main, "dataset", "splits", "reduction", "regressors", "fits", "submission",
          instances=lambda params: params.submission.rows)  # fmt: skip

"""Submission: one track's row, refitted on all training clips, as the challenge takes predictions; checked."""

import _final
from _inputs import Run, stage
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.outlets.submission import archive, faults, filling, sidecar
from cinevox.project import package_versions
from cinevox.project.params import Track
from cinevox.scoring import outcomes


def main(run: Run) -> None:
    track: Track = next(track for track in run.params.submission.every if track == run.instance)
    settings, path, (n_train, n_test) = run.params.submission, run.paths.submission(track), run.n_clips()
    row = settings.every[track]
    if n_test < 2:
        left_out = f"the data set has {n_test or 'no'} test clip{'s' * (n_test != 1)} to predict"
        archive.pack_nothing(path)
        io.write_json(path.with_suffix(".json"), {"row": row, "track": track, "left_out": left_out})
        run.log.warning("%s: left out: %s (submission.rows: {} in params.yaml asks for none)", run.log.name, left_out)
        return
    index = prediction_store.read_index(run.paths.scores(row))
    wanted = faults.ExpectedPredictions(track, n_test, index.columns)
    predicted, members = _final.predicted(run, index)
    filled = filling.fill_constant(predicted, index.columns) if settings.constant == "roi_mean" else {}
    content = archive.content(predicted, index.columns)
    faults.refuse(f"{row}, refitted", faults.content_faults(content, wanted), wanted)
    selected = run.paths.selection(row)
    about = sidecar.describe(index, outcomes.read(selected, index.row), n_train, members)
    about |= {"constant_filled": filled, "sha256": archive.pack(path, track, content)}
    about |= {"versions": package_versions.read(selected) | {run.log.name: package_versions.installed()}}
    io.write_json(path.with_suffix(".json"), about)
    for reason in about["not_for_the_challenge"]:
        run.log.warning("%s: not for the challenge: %s", run.log.name, reason)


if __name__ == "__main__":
    stage(main, "dataset", "splits", "reduction", "regressors", "fits", "submission",
          instances=lambda params: params.submission.every)  # fmt: skip

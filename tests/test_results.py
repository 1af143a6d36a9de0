"""What a row came to, as every outlet reads it."""

import json

import numpy as np
import pandas as pd
import pytest

import finished_run
from cinevox.errors import FileError
from cinevox.project.paths import Paths
from cinevox.scoring import claims, outcomes, row_metrics, row_results

ROW = finished_run.ROWS[1]


@pytest.mark.parametrize("excluded_on", ["validation", "test"])
def test_replicates_are_of_the_voxels_that_their_split_scores(tmp_path, excluded_on):
    """A subject's ROI without a reliable voxel on one split is left out of that split's means, and of no other's."""
    paths, settings = Paths(tmp_path), finished_run.make(tmp_path)
    file = paths.scores(ROW) / "subjects.csv"
    table = pd.read_csv(file)
    block = (table["split"] == excluded_on) & (table["subject"] == "sub01") & (table["roi"] == "V1")
    table.loc[block, "n_excluded"] = table.loc[block, "n_voxels"]
    table.to_csv(file, index=False)
    (found,) = row_results.read(paths, {ROW: settings.experiments.rows[ROW]})
    for split in ("validation", "test"):
        subjects = found.voxels[f"{split}.replicates"].reshape(
            -1, len(finished_run.SUBJECTS), len(found.index.columns.rois)
        )
        of_v1 = subjects[:, 1:, 0] if split == excluded_on else subjects[..., 0]
        np.testing.assert_allclose(found.replicates(split)[:, 0], of_v1.mean(axis=1), rtol=1e-6)


def outcome_of(paths, settings, row=ROW):
    return outcomes.read(paths.selection(row), settings.experiments.rows[row])


@pytest.mark.parametrize("kind", [{}, {"transfer": True}, {"test": False}, {"nested": True}, {"once": ("test",)}])
def test_what_is_read_is_what_was_written(tmp_path, kind):
    paths, settings = Paths(tmp_path), finished_run.make(tmp_path, **kind)
    for row in settings.experiments.rows:
        found = outcome_of(paths, settings, row)
        outcomes.write(tmp_path / "again", found)
        again = outcomes.read(tmp_path / "again", settings.experiments.rows[row])
        assert again == found and again.digest == found.digest
        assert row_metrics.content(found) == json.loads(paths.metrics(row).read_text())
        best = row_metrics.read(paths.metrics(row))
        assert (best.split, best.measure, best.origin) == (found.split, found.best.measure, found.origin)
        assert best.readings.keys() == {"score", *found.best.rois}


def test_a_digest_tells_one_result_from_another(tmp_path):
    paths, settings = Paths(tmp_path), finished_run.make(tmp_path)
    before = outcome_of(paths, settings).digest
    finished_run.scored(paths, ROW, "V1", 1e-6)
    assert outcome_of(paths, settings).digest != before


BROKEN = [  # what is done to the file, and what the message names
    (lambda c: c.pop("origin"), "origin: Field required"),  # from before it was recorded
    (lambda c: c["origin"].pop("n_voxels"), "origin: no record of data and weights ('n_voxels')"),
    (lambda c: c["scores"]["test"]["rois"]["V1"].pop("pooled"), "scores.test.rois.V1.pooled: Field required"),
    (lambda c: c["scores"]["test"].update(score="high"), "scores.test.score: Input should be a valid number"),
    (lambda c: c["scores"].update(train={}), "scores.train: Input should be 'test', 'nested' or 'validation'"),
    (lambda c: c.update(layer_per_roi={}), "layer_per_roi: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("row", "stage"), [(ROW, "selection"), (finished_run.TRANSFER, "selection-roiwise")])
@pytest.mark.parametrize(("change", "said"), BROKEN)
def test_a_broken_result_or_one_of_another_version_is_named_with_what_makes_it_again(
    tmp_path, row, stage, change, said
):
    paths, settings = Paths(tmp_path), finished_run.make(tmp_path, transfer=True)
    file = paths.selection(row) / "selection.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(FileError) as caught:
        row_results.read(paths, settings.experiments.rows)
    told = str(caught.value)
    assert told.startswith(f"{file}: {said}") and f"`dvc repro -f -s {stage}@{row}` makes it again" in told


@pytest.mark.parametrize("content", ["[]", "3", '"test"', "{}", '{"test": 3}', '{"test": "high"}', '[{"test": {}}]'])
def test_what_is_no_metrics_file_is_named(tmp_path, content):
    (tmp_path / "row.json").write_text(content)
    with pytest.raises(FileError, match=r"row.json: .*expected the metrics of a row, by split; run `dvc repro`"):
        row_metrics.read(tmp_path / "row.json")


def test_metrics_of_earlier_commits_are_read():
    """From before origins were recorded; plain correlations have a level of their own."""
    found = row_metrics.parse({"validation": {"score": 0.2}, "test": {"score": 0.1, "low": None, "V1": 0.3}})
    assert (found.split, found.prefix, found.origin) == ("test", "test", None)
    assert found.readings == {"score": 0.1, "V1": 0.3} and found.values["low"] is None
    plain = row_metrics.parse({"validation": {"plain_r": {"score": 0.2}}})
    assert plain.is_plain and plain.prefix == "validation.plain_r" and plain.readings == {"score": 0.2}


def test_every_caution_is_said_of_the_results_that_it_holds_for(tmp_path):
    paths, settings = Paths(tmp_path), finished_run.make(tmp_path, test=False, transfer=True, once=("validation",))
    rows = settings.experiments.rows
    untrained, trained = (row_results.read(paths, {row: rows[row]})[0].cautions for row in finished_run.ROWS[:2])
    always = (claims.IN_SILICO, claims.PLAIN_SCORE, claims.OTHER_CLIPS["validation"], claims.CHOSEN_HERE)
    assert trained == always and untrained == (claims.UNTRAINED, *always)
    finished_run.make(tmp_path / "clean")
    clean = Paths(tmp_path / "clean")
    finished_run.recorded(clean, ROW, in_silico=False, dataset="study", title="My study")
    assert row_results.read(clean, {ROW: rows[ROW]})[0].cautions == ()
    assert claims.UNTRAINED.of(["a", "b"]) == "Random weights, so no result: a, b."
    assert claims.UNTRAINED.of(()) == "Random weights, so no result."

"""Scores and selection on small tables computed by hand, and their uncertainty."""

import numpy as np
import pandas as pd
import pytest

from cinevox import aggregation, metrics, scores, selection
from cinevox.errors import InputError
from cinevox.responses import Block, Columns

COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 2), Block("sub02", "V1", 1), Block("sub02", "V2", 2)))


@pytest.fixture
def scored(rng):
    signal = rng.standard_normal((40, 8))
    measured = signal + rng.standard_normal((40, 8))
    predicted = signal.copy()
    predicted[:, 4] = 2.0
    ceiling = np.array([0.5, 0.8, np.nan, 1.0, 0.9, 0.4, np.nan, np.nan])
    resamples = metrics.resampled_clips(40, 500, rng)
    return measured, predicted, ceiling, scores.score(measured, predicted, ceiling, COLUMNS, resamples)


def test_blocks_average_their_voxels_and_count_what_is_left_out(scored):
    measured, predicted, ceiling, found = scored
    r = metrics.correlation_score(measured, predicted)
    blocks = found.blocks
    assert blocks["n_excluded"].tolist() == [1, 0, 0, 2]
    assert blocks["n_constant"].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(blocks["correlation"], [r[:3].mean(), r[3:5].mean(), r[5], r[6:].mean()])
    expected = [(r[0] / 0.5 + r[1] / 0.8) / 2, (r[3] + 0) / 2, r[5] / 0.4, np.nan]
    np.testing.assert_allclose(blocks["normalized_correlation"], expected)
    np.testing.assert_allclose(found.replicates[:, :3].mean(axis=0), expected[:3], atol=0.1)
    assert np.isnan(found.replicates[:, 3]).all()


def test_both_aggregations_of_an_roi(scored):
    *_, found = scored
    table = scores.roi_table(found, COLUMNS.rois, 0.95).set_index(["roi", "aggregation"])
    first, second, third, _ = found.blocks["normalized_correlation"]
    value = table["normalized_correlation"]
    assert value["V1", "subjects"] == pytest.approx((first + third) / 2)
    assert value["V1", "voxels"] == pytest.approx((2 * first + third) / 3)
    assert value["V2", "subjects"] == pytest.approx(second)  # the other subject has no voxel left
    assert table.loc[("V1", "voxels"), "n_excluded"] == 1
    assert (table["low"] < value).all() and (value < table["high"]).all()


def test_the_interval_over_clips_covers_the_true_score():
    rng = np.random.default_rng(3)
    columns, ceiling, true = Columns((Block("s", "V1", 1),)), np.ones(1), 0.6
    covered = 0
    for _ in range(300):
        x = rng.standard_normal((100, 1))
        y = true * x + np.sqrt(1 - true**2) * rng.standard_normal((100, 1))
        found = scores.score(x, y, ceiling, columns, metrics.resampled_clips(100, 300, rng))
        spread = aggregation.interval(found.replicates[:, 0], 0.9)
        covered += spread["low"] <= true <= spread["high"]
    assert 0.84 <= covered / 300 <= 0.95


def table(values):
    """Validation scores of spaces (rows) per ROI (columns)."""
    return pd.DataFrame(
        [
            {"space": space, "split": "validation", "roi": roi, "aggregation": "subjects", "normalized_correlation": v}
            for space, line in values.items()
            for roi, v in line.items()
        ]
    )


def test_the_best_layer_on_validation_is_chosen_per_roi_the_earlier_on_a_tie():
    seen = table({"c1": {"V1": 0.4, "PPA": 0.1}, "c2": {"V1": 0.4, "PPA": np.nan}, "c3": {"V1": 0.2, "PPA": 0.3}})
    assert selection.choose(seen, "validation", {}) == {"V1": "c1", "PPA": "c3"}


def test_one_standard_error_takes_the_earliest_that_is_not_clearly_worse():
    seen = table({"c1": {"V1": 0.29, "PPA": 0.1}, "c2": {"V1": 0.36, "PPA": np.nan}, "c3": {"V1": 0.4, "PPA": 0.3}})
    errors = {("V1", "c3"): 0.05, ("PPA", "c3"): 0.3}  # of the best ones; the others' do not count
    seen["standard_error"] = [errors.get((roi, space), 9.0) for roi, space in zip(seen["roi"], seen["space"])]
    assert selection.choose(seen, "one_standard_error", {}) == {"V1": "c2", "PPA": "c1"}
    assert selection.choose(seen, "validation", {}) == {"V1": "c3", "PPA": "c3"}


def test_the_published_layers_are_used_or_missed_with_a_cure():
    seen = table({"c1": {"V1": 0.4}, "c2": {"V1": 0.1}})
    assert selection.choose(seen, "paper", {"V1": "c2"}) == {"V1": "c2"}
    with pytest.raises(InputError, match=r"V1 wants c9, and the candidates are c1, c2; use the policy validation"):
        selection.choose(seen, "paper", {"V1": "c9"})
    alone = table({"c1+c2": {"V1": 0.4}})
    assert selection.choose(alone, "paper", {"V1": "c9"}) == {"V1": "c1+c2"}


def test_an_roi_without_a_reliable_voxel_is_named():
    with pytest.raises(InputError, match="no voxel of V1 reaches ceiling.min_reliability"):
        selection.choose(table({"c1": {"V1": np.nan}, "c2": {"V1": np.nan}}), "validation", {})


def test_a_row_scores_the_mean_of_its_rois_and_keeps_their_covariance(scored):
    *_, found = scored
    label = {"space": "c1", "split": "test"}
    rois = scores.roi_table(found, COLUMNS.rois, 0.95).assign(**label)
    blocks = found.blocks.assign(**label)
    chosen = {"V1": "c1", "V2": "c1"}
    result = selection.selected_scores(chosen, blocks, rois, {"c1": found.replicates}, 0.95)
    value = rois.set_index(["roi", "aggregation"])["normalized_correlation"]
    assert result["score"] == pytest.approx((value["V1", "subjects"] + value["V2", "subjects"]) / 2)
    assert result["pooled_score"] == pytest.approx((value["V1", "voxels"] + value["V2", "voxels"]) / 2)
    drawn = (found.replicates[:, [0, 2]].mean(axis=1) + found.replicates[:, 1]) / 2
    assert result["standard_error"] == pytest.approx(drawn.std(ddof=1), rel=1e-4)
    assert result["subjects"]["sub01"]["rois"]["V1"] == pytest.approx(found.blocks["normalized_correlation"][0])
    metrics_file = selection.headline({"validation": result, "test": result})
    whole = {"score", "low", "high", "pooled_score", "correlation", "V1", "V2"}
    assert metrics_file["test"].keys() == whole
    assert metrics_file["validation"] == {"score": result["score"]}
    assert selection.headline({"validation": result})["validation"].keys() == whole

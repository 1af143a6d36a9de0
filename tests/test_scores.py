"""Scores on small tables computed by hand, and their uncertainty."""

import numpy as np
import pytest

from cinevox.measured.responses import Block, Columns
from cinevox.scoring import scores
from cinevox.statistics import aggregation, metrics

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


def test_a_space_of_some_rois_has_scores_there_and_none_elsewhere(scored):
    measured, predicted, ceiling, whole = scored
    resamples = metrics.resampled_clips(40, 500, np.random.default_rng(0))
    whole = scores.score(measured, predicted, ceiling, COLUMNS, resamples)
    predicted[:, [3, 4, 6, 7]] = np.nan
    own = COLUMNS.of_rois(["V1"])
    found = scores.score_own(measured, predicted, ceiling, COLUMNS, ["V1"], resamples)
    v1 = [True, False, True, False]
    for column in ("score", "correlation", "n_voxels", "n_excluded", "n_constant"):
        np.testing.assert_allclose(found.blocks[column][v1], whole.blocks[column][v1], rtol=1e-9)
    assert list(zip(found.blocks["subject"], found.blocks["roi"])) == [(b.subject, b.roi) for b in COLUMNS.blocks]
    np.testing.assert_allclose(found.replicates[:, v1], whole.replicates[:, v1], rtol=1e-6)
    np.testing.assert_array_equal(found.correlation[own[1]], whole.correlation[own[1]])
    for values in (found.correlation[~own[1]], found.normalized[~own[1]], found.replicates[:, [1, 3]]):
        assert np.isnan(values).all()
    table = scores.roi_table(found, COLUMNS.rois, 0.95).set_index(["roi", "aggregation"])
    assert table.loc["V1", ["score", "low", "high"]].notna().all(axis=None)
    assert table.loc["V2", ["score", "correlation", "low", "high"]].isna().all(axis=None)


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


def test_without_a_ceiling_the_score_is_the_plain_correlation_of_every_voxel(scored, rng):
    measured, predicted, _, normalized = scored
    resamples = metrics.resampled_clips(40, 30, rng)
    found = scores.score(measured, predicted, None, COLUMNS, resamples)
    r = metrics.correlation_score(measured, predicted)
    expected = [r[:3].mean(), r[3:5].mean(), r[5], r[6:].mean()]
    np.testing.assert_allclose(found.blocks["score"], expected)
    assert found.normalized is None and found.blocks["normalized_correlation"].isna().all()
    assert found.blocks["n_excluded"].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(normalized.blocks["score"], normalized.blocks["normalized_correlation"])
    for line, drawn in zip(resamples[:3], found.replicates):
        rows = np.repeat(np.arange(40), line.astype(int))
        again = metrics.correlation_score(measured[rows], predicted[rows])
        assert drawn[0] == pytest.approx(again[:3].mean(), abs=1e-5)
    table = scores.roi_table(found, COLUMNS.rois, 0.95).set_index(["roi", "aggregation"])
    assert table.loc[("V2", "subjects"), "score"] == pytest.approx((expected[1] + expected[3]) / 2)
    assert table.loc[("V2", "voxels"), "score"] == pytest.approx(r[[3, 4, 6, 7]].mean())

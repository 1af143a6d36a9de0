"""Responses, columns and the format of predictions."""

import numpy as np
import pytest

from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured.responses import Block, Columns, Responses, side_by_side, unit


def test_blocks_stand_side_by_side(rng):
    parts = [
        Responses(rng.standard_normal((5, 3, n)).astype(np.float32), "sub01", roi) for roi, n in (("V1", 2), ("V2", 3))
    ]
    matrix, columns = side_by_side((part.subject, part.roi, part.mean()) for part in parts)
    assert columns.slices == (slice(0, 2), slice(2, 5))
    assert (columns.n_voxels, columns.rois, columns.subjects) == (5, ("V1", "V2"), ("sub01",))
    np.testing.assert_allclose(matrix[:, 2:], parts[1].values.mean(axis=1), atol=1e-6)
    assert Columns.from_json(columns.to_json()) == columns


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"sub01 V1: responses of shape \(5, 2\), expected \(n_stimuli, n_rep"):
        Responses(np.zeros((5, 2)), "sub01", "V1")
    with pytest.raises(ValueError, match="sub01 V1 5, sub02 V1 6"):
        side_by_side([(s, "V1", np.zeros((n, 1), np.float32)) for s, n in (("sub01", 5), ("sub02", 6))])


def test_a_unit_is_the_median_spread_of_the_voxels_that_vary(rng, monkeypatch):
    monkeypatch.setattr("cinevox.measured.responses.UNIT_VOXELS", 3)
    columns = Columns((Block("sub01", "V1", 7), Block("sub02", "V1", 2), Block("sub02", "V2", 1)))
    responses = (1e3 + rng.standard_normal((50, 10)) * np.r_[1:8, 10, 1e6, 5]).astype(np.float32)
    responses[:, [1, 9]] = 0.1
    responses[3, 2] = np.inf
    rows = np.arange(4, 50)
    spreads = responses[rows].std(axis=0, dtype=np.float64)
    expected = np.repeat([np.median(spreads[[0, 2, 3, 4, 5, 6]]), np.mean(spreads[7:9]), 1.0], [7, 2, 1])
    np.testing.assert_allclose(columns.units(responses, rows), expected)
    assert unit(responses[:, :7]) == pytest.approx(np.median(responses[:, [0, 3, 4, 5, 6]].std(axis=0)), rel=1e-5)
    assert unit(responses[:, :0]) == 1.0


def test_predictions_come_back_as_they_were_written(tmp_path, rng):
    columns = Columns.from_json([{"subject": "sub01", "roi": "V1", "n_voxels": 4}])
    row = {"track": "mini", "network": "alexnet", "features": "layer", "regressor": "ridge"}
    row["weights"] = {"alexnet": {"policy": "random"}}
    index = prediction_store.Index(("c1", "c1+c2"), {"test": np.arange(3)}, columns, row, {"c1": {"flag": 2}})
    folder = tmp_path / "mini-alexnet-layer-ridge"
    predicted = rng.standard_normal((3, 4)).astype(np.float32)
    prediction_store.write_index(folder, index)
    prediction_store.write(folder, "c1+c2", "test", predicted)
    again = prediction_store.read_index(folder)
    assert (again.spaces, again.columns, again.provenance, again.diagnostics) == (
        index.spaces, columns, row, {"c1": {"flag": 2}},
    )  # fmt: skip
    np.testing.assert_array_equal(prediction_store.read(folder, *again.cohorts, "c1+c2", "test"), predicted)
    prediction_store.write(folder, "c1", "test", predicted[:2])
    with pytest.raises(io.FileError, match=r"shape \(2, 4\), expected \(3, 4\) \(n_clips, n_voxels\)"):
        prediction_store.read(folder, *again.cohorts, "c1", "test")

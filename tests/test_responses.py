"""Responses, columns and the format of predictions."""

import numpy as np
import pytest

from cinevox import io, predictions
from cinevox.responses import Columns, Responses, side_by_side


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


def test_predictions_come_back_as_they_were_written(tmp_path, rng):
    columns = Columns.from_json([{"subject": "sub01", "roi": "V1", "n_voxels": 4}])
    index = predictions.Index(("c1", "c1+c2"), {"test": np.arange(3)}, columns, {"track": "mini"}, {"c1": {"flag": 2}})
    predicted = rng.standard_normal((3, 4)).astype(np.float32)
    predictions.write_index(tmp_path, index)
    predictions.write(tmp_path, "c1+c2", "test", predicted)
    again = predictions.read_index(tmp_path)
    assert (again.spaces, again.columns, again.provenance, again.diagnostics) == (
        index.spaces, columns, {"track": "mini"}, {"c1": {"flag": 2}},
    )  # fmt: skip
    np.testing.assert_array_equal(predictions.read(tmp_path, again, "c1+c2", "test"), predicted)
    predictions.write(tmp_path, "c1", "test", predicted[:2])
    with pytest.raises(io.FileError, match=r"shape \(2, 4\), expected \(3, 4\) \(n_clips, n_voxels\)"):
        predictions.read(tmp_path, again, "c1", "test")

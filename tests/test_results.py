"""What a row came to, as every outlet reads it."""

import numpy as np
import pandas as pd
import pytest

import fabricate
from cinevox.project.paths import Paths
from cinevox.scoring import row_results

ROW = fabricate.ROWS[1]


@pytest.mark.parametrize("excluded_on", ["validation", "test"])
def test_replicates_are_of_the_voxels_that_their_split_scores(tmp_path, excluded_on):
    """A subject's ROI without a reliable voxel on one split is left out of that split's means, and of no other's."""
    paths, settings = Paths(tmp_path), fabricate.make(tmp_path)
    file = paths.scores(ROW) / "subjects.csv"
    table = pd.read_csv(file)
    block = (table["split"] == excluded_on) & (table["subject"] == "sub01") & (table["roi"] == "V1")
    table.loc[block, "n_excluded"] = table.loc[block, "n_voxels"]
    table.to_csv(file, index=False)
    (found,) = row_results.read(paths, {ROW: settings.experiments.rows[ROW]})
    for split in ("validation", "test"):
        subjects = found.voxels[f"{split}.replicates"].reshape(
            -1, len(fabricate.SUBJECTS), len(found.index.columns.rois)
        )
        of_v1 = subjects[:, 1:, 0] if split == excluded_on else subjects[..., 0]
        np.testing.assert_allclose(found.replicates(split)[:, 0], of_v1.mean(axis=1), rtol=1e-6)

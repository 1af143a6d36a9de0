"""The brain picture: the only place that draws with matplotlib and nilearn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cinevox.report.sources import Anatomy
from cinevox.responses import Columns

COLOURS = "cividis"
SLICES = (-20, -8, 4, 16, 28, 44)  # mm above the anterior commissure


def volume(anatomy: Anatomy, columns: Columns, scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean over the subjects that have a scored voxel there, (x, y, z); NaN elsewhere.

    scores: (n_voxels,), whole-brain columns in C order of each subject's mask
    """
    shape = next(iter(anatomy.masks.values())).shape
    total, count = np.zeros(shape), np.zeros(shape)
    for block, where in zip(columns.blocks, columns.slices):
        mask, values = anatomy.masks[block.subject], scores[where]
        known = np.isfinite(values)
        total[mask] += np.where(known, values, 0)
        count[mask] += known
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0).astype(np.float32)


def picture(scores: NDArray[np.floating], affine: NDArray[np.floating]) -> bytes:
    """A PNG: glass brain above, axial slices on the MNI152 template below; the same bytes for the same scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries announce their own plans
        import matplotlib

        matplotlib.use("agg")
        import nibabel
        from matplotlib import pyplot
        from nilearn import plotting

        image = nibabel.Nifti1Image(np.nan_to_num(scores, nan=0.0), affine)
        top = float(max(np.nanquantile(scores, 0.98), 0.1))
        style = {"cmap": COLOURS, "vmin": 0.0, "vmax": top}
        canvas = pyplot.figure(figsize=(10, 5.6), facecolor="white")
        try:
            glass = canvas.add_axes((0.0, 0.47, 1.0, 0.53))
            plotting.plot_glass_brain(
                image, display_mode="lyrz", axes=glass, colorbar=False, annotate=True, black_bg=False,
                plot_abs=False, threshold=1e-6, **style,
            )  # fmt: skip
            slices = canvas.add_axes((0.0, 0.08, 1.0, 0.38))
            plotting.plot_stat_map(
                image, display_mode="z", cut_coords=list(SLICES), axes=slices, colorbar=False, annotate=True,
                draw_cross=False, black_bg=False, threshold=1e-6, **style,
            )  # fmt: skip
            bar = canvas.add_axes((0.36, 0.055, 0.28, 0.018))
            scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0.0, top), COLOURS)
            canvas.colorbar(scale, cax=bar, orientation="horizontal").ax.tick_params(labelsize=8, length=2)
            buffer = io.BytesIO()
            canvas.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        finally:
            pyplot.close(canvas)
    return buffer.getvalue()


def summary(columns: Columns, scores: NDArray[np.floating]) -> Mapping[str, float]:
    """Subject -> mean over its scored voxels."""
    return {
        block.subject: float(np.nanmean(scores[where])) if np.isfinite(scores[where]).any() else float("nan")
        for block, where in zip(columns.blocks, columns.slices)
    }

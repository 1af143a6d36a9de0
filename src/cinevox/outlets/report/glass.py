"""The brain seen through and in slices; with `surface` the only place that draws with matplotlib and nilearn."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_SLICES = 6


@dataclass(frozen=True)
class ColourScale:
    """A scale of colours for values; none of them is grey, which is where nothing is known."""

    low: float
    high: float
    colours: str
    label: str


def scores_up_to(top: float, measure: str) -> ColourScale:
    """The scale of scores, which are normalized or plain correlations."""
    return ColourScale(0.0, top, "plasma", measure)


def top_of(volumes: list[NDArray[np.floating]]) -> float:
    """The end of one colour scale for all: the highest 98th percentile, rounded up to a twentieth."""
    highest = max((float(np.nanquantile(volume, 0.98)) for volume in volumes if np.isfinite(volume).any()), default=0)
    return max(np.ceil(round(highest * 20, 6)) / 20, 0.1)


def picture(scores: NDArray[np.floating], affine: NDArray[np.floating], scale: ColourScale) -> bytes:
    """A PNG: glass brain above, axial slices on the MNI152 template below; the same bytes for the same scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries announce their own plans
        import matplotlib

        matplotlib.use("agg")
        import nibabel
        from matplotlib import pyplot
        from nilearn import plotting
        from nilearn.datasets import load_mni152_template

        image = nibabel.Nifti1Image(_drawn(scores), affine)
        style = {
            "cmap": scale.colours, "vmin": scale.low, "vmax": scale.high, "threshold": 1e-6, "colorbar": False,
            "annotate": False, "black_bg": False,
        }  # fmt: skip
        canvas = pyplot.figure(figsize=(10, 5.8), facecolor="white")
        try:
            glass = canvas.add_axes((0.0, 0.49, 1.0, 0.5))
            display = plotting.plot_glass_brain(image, display_mode="lyrz", axes=glass, plot_abs=False, **style)
            display.annotate(size=10)
            slices = canvas.add_axes((0.01, 0.12, 0.98, 0.36))
            cuts = _cuts(scores, affine)
            head = load_mni152_template(resolution=1)
            display = plotting.plot_stat_map(
                image, bg_img=head, display_mode="z", cut_coords=cuts, axes=slices, draw_cross=False, **style
            )
            display.annotate(size=9)
            colour_bar(canvas, scale)
            buffer = io.BytesIO()
            canvas.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        finally:
            pyplot.close(canvas)
    return buffer.getvalue()


def colour_bar(canvas: Any, scale: ColourScale) -> None:
    """The scale of all brain pictures, at the foot of the canvas."""
    from matplotlib import cm, colors

    mapped = cm.ScalarMappable(colors.Normalize(scale.low, scale.high), scale.colours)
    bar = canvas.colorbar(mapped, cax=canvas.add_axes((0.36, 0.075, 0.28, 0.018)), orientation="horizontal")
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
    bar.set_label(scale.label, fontsize=9, labelpad=2)


def _drawn(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """nilearn leaves out what is 0, so what is known and 0 is moved from it, and what is not known is 0."""
    away = np.where(np.abs(scores) < 1e-5, 1e-5, scores)
    return np.nan_to_num(away, nan=0.0).astype(np.float32)


def _cuts(scores: NDArray[np.floating], affine: NDArray[np.floating]) -> list[float]:
    """Heights in mm, evenly through the middle nine tenths of what is known."""
    z = affine[2, 3] + affine[2, 2] * np.nonzero(np.isfinite(scores))[2]
    low, high = np.quantile(z, (0.05, 0.95)) if len(z) else (-20.0, 44.0)
    return [float(cut) for cut in np.linspace(low, high, N_SLICES).round()]

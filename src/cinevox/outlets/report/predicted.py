"""Predictions of an encoding model for clips: pictures of one, and a page of all."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from cinevox.encoding.about import About, Region
from cinevox.encoding.model import EncodingModel
from cinevox.outlets.report import maps, surface
from cinevox.outlets.report.glass import ColourScale, scores_up_to, top_of
from cinevox.outlets.report.svg import signed
from cinevox.stimuli.frames import Clip

Floats = NDArray[np.floating]

LARGEST_Q = 0.05  # of the voxels drawn on the brain: those whose responses the row predicts above chance
DOTS_PER_INCH = 130


@dataclass(frozen=True)
class PredictionLine:
    """One ROI: regions and their responses, one of each subject, and means over subjects (None without any)."""

    roi: str
    regions: tuple[Region, ...]
    responses: Floats

    @property
    def response(self) -> float:
        return float(self.responses.mean())

    def of(self, subjects: Sequence[str]) -> list[float | None]:
        """The response of each subject; None of one who lacks the ROI."""
        own = {region.subject: float(response) for region, response in zip(self.regions, self.responses)}
        return [own.get(subject) for subject in subjects]

    @property
    def band(self) -> tuple[float, float]:
        """The band of the data set's own clips (`About.usual`): 5th to 95th percentile, mean over subjects."""
        low, high = np.mean([(region.low, region.high) for region in self.regions], axis=0)
        return float(low), float(high)

    @property
    def score(self) -> float | None:
        known = [region.score for region in self.regions if region.score is not None]
        return float(np.mean(known)) if known else None


def lines(regions: Sequence[Region], responses: Floats) -> list[PredictionLine]:
    """ROIs in their order. regions, responses: of a clip, one of each (n_regions,)"""
    rois = dict.fromkeys(region.roi for region in regions)
    where = {roi: [number for number, region in enumerate(regions) if region.roi == roi] for roi in rois}
    return [
        PredictionLine(roi, tuple(regions[n] for n in numbers), responses[numbers]) for roi, numbers in where.items()
    ]


def roi_pictures(found: Sequence[PredictionLine], about: About) -> dict[str, bytes]:
    """`png` and `svg`: each ROI's response, over subjects and of each, before those to the data set's own clips.

    The colour of a response is how well the row predicts that ROI; the same bytes for the same numbers.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import colormaps, colors, pyplot, rc_context

    scale = scores_up_to(
        top_of([np.array([np.nan if line.score is None else line.score for line in found])]), about.measure
    )
    colour = colormaps[scale.colours]
    with rc_context({"svg.hashsalt": about.row, "font.family": "sans-serif"}):
        canvas = pyplot.figure(figsize=(7.4, 1.5 + 0.42 * len(found)), facecolor="white", layout="constrained")
        axes = canvas.add_subplot()
        for height, line in enumerate(reversed(found)):
            low, high = line.band
            axes.barh(height, high - low, left=low, height=0.56, color="#e3e7ea", linewidth=0)
            axes.plot(line.responses, np.full(len(line.responses), height), "|", color="#5b656d", ms=9, mew=1.1)
            share = None if line.score is None else max(line.score, 0.0) / scale.high
            inside = "#b9c1c7" if share is None else colour(share)
            axes.plot(line.response, height, "o", ms=10, mfc=inside, mec="#1d2327", mew=0.8)
        axes.axvline(0, color="#b9c1c7", lw=0.8, zorder=0)
        axes.set_yticks(range(len(found)), [line.roi for line in reversed(found)])
        axes.set_ylim(-0.6, len(found) - 0.4)
        axes.use_sticky_edges = False
        axes.margins(x=0.03)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel("predicted response, mean over voxels", fontsize=9)
        mapped = matplotlib.cm.ScalarMappable(colors.Normalize(scale.low, scale.high), scale.colours)
        bar = canvas.colorbar(mapped, ax=axes, shrink=0.7, aspect=24, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=2)
        bar.set_label(f"how well this ROI is predicted\n({about.measure})", fontsize=8.5)
        try:
            return {"png": _saved(canvas, "png"), "svg": _saved(canvas, "svg")}
        finally:
            pyplot.close(canvas)


def _saved(canvas: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(
        buffer, format=kind, dpi=DOTS_PER_INCH, metadata={"png": {"Software": None}, "svg": {"Date": None}}[kind]
    )
    return buffer.getvalue()


def affine(about: About) -> Floats:
    """Voxel indices to millimetres, (4, 4), where it is known where voxels lie."""
    return np.array(np.eye(4) if about.grid is None else about.grid.affine)


def volumes(
    encoding: EncodingModel, subjects: Sequence[str], responses: Floats, largest_q: float = 1.0
) -> dict[str, maps.Volume]:
    """Subject -> its responses (n_voxels,) in the volume, NaN elsewhere; empty where it isn't known where voxels lie.

    largest_q: of the voxels that are shown, by how well the row predicts them; by default all
    """
    grid, place = encoding.about.grid, encoding.voxels.get("place")
    if grid is None or place is None:
        return {}
    shown = (place >= 0) & ((encoding.voxels["q"] <= largest_q) | (largest_q == 1))
    found = {}
    for own, where in encoding.about.columns.by_subject:
        if (subject := own.subjects[0]) in subjects:
            flat = np.full(int(np.prod(grid.shape)), np.nan, dtype=np.float32)
            inside = shown[where]
            flat[place[where][inside]] = responses[where][inside]
            found[subject] = flat.reshape(grid.shape)
    return found


def brain_picture(drawn: Mapping[str, maps.Volume], affine: Floats) -> bytes | None:
    """A PNG of the cortical surface, mean over subjects; None where no voxel is drawn."""
    if not any(np.isfinite(volume).any() for volume in drawn.values()):
        return None
    mean = maps.mean(np.stack(list(drawn.values())))
    top = float(np.nanquantile(np.abs(mean), 0.98)) or 1.0
    digits = 1 - int(np.floor(np.log10(top)))
    top = float(np.ceil(top * 10**digits) / 10**digits)
    who = next(iter(drawn)) if len(drawn) == 1 else f"mean over {len(drawn)} subjects"
    return surface.picture(
        mean, np.array(affine), ColourScale(-top, top, "RdYlBu_r", f"predicted response, {who}"), DOTS_PER_INCH
    )


@dataclass(frozen=True)
class Shown:
    """A clip on the page.

    name: of its folder; clip: what was found in its file; cautions: about it alone, a sentence each
    pictures: `rois` and `brain` -> file, as the page finds it
    """

    name: str
    clip: Clip
    cautions: Sequence[str]
    lines: Sequence[PredictionLine]
    pictures: Mapping[str, str]


def page(about: About, subjects: Sequence[str], clips: Sequence[Shown]) -> str:
    """All clips as HTML, beside the files of their pictures."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cinevox.outlets.report", "."),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["signed"] = lambda value: signed(value, 3)
    css = resources.files("cinevox.outlets.report").joinpath("page.css").read_text()
    still = any(shown.clip.seconds is None and shown.clip.n_decoded == 1 for shown in clips)
    words = ("stimulus", "stimuli") if still else ("clip", "clips")
    text: str = environment.get_template("predicted.html").render(
        about=about, subjects=subjects, clips=clips, words=words, css=css, largest_q=LARGEST_Q
    )
    return text

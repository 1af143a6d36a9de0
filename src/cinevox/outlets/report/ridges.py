"""Ridges: how values of voxels lie, a curve for each region or kind of voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.figures import WIDTH
from cinevox.outlets.report.known_truth import Silent
from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.svg import Panel, figure, shown, text, ticks
from cinevox.scoring.row_results import Result
from cinevox.statistics.splits import ceiling_split

Floats = NDArray[np.floating]


def voxels(sources: Sources, result: Result) -> str:
    """Per ROI, over all subjects: how the voxels' scores lie (left), and their ceilings (right), if there are any."""
    rois = list(result.scores.rois)
    values = result.voxel_scores(result.split)
    ceiling = sources.ceilings[result.row.track].ceiling[ceiling_split(result.split)]
    finite = values[np.isfinite(values)]
    low, high = (float(np.quantile(finite, q)) for q in (0.001, 0.999)) if len(finite) else (-0.5, 1.0)
    limits = (min(low, -0.1), max(high, 1.1))
    step, top, left = 44.0, 40.0, 60.0
    height = step * len(rois)
    scores = Panel((left, top, 520, height), limits, (len(rois), 0))
    drawn: list[tuple[Panel, str, Floats]] = [(scores, f"{result.measure} of each voxel", values)]
    if ceiling is not None:
        beside = Panel((left + 560, top, WIDTH - left - 580, height), (0, 1), (len(rois), 0))
        drawn.append((beside, "its noise ceiling, as r", ceiling))
    for panel, title, _ in drawn:
        panel.marks.append(text(panel.box[0], 16, title, "panel-name"))
        panel.grid(ticks(*panel.xs, 7))
        panel.x_ticks(ticks(*panel.xs, 7))
    if ceiling is not None:
        scores.upright(1, "reference")
    for number, roi in enumerate(rois):
        inside = [where for b, where in zip(result.index.columns.blocks, result.index.columns.slices) if b.roi == roi]
        scores.marks.append(text(left - 12, scores.y(number + 0.86), roi, "name", "end"))
        for panel, _, own in drawn:
            _ridge(panel, np.concatenate([own[where] for where in inside]), number + 0.95, roi)
    marks = [mark for panel, _, _ in drawn for mark in panel.marks]
    return figure(WIDTH, top + height + 24, marks, "; ".join(title for _, title, _ in drawn))


def null_voxels(kinds: Sequence[Silent]) -> str:
    """Plain r of voxels without and with a signal."""
    step, top, left = 64.0, 10.0, 130.0
    panel = Panel((left, top, 520, step * len(kinds)), (-0.6, 1.0), (len(kinds), 0))
    panel.grid(ticks(-0.6, 1.0, 9))
    panel.x_ticks(ticks(-0.6, 1.0, 9))
    for number, kind in enumerate(kinds):
        panel.marks.append(text(left - 12, panel.y(number + 0.86), kind.kind, "name", "end"))
        _ridge(panel, kind.values, number + 0.95, kind.kind)
    return figure(left + 540, top + step * len(kinds) + 24, panel.marks, "r of voxels without and with a signal")


def _ridge(panel: Panel, values: Floats, base: float, roi: str) -> None:
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return
    low, high = panel.xs
    edges = np.linspace(low, high, 121)
    counts, _ = np.histogram(np.clip(known, low, high), edges)
    kernel = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)
    density = np.convolve(counts, kernel / kernel.sum(), mode="same")
    centres = ((edges[1:] + edges[:-1]) / 2).tolist()
    heights = (base - 0.85 * density / density.max()).tolist()
    panel.band(centres, [base] * len(centres), heights, "ridge")
    panel.line(centres, heights, "ridge-edge")
    middle = float(np.median(known))
    panel.upright(middle, "median", base, base - 0.3)
    panel.dot(float(known.mean()), base, 3, "dot", f"{roi}: mean {shown(float(known.mean()))}, median {shown(middle)}")

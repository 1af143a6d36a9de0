"""The report's drawings, as inline SVG: small, crisp, and in the page's own type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.known import Silent
from cinevox.outlets.report.sources import Sources
from cinevox.outlets.report.svg import Panel, figure, shown, text, ticks
from cinevox.outlets.report.tables import Profile, ScoreLine, label
from cinevox.project.params import Track
from cinevox.scoring.row_results import Result
from cinevox.statistics.splits import ceiling_split

Floats = NDArray[np.floating]

WIDTH, NARROW = 960.0, 380.0  # of drawings across the page; of those for a phone
CHARACTER = 6.3  # width of one in a row's name
LIGHT, DARK = (247, 250, 250), (11, 94, 122)  # the ends of the heat scale: 0 and the highest score
CURVES = ("train_correlation", "validation_correlation")
MOST_DOTS = 4000  # in a scatter; more are thinned, evenly


def forest(lines: Sequence[ScoreLine], width: float = WIDTH) -> str:
    """Every row's score with its interval, the ROIs' scores as small dots, the paper's score as a diamond.

    A row's name stands beside its marks, in a narrow drawing above them.
    """
    narrow = width < WIDTH
    wide = max([300.0, *(CHARACTER * len(label(line.result)) + 24 for line in lines)])
    step, left, right, top = (42.0, 8.0, 8.0, 8.0) if narrow else (30.0, wide, 20.0, 18.0)
    numbers = [
        number
        for line in lines
        for cell in (line.score, *line.cells)
        for number in (cell.value, cell.low if cell is line.score else None, line.reported)
        if number is not None
    ]
    low, high = min(0.0, *numbers) - 0.02, max(0.1, *numbers) + 0.04
    height = top + step * len(lines) + 26
    panel = Panel((left, top, width - left - right, step * len(lines)), (low, high), (len(lines), 0))
    marks = ticks(low, high, 8)
    panel.grid(marks)
    panel.x_ticks(marks)
    for number, line in enumerate(lines):
        middle = number + (0.7 if narrow else 0.5)
        name = label(line.result)
        if narrow:
            panel.marks.append(text(0, panel.y(middle) - 13, name, "name"))
        else:
            panel.marks.append(text(left - 14, panel.y(middle) + 4, name, "name", "end"))
        for roi, cell in zip(line.result.scores.rois, line.cells):
            if cell.value is not None:
                panel.dot(cell.value, middle, 2.6, "faint-dot", f"{roi} {shown(cell.value)} ({cell.space})")
        if line.score.low is not None and line.score.high is not None:
            panel.line((line.score.low, line.score.high), (middle, middle), "interval")
        if line.score.value is not None:
            panel.dot(line.score.value, middle, 5, "dot", f"score {shown(line.score.value)}")
        if line.reported is not None:
            panel.diamond(line.reported, middle, 4, "paper", f"the paper reports {shown(line.reported)}")
    return figure(width, height, panel.marks, "Score of every row with its interval")


def profiles(profile: Profile) -> str:
    """One small panel per ROI: score of each layer with its interval, on the split that counts and on validation."""
    columns, split = min(5, len(profile.rois)), profile.result.split
    wide, tall = (162.0, 92.0) if len(profile.rois) > 1 else (500.0, 200.0)
    gap, left, row_height = 24.0, 34.0, tall + 48
    lows, highs = profile.values(split, "low"), profile.values(split, "high")
    others = [profile.values(name) for name in profile.by_split if name != split]
    every = np.concatenate([part.ravel() for part in (lows, highs, *others)])
    every = every[np.isfinite(every)]
    limits = (float(every.min(initial=0)), max(0.1, float(every.max(initial=0))) + 0.02)
    marks: list[str] = []
    xs = list(range(len(profile.spaces)))
    for number, roi in enumerate(profile.rois):
        at = (left + (number % columns) * (wide + gap), 24 + (number // columns) * row_height)
        panel = Panel((*at, wide, tall), (-0.3, len(xs) - 0.7), limits, marks)
        for tick in ticks(*limits, 4):
            panel.level(tick, "zero" if tick == 0 else "grid")
        if number % columns == 0:
            panel.y_ticks(ticks(*limits, 4))
        known = np.isfinite(lows[:, number])
        panel.band(np.array(xs)[known].tolist(), lows[known, number].tolist(), highs[known, number].tolist(), "band")
        values = profile.values(split)[:, number]
        for part, kind in [*((other[:, number], "other") for other in others), (values, "main")]:
            known = np.isfinite(part)
            panel.line(np.array(xs)[known].tolist(), part[known].tolist(), kind)
        chosen = profile.spaces.index(profile.result.chosen[roi])
        if np.isfinite(values[chosen]):
            panel.dot(chosen, values[chosen], 4, "chosen", f"{profile.spaces[chosen]} {shown(values[chosen])}")
        marks.append(text(at[0], at[1] - 9, roi, "panel-name"))
        marks.append(text(at[0] + wide, at[1] - 9, profile.spaces[chosen], "tick accent", "end"))
        marks.append(text(at[0], at[1] + tall + 14, profile.spaces[0], "tick"))
        marks.append(text(at[0] + wide, at[1] + tall + 14, profile.spaces[-1], "tick", "end"))
    width = left + columns * (wide + gap) - gap + 8
    height = -(-len(profile.rois) // columns) * row_height - 4
    return figure(width, height, marks, f"Scores of the layers in every ROI, {profile.result.name}")


def heat(profile: Profile, highest: float) -> str:
    """The same as a map: a line for each layer, a column for each ROI, darker is higher, the chosen ones framed.

    highest: the score of the darkest cell, of all rows
    """
    wide, tall, left, top = 62.0, 24.0, 150.0, 30.0
    values = profile.values(profile.result.split)
    marks: list[str] = []
    for column, roi in enumerate(profile.rois):
        marks.append(text(left + (column + 0.5) * wide, top - 10, roi, "panel-name", "middle"))
        for line, space in enumerate(profile.spaces):
            at = (left + column * wide, top + line * tall, wide, tall)
            marks.append(_cell(*at, values[line, column], highest, profile.result.chosen[roi] == space))
    marks.extend(
        text(left - 10, top + line * tall + 16, space, "name", "end") for line, space in enumerate(profile.spaces)
    )
    size = (left + wide * len(profile.rois) + 10, top + tall * len(profile.spaces) + 6)
    return figure(*size, marks, f"Scores of the layers in every ROI, {profile.result.name}")


def _cell(x: float, y: float, wide: float, tall: float, value: float, top: float, framed: bool) -> str:
    ground, ink = heat_colours(value, top)
    size = f'width="{wide - 2:g}" height="{tall - 2:g}"'
    frame = ' class="frame"' if framed else ""
    return (
        f'<rect x="{x + 1:g}" y="{y + 1:g}" {size} fill="{ground}"{frame}/>'
        f'<text x="{x + wide / 2:g}" y="{y + 16:g}" text-anchor="middle" style="fill:{ink}">{shown(value)}</text>'
    )


def heat_colours(value: float | None, top: float) -> tuple[str, str]:
    """Colour of a cell of a heat map, from 0 to the highest score, and of the ink of the higher contrast on it."""
    if value is None or value != value:
        return "#ffffff", "#5b656d"
    share = min(max(value / top, 0.0), 1.0) if top > 0 else 0.0
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(LIGHT, DARK))
    # white on luminance L has the contrast 1.05 / (L + 0.05), black (L + 0.05) / 0.05 (WCAG 2): they meet at 4.58
    return f"rgb({red},{green},{blue})", "#ffffff" if _luminance(red, green, blue) < 0.179 else "#000000"


def _luminance(*channels: int) -> float:
    """Relative luminance of an sRGB colour, 0 to 1."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in channels))
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def curves(results: Sequence[Result]) -> str:
    """A panel for each row of transfer networks: correlation in every epoch, mean over ROIs, and each ROI's faintly."""
    columns, wide, tall, gap, left = min(4, len(results)), 196.0, 130.0, 30.0, 40.0
    row_height = tall + 56
    every = [value for r in results for c in r.curves.values() for name in CURVES for value in c[name]]
    limits = (min(0.0, *every) - 0.02, max(0.1, *every) + 0.02)
    marks: list[str] = []
    for number, result in enumerate(results):
        at = (left + (number % columns) * (wide + gap), 26 + (number // columns) * row_height)
        n_epochs = max(len(c["loss"]) for c in result.curves.values())
        panel = Panel((*at, wide, tall), (0.7, n_epochs + 0.3), limits, marks)
        for tick in ticks(*limits, 5):
            panel.level(tick, "zero" if tick == 0 else "grid")
        if number % columns == 0:
            panel.y_ticks(ticks(*limits, 5))
        epochs = list(range(1, n_epochs + 1))
        for found in result.curves.values():
            panel.line(epochs, found["validation_correlation"], "faint")
        for name, kind in zip(CURVES, ("other", "main")):
            means = [np.mean(values) for values in zip(*(c[name] for c in result.curves.values()))]
            panel.line(epochs, [float(mean) for mean in means], kind)
        marks.append(text(at[0], at[1] - 10, f"{result.row.network} {result.row.regressor}", "panel-name"))
        panel.x_ticks([1, n_epochs] if n_epochs > 1 else [1])
        marks.append(text(at[0] + wide / 2, at[1] + tall + 14, "epoch", "tick", "middle"))
    width = left + columns * (wide + gap) - gap + 8
    return figure(width, -(-len(results) // columns) * row_height, marks, "Correlation in every epoch of training")


def voxels(sources: Sources, result: Result) -> str:
    """Per ROI, over all subjects: how the voxels' scores lie (left), and their ceilings (right), if there are any."""
    rois = list(dict.fromkeys(block.roi for block in result.index.columns.blocks))
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


def validation_against_test(results: Sequence[Result]) -> str:
    """Every candidate of every row and ROI: its score on the validation clips and on the test clips."""
    pairs, chosen = candidate_pairs(results)
    every = pairs.ravel() if len(pairs) else np.zeros(2)
    limits = (float(min(0, every.min())) - 0.02, float(every.max()) + 0.03)
    size = 380.0
    panel = Panel((50, 12, size, size), limits, limits)
    for tick in ticks(*limits, 7):
        panel.level(tick, "grid")
        panel.upright(tick, "grid")
    panel.x_ticks(ticks(*limits, 7))
    panel.y_ticks(ticks(*limits, 7))
    panel.line(limits, limits, "reference")
    thinned = pairs[~chosen][:: max(1, (~chosen).sum() // MOST_DOTS + 1)]
    panel.dots(thinned[:, 0], thinned[:, 1], 4, "cloud")
    panel.dots(pairs[chosen][:, 0], pairs[chosen][:, 1], 6, "picked")
    panel.marks.append(text(50 + size / 2, size + 48, "validation clips", "axis", "middle"))
    panel.marks.append(
        f'<g transform="translate(12 {12 + size / 2}) rotate(-90)">{text(0, 0, "test clips", "axis", "middle")}</g>'
    )
    return figure(size + 66, size + 56, panel.marks, "Scores of the candidates on validation and test clips")


def candidate_pairs(results: Sequence[Result]) -> tuple[Floats, NDArray[np.bool_]]:
    """(n, 2) scores on validation and test clips, plain r where only one has a ceiling, and which were chosen."""
    pairs, chosen = [], []
    for result in results:
        tables = [result.table(split).set_index(["space", "roi"])[compared(result)] for split in ("validation", "test")]
        for key, value in tables[0].items():
            pairs.append((value, tables[1][key]))
            chosen.append(result.chosen[key[1]] == key[0])
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    known = np.isfinite(found).all(axis=1)
    return found[known], np.array(chosen, dtype=bool)[known]


def compared(result: Result) -> str:
    """The column in which a row's validation and test scores can stand side by side."""
    measures = {found.measure for split, found in result.outcome.scores.items() if split != "nested"}
    return "score" if len(measures) == 1 else "correlation"


def reliability(sources: Sources, track: Track) -> str:
    """Each voxel's reliability as estimated from its repetitions, against the true one, for both kinds of clips."""
    ceiling, truth = sources.ceilings[track], sources.truth[track]
    size = 300.0
    marks: list[str] = []
    for number, split in enumerate(ceiling.reliability):
        estimated, true = ceiling.reliability[split], truth.reliability[split]
        limits = (min(-0.2, float(np.quantile(estimated, 0.002))), 1.0)
        panel = Panel((50 + number * (size + 70), 30, size, size), (0, 1), limits, marks)
        repetitions = ceiling.n_repetitions[split]
        kind = "training" if split == "validation" else "test"
        marks.append(text(panel.box[0], 14, f"{repetitions} repetitions of the {kind} clips", "panel-name"))
        for tick in ticks(*limits, 6):
            panel.level(tick, "zero" if tick == 0 else "grid")
        panel.grid(ticks(0, 1, 6))
        panel.x_ticks(ticks(0, 1, 6))
        panel.y_ticks(ticks(*limits, 6))
        every = slice(None, None, len(true) // MOST_DOTS + 1)
        panel.dots(true[every], np.clip(estimated[every], *limits), 2.6, "cloud")
        panel.line((0, 1), (0, 1), "reference")
        panel.level(sources.params.ceiling.min_reliability, "threshold")
        marks.append(text(panel.box[0] + size / 2, size + 64, "true reliability", "axis", "middle"))
        if number == 0:
            turned = f'<g transform="translate(12 {30 + size / 2}) rotate(-90)">'
            marks.append(turned + text(0, 0, "estimated reliability", "axis", "middle") + "</g>")
    width = 50 + len(ceiling.reliability) * (size + 70) - 50
    return figure(width, size + 72, marks, "Estimated against true reliability of every voxel")


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

"""The report's drawings, as inline SVG: small, crisp, and in the page's own type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinevox.outlets.report.svg import Panel, figure, shown, text, ticks
from cinevox.outlets.report.tables import Mixture, Profile, ScoreLine, label
from cinevox.scoring.row_results import Result

Floats = NDArray[np.floating]

WIDTH, NARROW = 960.0, 380.0  # of drawings across the page; of those for a phone
CHARACTER = 6.3  # width of one in a row's name
LIGHT, DARK = (247, 250, 250), (11, 94, 122)  # the ends of the heat scale: 0 and the highest score
CURVES = ("train_correlation", "validation_correlation")


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
    ends = (profile.spaces[0], profile.spaces[-1])
    if CHARACTER * len("".join(ends)) > wide:  # side by side they would lie on each other
        ends = ("first", "last")
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
        marks.append(text(at[0], at[1] + tall + 14, ends[0], "tick"))
        marks.append(text(at[0] + wide, at[1] + tall + 14, ends[1], "tick", "end"))
    width = left + columns * (wide + gap) - gap + 8
    height = -(-len(profile.rois) // columns) * row_height - 4
    return figure(width, height, marks, f"Scores of the layers in every ROI, {profile.result.name}")


def heat(profile: Profile, highest: float) -> str:
    """The same as a map: a line for each layer, a column for each ROI, darker is higher, the chosen ones framed.

    highest: the score of the darkest cell, of all rows
    """
    framed = [[profile.result.chosen[roi] == space for roi in profile.rois] for space in profile.spaces]
    values = profile.values(profile.result.split)
    what = f"Scores of the layers in every ROI, {profile.result.name}"
    return _heat_map(profile.spaces, profile.rois, values, highest, framed, what)


def mixing(mixture: Mixture) -> str:
    """Mean mixing weights: a line for each space, a column for each ROI, darker is more, up to a weight of 1."""
    framed = np.zeros(mixture.weights.shape, dtype=bool).tolist()
    what = f"Mean mixing weights in every ROI, {mixture.result.name}"
    return _heat_map(mixture.spaces, mixture.rois, mixture.weights, 1.0, framed, what)


def _heat_map(
    lines: Sequence[str], rois: Sequence[str], values: Floats, highest: float, framed: list[list[bool]], what: str
) -> str:
    wide, tall, top = 62.0, 24.0, 30.0
    left = max([150.0, *(CHARACTER * len(name) + 16 for name in lines)])
    marks: list[str] = []
    for column, roi in enumerate(rois):
        marks.append(text(left + (column + 0.5) * wide, top - 10, roi, "panel-name", "middle"))
        for line in range(len(lines)):
            at = (left + column * wide, top + line * tall, wide, tall)
            marks.append(_cell(*at, values[line, column], highest, framed[line][column]))
    marks.extend(text(left - 10, top + line * tall + 16, name, "name", "end") for line, name in enumerate(lines))
    return figure(left + wide * len(rois) + 10, top + tall * len(lines) + 6, marks, what)


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
        marks.append(text(at[0], at[1] - 10, f"{result.row.stands_on} {result.row.regressor}", "panel-name"))
        panel.x_ticks([1, n_epochs] if n_epochs > 1 else [1])
        marks.append(text(at[0] + wide / 2, at[1] + tall + 14, "epoch", "tick", "middle"))
    width = left + columns * (wide + gap) - gap + 8
    return figure(width, -(-len(results) // columns) * row_height, marks, "Correlation in every epoch of training")

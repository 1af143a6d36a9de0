"""Drawing: a few SVG marks on linear scales. Colours and type are the page's, through class names.

matplotlib writes the same drawings two to ten times as large (measured: forest, profiles, validation against test),
in 2 to 60 times the time, with its own type in place of the page's, and without the numbers under the pointer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Range = tuple[float, float]


def figure(width: float, height: float, marks: Iterable[str], label: str) -> str:
    """A whole drawing; `label` is its text for those who can't see it. Under `--least` its type is too small."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{width:g}px;--least:{min(0.9 * width, width - 20):g}px">{"".join(marks)}</svg>'
    )


def standalone(drawing: str, css: str) -> str:
    """The same drawing as a file of its own: with the page's styles for drawings, its colours spelled out."""
    colours = dict(re.findall(r"--([a-z-]+):\s*([^;]+);", css))
    rules = re.findall(r"^svg [^{]+\{[^}]*\}", css, flags=re.MULTILINE)
    style = re.sub(r"var\(--([a-z-]+)\)", lambda found: colours[found[1]], "".join(rules)).replace("svg ", "")
    head, _, body = drawing.partition(">")
    _, _, width, height = head.partition('viewBox="')[2].partition('"')[0].split()
    size = f' xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    return f"{head.replace('<svg', '<svg' + size)}><style>{style}</style>{background}{body}\n"


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def segment(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


@dataclass(frozen=True)
class Panel:
    """A rectangle of the drawing (left, top, width, height) with a scale on each axis, y upwards."""

    box: tuple[float, float, float, float]
    xs: Range
    ys: Range
    marks: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        low, high = self.xs
        return self.box[0] + self.box[2] * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.ys
        return self.box[1] + self.box[3] * (high - value) / (high - low)

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys))
        self.marks.append(f'<polyline points="{points}" class="{kind}"/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str) -> None:
        edge = [*zip(xs, highs), *reversed(list(zip(xs, lows)))]
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in edge)
        self.marks.append(f'<polygon points="{points}" class="{kind}"/>')

    def dot(self, x: float, y: float, radius: float, kind: str, title: str = "") -> None:
        inside = f"<title>{escape(title)}</title>" if title else ""
        self.marks.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:g}" class="{kind}">{inside}</circle>'
        )

    def dots(self, xs: Iterable[float], ys: Iterable[float], size: float, kind: str) -> None:
        """Many equal dots as one path."""
        path = "".join(f"M{self.x(x):.1f} {self.y(y):.1f}h0" for x, y in zip(xs, ys))
        self.marks.append(f'<path d="{path}" class="{kind}" stroke-width="{size:g}" stroke-linecap="round"/>')

    def diamond(self, x: float, y: float, radius: float, kind: str, title: str) -> None:
        at = f"translate({self.x(x):.1f} {self.y(y):.1f}) rotate(45)"
        shape = f'<rect x="{-radius:g}" y="{-radius:g}" width="{2 * radius:g}" height="{2 * radius:g}"'
        self.marks.append(f'{shape} transform="{at}" class="{kind}"><title>{escape(title)}</title></rect>')

    def level(self, y: float, kind: str) -> None:
        left, _, width, _ = self.box
        self.marks.append(segment(left, self.y(y), left + width, self.y(y), kind))

    def upright(self, x: float, kind: str, low: float | None = None, high: float | None = None) -> None:
        ends = (self.ys[0] if low is None else low, self.ys[1] if high is None else high)
        self.marks.append(segment(self.x(x), self.y(ends[0]), self.x(x), self.y(ends[1]), kind))

    def label(self, x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> None:
        self.marks.append(text(self.x(x), self.y(y), content, kind, anchor))

    def x_ticks(self, ticks: Sequence[float], gap: float = 14) -> None:
        bottom = self.box[1] + self.box[3] + gap
        self.marks.extend(text(self.x(tick), bottom, tick_text(tick), "tick", "middle") for tick in ticks)

    def y_ticks(self, ticks: Sequence[float], gap: float = 6) -> None:
        left = self.box[0] - gap
        self.marks.extend(text(left, self.y(tick) + 3.5, tick_text(tick), "tick", "end") for tick in ticks)

    def grid(self, ticks: Sequence[float], kind: str = "grid") -> None:
        for tick in ticks:
            self.upright(tick, "zero" if tick == 0 else kind)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers inside a range, at most so many."""
    step = next((s for s in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10) if (high - low) / s <= most), high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def tick_text(value: float) -> str:
    return shown(value, 2).rstrip("0").rstrip(".") or "0"


def shown(value: float | None, digits: int = 3) -> str:
    """A correlation as it is printed: .123, −.045, 1.02; – for none."""
    if value is None or value != value:
        return "–"
    plain = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(plain) else ""
    return sign + plain.removeprefix("0")


def signed(value: float, digits: int = 3) -> str:
    """A difference as it is printed: +.012, −.045."""
    return ("+" if float(f"{value:.{digits}f}") > 0 else "") + shown(value, digits)

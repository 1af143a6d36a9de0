"""Times at which the frames of a clip are shown, and which of them are spread evenly over it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

HELD_SECONDS = Fraction(1, 4)  # a last frame that is shown so much longer than the others is held on purpose
LENGTH_TOLERANCE = 0.1  # a clip of a length that differs by more than this share is another kind of stimulus
ROUNDING = Fraction(1, 1000)  # seconds; the finest time stamp that Matroska and many writers know


def frame_indices(n_decoded: int, count: int) -> NDArray[np.intp]:
    """floor(linspace(0, n_decoded - 1, count)): evenly spread, first and last included; (count,).

    With count 1 it is the first frame. Where n_decoded < count, frames are repeated, in order.
    """
    return np.floor(np.linspace(0, n_decoded - 1, count)).astype(np.intp)


@dataclass(frozen=True)
class FrameTimes:
    """The moments at which frames appear, in the order in which they are shown.

    starts: of each frame, in units; None where the file does not say
    last: how long the last frame is shown, in units; 0 where the file does not say
    unit: in seconds
    """

    starts: Sequence[int | None]
    last: int
    unit: Fraction

    @property
    def n(self) -> int:
        return len(self.starts)

    @property
    def _known(self) -> list[int] | None:
        """Starts after the first one, where all are known and none goes back."""
        known = [start for start in self.starts if start is not None]
        if not known or len(known) < self.n or known != sorted(known) or known[-1] == known[0]:
            return None
        return [start - known[0] for start in known]

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last one; 0 where the file does not say."""
        starts = self._known
        if starts is None:
            return float(self.last * self.unit) if self.n == 1 else 0.0
        return float((starts[-1] + (self.last or Fraction(starts[-1], self.n - 1))) * self.unit)

    @property
    def _span(self) -> Fraction:
        """The distance of the last frame that is taken from the first one, in units.

        It is the start of the last frame. Where that frame is held, the clip goes on behind its start, and the last
        moment lies before the end as a mean frame is long.
        """
        starts = self._known
        assert starts is not None
        mean = Fraction(starts[-1] + self.last, self.n)
        held = self.last - mean
        return starts[-1] + (held if held * self.unit > HELD_SECONDS else Fraction(0))

    @property
    def are_even(self) -> bool:
        """Whether frames follow each other at one distance, to the rounding of time stamps."""
        starts = self._known
        if starts is None:
            return True
        period = Fraction(starts[-1], self.n - 1)
        off = max(abs(start - number * period) for number, start in enumerate(starts))
        return self._span == starts[-1] and off <= max(Fraction(1), ROUNDING / self.unit) and off < period / 4

    def indices(self, count: int) -> NDArray[np.intp]:
        """Select the frames to take, (count,): those shown at `count` evenly spread moments, the first included.

        Where frames follow each other evenly, they are `frame_indices`, as in the challenge's devkit. Elsewhere it is
        the frame shown at i span / (count - 1), i = 0..count-1: the ones that a copy of the clip with a constant
        frame rate would have at these places.
        """
        starts = self._known
        if starts is None or count == 1 or self.are_even:
            return frame_indices(self.n, count)
        step = self._span / (count - 1)
        return np.array([bisect_right(starts, number * step) - 1 for number in range(count)], dtype=np.intp)

"""Views of a stored picture: turned or mirrored, and with pixels that need not be square."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

TILT = 0.02  # of a side: how far a matrix may be from quarter turns, a degree
MOST_STRETCH = 8

# of an image (x, y): whether x and y change places, then whether x, y are mirrored
_TURNS = {
    (False, False, False): None,
    (False, True, False): Image.Transpose.FLIP_LEFT_RIGHT,
    (False, False, True): Image.Transpose.FLIP_TOP_BOTTOM,
    (False, True, True): Image.Transpose.ROTATE_180,
    (True, False, False): Image.Transpose.TRANSPOSE,
    (True, True, False): Image.Transpose.ROTATE_270,
    (True, False, True): Image.Transpose.ROTATE_90,
    (True, True, True): Image.Transpose.TRANSVERSE,
}
# degrees counter-clockwise -> display matrix without mirroring
ROTATED = {
    angle: struct.pack("=9i", *(one << 16 for one in (c, -s, 0, s, c, 0, 0, 0)), 1 << 30)
    for angle, (c, s) in {90: (0, 1), 180: (-1, 0), 270: (0, -1)}.items()
}
_QUARTERS = {turn for (swapped, _, _), turn in _TURNS.items() if swapped}


class ViewError(ValueError):
    """A picture is shown in a way that isn't taken."""


@dataclass(frozen=True)
class View:
    """From stored to shown.

    turn: what makes the picture upright, None where it is
    stretch: how wide a stored pixel is, in its heights
    """

    turn: Image.Transpose | None = None
    stretch: Fraction = Fraction(1)

    def size(self, width: int, height: int) -> tuple[float, float]:
        """Width and height as shown of a picture that is stored so wide and high."""
        wide = width if self.stretch == 1 else float(width * self.stretch)
        return (height, wide) if self.turn in _QUARTERS else (wide, height)

    def upright(self, image: Image.Image) -> Image.Image:
        """The picture turned; its pixels stay as they are."""
        return image if self.turn is None else image.transpose(self.turn)


def turn_of(matrix: bytes | None) -> Image.Transpose | None:
    """Return the turn that the display matrix of a frame asks for; None where it has none.

    matrix: nine integers a, b, u, c, d, v, x, y, w: a stored point (x, y) is shown at (a x + c y, b x + d y).
        FFmpeg's `av_display_rotation_get` tells its angle alone, the same for a mirror and for half a turn.

    Raises
    ------
    ViewError
        It is no quarter turn, with or without mirroring.

    Reference: ISO/IEC 14496-12, 8.3.2; FFmpeg, libavutil/display.h.
    """
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    straight, crossed = (abs(a), abs(d)), (abs(b), abs(c))
    if not any((*straight, *crossed)):
        return None
    if max(crossed) <= TILT * min(straight):
        return _TURNS[False, a < 0, d < 0]
    if max(straight) <= TILT * min(crossed):
        return _TURNS[True, c < 0, b < 0]
    raise ViewError("it is shown tilted or sheared; quarter turns and mirrored pictures are taken")


def stretch_of(pixels: Fraction | None) -> Fraction:
    """Width of a pixel in its heights, from what a file says (nothing, or 0: they are square).

    Raises
    ------
    ViewError
        No camera has such pixels.
    """
    if not pixels or pixels <= 0:
        return Fraction(1)
    if not Fraction(1, MOST_STRETCH) <= pixels <= MOST_STRETCH:
        raise ViewError(f"its pixels are {pixels.numerator}:{pixels.denominator}; at most 1:{MOST_STRETCH} is taken")
    return Fraction(pixels)

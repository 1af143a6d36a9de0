"""The result of reading a clip: its frames, or what there is to say about them at a look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from cinevox.stimuli.videos.frame_times import FrameTimes


@dataclass(frozen=True)
class Frame:
    """One frame, decoded.

    image: makes it upright and RGB, which takes longer than decoding; pixels may be other than square
    shown: width and height as a player shows it
    start, duration: in the reader's units; None and 0 where the file does not say
    notes: in what way it differs from what a viewer sees
    """

    image: Callable[[], Image.Image]
    shown: tuple[float, float]
    start: int | None = None
    duration: int = 0
    is_corrupt: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipProperties:
    """A clip at a look.

    shown: width and height of its first frame
    n_indexed: how many frames its index says are shown; 0 where it has none
    fps: on average; 0 where the file does not say, None of pictures
    """

    shown: tuple[float, float]
    moments: FrameTimes
    n_indexed: int
    fps: float | None
    notes: tuple[str, ...]


def on_white(image: Image.Image) -> Image.Image:
    """A picture with transparency as it stands on a white page, RGB."""
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image).convert("RGB")

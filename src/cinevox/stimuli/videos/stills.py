"""Pictures as clips: a still image is one frame, a GIF or another animation has several, each for its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cinevox.errors import FileError
from cinevox.stimuli.videos import STILLS, Limits, unreadable
from cinevox.stimuli.videos.frame import ClipProperties, Frame, on_white
from cinevox.stimuli.videos.frame_times import FrameTimes

UNIT = Fraction(1, 1_000_000)
SHORTEST = 10  # ms: what asks for less is shown for DEFAULT, as in browsers
DEFAULT = 100


@dataclass(frozen=True)
class Stills:
    """The pictures in a file; a JPEG has one, whatever else a camera has put beside it."""

    path: Path
    picture: Image.Image
    first: int
    n_announced: int
    fps = 0.0
    unit = UNIT

    def frames(self) -> Iterator[Frame]:
        """Every frame in order.

        Raises
        ------
        FileError
            Damaged or cut off.
        """
        start = 0
        for number in range(self.first, self.first + self.n_announced):
            image, told = self._picture(number)
            if self.n_announced == 1:
                yield Frame(image.copy, image.size)
                return
            duration = round(1000 * (told if told > SHORTEST else DEFAULT))
            yield Frame(image.copy, image.size, start, duration)
            start += duration

    def _picture(self, number: int) -> tuple[Image.Image, float]:
        """One of them, and how long it is shown, in ms."""
        try:
            if self.n_announced > 1:
                self.picture.seek(number)
            self.picture.load()
            return _rgb(_upright(self.picture)), self.picture.info.get("duration", 0)
        except Exception as error:  # PIL raises many kinds
            raise FileError(f"{self.path}: damaged or cut off ({_told(error)}); fetch it again") from None

    def look(self) -> ClipProperties:
        """Its size, and when its frames are shown.

        Raises
        ------
        FileError
            Damaged or cut off.
        """
        frames = [(frame.shown, frame.start, frame.duration) for frame in self.frames()]
        moments = FrameTimes([start for _, start, _ in frames], frames[-1][2], UNIT)
        return ClipProperties(frames[0][0], moments, self.n_announced, None, ())


@contextmanager
def stills(path: Path, limits: Limits | None) -> Iterator[Stills]:
    """Open a picture as what its extension says, and close it afterwards.

    Raises
    ------
    FileError
        It is no such picture, or larger than the limits.
    """
    kind = STILLS[path.suffix.lower()]
    try:
        picture = Image.open(path, formats=[kind])
    except Exception as error:  # PIL raises many kinds
        raise unreadable(path, f"no {kind} picture ({_told(error)})") from None
    with picture:
        if limits is not None:
            limits.refuse_frame(path, *picture.size)
        try:
            n_pictures = 1 if kind == "JPEG" else getattr(picture, "n_frames", 1)
        except Exception as error:
            raise FileError(f"{path}: damaged or cut off ({_told(error)}); fetch it again") from None
        first = int(bool(picture.info.get("default_image")) and n_pictures > 1)  # shown where nothing moves
        yield Stills(path, picture, first, n_pictures - first)


def _upright(picture: Image.Image) -> Image.Image:
    """A copy, turned as the camera was held."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # notes that can't be read say nothing
        return picture.copy()


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB, on white where it is transparent. Colour profiles are left out, as for the networks' own training."""
    if image.mode.startswith("I"):
        values: Any = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _told(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error).partition(" '")[0] or type(error).__name__

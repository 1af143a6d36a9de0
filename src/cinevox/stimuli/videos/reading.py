"""The one way into a clip's file, whatever it is: for the stage, for validation, for a clip from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cinevox.stimuli import videos
from cinevox.stimuli.videos import STILLS, Limits
from cinevox.stimuli.videos.films import Film, film
from cinevox.stimuli.videos.stills import Stills, stills


@contextmanager
def reading(path: Path, limits: Limits | None = None) -> Iterator[Film | Stills]:
    """Open a clip as what its extension says, and close it afterwards.

    limits: of a clip from a stranger

    Raises
    ------
    FileError
        No such file, not what its name says, cut off, beyond the limits, or with nothing to see in it.
    """
    videos.require_file(path)
    if limits is not None:
        limits.refuse_file(path)
    if path.suffix.lower() in STILLS:
        with stills(path, limits) as pictures:
            yield pictures
    else:
        with film(path, videos.opened(path), limits) as found:
            yield found

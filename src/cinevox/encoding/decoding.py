"""Clips decoded in a child process, with a limit to its memory and its time.

A file of two kilobytes can announce a table of gigabytes, and a reader builds that before anybody can look at it.
So no file of a stranger is opened in this process: what comes back is frames of a known number of bytes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cinevox
from cinevox.encoding import _decoder
from cinevox.encoding.about import FrameSettings
from cinevox.errors import InputError
from cinevox.stimuli.frames import Clip
from cinevox.stimuli.videos import Limits

OWN_MEMORY = 2000  # MB, of clips that are nobody's in particular: an hour of 8K passes
_COMMAND = ["-m", _decoder.__name__]
TICK = 0.02  # seconds between looks at a child

Decoded = tuple[tuple[NDArray[np.uint8], ...], Clip] | str


class TimeUpError(InputError):
    """Work for somebody has taken as long as it may."""


@dataclass(frozen=True)
class Until:
    """The end of work for somebody. at: on the monotonic clock"""

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> Until:
        return cls(time.monotonic() + seconds)

    def check(self) -> None:
        """
        Raises
        ------
        TimeUpError
            It is over.
        """
        if time.monotonic() > self.at:
            raise TimeUpError("not done in the time that a request may take; send fewer or shorter clips")


def read(paths: Sequence[Path], wanted: Sequence[FrameSettings], limits: Limits | None, until: Until) -> list[Decoded]:
    """Each clip's frames, (count, size, size, 3) of each of `wanted`, and what was found in its file; or why not.

    A clip that ends the child is told, and those after it are decoded by another one.

    limits: of clips from strangers; their seconds are for all clips together

    Raises
    ------
    TimeUpError
        `until` is over.
    """
    found: list[Decoded] = []
    end = math.inf if limits is None else time.monotonic() + limits.seconds
    while len(found) < len(paths):
        left = paths[len(found) :]
        with tempfile.TemporaryDirectory(prefix="cinevox-frames-") as folder:
            stopped = _run(left, wanted, limits, Path(folder), end, until)
            found += _results(Path(folder), left, wanted)
        missing = paths[len(found) :]
        stopped = stopped or "its decoding left no frames; convert it to H.264 mp4"
        found += [f"{path}: {stopped}" for path in (missing if time.monotonic() > end else missing[:1])]
    return found


def _run(
    paths: Sequence[Path],
    wanted: Sequence[FrameSettings],
    limits: Limits | None,
    folder: Path,
    end: float,
    until: Until,
) -> str | None:
    """Let a child decode these clips into a folder; why it did not come to its end, None if it did."""
    job = {
        "clips": [str(path) for path in paths], "folder": str(folder), "limits": limits and asdict(limits),
        "memory": OWN_MEMORY if limits is None else limits.memory,
        "seconds": None if limits is None else limits.seconds, "wanted": [each.model_dump() for each in wanted],
    }  # fmt: skip
    (folder / "job").write_text(json.dumps(job))
    search = os.pathsep.join([str(Path(cinevox.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": search.rstrip(os.pathsep), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", *_COMMAND]
    with (
        (folder / "job").open() as asked,
        (folder / "said").open("wb") as said,
        subprocess.Popen(command, stdin=asked, stdout=said, stderr=said, env=environment) as child,
    ):
        try:
            while child.poll() is None and time.monotonic() < end:
                until.check()
                time.sleep(TICK)
        finally:
            child.kill()
    if child.returncode == 0:
        return None
    if limits is not None and (time.monotonic() > end or child.returncode == -signal.SIGXCPU):
        return f"not decoded within {limits.seconds:g} s, all clips together; give fewer, shorter or smaller ones"
    if child.returncode < 0:
        return f"its decoding was ended by {signal.Signals(-child.returncode).name}; convert it to H.264 mp4"
    raise RuntimeError(f"{' '.join(command)} failed: {(folder / 'said').read_bytes()[-3000:].decode(errors='replace')}")


def _results(folder: Path, paths: Sequence[Path], wanted: Sequence[FrameSettings]) -> list[Decoded]:
    """Read the results that a child left, as far as it came.

    The child read a stranger's file, so sizes are checked before anything is read.
    """
    shapes = [(each.count, each.size, each.size, 3) for each in wanted]
    found: list[Decoded] = []
    for number in range(len(paths)):
        said = folder / f"{number}.json"
        files = {folder / f"{number}-{place}.frames": shape for place, shape in enumerate(shapes)}
        if not said.is_file() or said.stat().st_size > _decoder.MOST_JSON:
            break
        content = json.loads(said.read_text())
        if "fault" in content:
            found.append(str(content["fault"]))
        elif any(frames.stat().st_size != math.prod(shape) for frames, shape in files.items()):
            break
        else:
            read = (np.fromfile(frames, dtype=np.uint8).reshape(shape) for frames, shape in files.items())
            found.append((tuple(read), _decoder.restored(content["clip"])))
    return found

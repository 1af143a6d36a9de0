"""The child process that decodes clips, so that a hostile one takes a bounded part of this machine and nothing else.

It is started as a program by `decoding`, imports no network, and leaves for each clip its frames as plain bytes and
one JSON file, which is written last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import re
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cinevox.errors import InputError
from cinevox.stimuli.frames import Clip, read_clip
from cinevox.stimuli.videos import Limits

MOST_JSON = 1 << 20  # bytes of what is said about a clip


def main() -> None:
    """Decode the clips that the JSON on the standard input asks for, in order."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job = json.load(sys.stdin)
    size, folder = max(each["count"] * each["size"] ** 2 * 3 for each in job["wanted"]), Path(job["folder"])
    _confine(job["memory"], job["seconds"], size + MOST_JSON)
    limits = job["limits"] and Limits(**job["limits"])
    for number, name in enumerate(job["clips"]):
        said = _decoded(Path(name), job, limits, folder / f"{number}")
        partial = folder / f"{number}.part"
        partial.write_text(json.dumps(said))
        partial.rename(folder / f"{number}.json")


def _decoded(path: Path, job: dict[str, Any], limits: Limits | None, target: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew with this clip
    clips = []
    try:
        for place, each in enumerate(job["wanted"]):
            frames, clip = read_clip(path, each["count"], each["size"], each["resize"], limits)
            target.with_name(f"{target.name}-{place}.frames").write_bytes(frames.tobytes())
            clips.append(clip)
    except (InputError, MemoryError) as error:
        return {"fault": _told(path, error, job["memory"])}
    return {"clip": asdict(_of_all(clips))}


def _of_all(clips: Sequence[Clip]) -> Clip:
    """One clip whose frames were taken in several ways, as one that has all of them."""
    if len(clips) == 1:
        return clips[0]
    return replace(clips[0], indices=tuple(sorted({index for clip in clips for index in clip.indices})))


def _told(path: Path, error: Exception, memory: float) -> str:
    """A clip's fault. Where memory ran out FFmpeg seldom says so: it may find the file damaged, or empty."""
    if any(isinstance(one, MemoryError) or getattr(one, "errno", 0) == errno.ENOMEM for one in _chain(error)):
        return f"{path}: its decoding needs more than {memory:,.0f} MB of memory; convert it to a smaller H.264 mp4"
    nearly = f" (the memory for decoding, {memory:,.0f} MB, was nearly used up)" if _peak() > 0.8 * memory else ""
    return f"{error}{nearly}"


def _peak() -> float:
    """The most memory that this process has had, in MB; 0 where the system doesn't tell.

    Not `getrusage`: that begins with what the parent had.
    """
    known = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", known.read_text(), re.MULTILINE) if known.is_file() else None
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def _confine(memory: float, seconds: float | None, largest_file: int) -> None:
    """Take no more than this from here on: memory in MB beyond what it has, CPU seconds, bytes of a file.

    The memory that it has is known on Linux only; elsewhere time alone is limited.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if seconds is not None:  # the parent looks at the clock; this ends the child where the parent has been killed
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds) + 1, math.ceil(seconds) + 2))
    known = Path("/proc/self/statm")
    if known.is_file():
        limit = int(known.read_text().split()[0]) * resource.getpagesize() + int(memory * 1e6)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def restored(content: dict[str, Any]) -> Clip:
    """A clip's description from its JSON."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Clip(**fields)


if __name__ == "__main__":
    main()

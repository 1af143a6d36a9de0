"""Clips and requests of strangers: decoded in a child with limits, let in by size and number, ended in time."""

import asyncio
import json
import os
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import layout
from cinevox.encoding import _decoder, decoding
from cinevox.encoding.about import FrameSettings
from cinevox.encoding.clips import CLIPS_AT_ONCE
from cinevox.encoding.decoding import TimeUpError, Until
from cinevox.outlets.tracking import models, serving
from cinevox.stimuli import frames
from cinevox.stimuli.videos import Limits

WANTED = [FrameSettings(count=count, size=32, resize="direct") for count in (3, 5)]
LIMITS = Limits(megabytes=10, megapixels=1, frames=100)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips, and between them one of two kilobytes whose index would take two gigabytes."""
    folder = tmp_path_factory.mktemp("clips")
    layout.write_clip(folder / "first.mp4", noise=True)
    layout.write_bomb(folder / "bomb.mp4")
    layout.write_clip(folder / "last.mp4", n_frames=40, noise=True, seed=1)
    return [folder / f"{name}.mp4" for name in ("first", "bomb", "last")]


def children():
    return [one for one in psutil.Process().children() if _decoder.__name__ in one.cmdline()]


# Decoding


@pytest.mark.parametrize(
    ("limits", "told"),
    [(LIMITS, "bomb.mp4: more than 100 frames announced (80,000,000)"), (None, "bomb.mp4: not a single frame in it")],
)
def test_a_file_that_takes_gigabytes_takes_them_neither_here_nor_in_the_child(clips, limits, told):
    """A stranger's, and one of one's own; the clips beside it are decoded as in this process."""
    assert clips[1].stat().st_size < 3000
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    first, bomb, last = decoding.read(clips, WANTED, limits, Until())
    assert psutil.Process().memory_info().rss - before < 50e6 and time.monotonic() - began < 20
    assert told in bomb and str(clips[1]) in bomb
    for path, (found, clip) in ((clips[0], first), (clips[2], last)):
        (fewer, description), (more, other) = (frames.read_clip(path, count, 32, "direct") for count in (3, 5))
        assert np.array_equal(found[0], fewer) and np.array_equal(found[1], more)
        assert clip == replace(description, indices=tuple(sorted({*description.indices, *other.indices})))


def test_memory_that_runs_out_is_told_for_that_clip(clips):
    tiny = Limits(megabytes=10, megapixels=1, frames=100, memory=0.1)
    [told] = decoding.read(clips[:1], WANTED, tiny, Until())
    assert "first.mp4: " in told and "memory" in told


def test_the_time_is_that_of_all_clips_together(clips):
    short = Limits(megabytes=10, megapixels=1, frames=100, seconds=0.05)
    found = decoding.read(clips, WANTED, short, Until())
    assert len(found) == 3 and all("not decoded within 0.05 s, all clips together" in fault for fault in found)
    assert not children()


def test_a_child_that_dies_costs_its_clip_alone(clips, monkeypatch):
    """As if FFmpeg crashed on the second clip."""
    monkeypatch.setattr(decoding, "_COMMAND", ["-c", CRASHES])
    first, bomb, last = decoding.read(clips, WANTED, LIMITS, Until())
    assert bomb.endswith("bomb.mp4: its decoding was ended by SIGSEGV; convert it to H.264 mp4")
    assert first[1].name == "first.mp4" and last[1].name == "last.mp4"


CRASHES = """
import os, signal
from cinevox.encoding import _decoder
known = _decoder.read_clip
def read_clip(path, *others):
    if path.stem == "bomb":
        os.kill(os.getpid(), signal.SIGSEGV)
    return known(path, *others)
_decoder.read_clip = read_clip
_decoder.main()
"""


def test_work_ends_with_its_child_when_its_time_is_over(clips, monkeypatch):
    monkeypatch.setattr(decoding, "_COMMAND", ["-c", "import time; time.sleep(60)"])
    began = time.monotonic()
    with pytest.raises(TimeUpError, match="send fewer or shorter clips"):
        decoding.read(clips, WANTED, LIMITS, Until.after(0.1))
    assert time.monotonic() - began < 10
    assert not [one for one in psutil.Process().children() if "time.sleep(60)" in " ".join(one.cmdline())]


def test_a_defect_of_the_child_is_no_fault_of_a_clip(clips, monkeypatch):
    monkeypatch.setattr(decoding, "_COMMAND", ["-c", "raise LookupError('a defect')"])
    with pytest.raises(RuntimeError, match="LookupError: a defect"):
        decoding.read(clips, WANTED, LIMITS, Until())


def test_names_that_are_no_utf8_are_told(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    layout.write_clip(path)
    [fault] = decoding.read([path], WANTED, None, Until())
    assert r"caf\xe9.mp4: its name is no UTF-8" in fault


# The bounds of a request


@pytest.fixture
def bounded():
    """An application that answers with the size of what it was sent, and the sizes it saw."""
    seen = []

    async def answers(request):
        seen.append(len(await request.body()))
        return PlainTextResponse("done")

    routes = [Route("/", answers, methods=["GET", "POST"])]
    return serving.bounded(Starlette(routes=routes)), seen


def ask(application, *parts, length=None, stays=False):
    """The status that a request in parts gets; `stays`: its sender never comes to the end."""
    waiting, sent = list(parts), []
    announced = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": announced}

    async def receive():
        if not waiting:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or stays}

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent[0]["status"], len(parts) - len(waiting)


def test_what_is_too_large_is_not_let_in(bounded, monkeypatch):
    application, seen = bounded
    part = b" " * (serving.MOST_BYTES // 2)
    assert ask(application, part, part[:-100]) == (200, 2) and seen == [2 * len(part) - 100]
    assert ask(application, b"{}", length=10**12) == (413, 0)  # by its word
    assert ask(application, *[part] * 50) == (413, 3)  # in parts, without a word
    assert ask(application, b"[" + b"{}," * serving.MOST_VALUES + b"0]") == (413, 1)
    monkeypatch.setattr(serving, "UPLOAD_S", 0.1)
    assert ask(application, b"{", stays=True) == (408, 1)
    assert len(seen) == 1


def test_the_bounds_of_a_request_let_in_what_the_model_takes():
    clips = [{"clip": ""}] * CLIPS_AT_ONCE
    around, content = len(json.dumps({"dataframe_records": clips})), models.LIMITS.megabytes * 1e6 * 4 / 3
    assert content + around + 4 * CLIPS_AT_ONCE < serving.MOST_BYTES < 70e6
    assert 4 * CLIPS_AT_ONCE < serving.MOST_VALUES

"""Clips and requests of strangers: decoded in a child with limits, let in by size and number, ended in time."""

import asyncio
import json
import os
import threading
import time

import numpy as np
import psutil
import pytest

import layout
from cinevox.encoding import _decoder, decoding
from cinevox.encoding.about import FrameSettings
from cinevox.encoding.decoding import TimeUpError, Until
from cinevox.outlets.tracking import serving
from cinevox.stimuli import frames
from cinevox.stimuli.videos import Limits

WANTED = FrameSettings(count=3, size=32, resize="direct")
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
        expected, description = frames.read_clip(path, 3, 32, "direct")
        assert np.array_equal(found, expected) and clip == description


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


def test_work_ends_with_its_child_when_nobody_waits_for_it(clips, monkeypatch):
    monkeypatch.setattr(decoding, "_COMMAND", ["-c", "import time; time.sleep(60)"])
    until = Until.after(60)
    threading.Timer(0.3, until.gone.set).start()
    began = time.monotonic()
    with pytest.raises(TimeUpError, match="send fewer or shorter clips"):
        decoding.read(clips, WANTED, LIMITS, until)
    with pytest.raises(TimeUpError):
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


# The entrance


class Application:
    """Answers with what it was sent, when it is let."""

    def __init__(self):
        self.go, self.bodies, self.gone = asyncio.Event(), [], []

    async def __call__(self, scope, receive, send):
        self.gone.append(serving.GONE.get())
        self.bodies.append((await receive())["body"])
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


class Asked:
    """A request in parts, whose sender stays until `leaves` is set."""

    def __init__(self, *parts, kind=b"application/json", length=None, method="POST"):
        length = sum(map(len, parts)) if length is None else length
        self.scope = {"type": "http", "method": method, "headers": [(b"Content-Type", kind)]}
        self.scope["headers"] += [(b"content-length", str(length).encode())] * (length > 0)
        self.parts, self.leaves, self.sent, self.n_read = list(parts), asyncio.Event(), [], 0

    async def receive(self):
        if self.parts:
            self.n_read += 1
            return {"type": "http.request", "body": self.parts.pop(0), "more_body": bool(self.parts)}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    def to(self, entrance):
        return asyncio.ensure_future(entrance(self.scope, self.receive, self.send))

    @property
    def status(self):
        return self.sent[0]["status"]


REFUSED = {
    "too long by its word": (Asked, (b"{}",), {"length": 10**12}, 413, "1000000000000 bytes"),
    "too long in parts, without a word": (Asked, (b" " * 60, b" " * 60), {"length": 0}, 413, "120 bytes in a request"),
    "without an end": (Asked, (b" " * 1000,) * 100, {"length": 0}, 413, "at most 100 bytes and 5 values"),
    "too many values": (Asked, (b'{"a": [' + b"{}," * 5 + b"0]}",), {}, 413, "12 values in a request"),
    "another kind": (Asked, (b"clip\nabc",), {"kind": b"text/csv"}, 415, "expected Content-Type: application/json"),
    "a length that is no number": (Asked, (b"{}",), {"length": 10**30}, 413, "bytes in a request"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_too_large_or_of_another_kind_is_not_let_in(what):
    made, parts, words, status, said = REFUSED[what]

    async def run():
        application, request = Application(), made(*parts, **words)
        await request.to(serving.Entrance(application, 100, 5))
        assert request.status == status and said in json.loads(request.sent[1]["body"])["message"]
        assert not application.bodies and request.n_read <= 3

    asyncio.run(run())


def test_few_work_at_once_the_others_are_told_and_health_is_answered(monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 0.1)
    monkeypatch.setattr(serving, "AT_ONCE", 2)

    async def run():
        application = Application()
        entrance = serving.Entrance(application, 100, 5)
        first = [Asked(b'{"a"', b": 1}") for _ in range(2)]
        working = [request.to(entrance) for request in first]
        await asyncio.sleep(0.05)
        late = Asked(b"{}")
        await late.to(entrance)
        assert late.status == 503 and (b"retry-after", b"5") in late.sent[0]["headers"]
        health = Asked(b"", method="GET")
        asked = health.to(entrance)
        application.go.set()
        await asyncio.gather(*working, asked)
        assert [request.status for request in (*first, health)] == [200] * 3
        assert application.bodies[:2] == [b'{"a": 1}'] * 2
        again = Asked(b"{}")
        await again.to(entrance)
        assert again.status == 200

    asyncio.run(run())


def test_work_is_told_that_nobody_waits_for_it():
    async def run():
        application, request = Application(), Asked(b"{}")
        working = request.to(serving.Entrance(application, 100, 5))
        await asyncio.sleep(0.05)
        [gone] = application.gone
        assert not gone.is_set()
        request.leaves.set()
        await asyncio.sleep(0.05)
        assert gone.is_set()
        application.go.set()
        await working

    asyncio.run(run())


def test_the_bounds_of_a_request_let_in_what_the_model_takes():
    n_bytes, n_values = serving.bounds("features", 5000)
    request = {"dataframe_records": [{"layer": [-1.2345678901234567e-05] * 5000}] * 16}
    assert len(json.dumps(request)) < n_bytes < 10e6 and n_values > 16 * 5000
    n_bytes, n_values = serving.bounds("clip", 5000)
    assert 50e6 * 4 / 3 < n_bytes < 70e6 and n_values == 1000

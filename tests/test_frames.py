"""Frames: which ones are taken, how they are resized, and what is said of bad files."""

import re

import av
import numpy as np
import pytest
import torch
from PIL import Image

from cinevox import parallel
from cinevox.files import io
from cinevox.project.params import Parallel
from cinevox.stimuli import frames


def write_video(path, images, codec="ffv1", pixels="bgr0", rate=30):
    """Lossless by default, so that pixels can be compared."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def write_mp4(path, n_frames=40):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images = [np.roll(noise, 3 * index, axis=0) for index in range(n_frames)]
    return write_video(path, images, "libx264", "yuv420p")


def repacked(path, target, options):
    """The same coded pictures in another container: encoding again would not repeat every byte."""
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.fixture(scope="module")
def images():
    """Every pixel of frame i is around 3 i, with a pattern of its own."""
    rng = np.random.default_rng(0)
    return [np.clip(3 * index + rng.integers(0, 4, (48, 64, 3)), 0, 255).astype(np.uint8) for index in range(75)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory, images):
    return write_video(tmp_path_factory.mktemp("clips") / "0001_a.mkv", images)


@pytest.mark.parametrize(
    ("n_decoded", "count", "expected"),
    [
        (75, 4, [0, 24, 49, 74]),  # 24.67, 49.33 rounded down
        (90, 16, [0, 5, 11, 17, 23, 29, 35, 41, 47, 53, 59, 65, 71, 77, 83, 89]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 5, [0, 0, 1, 1, 2]),
        (1, 3, [0, 0, 0]),
        (75, 1, [0]),
    ],
)
def test_frame_indices_are_the_devkits(n_decoded, count, expected):
    assert frames.frame_indices(n_decoded, count).tolist() == expected
    # the devkit: np.linspace(0, n - 1, count, dtype=np.int16)
    assert np.linspace(0, n_decoded - 1, count, dtype=np.int16).tolist() == expected


@pytest.mark.parametrize("count", [1, 4, 100])
def test_the_right_frames_in_order(clip, images, count):
    taken, found = frames.read_clip(clip, count, 32, "direct")
    assert (found.name, found.n_decoded, found.fps) == ("0001_a.mkv", 75, 30.0)
    assert list(found.indices) == np.floor(np.linspace(0, 74, count)).astype(int).tolist()
    expected = [
        np.asarray(Image.fromarray(images[i]).resize((32, 32), Image.Resampling.BILINEAR)) for i in found.indices
    ]
    assert np.array_equal(taken, expected)


def test_direct_resize_is_antialiased_bilinear(images):
    found = frames.resized(Image.fromarray(images[40]), 24, "direct")
    pixels = torch.from_numpy(images[40]).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(pixels, (24, 24), mode="bilinear", antialias=True)
    assert found.shape == (24, 24, 3) and found.dtype == np.uint8
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (48, 48), (97, 131)])
def test_crop_is_the_middle_of_a_frame_with_its_aspect_ratio(shape):
    height, width = shape
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([255 * x / (width - 1), 255 * y / (height - 1), 0 * x], 2).astype(np.uint8)
    found = frames.resized(Image.fromarray(ramp), 28, "crop")  # shorter side 32
    assert found.shape == (28, 28, 3)
    for channel, axis, side in ((0, 1, width), (1, 0, height)):
        line = found[..., channel].mean(1 - axis)
        step = min(shape) / 32 * 255 / (side - 1)  # grey levels from one pixel to the next
        assert abs(line.mean() - 127) < step, "not the middle"
        assert abs((line[-1] - line[0]) - 27 * step) < 2, "not the scale of the shorter side"


def test_what_the_container_announces_is_not_believed(tmp_path):
    whole = write_mp4(tmp_path / "whole.mp4")
    for options in ({"movflags": "frag_keyframe+empty_moov"}, {"movflags": "faststart"}):
        other = repacked(whole, tmp_path / "other.mp4", options)
        with av.open(str(other)) as container:
            announced = container.streams.video[0].frames
        found = frames.read_clip(other, 5, 32, "direct")
        assert announced == (0 if "frag" in options["movflags"] else 40) and found[1].n_decoded == 40
        assert np.array_equal(found[0], frames.read_clip(whole, 5, 32, "direct")[0])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_written_frames_equal_read_ones(tmp_path, clip, images, n_jobs):
    paths = [clip, *(write_video(tmp_path / f"{i:04d}.mkv", images[: 10 + i]) for i in range(9))]
    with parallel.context(Parallel(backend="threading", n_jobs=n_jobs, scheduler=None, jobqueue=None)):
        frames.write(paths, 4, 32, "crop", tmp_path / "out")
    written = io.read_array(tmp_path / "out" / "frames.npy", (10, 4, 32, 32, 3))
    described = io.read_json(tmp_path / "out" / "clips.json")
    assert [entry["name"] for entry in described] == [path.name for path in paths]
    assert [entry["n_decoded"] for entry in described] == [75, *range(10, 19)]
    for row, path in enumerate(paths):
        assert np.array_equal(written[row], frames.read_clip(path, 4, 32, "crop")[0])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.json", "frames.npy"]


def test_every_bad_clip_is_in_one_message(tmp_path, clip):
    whole = write_mp4(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    fast = repacked(tmp_path / "whole.mp4", tmp_path / "fast.mp4", {"movflags": "faststart"})
    fast.write_bytes(fast.read_bytes()[: len(whole) // 2])
    (tmp_path / "cut.mkv").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    damaged = bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 3 + 500] = bytes(500)
    (tmp_path / "hole.mp4").write_bytes(damaged)
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    write_sound(tmp_path / "sound.mkv")
    write_video(tmp_path / "none.mkv", [np.zeros((48, 64, 3), np.uint8)][:1])
    (tmp_path / "none.mkv").write_bytes((tmp_path / "none.mkv").read_bytes()[:600])
    reasons = {
        "empty.mp4": r"no video \(Invalid data",
        "headless.mp4": r"cut off: \d+,\d+ of \d+,\d+ bytes are there",
        "fast.mp4": "cut off",
        "cut.mkv": r"cut off: 12\d,\d+ of 24\d,\d+ bytes are there",
        "hole.mp4": r"damaged after \d+ frames|\d+ of 40 frames are damaged",
        "text.mp4": r"no video \(Invalid data",
        "sound.mkv": "no video in it, but audio",
        "none.mkv": "cut off: 600 of",
        "missing.mp4": "no such file",
    }
    with pytest.raises(frames.FramesError, match="9 of 10 clips can't be decoded; fetch them again") as error:
        frames.write([clip, *(tmp_path / name for name in reasons)], 4, 32, "direct", tmp_path / "out")
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 9
    for line, (name, reason) in zip(lines, reasons.items()):
        assert re.fullmatch(rf"  {re.escape(str(tmp_path / name))}: ({reason}).*", line)
    assert list((tmp_path / "out").iterdir()) == []


def write_sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode())

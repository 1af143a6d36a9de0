"""What a clip shows: turned, stretched, evenly in time, the film and not its cover; pictures as clips."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

import layout
from cinevox.errors import FileError
from cinevox.files import io
from cinevox.stimuli import frames, videos
from cinevox.stimuli.videos.frame_times import HELD_SECONDS, FrameTimes, frame_indices
from cinevox.stimuli.videos.reading import reading
from cinevox.stimuli.videos.views import ROTATED, ViewError, stretch_of, turn_of
from cinevox.validation import inspection

ONE = 1 << 16
MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


def write(path, images, codec="png", starts=None, unit=Fraction(1, 10), matrix=None, pixels=None, sound=False):
    """Lossless (in mp4 and mov as PNG, in mkv as FFV1 if asked for), so that pixels can be compared."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=1 / unit)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = {"png": "rgb24", "ffv1": "bgr0"}.get(codec, "yuv420p"), unit
        if codec == "libx264":
            stream.options = {"bf": "2", "g": "5", "crf": "1"}
        if pixels is not None:
            stream.codec_context.sample_aspect_ratio = pixels
        if matrix is not None:
            stream.set_display_matrix(matrix)
        voice = out.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number if starts is None else starts[number], unit
            out.mux(stream.encode(frame))
            if voice is not None:
                samples = np.full((1, int(8000 * unit)), number, np.int16)
                noise = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                noise.rate = 8000
                out.mux(voice.encode(noise))
        out.mux(stream.encode())
    return path


def greys(n, side=16):
    """Frame i is grey at level 3 i."""
    return [np.full((side, side, 3), 3 * number, np.uint8) for number in range(n)]


def shown(path):
    with reading(path) as source:
        return [np.asarray(frame.image()) for frame in source.frames()]


def taken(path, count):
    """Numbers of the frames of a clip of greys, by their level."""
    return (frames.read_clip(path, count, 16, "direct")[0][:, 8, 8, 0] / 3).round().astype(int).tolist()


# Turned, mirrored, stretched


@pytest.mark.parametrize(("a", "b", "c", "d"), MATRICES)
def test_a_display_matrix_is_applied_wherever_a_clip_is_read(tmp_path, a, b, c, d):
    """Closed form: the stored point (x, y) is shown at (a x + c y, b x + d y), moved into the first quadrant."""
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    y, x = np.mgrid[:6, :10]
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    expected = np.empty((row.max() + 1, column.max() + 1, 3), np.uint8)
    expected[row, column] = image
    path = write(tmp_path / "0001_a.mov", [image] * 2, matrix=[a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30])
    assert np.array_equal(shown(path), [expected] * 2)
    assert np.array_equal(
        frames.read_clip(path, 1, 4, "crop")[0][0], frames.resized(Image.fromarray(expected), 4, "crop")
    )
    found = inspection._clip(path, tmp_path)
    assert (found["fault"], found["height"], found["width"]) == (None, *expected.shape[:2])


def test_a_tilted_picture_is_refused_and_a_matrix_of_nothing_asks_for_nothing(tmp_path):
    turn = 46341  # cos 45 degrees
    path = write(tmp_path / "a.mov", greys(2), matrix=[turn, turn, 0, -turn, turn, 0, 0, 0, 1 << 30])
    with pytest.raises(frames.FramesError, match=r"a.mov: it is shown tilted .* convert it to an upright"):
        frames.read_clip(path, 1, 16, "direct")
    assert "tilted" in inspection._clip(path, tmp_path)["fault"]
    assert turn_of(bytes(36)) is None and turn_of(None) is None
    assert [turn_of(ROTATED[angle]) for angle in (90, 180, 270)] == [
        Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270,
    ]  # fmt: skip


@pytest.mark.parametrize("matrix", [None, [0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30]])
def test_pixels_that_are_not_square_are_made_so_before_the_crop(tmp_path, matrix):
    """The same ramp with square pixels and with pixels twice as wide as high, upright and lying on its side."""
    y, x = np.mgrid[:40, :96]
    square = np.stack([2 * x, 5 * y, 0 * x], 2).astype(np.uint8)
    wide = square.reshape(40, 48, 2, 3).mean(2).round().astype(np.uint8)
    stored = write(tmp_path / "0001_a.mov", [wide], pixels=Fraction(2), matrix=matrix)
    oracle = write(tmp_path / "0002_b.mov", [square], matrix=matrix)
    for size in (28, 32):
        found, expected = (frames.read_clip(path, 1, size, "crop")[0].astype(int) for path in (stored, oracle))
        assert np.abs(found - expected).max() <= 4 and np.abs(found - expected).mean() < 1
    rows = [inspection._clip(path, tmp_path) for path in (stored, oracle)]
    assert [(row["width"], row["height"]) for row in rows] == [(96, 40) if matrix is None else (40, 96)] * 2
    assert stretch_of(None) == stretch_of(Fraction(0)) == 1
    with pytest.raises(ViewError, match="its pixels are 100:1; at most 1:8 is taken"):
        stretch_of(Fraction(100))


# Evenly in time


@pytest.mark.parametrize("seed", range(4))
def test_uneven_frames_are_those_of_a_copy_with_a_constant_rate(seed):
    lengths = np.random.default_rng(seed).integers(1, 9, 20)
    starts = np.cumsum([5, *lengths])
    copy = np.repeat(np.arange(21), [*lengths, 1])
    found = FrameTimes(starts.tolist(), 1, Fraction(1, 30))
    for count in (1, 2, 7, 16):
        assert found.indices(count).tolist() == copy[frame_indices(len(copy), count)].tolist()
    assert not found.are_even and found.seconds == pytest.approx(len(copy) / 30)


@pytest.mark.parametrize(
    ("starts", "last", "unit", "even"),
    [
        ([0, 33, 67, 100, 133, 167], 33, Fraction(1, 1000), True),  # 30 a second in Matroska's milliseconds
        ([0, 33, 67, 133, 167, 200], 33, Fraction(1, 1000), False),  # one was dropped
        ([1, 2, 3, 4], 1, Fraction(1, 10), True),
        ([1, 2, 4, 5], 1, Fraction(1, 10), False),
        ([0, 1, 2, 3], 3, Fraction(1, 30), True),  # writers that don't know the last one's length
        ([0, 1, 2, 3], 30, Fraction(1, 30), False),  # held on purpose
        ([None] * 4, 0, Fraction(1, 30), True),
        ([3, 2, 1, 0], 0, Fraction(1, 30), True),  # no order to go by
    ],
)
def test_even_time_stamps_are_taken_by_number_as_ever(starts, last, unit, even):
    found = FrameTimes(starts, last, unit)
    assert found.are_even is even
    if even:
        assert found.indices(3).tolist() == frame_indices(len(starts), 3).tolist()


def test_a_last_frame_that_is_held_counts_for_as_long_as_it_is_shown():
    moving = FrameTimes(range(31), 120, Fraction(1, 30))  # a second of movement, four of its last picture
    assert (moving.indices(16) == 30).sum() == 12 and moving.seconds == 5
    assert FrameTimes([7], 3, Fraction(1, 10)).seconds == 0.3 and HELD_SECONDS < 1


def test_a_screen_recording_gives_the_frames_of_the_same_film_at_a_constant_rate(tmp_path):
    """One second of movement and four still ones, stored once a second."""
    pictures = greys(31)
    even = write(tmp_path / "even.mkv", pictures[:30] + [pictures[30]] * 120, "ffv1", unit=Fraction(1, 30))
    kept = [*range(30), 30, 60, 90, 120, 149]
    uneven = write(tmp_path / "uneven.mkv", pictures[:30] + [pictures[30]] * 5, "ffv1", kept, Fraction(1, 30))
    assert taken(uneven, 16) == taken(even, 16)
    assert taken(uneven, 16).count(30) == 12
    assert inspection._clip(uneven, tmp_path)["n_frames"] == 35


# Cut, trimmed, late, with a cover


def trimmed(path, first, n_frames):
    """Hide all but so many frames behind the edit list, as phones trim; the film's own delay stays."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    scale = int.from_bytes(content[(header := content.index(b"mvhd")) + 16 : header + 20], "big")
    ticks = int.from_bytes(content[(media := content.index(b"mdhd")) + 16 : media + 20], "big")
    delay = int.from_bytes(content[at + 4 : at + 8], "big")
    content[at : at + 4] = (scale * n_frames // 10).to_bytes(4, "big")
    content[at + 4 : at + 8] = (delay + ticks * first // 10).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("first", "n_frames"), [(0, 12), (7, 5), (8, 12)])
def test_of_a_trimmed_clip_what_is_shown_is_counted_and_taken(tmp_path, first, n_frames):
    path = trimmed(write(tmp_path / "0001_a.mp4", greys(20), "libx264"), first, n_frames)
    assert taken(path, n_frames) == list(range(first, first + n_frames))
    found = inspection._clip(path, tmp_path)
    assert (found["n_frames"], found["n_frames_announced"], found["seconds"]) == (n_frames, n_frames, n_frames / 10)


def test_a_film_that_starts_late_is_whole_in_every_container(tmp_path):
    for name, codec in (("late.mkv", "ffv1"), ("late.mov", "png")):
        path = write(tmp_path / name, greys(9), codec, range(50, 59))
        assert taken(path, 3) == [0, 4, 8] and inspection._clip(path, tmp_path)["seconds"] == 0.9


def test_a_cut_off_film_with_sound_is_refused_also_where_its_length_is_not_known(tmp_path):
    path = write(tmp_path / "sound.mkv", greys(20, 64), "ffv1", sound=True)
    content = path.read_bytes()
    cut = content[: len(content) * 6 // 10]
    path.write_bytes(cut)
    with pytest.raises(frames.FramesError, match=rf"cut off: {len(cut):,} of {len(content):,} bytes are there"):
        frames.read_clip(path, 4, 16, "direct")
    at = cut.index(bytes.fromhex("18538067")) + 4
    path.write_bytes(cut[:at] + b"\x01" + b"\xff" * 7 + cut[at + 8 :])  # of unknown length, as in a live recording
    with pytest.raises(frames.FramesError, match=r"cut off: 1\d frames end at 1\.\d+ s of 2.00 s announced"):
        frames.read_clip(path, 4, 16, "direct")
    assert "of 2.00 s announced" in inspection._clip(path, tmp_path)["fault"]


def box(kind, *parts):
    body = b"".join(parts)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def with_cover(path, first):
    """A picture for the title, as music and film libraries write it, before or behind the tracks."""
    picture = path.with_suffix(".jpg")
    Image.new("RGB", (16, 16), (0, 200, 0)).save(picture)
    cover = box(b"covr", box(b"data", (13).to_bytes(4, "big"), bytes(4), picture.read_bytes()))
    kind = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4), kind, box(b"ilst", cover)))
    content = path.read_bytes()
    at = content.index(b"moov") - 4  # the last box: no place of a frame changes
    body = content[at + 8 :]
    cut = int.from_bytes(body[:4], "big") if first else len(body)
    path.write_bytes(content[:at] + box(b"moov", body[:cut], tags, body[cut:]))
    return path


@pytest.mark.parametrize("first", [True, False])
def test_the_film_is_taken_and_not_its_cover(tmp_path, first):
    path = with_cover(write(tmp_path / "0001_a.mp4", greys(9), "libx264"), first)
    assert taken(path, 3) == [0, 4, 8]
    assert inspection._clip(path, tmp_path)["n_frames"] == 9


def test_a_song_with_a_cover_is_no_film(tmp_path):
    path = tmp_path / "0001_song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        for number in range(4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts = 44100, 1024 * number
            out.mux(stream.encode(sound))
        out.mux(stream.encode())
    with pytest.raises(frames.FramesError, match="no video in it, but audio and an attached picture"):
        frames.read_clip(with_cover(path, True), 1, 16, "direct")
    assert inspection._clip(path, tmp_path)["fault"] == "no video in it, but audio and an attached picture"


def test_interlaced_and_hdr_films_are_taken_with_a_note(tmp_path):
    path = tmp_path / "0001_hdr.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p10le"
        stream.codec_context.color_trc = 16  # PQ
        for _ in range(2):
            frame = av.VideoFrame(16, 16, "yuv420p10le")
            for plane in frame.planes:
                plane.update(np.full(plane.buffer_size // 2, 512, np.uint16).tobytes())
            frame.color_trc = 16
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    [note] = frames.read_clip(path, 1, 16, "direct")[1].notes
    assert note.startswith("its colours are HDR") and inspection._clip(path, tmp_path)["unlike_shown"] == note


# Pictures


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(2).integers(0, 256, (12, 20, 3), dtype=np.uint8))


def saved(folder, name, image, **options):
    image.save(folder / name, **options)
    return folder / name


def test_a_still_image_is_one_frame_again_and_again(tmp_path, picture):
    for name in ("a.png", "a.BMP", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(tmp_path, name, picture, **options)
        found, clip = frames.read_clip(path, 3, 8, "direct")
        assert np.array_equal(found, [frames.resized(picture, 8, "direct")] * 3)
        assert (clip.n_decoded, clip.indices, clip.seconds, clip.fps) == (1, (0, 0, 0), None, 0.0)
    row = inspection._clip(path, tmp_path)
    assert (row["width"], row["height"], row["n_frames"], row["fps"], row["seconds"]) == (20, 12, 1, None, None)


def test_a_photo_is_turned_as_the_camera_was_held(tmp_path, picture):
    """EXIF's eight orientations: where the stored first row and first column stand."""
    pixels = np.asarray(picture)
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1), 7: pixels[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(pixels),
    }  # fmt: skip
    for orientation, expected in upright.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert np.array_equal(shown(saved(tmp_path, "a.png", picture, exif=exif))[0], expected)


def test_transparent_16_bit_and_palette_pictures_are_what_a_white_page_shows(tmp_path, picture):
    pixels = np.asarray(picture)
    alpha = np.linspace(0, 255, 20).round().astype(np.uint8)[None].repeat(12, 0)
    path = saved(tmp_path, "alpha.png", Image.fromarray(np.dstack([pixels, alpha]), "RGBA"))
    share = alpha[..., None] / 255
    assert np.abs(shown(path)[0] - (share * pixels + (1 - share) * 255)).max() <= 1
    deep = (257 * np.arange(240).reshape(12, 20)).astype(np.uint16)
    assert np.array_equal(shown(saved(tmp_path, "deep.png", Image.fromarray(deep)))[0][..., 1], deep // 257)
    few = picture.quantize(16)
    path = saved(tmp_path, "few.png", few, transparency=3)
    assert (shown(path)[0][np.asarray(few) == 3] == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
def test_frames_of_an_animation_are_taken_evenly_in_time(tmp_path, name):
    images = [Image.fromarray(image) for image in greys(5)]
    lengths = [100, 100, 100, 1000, 700]
    kind = {"format": "PNG"} if name == "a.apng" else {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path, name, images[0], save_all=True, append_images=images[1:], duration=lengths, **kind)
    assert taken(path, 9) == [0, 2, 3, 3, 3, 3, 3, 4, 4]
    assert frames.read_clip(path, 2, 16, "direct")[1].seconds == 2.0
    if name == "a.gif":
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(frames.FramesError, match=r"a.gif: damaged or cut off .* fetch it again"):
            frames.read_clip(path, 2, 16, "direct")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"hello", r"no PNG picture \(cannot identify image file\); fetch it again, or convert it to PNG"),
        ("a.jpg", b"\0\0\0\x18ftypheic", "it is a HEIC or AVIF image, and its name ends in .jpg"),
        ("a.png", b"RIFF\0\0\0\0WEBPVP8 ", "it is a WebP image, and its name ends in .png"),
        ("a.mp4", b"\0\5\x16\7\0\2\0\0Mac OS X", "it is what macOS notes about another file, not the clip itself"),
        ("a.mp4", b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(frames.FramesError, match=message):
        frames.read_clip(tmp_path / name, 1, 16, "direct")


def test_a_picture_beyond_the_limits_is_refused_before_it_is_unpacked(tmp_path):
    limits = videos.Limits(megabytes=1, megapixels=1, frames=10)
    path = saved(tmp_path, "a.png", Image.new("L", (2000, 1000)))
    with pytest.raises(frames.FramesError, match="2000 x 1000; at most 1 megapixels"):
        frames.read_clip(path, 1, 16, "direct", limits)


# Names


def test_a_name_that_is_no_text_is_one_fault_on_one_line(tmp_path):
    layout.write_clip(tmp_path / "0001_fine.mp4")
    content = (tmp_path / "0001_fine.mp4").read_bytes()
    for name in (b"0002_gr\xfc\xdfe.mp4", b"0003_two\nlines.mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    listed = io.files(tmp_path, videos.SUFFIXES)
    assert len(listed) == 3
    with pytest.raises(frames.FramesError, match="2 of 3 clips can't be decoded") as caught:
        frames.write(listed, 1, 16, "direct", tmp_path / "out")
    first, second = str(caught.value).encode().decode().splitlines()[1:]
    assert r"0002_gr\xfc\xdfe.mp4: its name is no UTF-8" in first and r"two\nlines.mp4: its name has control" in second
    rows = [inspection._clip(path, tmp_path) for path in listed]
    assert [row["file"] for row in rows] == ["0001_fine.mp4", r"0002_gr\xfc\xdfe.mp4", r"0003_two\nlines.mp4"]
    assert rows[0]["fault"] is None and rows[1]["fault"].startswith("its name is no UTF-8") and rows[2]["fault"]


def test_files_are_listed_in_any_case_without_what_macos_adds(tmp_path):
    for name in ("b.MP4", "a.mp4", "._a.mp4", "c.Mov", "note.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in io.files(tmp_path, (".mp4",))] == ["a.mp4", "b.MP4"]
    assert io.files(tmp_path / "none", (".mp4",)) == []
    with pytest.raises(FileError, match=r"note.txt: a clip's name ends in one of .mp4"):
        videos.opened(tmp_path / "note.txt")

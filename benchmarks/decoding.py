"""Reading frames beside other ways to read a video: 16 frames of every clip, at 224 x 224.

Rivals are no dependencies of the project: those that are not installed are listed as such. To have them, put them
into a folder of their own and name it: `PYTHONPATH=<folder> make bench NAME=decoding`.
Everyone decodes with one thread and resizes with the same function, so that what differs is the reading.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import numpy as np
from PIL import Image

from _harness import Case, Contender, main
from cinevox.simulation import make_clip
from cinevox.stimuli import frames
from cinevox.stimuli.frames import frame_indices, resized

COUNT, SIZE = 16, 224
CORES = joblib.cpu_count()
Read = Callable[[Path], np.ndarray]


def taken(images: list[np.ndarray]) -> np.ndarray:
    """The frames that are asked for, of all of them."""
    return np.array(
        [resized(Image.fromarray(images[index]), SIZE, "direct") for index in frame_indices(len(images), COUNT)]
    )


def with_opencv(path: Path) -> np.ndarray:
    import cv2

    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    images = []
    while (read := video.read())[0]:
        images.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    video.release()
    return taken(images)


def with_imageio(path: Path) -> np.ndarray:
    """Through its ffmpeg plug-in: a process of ffmpeg for every clip."""
    import imageio.v3

    return taken(list(imageio.v3.imiter(path, plugin="FFMPEG", input_params=["-threads", "1"])))


def with_decord(path: Path) -> np.ndarray:
    """As the challenge's devkit reads: only the frames that are asked for are turned into RGB."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    images = video.get_batch(frame_indices(len(video), COUNT).tolist()).asnumpy()
    return np.array([resized(Image.fromarray(image), SIZE, "direct") for image in images])


def with_torchvision(path: Path) -> np.ndarray:
    from torchvision.io import read_video

    return taken(list(read_video(str(path), pts_unit="sec")[0].numpy()))


def with_torchcodec(path: Path) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    images = video.get_frames_at(frame_indices(len(video), COUNT).tolist()).data.numpy()
    return np.array([resized(Image.fromarray(image), SIZE, "direct") for image in images])


RIVALS: dict[str, tuple[str, Read]] = {  # name: distribution, how it reads
    "OpenCV": ("opencv-python-headless", with_opencv),
    "imageio, ffmpeg": ("imageio", with_imageio),
    "decord": ("decord", with_decord),
    "torchvision.io.read_video": ("torchvision", with_torchvision),
    "torchcodec": ("torchcodec", with_torchcodec),
}


def usable(clip: Path) -> tuple[dict[str, Read], dict[str, str]]:
    """Rivals that read a clip, by name and version, and why the others do not."""
    there, absent = {}, {}
    for name, (distribution, read) in RIVALS.items():
        try:
            title = f"{name} ({version(distribution)})"
            read(clip)
            there[title] = read
        except PackageNotFoundError:
            absent[name] = "not installed"
        except ImportError:
            absent[title] = "this version has no such function"
        except (OSError, RuntimeError):
            absent[title] = "installed, but finds no FFmpeg"
    return there, absent


def agreement(mine: np.ndarray, theirs: np.ndarray) -> str:
    difference = np.abs(mine.astype(int) - theirs)
    return "same bytes" if not difference.any() else f"differs by {difference.mean():.2g} of 255 on average"


def cases(quick: bool, folder: Path) -> list[Case]:
    clips = [folder / make_clip(folder, 0, index).name for index in range(6 if quick else 40)]
    rivals, absent = usable(clips[0])

    def alone(read: Read) -> Callable[[], np.ndarray]:
        return lambda: np.array([read(clip) for clip in clips])

    def step() -> np.ndarray:
        with joblib.parallel_config(backend="loky", n_jobs=CORES, inner_max_num_threads=1):
            frames.write(clips, COUNT, SIZE, "direct", folder / "out")
        written: np.ndarray = np.load(folder / "out" / "frames.npy")
        return written

    ours = Contender("cinevox", alone(lambda clip: frames.read_clip(clip, COUNT, SIZE, "direct")[0]))
    others = [Contender(name, alone(read)) for name, read in rivals.items()]
    what = f"{len(clips)} clips, {COUNT} frames of each"
    return [
        Case(f"{what}, one process", ours, others, agreement, n_items=len(clips), unit="clips", absent=absent),
        Case(
            f"{what}, the step: {CORES} processes, written to a file",
            Contender("cinevox", step),
            [Contender(f"{other.name}, one process, nothing written", other.run) for other in others],
            agreement,
            n_items=len(clips),
            unit="clips",
            absent=absent,
        ),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main("decoding", lambda quick: cases(quick, Path(temporary)), note="Everyone decodes with one thread.")

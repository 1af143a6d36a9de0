"""In-silico clips: dead-leaves scenes with moving textured objects, seen by a moving camera.

A dead-leaves image is a pile of opaque, textured leaves whose radii follow p(r) ~ r^-3: it has the occlusion
edges and the 1/f amplitude spectrum of natural images (Lee, Mumford and Huang 2001). What stands in the
foreground, and how it and the camera move, are latents that the simulated voxels can listen to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from cinevox.simulation import painting
from cinevox.simulation.painting import CHECKER, DOTS, FLAT, GRATING, NOISE

SIDE = 268
MARGIN = 92  # how far the painted ground reaches beyond the picture on each side
SPRITE = 128
FRAME_RATES = (15, 20, 24, 25, 30)
SECONDS = (2.96, 3.08)
RADII = (3.0, 120.0)


@dataclass(frozen=True)
class Appearance:
    """Shape (a circle of radius 1 + depth cos(lobes angle), squeezed by aspect), texture and hue of a category."""

    lobes: int
    depth: float
    aspect: float
    texture: int
    frequency: float
    hue: float
    saturation: float


CATEGORIES = {
    "ball": Appearance(1, 0.0, 1.0, FLAT, 0.5, 0.00, 0.9),
    "crate": Appearance(4, 0.14, 1.0, GRATING, 3.0, 0.09, 0.7),
    "star": Appearance(5, 0.40, 1.0, FLAT, 0.5, 0.16, 1.0),
    "leaf": Appearance(2, 0.45, 1.6, GRATING, 6.0, 0.33, 0.8),
    "fish": Appearance(2, 0.20, 2.2, DOTS, 5.0, 0.50, 0.8),
    "cloud": Appearance(7, 0.12, 1.3, NOISE, 1.0, 0.60, 0.2),
    "brick": Appearance(4, 0.10, 1.8, CHECKER, 4.0, 0.02, 0.5),
    "coral": Appearance(9, 0.35, 1.0, NOISE, 1.0, 0.88, 0.9),
}


@dataclass(frozen=True)
class Scene:
    """Latents of one clip.

    x, y, size: of the foremost object at half time, and its diameter, in picture widths; 0, 0 is the centre
    direction, speed: of the objects, in radians and picture widths a second
    pan_x, pan_y, zoom: of the camera, in picture widths a second and in log scale a second
    orientation, stretch, grain, hue, texture: of the leaves in the ground
    """

    category: str
    n_objects: int
    x: float
    y: float
    size: float
    direction: float
    speed: float
    pan_x: float
    pan_y: float
    zoom: float
    orientation: float
    stretch: float
    grain: float
    hue: float
    texture: float
    fps: int
    n_frames: int


def draw_scene(rng: np.random.Generator) -> Scene:
    """Latents of one clip, each drawn on its own."""
    fps = int(rng.choice(FRAME_RATES))
    lengths = np.arange(math.ceil(SECONDS[0] * fps), math.floor(SECONDS[1] * fps) + 1)
    drawn = {
        name: float(rng.uniform(low, high))
        for name, low, high in (
            ("x", -0.3, 0.3),
            ("y", -0.3, 0.3),
            ("size", 0.2, 0.55),
            ("direction", -math.pi, math.pi),
            ("speed", 0.0, 0.3),
            ("pan_x", -0.12, 0.12),
            ("pan_y", -0.12, 0.12),
            ("zoom", -0.05, 0.05),
            ("orientation", 0.0, math.pi),
            ("stretch", 1.0, 3.0),
            ("grain", 1.0, 4.0),
            ("hue", 0.0, 1.0),
            ("texture", 0.0, 0.8),
        )
    }
    return Scene(
        category=str(rng.choice(list(CATEGORIES))),
        n_objects=int(rng.integers(1, 4)),
        fps=fps,
        n_frames=int(rng.choice(lengths)),
        **drawn,
    )


def render(scene: Scene, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """The frames of one clip, (SIDE, SIDE, 3) RGB, one after another in a buffer that is used again."""
    noise = _pink_noise(rng)
    ground = _ground(scene, noise, rng)
    sprites = _objects(scene, noise, rng)
    spots = np.empty((scene.n_objects, 3))
    spots[:, :2] = rng.uniform(-0.45, 0.45, (scene.n_objects, 2)) + np.array([scene.x, scene.y])
    spots[:, 2] = scene.size * rng.uniform(0.4, 0.8, scene.n_objects)
    spots[-1] = scene.x, scene.y, scene.size  # drawn last: in front
    velocity = scene.speed * np.array([math.cos(scene.direction), math.sin(scene.direction)])
    frame = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    for index in range(scene.n_frames):
        seconds = (index - (scene.n_frames - 1) / 2) / scene.fps
        scale = math.exp(-scene.zoom * seconds)
        camera = np.array([scene.pan_x, scene.pan_y]) * seconds
        moved = spots.copy()
        moved[:, :2] = (spots[:, :2] + velocity * seconds - camera) / scale
        moved[:, 2] /= scale
        painting.compose(frame, ground, sprites, camera[0] * SIDE, camera[1] * SIDE, scale, moved)
        yield frame


def encode(path: Path, frames: Iterator[NDArray[np.uint8]], fps: int) -> None:
    """Write (SIDE, SIDE, 3) RGB frames as an H.264 mp4 file; the same bytes for the same frames."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "superfast", "crf": "23"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        converter = VideoReformatter()
        for frame in frames:
            picture = converter.reformat(av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _pink_noise(rng: np.random.Generator, side: int = 256) -> NDArray[np.float32]:
    """A tile of noise with the spectrum 1/f, zero mean, unit variance."""
    across = np.fft.rfftfreq(side)[None, :]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], across)
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency, s=(side, side))
    return (tile / tile.std()).astype(np.float32)


def _rgb(hue: NDArray[np.float64], saturation: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """HSV to RGB, all in 0..1; (n, 3)."""
    sector = (np.array([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    chroma = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return value[:, None] * (1 - saturation[:, None] * chroma)


def _leaves(scene: Scene, n: int, extent: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rows of: x, y, radius, aspect, angle, lobes, depth, texture, frequency, contrast, phase, r, g, b."""
    low, high = RADII[0] * scene.grain, RADII[1]
    uniform = rng.uniform(size=n)
    radius = (low**-2 - uniform * (low**-2 - high**-2)) ** -0.5  # inverse of the cumulative r^-3
    textured = rng.uniform(size=n) < scene.texture
    return np.column_stack(
        [
            rng.uniform(-high / 2, extent + high / 2, (n, 2)),
            radius,
            scene.stretch ** rng.uniform(0.5, 1.5, n),
            scene.orientation + rng.normal(0, 0.5, n),
            rng.integers(1, 6, n),
            rng.uniform(0, 0.25, n),
            np.where(textured, rng.integers(1, 5, n), FLAT),
            rng.uniform(1.0, 5.0, n),
            rng.uniform(0.1, 0.5, n),
            rng.uniform(0, 2 * np.pi, n),
            _rgb((scene.hue + rng.normal(0, 0.1, n)) % 1, rng.beta(1.5, 2.5, n), rng.beta(2, 2, n)),
        ]
    )


def _ground(scene: Scene, noise: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    extent = SIDE + 2 * MARGIN
    ground = np.full((extent, extent, 3), 0.5, dtype=np.float32)
    covered = np.zeros((extent, extent), dtype=np.bool_)
    left = extent * extent
    while left > extent:  # a pixel in 450 may keep the grey below the pile
        left = painting.pile(ground, covered, left, noise, _leaves(scene, 3000, extent, rng))
    return ground


def _objects(scene: Scene, noise: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Sprites with coverage as fourth channel, (n_objects, SPRITE, SPRITE, 4)."""
    look = CATEGORIES[scene.category]
    sprites = np.zeros((scene.n_objects, SPRITE, SPRITE, 4), dtype=np.float32)
    for sprite in sprites:
        hue = np.array([look.hue + rng.normal(0, 0.02)]) % 1
        colour = _rgb(hue, np.array([look.saturation]), rng.uniform(0.6, 1.0, 1))[0]
        angle, phase = rng.normal(0, 0.4), rng.uniform(0, 2 * np.pi)
        centre, radius = SPRITE / 2, SPRITE / 2 / (1 + look.depth)
        shape = (centre, centre, radius, look.aspect, angle, look.lobes, look.depth)
        texture = (look.texture, look.frequency, 0.45, phase)
        painting.paint(sprite, noise, np.array([*shape, *texture, *colour]))
    return sprites

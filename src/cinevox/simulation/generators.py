"""Generators of simulated voxels: pooled Gabor and motion energy, latents of the scenes, a network's layers.

Each generator ends as a few uncorrelated components over clips, of mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cinevox.simulation.scenes import CATEGORIES, SIDE, Scene
from cinevox.statistics.spreads import MIN_SHARE, least_spread

GREY_SIDE = 67  # the picture in blocks of 4 x 4 pixels
N_PAIRS = 10
PAIR_SECONDS = 1 / 15
FREQUENCIES = (4.0, 8.0, 16.0)  # cycles per picture width
ORIENTATIONS = tuple(np.arange(4) * np.pi / 4)
BANDWIDTH = 0.4  # SD of a filter's Gaussian spectrum over its frequency: about one octave
GABOR_GRID, MOTION_GRID = 4, 3

BLOCK_VALUES = 8_000_000  # activations read at once: 32 MB as float32
N_COMPARED = 100  # leading components of the other layers that a layer's own ones are kept apart from

CLIP_GENERATORS = ("gabor_energy", "motion_energy", "category", "motion")

Floats = NDArray[np.floating]


def paired_frames(n_frames: int, fps: float) -> NDArray[np.intp]:
    """Frames that the energies are taken from, (N_PAIRS, 2): spread evenly, partners about 1/15 s apart."""
    step = max(1, round(fps * PAIR_SECONDS))
    first = np.linspace(0, n_frames - 1 - step, N_PAIRS).astype(np.intp)
    return np.column_stack([first, first + step])


def grey(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean over colours and blocks of 4 x 4 pixels, 0 to 1; (SIDE, SIDE, 3) to (GREY_SIDE, GREY_SIDE)."""
    rows = frame.reshape(GREY_SIDE, SIDE // GREY_SIDE, -1).sum(axis=1, dtype=np.uint16)
    sums = rows.reshape(GREY_SIDE, GREY_SIDE, -1).sum(axis=2, dtype=np.uint16)
    return (sums / np.float32(255 * 3 * (SIDE // GREY_SIDE) ** 2)).astype(np.float32)


def energies(pairs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Pooled quadrature energies of a clip, after Adelson and Bergen (1985).

    A Gabor filter's complex response z(x, t) holds a quadrature pair. Energy is |z|^2; motion energy is the
    phase advance z(x, t + dt) z*(x, t), whose imaginary part is positive one way and negative the other.

        gabor_energy  = sqrt(mean over a cell and all frames of |z|^2)
        motion_energy = sqrt(mean over a cell and all pairs of max(0, +-Im z(t + dt) z*(t)))

    pairs: (n_pairs, 2, GREY_SIDE, GREY_SIDE), from `paired_frames`
    returns gabor_energy (n_filters * GABOR_GRID^2,), motion_energy (2 * n_filters * MOTION_GRID^2,)
    """
    spectra = fft.fft2(pairs - pairs.mean())
    response = fft.ifft2(spectra[:, :, None] * _filters())  # (pairs, 2, filters, y, x)
    power = (response.real**2 + response.imag**2).mean(axis=(0, 1))
    advance = (response[:, 1] * response[:, 0].conj()).imag
    forth, back = advance.clip(min=0).mean(axis=0), (-advance).clip(min=0).mean(axis=0)
    return {
        "gabor_energy": np.sqrt(_pooled(power, GABOR_GRID)).ravel(),
        "motion_energy": np.sqrt(_pooled(np.concatenate([forth, back]), MOTION_GRID)).ravel(),
    }


def scene_features(scenes: Sequence[Scene]) -> dict[str, Floats]:
    """The latents as features: category (n_clips, n_categories), one-hot; motion (n_clips, 8)."""
    names = list(CATEGORIES)
    category = np.zeros((len(scenes), len(names)))
    category[np.arange(len(scenes)), [names.index(scene.category) for scene in scenes]] = 1
    direction, speed, pan_x, pan_y, zoom = np.array(
        [(scene.direction, scene.speed, scene.pan_x, scene.pan_y, scene.zoom) for scene in scenes]
    ).T
    x, y = speed * np.cos(direction), speed * np.sin(direction)
    motion = [x, y, speed, pan_x, pan_y, np.hypot(pan_x, pan_y), zoom, np.abs(zoom)]
    return {"category": category, "motion": np.column_stack(motion)}


def gram(features: Floats) -> NDArray[np.float64]:
    """Z Z' of z-scored features, (n_clips, n_clips), summed over blocks of features; constant ones count 0.

    A feature's spread counts as at least MIN_SHARE of the layer's median, see `spreads.least_spread`.
    """
    flat = features.reshape(len(features), -1)
    total = np.zeros((len(flat), len(flat)))
    step = max(1, BLOCK_VALUES // len(flat))
    blocks = [slice(start, start + step) for start in range(0, flat.shape[1], step)]
    spread = np.concatenate([_centred(flat[:, block]).std(axis=0, dtype=np.float64) for block in blocks])
    if not (floor := least_spread(spread, MIN_SHARE)):
        return total
    for block in blocks:
        z = _centred(flat[:, block])
        z *= (1 / np.maximum(spread[block], floor)).astype(np.float32)
        total += z @ z.T
    return total


def _centred(features: Floats) -> NDArray[np.float32]:
    block = features.astype(np.float32)
    block -= block.mean(axis=0, dtype=np.float64).astype(np.float32)
    return block


def components(gram_matrix: Floats, n: int) -> NDArray[np.float64]:
    """Leading principal components, each of variance 1, (n_clips, at most n); fewer where the rank is lower."""
    variances, vectors = np.linalg.eigh(gram_matrix)
    variances, vectors = variances[::-1][:n], vectors[:, ::-1][:, :n]
    kept = vectors[:, variances > 1e-6 * variances[0]] * np.sqrt(len(vectors))
    return kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])


def own_components(layer: str, grams: Mapping[str, Floats], n_leading: int, n: int) -> NDArray[np.float64]:
    """The n directions among a layer's leading components that the other layers share least, (n_clips, n).

    With C the layer's n_leading components and C_k the N_COMPARED leading ones of another layer k, these are
    C times the eigenvectors of smallest eigenvalue of

        M = sum over k of (C' C_k / n_clips) (C' C_k / n_clips)'

    which are the orthogonal mixtures of C with the smallest squared multiple correlations with the other
    layers. Neighbouring layers have most of their first components in common; voxels driven by those alone
    can't tell layers apart. With n_leading = n nothing is chosen: the leading components in another basis.

    grams: layer -> `gram`, of every layer of the network
    """
    driving = components(grams[layer], n_leading)
    shared = np.zeros((driving.shape[1],) * 2)
    for name, other in grams.items():
        if name != layer:
            overlap = driving.T @ components(other, N_COMPARED) / len(driving)
            shared += overlap @ overlap.T
    return driving @ np.linalg.eigh(shared)[1][:, :n]


@cache
def _filters() -> NDArray[np.float32]:
    """Spectra of the Gabor filters, (n_filters, GREY_SIDE, GREY_SIDE): one Gaussian each, on one side only."""
    y, x = np.meshgrid(*[np.fft.fftfreq(GREY_SIDE, 1 / GREY_SIDE)] * 2, indexing="ij")
    return np.array(
        [
            np.exp(-((x - f * np.cos(a)) ** 2 + (y - f * np.sin(a)) ** 2) / (2 * (BANDWIDTH * f) ** 2))
            for f in FREQUENCIES
            for a in ORIENTATIONS
        ],
        dtype=np.float32,
    )


def _pooled(maps: Floats, cells: int) -> NDArray[np.float32]:
    edges = np.linspace(0, GREY_SIDE, cells + 1).astype(int)
    sizes = np.diff(edges)
    sums = np.add.reduceat(np.add.reduceat(maps, edges[:-1], axis=1), edges[:-1], axis=2)
    return (sums / np.outer(sizes, sizes)).astype(np.float32)

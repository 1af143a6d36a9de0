"""Simulated voxels: how many, how reliable, what drives them, and their single-trial responses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from cinevox.errors import InputError
from cinevox.measured.insilico_truth import no_fields, part_signals
from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Simulation
from cinevox.project.params.generators import is_pooled, parts
from cinevox.simulation.anatomy import PLACES, Anatomy
from cinevox.simulation.receptive_fields import fields_in_use

SD = 0.8  # of single-trial responses
REAL_REPETITIONS = 10  # what the table of reliabilities refers to
FADING = 40.0  # mm; far from the ROIs fewer voxels have a signal
STRAY = 0.3  # share of voxels outside the ROIs that follow another ROI than the nearest

# The challenge's voxels, subjects 01 to 10.
COUNTS = {
    "V1": (232, 285, 164, 176, 326, 286, 195, 300, 271, 238),
    "V2": (231, 231, 271, 209, 196, 281, 189, 238, 265, 249),
    "V3": (261, 270, 270, 212, 176, 229, 174, 223, 245, 188),
    "V4": (107, 95, 111, 117, 73, 108, 55, 85, 94, 60),
    "LOC": (1843, 1348, 1237, 1153, 1397, 1356, 1117, 1244, 1515, 1034),
    "EBA": (351, 183, 376, 368, 309, 308, 101, 55, 191, 162),
    "FFA": (68, 157, 80, 210, 69, 119, 89, 163, 76, 69),
    "STS": (341, 421, 278, 398, 219, 173, 80, 306, 346, 120),
    "PPA": (425, 153, 368, 225, 210, 216, 33, 150, 262, 165),
    "WB": (18222, 21573, 15225, 19445, 13340, 19818, 10836, 12347, 17570, 12950),
}

# The challenge's voxels: mean of the reliability of the mean of 10 repetitions, and mean of its square root.
RELIABILITY = {
    "V1": (0.434, 0.64),
    "V2": (0.434, 0.65),
    "V3": (0.420, 0.64),
    "V4": (0.412, 0.63),
    "LOC": (0.473, 0.67),
    "EBA": (0.519, 0.71),
    "FFA": (0.454, 0.66),
    "STS": (0.361, 0.59),
    "PPA": (0.349, 0.58),
    "WB": (0.321, 0.55),
}


MOST = 0.95


@dataclass(frozen=True)
class Voxels:
    """Truth of the whole-brain voxels of one subject, in C order of the volume.

    generator: index among the generators, -1 for a voxel without signal
    weights: float32, (n_rows, n_voxels), of the components of its generator; signal: `insilico_truth.signals`
    fields: (n_parts, n_voxels), receptive field in the map of each part of the generator; NO_FIELD where it has none
    noise: float32, (n_voxels,), SD of a single trial about the signal
    """

    anatomy: Anatomy
    generator: NDArray[np.int8]
    weights: NDArray[np.float32]
    fields: NDArray[np.int16]
    noise: NDArray[np.float32]


def voxel_counts(settings: Simulation, subject: int) -> dict[str, int]:
    """Voxels of each ROI and of WB for one subject (0 is sub01): the real number times `voxel_fraction`.

    At least `min_voxels` in each; WB holds at least twice the voxels of the ROIs together.
    """
    counts = {roi: max(settings.min_voxels, round(n[subject] * settings.voxel_fraction)) for roi, n in COUNTS.items()}
    counts[WHOLE_BRAIN] = max(counts[WHOLE_BRAIN], 2 * sum(counts[roi] for roi in MINI_ROIS))
    return counts


def reliability_distribution(mean: float, mean_root: float) -> tuple[float, float]:
    """Parameters (a, b) of the Beta distribution with E[R] = mean and E[sqrt R] = mean_root.

        E[R] = a / (a + b),  E[sqrt R] = Gamma(a + 1/2) Gamma(a + b) / (Gamma(a) Gamma(a + b + 1/2))

    For a given mean, E[sqrt R] grows with a + b from mean (all voxels at 0 or 1) to sqrt(mean) (all alike).

    Raises
    ------
    ValueError
        mean_root is not between mean and sqrt(mean).
    """
    if not mean < mean_root < math.sqrt(mean):
        raise ValueError(f"E[sqrt R] is {mean_root}; expected between {mean} and {math.sqrt(mean):.4f} for E[R] {mean}")

    def excess(log_size: float) -> float:
        size = math.exp(log_size)
        a = mean * size
        logs = special.gammaln([a + 0.5, size, a, size + 0.5])
        return float(np.exp(logs[0] + logs[1] - logs[2] - logs[3])) - mean_root

    size = math.exp(optimize.brentq(excess, -12, 18))
    return mean * size, (1 - mean) * size


def among_driven(roi: str, silent: float) -> tuple[float, float]:
    """Mean of R and of sqrt(R) among the voxels with signal, where a share `silent` has none.

    The mean over all voxels is the real one, m; the variance of sqrt(R) among those with signal is the real
    one over all voxels, m - s^2, as no spread can make the mean of sqrt(R) real too beside more than a few
    silent voxels.

    Raises
    ------
    InputError
        The mean would pass MOST.
    """
    mean, mean_root = RELIABILITY[roi]
    wanted = mean / (1 - silent) if silent < 1 else math.inf
    if wanted > MOST:
        raise InputError(
            f"{roi}: {silent:.0%} of its voxels without signal leave the others a mean reliability of {wanted:.2f}; "
            f"expected at most {MOST}: lower simulation.null_fraction (or give it more voxels)"
        )
    return wanted, math.sqrt(wanted - (mean - mean_root**2))


def draw_voxels(
    settings: Simulation, anatomy: Anatomy, components: Mapping[str, NDArray[np.floating]], rng: np.random.Generator
) -> Voxels:
    """Draw what each voxel listens to, and how well.

    A voxel of an ROI follows the ROI's generator, a share `null_fraction` follows none. Outside the ROIs a
    voxel follows the nearest ROI's generator, sometimes another one's, and more and more often none with the
    distance. In a pooled map it has one field, any with equal chance. Weights are random, scaled so that over all
    clips the parts of a generator have equal variance, and signal variance t and noise variance e have
    t + e = SD^2 and t / (t + e / 10) = the reliability drawn from its ROI's distribution. A share s of silent
    voxels has reliability 0, so the others are drawn with mean m / (1 - s): together they have the real mean m.

    components: part of a generator -> (n_clips, n_components), uncorrelated, mean 0, variance 1; of a pooled map
        (n_clips, n_fields, n_components), mean 0

    Raises
    ------
    InputError
        So many voxels are silent that the others cannot make up for them.
    """
    n_voxels = len(anatomy.rois)
    names, places = settings.driving, list(PLACES)
    outside = anatomy.rois < 0
    followed = np.where(outside, anatomy.nearest, anatomy.rois)
    stray = outside & (rng.uniform(size=n_voxels) < STRAY)
    followed[stray] = rng.integers(len(places), size=int(stray.sum()))
    silent = settings.null_fraction * np.ones(n_voxels)
    silent[outside] = 1 - (1 - settings.null_fraction) * np.exp(-anatomy.distance[outside] / FADING)
    generator = np.array([names.index(settings.generators[roi]) for roi in places], dtype=np.int8)[followed]
    generator[rng.uniform(size=n_voxels) < silent] = -1

    reliability = np.empty(n_voxels)
    for index, roi in [*enumerate(places), (-1, WHOLE_BRAIN)]:
        inside = anatomy.rois == index
        if inside.any():
            pair = among_driven(roi, float(silent[inside].mean()))
            reliability[inside] = rng.beta(*reliability_distribution(*pair), size=int(inside.sum()))
    reliability = np.where(generator < 0, 0, reliability.clip(max=0.99))
    ratio = reliability / (REAL_REPETITIONS * (1 - reliability))  # t / e
    weights, fields, size = _listening(settings, generator, components, rng)
    weights *= SD * np.sqrt(ratio / (1 + ratio)) / size
    noise = SD / np.sqrt(1 + ratio)
    return Voxels(anatomy, generator, weights.astype(np.float32), fields, noise.astype(np.float32))


def _listening(
    settings: Simulation,
    generator: NDArray[np.int8],
    components: Mapping[str, NDArray[np.floating]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int16], NDArray[np.float64]]:
    """Random weights and fields of voxels, and the SD of the signals that they make over all clips, (n_voxels,).

    Of uncorrelated components of variance 1 the SD is the norm of the weights; of others the signals are made.
    """
    n_parts, n_voxels = max(len(parts(name)) for name in settings.driving), len(generator)
    weights = rng.standard_normal((n_parts * settings.n_latents, n_voxels))
    fields = no_fields(n_parts, n_voxels)
    for index, name in enumerate(settings.driving):
        own = np.flatnonzero(generator == index)
        n_components = [components[part].shape[-1] for part in parts(name)]
        weights[sum(n_components) :, own] = 0
        for number, part in enumerate(parts(name)):
            if is_pooled(part):
                fields[number, own] = rng.choice(fields_in_use(components[part]), len(own))
    size = np.linalg.norm(weights, axis=0)
    for index, name in enumerate(settings.driving):
        if len(parts(name)) > 1 or is_pooled(name):
            own = np.flatnonzero(generator == index)
            weights[:, own], size[own] = _in_equal_shares(name, weights[:, own], fields[:, own], components)
    return weights, fields, size


def _in_equal_shares(
    name: str,
    weights: NDArray[np.float64],
    fields: NDArray[np.int16],
    components: Mapping[str, NDArray[np.floating]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of one generator's voxels with which each of its parts has variance 1; and the SD of their sum."""
    added = part_signals(name, weights.astype(np.float32), fields, components)
    spread = [part.std(axis=0, dtype=np.float64) for part in added]
    n_rows = [components[part].shape[-1] for part in parts(name)]
    scaled = weights.copy()
    scaled[: sum(n_rows)] /= np.repeat(spread, n_rows, axis=0)
    return scaled, np.sum([part / sd for part, sd in zip(added, spread)], axis=0).std(axis=0)


def trials(
    signal: NDArray[np.float32], noise: NDArray[np.float32], n_repetitions: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Single-trial responses, signal + noise * N(0, 1); float32, (n_clips, n_repetitions, n_voxels)."""
    values = np.empty((len(signal), n_repetitions, signal.shape[1]), dtype=np.float32)
    rng.standard_normal(dtype=np.float32, out=values)
    values *= noise
    values += signal[:, None]
    return values


def reliability(signal: NDArray[np.float32], noise: NDArray[np.float32], n_repetitions: int) -> NDArray[np.float64]:
    """True reliability of the mean over repetitions for these clips, var(signal) / (var(signal) + noise^2 / n)."""
    variance = signal.var(axis=0, dtype=np.float64)
    return variance / (variance + noise.astype(np.float64) ** 2 / n_repetitions)

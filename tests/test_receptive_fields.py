"""In-silico studies of voxels with receptive fields: rows of pooled maps find what drives them.

Images of pink noise pass EfficientNet-Lite0; voxels, their reliabilities and their trials are the simulation's own.
"""

from functools import partial

import numpy as np
import pytest

from cinevox.fitting import fits
from cinevox.fitting.feature_spaces import joint_candidates
from cinevox.measured.insilico_truth import signals
from cinevox.measured.responses import Block, Columns
from cinevox.project import plugins
from cinevox.project.params import FeatureMap, FeatureSpace, Network, Splits
from cinevox.project.params.generators import layer_and_pool
from cinevox.scoring.scores import score
from cinevox.scoring.selection import Seen, choose
from cinevox.simulation import listening, voxels
from cinevox.simulation.anatomy import PLACES, Anatomy
from cinevox.simulation.receptive_fields import field_components
from cinevox.statistics.metrics import correlation_score, resampled_clips
from cinevox.statistics.splits import partitions, split
from cinevox.stimuli import features

NETWORK, SIDE, N_CLIPS = "efficientnet_lite0", 96, 1000
EARLY, LATE = "blocks.2.1", "blocks.4.2"  # maps of 12 x 12 and of 6 x 6
GRIDS = ("max3", "max5", "max7")
MAPS = (*(FeatureMap(EARLY, grid, "mean") for grid in GRIDS), FeatureMap(LATE, "max3", "mean"))
METHOD = fits.Method(
    plugins.load("regressors", "ridge"), {"alphas": [10.0**k for k in range(-2, 8)], "per": "voxel"}, 3, 4000
)


@pytest.fixture(scope="module")
def maps():
    """Pooled maps of the images, name -> (n_clips, n_features)."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((N_CLIPS, 3, SIDE, SIDE), dtype=np.float32)
    pink = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(SIDE, SIDE))
    images = (127 + 60 * pink / pink.std()).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)[:, None]
    weights = Network(weights="package", file=None, sha256=None, n_frames=1, seed=0)
    asked = features.prepare(NETWORK, weights, listening.EXTRACTION, images.shape[1:], (), MAPS)
    return features.extract(asked, images)


class Study:
    """A study in memory, on images drawn from all: each subject's ROIs have as many voxels as asked for.

    driving: the generators of the nine ROIs, in the order of PLACES
    """

    def __init__(self, settings, maps, driving, seed, n_train, n_test, n_subjects=1, n_voxels=20):
        rng = np.random.default_rng(seed)
        images = rng.permutation(N_CLIPS)[: n_train + n_test]
        self.features = {name: values[images] for name, values in maps.items()}
        self.driving = dict(zip(PLACES, driving, strict=True))
        settings = settings.model_copy(update={"n_train": n_train, "n_test": n_test, "generators": self.driving})
        components = {}
        for part in settings.parts:
            layer, pool = layer_and_pool(part)
            pooled = self.features[f"{layer}.{pool}"].reshape(len(images), -1, int(pool[3:]) ** 2)
            components[part], _ = field_components(part, pooled, settings.n_latents, rng)
        rois = np.repeat(np.arange(len(PLACES), dtype=np.int8), n_voxels)
        anatomy = Anatomy(np.empty(0, dtype=bool), rois, rois, np.zeros(len(rois), dtype=np.float32))
        parts = []
        for _ in range(n_subjects):
            drawn = voxels.draw_voxels(settings, anatomy, components, rng)
            signal = signals(settings.driving, drawn.generator, drawn.weights, drawn.fields, components)
            shown = zip((signal[:n_train], signal[n_train:]), (3, 10))
            parts.append([voxels.trials(one, drawn.noise, n, rng).mean(axis=1) for one, n in shown])
        self.train, self.test = (np.concatenate(found, axis=1) for found in zip(*parts))
        subjects = [f"sub{number + 1:02d}" for number in range(n_subjects)]
        self.columns = Columns(tuple(Block(subject, roi, n_voxels) for subject in subjects for roi in PLACES))
        split_settings = Splits(scheme="random", validation_fraction=0.1, n_folds=3, n_outer_folds=None, seed=seed)
        [self.part] = partitions(split(n_train, n_test, split_settings), split_settings)

    def fits(self, maps, together):
        """Fits of a row on these maps without PCA, candidate -> Fit."""
        spaces = {m.name: FeatureSpace(NETWORK, m.layer, m.pool, "mean", False, None) for m in maps}
        found = fits.fit(joint_candidates(spaces, together), self.features, self.train, self.columns, self.part, METHOD)
        return {one.candidate.name: one for one in found}

    def test_r(self, fit):
        """Mean test r of each ROI's voxels, those of noise alone included."""
        r = correlation_score(self.test, fit.predicted["test"])
        return {roi: r[where].mean() for roi, where in zip(PLACES, self.columns.slices)}


@pytest.fixture
def study(default_params, maps):
    return partial(Study, default_params.simulation, maps)


def test_selection_finds_the_grid_of_receptive_fields(study):
    """Of three grids the validation clips choose the true one, as the selection does it: an ROI by its subjects' mean.

    320 clips of three repetitions, a tenth of which choose; three subjects with 20 voxels of each ROI.
    """
    found = []
    for seed in range(3):
        made = study([f"{EARLY}:{GRIDS[number % 3]}" for number in range(9)], seed, 320, 10, n_subjects=3)
        rows = made.part.predicted["validation"]
        measured, resamples = made.train[rows], resampled_clips(len(rows), 20, np.random.default_rng(0))
        scored = {
            name: score(measured, one.predicted["validation"], None, made.columns, resamples)
            for name, one in made.fits(MAPS[:3], "each").items()
        }
        blocks = next(iter(scored.values())).blocks
        values = zip(*((found.blocks["score"], found.correlation, found.replicates) for found in scored.values()))
        seen = Seen(tuple(scored), made.columns, blocks, *map(np.array, values))
        choice = choose(seen, "validation", "roi", {})
        for roi, shares in choice.shares(made.columns).items():
            found.append(list(shares) == [made.driving[roi].replace(":", ".")])
    assert len(found) == 27
    assert np.mean(found) >= 0.8


def test_a_stack_gains_from_two_spaces_and_loses_little_from_one_too_many(study):
    """Mean test r beside that of the best member, with as many clips and repetitions as the challenge has.

    Without the ROI's part in them, the weights of a stack lose .006 here where one space drives the voxels.
    """
    one, two = (f"{EARLY}:max5", f"{LATE}:max3"), f"{EARLY}:max5 + {LATE}:max3"
    members = (MAPS[1], MAPS[3])
    gains = {word: [] for word in (*one, two)}
    for seed in range(3):
        made = study([*one, two] * 3, seed, 900, 100)
        single = [made.test_r(found) for found in made.fits(members, "each").values()]
        (stack,) = (made.test_r(found) for found in made.fits(members, "stack").values())
        for word, gained in gains.items():
            rois = [roi for roi, driving in made.driving.items() if driving == word]
            best = max(np.mean([r[roi] for roi in rois]) for r in single)
            gained.append(np.mean([stack[roi] for roi in rois]) - best)
    assert min(gains[two]) > 0.015
    assert np.mean([gains[word] for word in one]) > -0.005

"""Reduction against scikit-learn's full PCA; nothing of a clip outside the training set is learned."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from cinevox.errors import InputError
from cinevox.project.params import Reduction
from cinevox.stimuli import reduction
from cinevox.stimuli.reduction import principal_components, projection

TRAIN = np.r_[0:20, 25:40]


@pytest.fixture
def features(rng):
    return (rng.standard_normal((50, 300)) * rng.gamma(1, 1, 300) + rng.normal(0, 3, 300)).astype(np.float32)


def oracle(features, n, standardize, normalize):
    scaler = StandardScaler(with_std=standardize).fit(features[TRAIN].astype(np.float64))
    pca = PCA(n, svd_solver="full", whiten=False).fit(scaler.transform(features[TRAIN]))
    scores = pca.transform(scaler.transform(features))
    if normalize:
        scores /= scores[TRAIN].std(axis=0)
    else:
        scores /= np.sqrt(scores[TRAIN].var(axis=0).mean())
    return scores, pca.explained_variance_ratio_


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_components_are_scikit_learns_full_solver(features, standardize, normalize, monkeypatch):
    monkeypatch.setattr(reduction, "BLOCK_VALUES", 50 * 37)  # nine blocks, the last one ragged
    found = principal_components(features, TRAIN, 10, min_spread=0.0 if standardize else None, normalize=normalize)
    scores, explained = oracle(features, 10, standardize, normalize)
    scores *= np.sign((scores[TRAIN] * found.scores[TRAIN]).sum(axis=0))
    np.testing.assert_allclose(found.scores, scores, atol=2e-4 * np.abs(scores).max())
    np.testing.assert_allclose(found.explained, explained, rtol=1e-4)
    varies = features[TRAIN].reshape(len(TRAIN), -1).astype(np.float64).var(axis=0)
    assert found.variance == pytest.approx(np.count_nonzero(varies) if standardize else varies.sum(), rel=1e-5)
    biggest = np.abs(found.scores[TRAIN]).argmax(axis=0)
    assert (found.scores[TRAIN][biggest, np.arange(10)] > 0).all()


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_projection_gives_the_components_of_any_clip(features, standardize, normalize, monkeypatch):
    """Scikit-learn's of clips that were not there when it was fitted; a feature that did not vary has no weight."""
    monkeypatch.setattr(reduction, "BLOCK_VALUES", 50 * 37)
    padded = np.concatenate([features, np.full((50, 3), 0.1, np.float32)], axis=1)
    min_spread = 0.0 if standardize else None
    found = principal_components(padded[TRAIN], np.arange(35), 10, min_spread=min_spread, normalize=normalize)
    project = projection(padded[TRAIN], np.arange(35), found)
    padded[:, -1] = 7.0
    assert not project.weights[-3:].any()
    scores, _ = oracle(features, 10, standardize, normalize)
    scores *= np.sign((scores[TRAIN] * found.scores).sum(axis=0))
    np.testing.assert_allclose(project(padded), scores, atol=2e-4 * np.abs(scores).max())
    np.testing.assert_allclose(project(padded[TRAIN]), found.scores, atol=2e-5 * np.abs(scores).max())


def test_a_projection_refuses_features_of_another_layer(features):
    found = principal_components(features, TRAIN, 3, min_spread=0.0, normalize=True)
    with pytest.raises(InputError, match="299 features .* expected 300 as fitted"):
        projection(features, TRAIN, found)(features[:, 1:])


def test_other_clips_change_nothing_of_the_training_scores(features):
    found = principal_components(features, TRAIN, 8, min_spread=0.0, normalize=True)
    changed = features.copy()
    changed[np.setdiff1d(np.arange(50), TRAIN)] *= 100
    again = principal_components(changed, TRAIN, 8, min_spread=0.0, normalize=True)
    np.testing.assert_array_equal(found.scores[TRAIN], again.scores[TRAIN])


def test_the_number_of_components_is_bounded_by_clips_and_rank(features, rng):
    full = principal_components(features, TRAIN, 100, min_spread=0.0, normalize=True)
    assert full.scores.shape == (50, 34)
    assert full.explained.sum() == pytest.approx(1, abs=1e-5)
    low = (rng.standard_normal((50, 3)) @ rng.standard_normal((3, 300))).astype(np.float32)
    assert principal_components(low, TRAIN, 100, min_spread=None, normalize=True).scores.shape == (50, 3)


def test_fewer_components_have_the_reason_that_holds_and_errors_the_name_of_the_space(features, rng):
    asked = Reduction(n_components=100, standardize=True, min_spread=0.0, normalize=False)
    few = np.concatenate([features[:, :6], np.ones((50, 2), np.float32)], axis=1)
    copies = np.tile(features[:, :3], 2)
    for given, n, why in (
        (features, 34, "there are 35 training clips"),
        (few, 6, "no more than 6 features vary"),
        (copies, 3, "the 6 features that vary are combinations of 3"),
    ):
        found = reduction.reduced("v1 of resnet", given, TRAIN, asked).to_json()
        assert (found["n_components"], reduction.bound(found, len(TRAIN))) == (n, why)
    with pytest.raises(InputError, match="v1 of resnet: none of the 4 features varies"):
        reduction.reduced("v1 of resnet", np.ones((50, 4), np.float32), TRAIN, asked)
    with pytest.raises(InputError, match=r"v1 of resnet: .*over 1e19\); divide features that you brought"):
        reduction.reduced("v1 of resnet", features * np.float32(1e25), TRAIN, asked)


def test_constant_features_are_left_out_and_counted(features):
    padded = np.concatenate([features, np.full((50, 7), 0.1, np.float32)], axis=1)
    plain, found = (principal_components(x, TRAIN, 5, min_spread=0.0, normalize=True) for x in (features, padded))
    assert (len(found.scale.mean), found.scale.n_constant) == (307, 7)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-4)


def test_kept_frames_count_as_features(features):
    frames = features.reshape(50, 3, 100)
    flat, kept = (principal_components(x, TRAIN, 5, min_spread=0.0, normalize=True) for x in (features, frames))
    np.testing.assert_array_equal(flat.scores, kept.scores)


def test_half_precision_storage_gives_nearly_the_same(rng):
    signal = rng.standard_normal((50, 5)) * [16, 8, 4, 2, 1]
    features = (signal @ rng.standard_normal((5, 300)) + 20).astype(np.float32)
    whole, half = (
        principal_components(x, TRAIN, 5, min_spread=0.0, normalize=True).scores
        for x in (features, features.astype(np.float16))
    )
    np.testing.assert_allclose(half, whole, atol=0.02)


# A floor under the spreads


@pytest.fixture
def rare(rng):
    """Beside 300 features, four that are silent on the training clips, but for float noise or a hundredth of activity.

    One has its noise in a single training clip, one in every second; both are active in a test clip. One never varies.
    """
    latents = rng.standard_normal((50, 5)) * [16, 8, 4, 2, 1]
    features = latents @ rng.standard_normal((5, 300)) + 0.1 * rng.standard_normal((50, 300))
    features = (features * np.geomspace(0.005, 1, 300)).astype(np.float32)
    silent = np.zeros((50, 4), np.float32)
    silent[3, 0], silent[45, 0] = 2e-6, 1.0
    silent[:, 1] = np.where(np.arange(50) % 2, 2e-6, 0)
    silent[46, 1] = 1.0
    silent[:, 2] = np.where(np.arange(50) % 3, 0.01, 0)
    return np.concatenate([features, silent], axis=1)


def floored(features, n, share, normalize):
    """In float64, the floor written out: components, and their projection of any clips."""
    F = features.astype(np.float64)
    mean, sd = F[TRAIN].mean(axis=0), F[TRAIN].std(axis=0)
    floor = share * np.median(sd[sd > 1e-3])  # neither of the two that have noise alone
    Z = np.where(sd > 0, (F - mean) / np.maximum(sd, floor), 0)
    _, S, Vt = np.linalg.svd(Z[TRAIN], full_matrices=False)
    scores = Z @ Vt[:n].T
    return scores * np.sqrt(len(TRAIN)) / (S[:n] if normalize else np.sqrt(np.mean(S[:n] ** 2))), floor, sd


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_spread_counts_as_a_share_of_the_median_at_least(rare, share, normalize, monkeypatch):
    monkeypatch.setattr(reduction, "BLOCK_VALUES", 50 * 37)
    found = principal_components(rare, TRAIN, 5, min_spread=share, normalize=normalize)
    scores, floor, sd = floored(rare, 5, share, normalize)
    scores *= np.sign((scores[TRAIN] * found.scores[TRAIN]).sum(axis=0))
    np.testing.assert_allclose(found.scores, scores, atol=2e-4 * np.abs(scores).max())
    assert found.scale.floor == pytest.approx(floor, rel=1e-5)
    under = (sd > 0) & (sd < floor)
    assert (found.scale.n_constant, found.scale.n_floored) == (1, np.count_nonzero(under)) and under.any()
    assert found.variance + found.scale.lost == pytest.approx(np.count_nonzero(sd), rel=1e-5)
    project = projection(rare, TRAIN, found)
    np.testing.assert_allclose(project(rare), found.scores, atol=2e-5 * np.abs(scores).max())


def test_a_unit_with_float_noise_in_one_training_clip_decides_nothing(rare):
    """With plain z-scores its z in the clip in which it is active is 35 / sqrt(34) / 2e-6, three million."""
    plain, found = (principal_components(rare, TRAIN, 5, min_spread=share, normalize=True) for share in (0.0, 0.05))
    without = principal_components(rare[:, :300], TRAIN, 5, min_spread=0.05, normalize=True)
    assert np.abs(plain.scores[45]).max() > 1000 and np.abs(plain.scores[TRAIN]).max() < 6
    np.testing.assert_allclose(found.scores, without.scores, atol=2e-3)


def test_a_hundred_thousandth_of_noise_changes_components_by_about_as_much(rare, rng):
    rare = np.concatenate([rare, np.zeros((50, 300), np.float32)], axis=1)  # most are silent: the median is not theirs
    rare[47, 304:] = 1
    noisy = rare + 1e-5 * rng.standard_normal(rare.shape).astype(np.float32)
    plain, found = (
        [principal_components(x, TRAIN, 5, min_spread=share, normalize=True).scores for x in (rare, noisy)]
        for share in (0.0, 0.05)
    )
    assert np.abs(plain[0] - plain[1]).max() > 100
    change = np.abs(found[0] - found[1]).max(axis=1)
    assert change[47] < 5e-3  # in which 300 units are active that have noise alone in all others
    assert np.delete(change, 47).max() < 5e-4


def test_a_floor_of_features_alike_in_spread_is_out_of_reach(features):
    features = features / features[TRAIN].std(axis=0)
    found = principal_components(features, TRAIN, 5, min_spread=0.05, normalize=True)
    plain = principal_components(features, TRAIN, 5, min_spread=0.0, normalize=True)
    np.testing.assert_array_equal(found.scores, plain.scores)
    assert (found.scale.n_floored, found.scale.lost) == (0, 0.0)


def test_hopeless_features_are_refused(features):
    with pytest.raises(InputError, match="none of the 4 features varies over the 35 training clips; take another"):
        principal_components(np.ones((50, 4), np.float32), TRAIN, 2, min_spread=0.0, normalize=True)
    features[3, 3] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        principal_components(features, TRAIN, 2, min_spread=0.0, normalize=True)

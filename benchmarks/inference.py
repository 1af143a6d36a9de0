"""Permutations, resamples and flipped signs of a whole brain beside the usual loops; and how often they are wrong."""

from __future__ import annotations

import numpy as np
from nilearn.mass_univariate import permuted_ols
from scipy import stats

from _harness import Case, Contender, main
from _simulations import table
from cinevox.statistics import metrics
from cinevox.statistics.significance import (
    PermutationTest,
    SignFlipTest,
    permutation_test,
    permuted_clips,
    sign_flip_test,
)


def brain(n_voxels: int, n_clips: int = 102, n_groups: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses, predictions of r about 0.2 and ten regions' weights."""
    rng = np.random.default_rng(0)
    measured = rng.standard_normal((n_clips, n_voxels), dtype=np.float32)
    predicted = 0.2 * measured + rng.standard_normal((n_clips, n_voxels), dtype=np.float32)
    weights = np.zeros((n_voxels, n_groups))
    for number, part in enumerate(np.array_split(np.arange(n_voxels), n_groups)):
        weights[part, number] = 1 / len(part)
    return measured, predicted, weights


def zscored(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def permuted(n_voxels: int, n_permutations: int, share: int) -> Case:
    x, y, weights = brain(n_voxels)
    orders = permuted_clips([len(x)], n_permutations, np.random.default_rng(1))

    def by_permutation(dtype: type) -> PermutationTest:
        a, b = zscored(x.astype(dtype)), zscored(y.astype(dtype))
        observed, counts, maxima, means = (a * b).mean(axis=0), np.zeros(n_voxels), [], []
        for order in orders:
            r = (a[order] * b).mean(axis=0)
            counts += r >= observed
            maxima.append(r.max())
            means.append(r @ weights)
        above = (np.array(maxima)[:, None] >= observed).sum(axis=0)
        return PermutationTest((1 + counts) / (1 + len(orders)), (1 + above) / (1 + len(orders)), np.array(means))

    def by_voxel() -> list[float]:
        method = stats.PermutationMethod(n_resamples=n_permutations, rng=np.random.default_rng(1))
        return [
            stats.pearsonr(x[:, v], y[:, v], alternative="greater", method=method).pvalue
            for v in range(n_voxels // share)
        ]

    def agreement(mine: PermutationTest, theirs: PermutationTest | list[float]) -> str:
        if isinstance(theirs, list):
            return f"p of other orders, largest difference {abs(mine.p[: len(theirs)] - theirs).max():.2g}"
        parts = [abs(getattr(mine, n) - getattr(theirs, n)).max() for n in ("p", "p_familywise", "null_means")]
        return "largest difference: p {:.1g}, family-wise {:.1g}, means {:.1g}".format(*parts)

    return Case(
        f"permutations: p, family-wise p and 10 means; {n_voxels} voxels, {len(x)} clips, {n_permutations} orders",
        Contender("cinevox", lambda: permutation_test([x], [y], weights, orders)),
        [
            Contender("numpy, order by order, float32", lambda: by_permutation(np.float32), repeats=2),
            Contender("numpy, order by order, float64", lambda: by_permutation(np.float64), repeats=2),
            Contender("scipy pearsonr, voxel by voxel (p alone)", by_voxel, (n_voxels // share) / n_voxels, repeats=2),
        ],
        agreement,
    )


def bootstrapped(n_voxels: int, n_resamples: int, share: int) -> Case:
    x, y, weights = brain(n_voxels)
    resamples = metrics.resampled_clips(len(x), n_resamples, np.random.default_rng(1))
    drawn = [np.repeat(np.arange(len(x)), row.astype(int)) for row in resamples]

    def by_resample() -> np.ndarray:
        return np.array([(zscored(x[rows]) * zscored(y[rows])).mean(axis=0) @ weights for rows in drawn])

    def by_voxel() -> np.ndarray:
        part = drawn[: n_resamples // share]
        pick = range(0, n_voxels, n_voxels // 200)
        return np.array([[stats.pearsonr(x[rows, v], y[rows, v]).statistic for v in pick] for rows in part])

    def agreement(mine: np.ndarray, theirs: np.ndarray) -> str:
        return f"means {abs(mine - theirs).max():.1g}" if mine.shape == theirs.shape else ""

    done = len(range(0, n_voxels, n_voxels // 200)) / n_voxels * (n_resamples // share) / n_resamples
    return Case(
        f"bootstrap: 10 means; {n_voxels} voxels, {len(x)} clips, {n_resamples} resamples",
        Contender("cinevox", lambda: metrics.bootstrap_means(x, y, weights, resamples)),
        [
            Contender("numpy, resample by resample, float32", by_resample, repeats=2),
            Contender("scipy pearsonr, voxel by voxel in each resample", by_voxel, done, repeats=2),
        ],
        agreement,
    )


def flipped(n_places: int, share: int) -> Case:
    rng = np.random.default_rng(0)
    values = 0.2 + rng.standard_normal((10, n_places))

    def t(part: np.ndarray, axis: int = 0) -> np.ndarray:
        return part.mean(axis) / part.std(axis, ddof=1) * np.sqrt(part.shape[axis])

    def by_flip() -> SignFlipTest:
        signs = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1)
        observed, counts, maxima = t(values), np.zeros(n_places), []
        for flip in signs:
            drawn = t(values * flip[:, None])
            counts += drawn >= observed - 1e-9
            maxima.append(drawn.max())
        return SignFlipTest(observed, counts / 1024, (np.array(maxima)[:, None] >= observed - 1e-9).mean(axis=0))

    def nilearn_way() -> dict[str, np.ndarray]:
        return permuted_ols(
            np.ones((10, 1)), values, model_intercept=False, n_perm=1024, two_sided_test=False, random_state=0,
            n_jobs=1, output_type="dict",
        )  # fmt: skip

    def scipys_way() -> np.ndarray:
        part = values[:, : n_places // share]
        return stats.permutation_test(
            (part,), t, permutation_type="samples", alternative="greater", n_resamples=np.inf, batch=16
        ).pvalue

    def agreement(mine: SignFlipTest, theirs: SignFlipTest | dict | np.ndarray) -> str:
        if isinstance(theirs, SignFlipTest):
            return (
                f"largest difference: p {abs(mine.p - theirs.p).max():.1g}, "
                f"family-wise {abs(mine.p_familywise - theirs.p_familywise).max():.1g}"
            )
        if isinstance(theirs, dict):
            p = 10 ** -theirs["logp_max_t"][0]
            return f"family-wise p of drawn flips, largest difference {abs(mine.p_familywise - p).max():.2g}"
        return f"largest difference: p {abs(mine.p[: len(theirs)] - theirs).max():.1g}"

    return Case(
        f"flipped signs: p and family-wise p; 10 subjects, {n_places} places, all 1024 flips",
        Contender("cinevox", lambda: sign_flip_test(values, rng)),
        [
            Contender("numpy, flip by flip", by_flip, repeats=2),
            Contender("nilearn permuted_ols, 1024 drawn flips (family-wise alone)", nilearn_way, repeats=2),
            Contender("scipy permutation_test (p alone)", scipys_way, (n_places // share) / n_places, repeats=2),
        ],
        agreement,
    )


def cases(quick: bool) -> list[Case]:
    n_voxels, n_places = (1500, 4000) if quick else (18_222, 72_365)
    return [permuted(n_voxels, 1000, 300), bootstrapped(n_voxels, 1000, 40), flipped(n_places, 30)]


if __name__ == "__main__":
    main("inference", cases, note="Agreement is beside cinevox. It was a shared machine.", below=table)

"""Weights of a stack against every support and against scipy's solver; stacked maps, written down and read back."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from cinevox.errors import InputError
from cinevox.fitting.regressors._solvers import maps
from cinevox.fitting.regressors._solvers.stacking import (
    StackedMap,
    combined,
    residual_products,
    simplex_weights,
    with_block_means,
)
from regression_problems import fitted, problem


def products(rng, n_voxels, k, n=60):
    """S of residuals that spaces share in part, as predictions of one response do; of all sizes."""
    R = rng.standard_normal((n_voxels, n, k)) * rng.uniform(0.2, 1.5, (n_voxels, 1, k))
    R += rng.standard_normal((n_voxels, n, 1)) * rng.uniform(0, 3, (n_voxels, 1, 1))
    return np.einsum("vnp,vnq->vpq", R, R) / n * np.geomspace(1e-12, 1e12, n_voxels)[:, None, None]


def best_of_all_supports(S):
    """The least w'Sw over the supports whose unconstrained weights, in proportion to S^-1 1, are not negative."""
    best, found = np.inf, np.zeros(len(S))
    for size in range(1, len(S) + 1):
        for support in map(list, combinations(range(len(S)), size)):
            w = np.zeros(len(S))
            w[support] = np.linalg.solve(S[np.ix_(support, support)], np.ones(size))
            w /= w.sum()
            if (w >= 0).all() and w @ S @ w < best:
                best, found = w @ S @ w, w
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_weights_are_the_best_of_all_supports(rng, k):
    S = products(rng, 60, k)
    W = simplex_weights(S)
    np.testing.assert_allclose(W, [best_of_all_supports(one) for one in S], atol=1e-8)
    np.testing.assert_allclose(W.sum(axis=1), 1, rtol=1e-12)
    assert (W >= 0).all()
    assert k == 1 or ((W == 0).any() and (W > 0).all(axis=1).any())  # both kinds of voxels are here


def test_weights_are_those_of_a_quadratic_programming_solver(rng):
    S = products(rng, 12, 8)
    for one, found in zip(S, simplex_weights(S)):
        one = one / np.trace(one)
        oracle = minimize(
            lambda w, S=one: w @ S @ w,
            np.full(8, 1 / 8),
            jac=lambda w, S=one: 2 * S @ w,
            bounds=[(0, None)] * 8,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(found, oracle.x, atol=1e-5)
        assert found @ one @ found <= oracle.fun * (1 + 1e-9)


def test_weights_meet_the_conditions_of_a_minimum_where_spaces_are_nearly_one(rng):
    """Sw >= w'Sw, equal where w > 0, with residuals of rank 3 and rounding between 12 spaces."""
    R = rng.standard_normal((50, 40, 3)) @ rng.standard_normal((50, 3, 12))
    R = R.astype(np.float32).astype(np.float64)
    S = np.einsum("vnp,vnq->vpq", R, R) / 40
    W = simplex_weights(S)
    slopes, value = np.einsum("vpq,vq->vp", S, W), np.einsum("vp,vpq,vq->v", W, S, W)
    scale = np.trace(S, axis1=1, axis2=2)[:, None]
    assert (slopes >= value[:, None] - 1e-8 * scale).all()
    assert (np.abs(slopes - value[:, None])[W > 0] <= 1e-8 * np.broadcast_to(scale, W.shape)[W > 0]).all()


def test_spaces_that_predict_alike_share_their_weight(rng):
    S = products(rng, 30, 3)
    alone = simplex_weights(S)
    twice = simplex_weights(S[:, [0, 1, 2, 1]][:, :, [0, 1, 2, 1]])
    np.testing.assert_allclose(twice[:, 1], twice[:, 3], atol=1e-6)
    np.testing.assert_allclose(twice[:, :3] + [0, 1, 0] * twice[:, 3:], alone, atol=1e-6)
    np.testing.assert_allclose(simplex_weights(np.ones((2, 5, 5))), 0.2, atol=1e-6)


def test_spaces_without_error_share_all_weight():
    S = [np.zeros((3, 3)), np.diag([0.0, 2.0, 0.0]), np.diag([1e-200, 1.0, 1e200])]
    expected = [[1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5], [1, 0, 0]]
    np.testing.assert_allclose(simplex_weights(np.array(S)), expected, atol=1e-12)


def test_a_space_that_goes_wild_does_not_blur_the_others(rng):
    """A ridge relative to the trace would make the other two equal."""
    S = products(rng, 1, 2)[0]
    wild = np.zeros((3, 3))
    wild[:2, :2], wild[2, 2] = S, 1e14 * S.max()
    np.testing.assert_allclose(simplex_weights(wild[None])[0, :2], simplex_weights(S[None])[0], atol=1e-8)


def test_one_space_that_is_much_better_has_nearly_all_weight(rng):
    Y = rng.standard_normal((200, 5))
    good, noise = Y + 0.01 * rng.standard_normal(Y.shape), rng.standard_normal(Y.shape)
    W = simplex_weights(residual_products(Y, [noise, good]))
    assert (W[:, 1] > 0.99).all()


def test_weights_depend_on_neither_neighbours_nor_order_nor_precision(rng):
    S = products(rng, 700, 4)
    W = simplex_weights(S)
    np.testing.assert_array_equal(simplex_weights(S[123:456]), W[123:456])
    np.testing.assert_allclose(simplex_weights(S[:, ::-1, ::-1])[:, ::-1], W, atol=1e-9)
    single = S.astype(np.float32)
    np.testing.assert_array_equal(simplex_weights(single), simplex_weights(single.astype(np.float64)))


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_products_of_residuals(rng, precision, monkeypatch):
    monkeypatch.setattr("cinevox.fitting.regressors._solvers.ridge.BLOCK_VOXELS", 7)
    Y = (1000 + rng.standard_normal((50, 30))).astype(precision)
    predictions = [(Y + rng.standard_normal(Y.shape) * size).astype(precision) for size in (0.1, 1, 2)]
    R = np.stack([Y.astype(float) - predicted for predicted in predictions])
    S = residual_products(Y, predictions)
    np.testing.assert_allclose(S, np.einsum("pnv,qnv->vpq", R, R) / 50, rtol=1e-12, atol=1e-14)


def test_what_can_not_be_stacked_is_refused(rng):
    Y = rng.standard_normal((10, 4))
    with pytest.raises(InputError, match=r"space 1 has \(10, 3\); expected \(10, 4\) \(n_clips, n_voxels\)"):
        residual_products(Y, [Y, Y[:, :3]])
    with pytest.raises(InputError, match="no predictions to combine"):
        residual_products(Y, [])
    with pytest.raises(InputError, match="are NaN or infinite; check the fits of each space"):
        residual_products(Y, [Y, np.where(Y[0, 0] == Y, np.nan, Y)])
    with pytest.raises(InputError, match=r"S has shape \(4, 2, 3\); expected \(n_voxels, k, k\)"):
        simplex_weights(np.zeros((4, 2, 3)))
    with pytest.raises(InputError, match="S has NaN or infinite entries"):
        simplex_weights(np.full((4, 2, 2), np.inf))
    with pytest.raises(InputError, match=r"not positive semidefinite in 1 voxels \(first: 1\)"):
        simplex_weights(np.array([np.eye(2), -np.eye(2), np.eye(2)]))
    with pytest.raises(InputError, match=r"not positive semidefinite in 1 voxels \(first: 0\)"):
        simplex_weights(np.array([[[1.0, -2.0], [-2.0, 1.0]]]))


@pytest.fixture
def stack(rng):
    X, Y = problem("wide")
    ends = np.array([12, 100, 180])
    parts = [
        fitted("ridge", X[:, :12], Y),
        fitted("similarity_ridge", X[:, 12:100], Y),
        fitted("linear", X[:, 100:], Y),
    ]
    weights = rng.dirichlet(np.ones(3), Y.shape[1]).astype(np.float32)
    return StackedMap(tuple(part.map for part in parts), ends, weights), parts, X


def test_a_stacked_map_weighs_the_predictions_of_its_maps(stack):
    found, parts, X = stack
    predictions = [parts[0].predict(X[:9, :12]), parts[1].predict(X[:9, 12:100]), parts[2].predict(X[:9, 100:])]
    expected = np.einsum("pnv,vp->nv", predictions, found.weights)
    np.testing.assert_allclose(found(X[:9]), expected, rtol=1e-5)
    assert found(X[:9]).dtype == np.float32
    np.testing.assert_array_equal(combined(predictions, found.weights), found(X[:9]))
    some, units = np.array([6, 1]), np.geomspace(0.1, 10, 8)
    np.testing.assert_allclose(found.of_voxels(some)(X[:9]), found(X[:9])[:, some], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.times(units)(X[:9]), found(X[:9]) * units, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"X has shape \(90, 179\); expected .* with 180 features as fitted"):
        found(X[:, :179])


def test_a_stacked_map_is_kept_as_arrays(stack):
    found, _, X = stack
    kind, arrays = maps.to_arrays(found)
    assert kind == "stacked"
    assert {"ends", "weights", "0.linear.coef", "1.similarity.duals", "2.linear.y_mean"} < set(arrays)
    copies = {key: np.array(array) for key, array in reversed(arrays.items())}
    np.testing.assert_array_equal(maps.from_arrays(kind, copies)(X[:9]), found(X[:9]))


def test_a_stack_of_stacks_is_kept_as_one_stack(stack, rng):
    found, parts, X = stack
    weights = rng.dirichlet(np.ones(2), 8).astype(np.float32)
    outer = StackedMap((parts[0].map, found), np.array([12, 192]), weights)
    twice = np.hstack([X[:9, :12], X[:9]])
    expected = weights[:, 0] * parts[0].predict(X[:9, :12]) + weights[:, 1] * found(X[:9])
    np.testing.assert_allclose(outer(twice), expected, rtol=1e-5)
    kind, arrays = maps.to_arrays(outer)
    assert kind == "stacked"
    assert arrays["ends"].tolist() == [12, 24, 112, 192]
    np.testing.assert_allclose(maps.from_arrays(kind, arrays)(twice), expected, rtol=1e-5)


def test_a_stack_of_other_maps_is_refused(stack):
    class OtherMap: ...

    with pytest.raises(InputError, match="a OtherMap cannot be kept; .* or a stack of such maps"):
        maps.to_arrays(StackedMap((OtherMap(),), np.array([3]), np.ones((8, 1), np.float32)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, "a stacked map without weights"),
        ({"0.linear.coef": None}, "a linear map of x_mean, y_mean; expected x_mean, y_mean, coef"),
        ({"3.pickle.coef": np.zeros(3)}, "a stacked map of '3.pickle.coef'; expected ends, weights and"),
        ({"0.stacked.0.linear.coef": np.zeros(3)}, "a stacked map of '0.stacked.0.linear.coef'"),
        ({"00.linear.coef": np.zeros(3)}, "a stacked map of '00.linear.coef'"),
        ({"4.linear.coef": np.zeros(3)}, r"maps \['0.linear', '1.similarity', '2.linear', '4.linear'\]; expected 0, 1"),
        ({"0.similarity.X": np.zeros(3)}, r"maps \['0.linear', '0.similarity', "),
        ({"ends": np.array([12, 180])}, r"3 maps whose ends are \[ 12 180\]; expected as many rising columns"),
        ({"ends": np.array([12, 12, 180])}, "expected as many rising columns"),
        ({"ends": np.array([12.0, 100.0, 180.0])}, "expected as many rising columns"),
        ({"weights": np.ones((8, 2))}, r"3 maps whose weights are float64 \(8, 2\)"),
        ({"weights": np.ones((7, 3))}, r"a stacked map of 7 voxels whose map 0 has a y_mean of shape \(8,\)"),
        ({"1.similarity.y_mean": np.zeros(1)}, r"a stacked map of 8 voxels whose map 1 has a y_mean of shape \(1,\)"),
    ],
)
def test_arrays_that_make_no_stack_are_refused(stack, change, message):
    arrays = {**maps.to_arrays(stack[0])[1], **change}
    with pytest.raises(InputError, match=message):
        maps.from_arrays("stacked", {key: array for key, array in arrays.items() if array is not None})


def test_a_voxel_has_its_own_errors_and_the_mean_of_its_block_in_units_of_the_least(rng):
    R = rng.standard_normal((7, 20, 3)) * 10.0 ** rng.integers(-3, 3, 7)[:, None, None]
    S = np.einsum("vnj,vnk->vjk", R, R)
    S[5] = 0  # a voxel that every space predicts exactly
    T = with_block_means(S, [slice(0, 4), slice(4, 6), slice(6, 7)])
    scaled = [each / each.diagonal().min() if each.any() else each for each in S]
    np.testing.assert_allclose(T[:4], [own + np.mean(scaled[:4], axis=0) for own in scaled[:4]])
    np.testing.assert_allclose(T[4], 2 * scaled[4])
    np.testing.assert_array_equal(T[5], 0)
    np.testing.assert_allclose(T[6], 2 * scaled[6])

"""What every regressor keeps, whichever it is: the folder says which there are."""

import re
import sys

import numpy as np
import pytest
import yaml

from cinevox.errors import InputError
from cinevox.fitting import regressors
from cinevox.fitting.regressors._solvers import maps
from cinevox.measured.responses import unit
from cinevox.project import plugins
from cinevox.statistics.splits import Fold, folds
from conftest import ROOT
from regression_problems import KINDS, OPTIONS, build, fitted, options, problem

NAMES = plugins.names("regressors")
CHOOSING = sorted(set(NAMES) - {"linear", "res", "sparse_linear"})


def test_every_regressor_is_tested_and_has_parameters(default_params):
    assert sorted(OPTIONS) == sorted(NAMES) == sorted(default_params.regressors)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_this_run_are_accepted(name, default_params):
    plugins.load("regressors", name).build(default_params.regressors[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_predicts_every_kind_of_problem(name, kind):
    X, Y = problem(kind)
    before = X.copy(), Y.copy()
    # more features than clips: small alphas are slow in any solver
    easy = {"tolerance": 1e-4, "alpha_ratio": 0.05} if kind == "wide" and "tolerance" in options(name) else {}
    easy = {key: value for key, value in easy.items() if key in options(name)}
    regressor = fitted(name, X, Y, **easy)
    prediction = regressor.predict(X[:20])
    assert prediction.shape == (20, Y.shape[1])
    assert prediction.dtype == np.float32
    assert np.isfinite(prediction).all()
    assert all(len(values) == Y.shape[1] and np.isfinite(values).all() for values in regressor.diagnostics.values())
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


@pytest.mark.parametrize("name", NAMES)
def test_constant_voxel_is_predicted_by_its_mean_and_flagged(name):
    X, Y = problem("correlated")
    Y[:, 2] = 0.1
    regressor = fitted(name, X, Y)
    np.testing.assert_allclose(regressor.predict(X)[:, 2], 0.1, rtol=1e-6)
    np.testing.assert_array_equal(regressor.diagnostics["constant"], np.arange(8) == 2)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_fitted_is_kept_as_arrays_and_predicts_as_before(name):
    X, Y = problem("correlated")
    regressor = fitted(name, X, Y)
    expected = regressor.predict(X[:10])
    kind, arrays = maps.to_arrays(regressor.map)
    assert all(array.dtype.kind in "fb" for array in arrays.values())
    copies = {key: np.array(array) for key, array in arrays.items()}
    np.testing.assert_array_equal(maps.from_arrays(kind, copies)(X[:10]), expected)
    some = np.array([1, 5, 6])
    np.testing.assert_allclose(regressor.map.of_voxels(some)(X[:10]), expected[:, some], atol=1e-5)


def test_a_map_of_another_kind_is_refused():
    with pytest.raises(InputError, match="a dict cannot be kept; a regressor's map is one of linear, similarity"):
        maps.to_arrays({})
    with pytest.raises(InputError, match="no map of kind 'pickle'; expected one of linear, similarity"):
        maps.from_arrays("pickle", {})
    with pytest.raises(InputError, match="a linear map of X; expected x_mean, y_mean, coef"):
        maps.from_arrays("linear", {"X": np.zeros(3)})


@pytest.mark.parametrize("name", NAMES)
def test_duplicated_features_predict_alike(name):
    X, Y = problem("whitened", n_voxels=3)
    prediction = fitted(name, np.hstack([X, X[:, :1]]), Y).predict(np.hstack([X, X[:, :1]])[:10])
    assert np.isfinite(prediction).all()
    if name in ("linear", "lasso"):
        np.testing.assert_allclose(prediction, fitted(name, X, Y).predict(X[:10]), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if plugins.load("regressors", name).voxels != "roi"])
def test_a_voxel_does_not_depend_on_its_neighbours(name):
    """Given their ROI's unit, which is all that a batch of voxels knows of the others."""
    X, Y = problem("correlated", n_voxels=40)
    units = np.full(40, unit(Y))
    whole = fitted(name, X, Y).predict(X[:10])
    for part in (slice(5, 6), slice(7, 33)):
        alone = fitted(name, X, Y[:, part], units=units[part])
        np.testing.assert_allclose(alone.predict(X[:10]), whole[:, part], atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_follow_the_units_of_the_responses(name):
    X, Y = problem("correlated")
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    expected = fitted(name, X, Y).predict(X[:10])
    for scale, shift in ((1e-3, 0.0), (1e3, 0.0), (1.0, 50.0), (37.0, -20.0)):
        found = fitted(name, X, scale * Y + np.float32(shift))
        np.testing.assert_allclose((found.predict(X[:10]) - shift) / scale, expected, atol=2e-4)
        assert not found.diagnostics.get("empty", np.zeros(1))[1:4].any()


@pytest.mark.parametrize("name", NAMES)
def test_signs_and_order_of_features_change_nothing(name):
    """A component's sign is that of an eigenvector: any."""
    X, Y = problem("correlated")
    X = X - X.mean(axis=0)
    expected = fitted(name, X, Y).predict(X[:10])
    rng = np.random.default_rng(4)
    for _ in range(3):
        Z = X[:, rng.permutation(X.shape[1])] * rng.choice([-1.0, 1.0], X.shape[1])
        np.testing.assert_allclose(fitted(name, Z, Y).predict(Z[:10]), expected, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_input(name):
    X, Y = problem("whitened")
    single = fitted(name, X.astype(np.float32), Y.astype(np.float32)).predict(X[:10].astype(np.float32))
    np.testing.assert_allclose(single, fitted(name, X, Y).predict(X[:10]), atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_refused_with_their_axes(name):
    X, Y = problem("whitened")
    with pytest.raises(InputError, match=r"X \(n_clips, n_features\) is \(90, 12\) and Y .* is \(80, 8\)"):
        fitted(name, X, Y[:80])
    with pytest.raises(InputError, match=r"Y has shape \(90,\); expected \(n_clips, n_voxels\)"):
        fitted(name, X, Y[:, 0])
    with pytest.raises(InputError, match="at least 2 clips, 1 feature and 1 voxel"):
        fitted(name, X, Y[:, :0])
    with pytest.raises(InputError, match="12 features as fitted"):
        fitted(name, X, Y).predict(X[:, :11])


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_refused(name):
    X, Y = problem("whitened")
    broken = Y.copy()
    broken[3, 5] = np.nan
    with pytest.raises(InputError, match=r"Y has NaN .* 1 voxels \(first: 5\)"):
        fitted(name, X, broken)
    X[0, 0] = np.inf
    with pytest.raises(InputError, match="X has NaN or infinite features"):
        fitted(name, X, Y).predict(X)


@pytest.mark.parametrize("name", CHOOSING)
def test_unusable_folds_are_refused(name):
    X, Y = problem("whitened")
    every = np.arange(90)
    cases = {
        "0 folds; expected at least 2": (),
        "fold 1 holds out clips that it fits": (folds(90, 2)[0], Fold(every, every[:10])),
        "fold 0 names clip 95, and there are 90": (Fold(every[:50], every[50:] + 6), folds(90, 2)[0]),
        "fold 0 fits 1 clips": (Fold(every[:1], every[1:]), folds(90, 2)[0]),
    }
    for message, given in cases.items():
        with pytest.raises(InputError, match=message):
            build(name).fit(X, Y, folds=given, bands=[slice(0, 12)])
    with pytest.raises(InputError, match="2 clips for 3 folds"):
        build(name).fit(X[:2], Y[:2], folds=folds(90, 3), bands=[slice(0, 12)])


BAD = [
    ("ridge", "alphas", []),
    ("ridge", "alphas", [1.0, -1.0]),
    ("ridge", "per", "ROI"),
    ("res", "normalize", "yes"),
    ("similarity_ridge", "alphas", [0.0]),
    ("banded_ridge", "alphas", 3.0),
    ("banded_ridge", "n_draws", 0),
    ("best", "candidates", {"linear": {}}),
    ("best", "candidates", ["linear", "ridge"]),
    ("banded_ridge", "seed", -1),
    ("lasso", "n_alphas", 0),
    ("lasso", "alpha_ratio", 1.0),
    ("lasso", "tolerance", 0.0),
    ("lasso", "max_sweeps", 1.5),
    ("lasso", "early_stop", "yes"),
    ("elastic_net", "l1_ratios", [0.0, 0.5]),
    ("elastic_net", "l1_ratios", [1.5]),
    ("multitask_elastic_net", "l1_ratios", []),
    ("omp", "max_features", 0),
    ("sparse_linear", "max_iterations", 0),
    ("sparse_linear", "tolerance", "small"),
    ("sparse_linear", "threshold", -1.0),
]


@pytest.mark.parametrize(("name", "option", "value"), BAD)
def test_bad_values_are_refused_by_name(name, option, value):
    with pytest.raises(InputError, match=rf"regressors\.{name}\.{option} is .*; expected "):
        build(name, **{option: value})


def test_all_bad_values_are_named_at_once():
    with pytest.raises(InputError, match=r"lasso\.n_alphas is 0.*lasso\.alpha_ratio is 2"):
        build("lasso", n_alphas=0, alpha_ratio=2)


def test_unknown_and_missing_options_are_refused():
    spec = plugins.load("regressors", "ridge")
    with pytest.raises(InputError, match="Ridge: options unknown alpha; missing alphas, per; expected alphas, per"):
        spec.build({"alpha": 1.0})


def test_bands_that_leave_features_out_are_refused():
    X, Y = problem("whitened")
    with pytest.raises(InputError, match="every feature in one band"):
        fitted("banded_ridge", X, Y, bands=[slice(0, 5), slice(6, 12)])


def test_threads_change_nothing():
    import numba

    X, Y = problem("correlated", n_voxels=100)
    threads = numba.get_num_threads()
    results = []
    for number in {1, threads}:
        numba.set_num_threads(number)
        results.append(fitted("lasso", X, Y).predict(X))
    numba.set_num_threads(threads)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_one_without_options_for_the_tests_is_told_where_they_go():
    with pytest.raises(LookupError, match=r"mine has no options .* OPTIONS in tests/regression_problems\.py"):
        options("mine")


def test_the_example_of_the_docs_keeps_the_common_contract(tmp_path, monkeypatch):
    section = (ROOT / "docs/adding.md").read_text().partition("\n## A regressor\n")[2].partition("\n## ")[0]
    code, keys = (re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("python", "yaml"))
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.setattr(regressors, "__path__", [*regressors.__path__, str(tmp_path)])
    monkeypatch.setitem(OPTIONS, "mine", yaml.safe_load(keys)["regressors"]["mine"])
    try:
        for kind in KINDS:
            test_predicts_every_kind_of_problem("mine", kind)
        for contract in (
            test_constant_voxel_is_predicted_by_its_mean_and_flagged,
            test_what_was_fitted_is_kept_as_arrays_and_predicts_as_before,
            test_duplicated_features_predict_alike,
            test_a_voxel_does_not_depend_on_its_neighbours,
            test_single_precision_input,
            test_shapes_are_refused_with_their_axes,
            test_nan_is_refused,
            test_unusable_folds_are_refused,
        ):
            contract("mine")
        with pytest.raises(InputError, match=r"regressors\.mine\.strength is 0; expected "):
            build("mine", strength=0)
    finally:
        sys.modules.pop("cinevox.fitting.regressors.mine", None)
        vars(regressors).pop("mine", None)

"""Submission: refitted on all training clips, packed for the challenge, checked as something hostile, scored."""

import pickle
import pickletools
import struct
import zipfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layout
from cinevox import cli
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.fitting import refit
from cinevox.fitting.feature_spaces import Candidate, candidates, joint_candidates
from cinevox.fitting.method import Method
from cinevox.fitting.prediction_store import Index
from cinevox.fitting.regressors import RegressorSpec
from cinevox.fitting.regressors._solvers.linear import LinearMap
from cinevox.measured.datasets import open_dataset
from cinevox.measured.response_store import Converted, Study
from cinevox.measured.responses import Block, Columns
from cinevox.outlets.submission import archive, faults, filling, offline, sidecar
from cinevox.project import params, plugins
from cinevox.project.params import Ceiling, FeatureSpace, Reduction, Scores
from cinevox.scoring import claims
from cinevox.scoring.origin import Origin
from cinevox.scoring.outcomes import Outcome
from cinevox.statistics.metrics import correlation_score
from cinevox.statistics.reliability import METHODS, TITLES
from conftest import ROOT, tells

N_TRAIN, N_TEST = 40, 7
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 4), Block("sub02", "V1", 2)))
REDUCTION = Reduction(n_components=5, standardize=True, min_spread=0.05, normalize=True)
MINI = Columns(tuple(Block(subject, roi, layout.SIZES[roi]) for subject in layout.SUBJECTS for roi in layout.ROIS))
WANTED = faults.ExpectedPredictions("mini", layout.N_TEST, MINI)


# Refit


@pytest.fixture
def features(rng):
    return {name: rng.standard_normal((N_TRAIN + N_TEST, n)).astype(np.float32) for name, n in (("a", 60), ("b", 30))}


@pytest.fixture
def measured(rng):
    return rng.standard_normal((N_TRAIN, COLUMNS.n_voxels)).astype(np.float32)


def predict(chosen, features, measured, spec, options, word="layer", batch_voxels=2):
    (found,) = refit.refit(
        candidates(word, list(features)), np.array(chosen, dtype=np.int16), features, N_TRAIN,
        [refit.Measured(measured, COLUMNS)], {} if "raw" in word else dict.fromkeys(features, REDUCTION),
        Method(spec, options, 3, batch_voxels), lambda items, _total, _label: items,
    ).predicted  # fmt: skip
    return found


def by_hand(layers, Y, model, reduced=True):
    """Scikit-learn from features to predictions, on all training clips; components scaled to unit variance."""
    parts = []
    for layer in layers:
        Z = StandardScaler().fit(layer[:N_TRAIN]).transform(layer.astype(np.float64))
        scores = PCA(REDUCTION.n_components).fit(Z[:N_TRAIN]).transform(Z)
        parts.append(scores / scores[:N_TRAIN].std(axis=0) if reduced else layer)
    X = np.hstack(parts)
    return model.fit(X[:N_TRAIN], Y).predict(X[N_TRAIN:])


def test_each_voxel_is_predicted_by_its_space_refitted_on_all_training_clips(features, measured):
    chosen = [0, 1, 0, 1, 1, 1, 0, 1, 0]
    options = {"alphas": [3.0], "per": "voxel"}
    found = predict(chosen, features, measured, plugins.load("regressors", "ridge"), options)
    assert found.dtype == np.float32 and found.shape == (N_TEST, COLUMNS.n_voxels)
    for number, layer in enumerate(features.values()):
        served = np.array(chosen) == number
        np.testing.assert_allclose(found[:, served], by_hand([layer], measured[:, served], Ridge(3.0)), atol=2e-5)


def test_a_voxel_is_refitted_in_its_regions_unit_whichever_voxels_chose_its_space(features, measured):
    """The unit decides which coefficients sparse linear regression drops."""
    ard = plugins.load("regressors", "sparse_linear")
    options = {"max_iterations": 300, "tolerance": 1e-3, "threshold": 1e4}
    measured *= np.geomspace(0.1, 10, COLUMNS.n_voxels).astype(np.float32)
    mixed = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0])
    found = predict(mixed, features, measured, ard, options)
    for number in (0, 1):
        whole = predict([number] * 9, features, measured, ard, options)
        np.testing.assert_allclose(found[:, mixed == number], whole[:, mixed == number], rtol=1e-5, atol=1e-6)


def test_pairs_stand_side_by_side_and_raw_features_have_no_components(features, measured):
    linear = plugins.load("regressors", "linear")
    pair = predict([0] * 9, features, measured, linear, {}, word="pair")
    np.testing.assert_allclose(pair, by_hand(features.values(), measured, LinearRegression()), atol=2e-5)
    raw = predict([1] * 9, features, measured, linear, {}, word="layer_raw")
    np.testing.assert_allclose(raw, by_hand([features["b"]], measured, LinearRegression(), reduced=False), atol=2e-4)


NAMED = {  # the first as it is, but for its scale; of the second components
    "a": FeatureSpace("squeezenet", "features.6", "max3", "mean", standardize=True, n_components=None),
    "b": FeatureSpace("displacement", "displacement", "none", "mean", standardize=True, n_components=5),
}


def together(word, features, measured):
    (found,) = refit.refit(
        joint_candidates(NAMED, word), np.zeros(COLUMNS.n_voxels, dtype=np.int16), features, N_TRAIN,
        [refit.Measured(measured, COLUMNS)], {"b": REDUCTION},
        Method(plugins.load("regressors", "ridge"), {"alphas": [3.0], "per": "voxel"}, 3, 2),
        lambda items, _total, _label: items,
    ).predicted  # fmt: skip
    return found


@pytest.fixture
def spaces(features):
    """By scikit-learn, fitted on all training clips."""
    Z = StandardScaler().fit(features["b"][:N_TRAIN]).transform(features["b"].astype(np.float64))
    scores = PCA(5).fit(Z[:N_TRAIN]).transform(Z)
    return features["a"].astype(np.float64), scores / scores[:N_TRAIN].std(axis=0)


def scaled_ridge(scales):
    return make_pipeline(StandardScaler(with_std=scales), Ridge(3.0))


def test_a_stack_is_refitted_with_weights_from_clips_in_no_fit(features, measured, spaces):
    """Weights of two spaces by a search between 0 and 1: a voxel's own error counts as the mean over its ROI."""
    models = [scaled_ridge(True), scaled_ridge(False)]
    a, b = (cross_val_predict(model, X[:N_TRAIN], measured, cv=KFold(3)) - measured for model, X in zip(models, spaces))
    least = np.minimum(np.square(a).sum(axis=0), np.square(b).sum(axis=0))

    def error(share, voxels):
        errors = np.square(share * a[:, voxels] + (1 - share) * b[:, voxels]).sum(axis=0)
        return np.mean(errors / least[voxels])

    shares = [
        minimize_scalar(
            lambda share, own, roi: error(share, [own]) + error(share, roi),
            args=(voxel, roi), bounds=(0, 1), options={"xatol": 1e-9},
        ).x
        for roi in COLUMNS.slices
        for voxel in range(roi.start, roi.stop)
    ]  # fmt: skip
    assert min(shares) < 0.1 and max(shares) > 0.4
    predicted = [model.fit(X[:N_TRAIN], measured).predict(X[N_TRAIN:]) for model, X in zip(models, spaces)]
    found = together("stack", features, measured)
    np.testing.assert_allclose(found, predicted[0] * shares + predicted[1] * np.subtract(1, shares), atol=5e-5)
    np.testing.assert_allclose(together("mean", features, measured), np.mean(predicted, axis=0), atol=5e-5)


def test_spaces_side_by_side_have_the_same_variance_in_total(features, measured, spaces):
    X = np.hstack([Z * np.sqrt(100 / Z[:N_TRAIN].var(axis=0).sum()) for Z in standardized(spaces)])
    expected = Ridge(3.0).fit(X[:N_TRAIN], measured).predict(X[N_TRAIN:])
    np.testing.assert_allclose(together("concat", features, measured), expected, atol=5e-5)


def standardized(spaces):
    """The first of them z-scored."""
    return StandardScaler().fit(spaces[0][:N_TRAIN]).transform(spaces[0]), spaces[1]


SEEN: list[tuple[int, int]] = []


class Recorder:
    """Predicts the training mean; remembers how many clips and voxels it was given together."""

    def fit(self, X, Y, *, folds, bands):
        SEEN.append(Y.shape)
        self.diagnostics = {"flag": np.zeros(Y.shape[1], dtype=bool)}
        self.map = LinearMap(np.zeros(X.shape[1]), Y.mean(axis=0), np.zeros((X.shape[1], Y.shape[1]), np.float32))
        return self


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [("batch", [2, 2, 1, 2, 2]), ("roi", [3, 4, 3, 4, 2]), ("all", [5, 4])],
)
def test_only_spaces_in_use_are_fitted_for_the_voxels_they_serve(features, measured, voxels, expected):
    """A regressor that shares something over an ROI is given the whole of it."""
    SEEN.clear()
    chosen = [0, 0, 2, 0, 0, 2, 0, 2, 2]
    named = features | {"c": features["a"]}
    found = predict(chosen, named, measured, RegressorSpec("recorder", Recorder, voxels), {})
    assert [n for _, n in SEEN] == expected
    assert {n for n, _ in SEEN} == {N_TRAIN}
    np.testing.assert_allclose(found, np.tile(measured.mean(axis=0), (N_TEST, 1)), atol=1e-6)


@pytest.mark.parametrize("chosen", [[0] * 8, [0] * 8 + [2], [0] * 8 + [-1]])
def test_a_choice_for_other_voxels_or_spaces_is_refused(chosen):
    with pytest.raises(InputError, match="9 voxels and 2 spaces; run `dvc repro selection` again"):
        refit.in_use([Candidate("a", ("a",)), Candidate("b", ("b",))], np.array(chosen), COLUMNS)


def test_constant_predictions_get_their_rois_mean(rng):
    predicted = rng.standard_normal((N_TEST, 9)).astype(np.float32)
    predicted[:, [1, 7, 8]] = 0.5  # one of V1 in sub01, all of it in sub02
    before = predicted.copy()
    assert filling.fill_constant(predicted, COLUMNS) == {"own_roi": 1, "other_subjects": 2}
    mean = before[:, [0, 2]].mean(axis=1)
    np.testing.assert_allclose(predicted[:, [1, 7, 8]], np.stack([mean] * 3, axis=1), rtol=1e-6)
    kept = [0, 2, 3, 4, 5, 6]
    assert np.array_equal(predicted[:, kept], before[:, kept])
    nothing = np.zeros((N_TEST, 9), np.float32)
    assert filling.fill_constant(nothing, COLUMNS) == {"own_roi": 0, "other_subjects": 0} and not nothing.any()


# Archive


@pytest.fixture
def content(rng):
    return {
        roi: {s: rng.standard_normal((layout.N_TEST, layout.SIZES[roi])).astype(np.float32) for s in layout.SUBJECTS}
        for roi in layout.ROIS
    }


def zipped(path, *members, **options):
    """A zip with these members, a name and its bytes each."""
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as file:
        for name, raw in members:
            file.writestr(zipfile.ZipInfo(name), raw, options.get("compression"))
    return path


def submitted(path, content, name="mini_track.pkl"):
    return zipped(path, (name, pickle.dumps(content)))


def said(path, wanted=WANTED):
    return [str(fault) for fault in faults.find(path, wanted)[1]]


def test_the_zip_is_flat_the_same_every_time_and_opens_in_any_python_3_and_numpy(tmp_path, content):
    path = tmp_path / "submission/mini_track.zip"
    first, before = archive.pack(path, "mini", content), path.read_bytes()
    assert archive.pack(path, "mini", content) == first and path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["mini_track.zip"]
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["mini_track.pkl"] and file.testzip() is None
        raw = file.read("mini_track.pkl")
    found = pickle.loads(raw)
    assert {roi: list(blocks) for roi, blocks in found.items()} == {roi: list(layout.SUBJECTS) for roi in layout.ROIS}
    for roi, blocks in content.items():
        for subject, array in blocks.items():
            assert found[roi][subject].dtype == np.float32 and np.array_equal(found[roi][subject], array)
    asked = {argument for opcode, argument, _ in pickletools.genops(raw) if opcode.name == "GLOBAL"}
    assert asked == {"numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct"}  # numpy 1 and 2 have these
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(raw)) <= 3
    assert said(path) == []


def test_predictions_are_sorted_by_roi_and_subject(rng):
    predicted = rng.standard_normal((N_TEST, 9)).astype(np.float32)
    found = archive.content(predicted, COLUMNS)
    assert list(found) == ["V1", "V2"] and list(found["V1"]) == ["sub01", "sub02"] and list(found["V2"]) == ["sub01"]
    assert np.array_equal(found["V1"]["sub02"], predicted[:, 7:])


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_others_pickle_is_read(tmp_path, content, protocol):
    path = zipped(tmp_path / "team.zip", ("mini_track.pkl", pickle.dumps(content, protocol)))
    found, wrong = faults.find(path, WANTED)
    assert not wrong and np.array_equal(found["V1"]["sub02"], content["V1"]["sub02"])


# Faults


def test_all_faults_of_the_content_are_found_at_once(tmp_path, content):
    v1, ffa = content["V1"], content["FFA"]
    v1["sub01"] = v1["sub01"].astype(np.float64)
    v1["sub02"] = v1["sub02"].T
    v1["sub11"] = v1["sub01"]
    ffa["sub01"][1, 2], ffa["sub01"][0, :2], ffa["sub01"][:, 3] = np.nan, np.inf, 0.5
    del ffa["sub02"]
    content["WB"] = {"sub01": np.zeros((5, 25), np.float32)}
    path = submitted(tmp_path / "mini_track.zip", content)
    expected = [
        ("WB: ", "dataset.rois", "expected V1, FFA"),
        ("V1 sub11: ", "dataset.subjects", "expected sub01, sub02"),
        ("V1 sub01: float64", "expected float32", ".astype('float32')"),
        ("V1 sub02: shape (7, 5)", "expected (5, 7)", "n_test_clips, n_voxels", ".T"),
        ("FFA sub01: 1 of 20 values are NaN", "every voxel needs a number"),
        ("FFA sub01: 2 of 20 values are infinite", "every voxel needs a number"),
        ("FFA sub01: 1 of 4 voxels", "same for every clip", "NaN", "region's mean"),
        ("FFA sub02: missing", "expected float32", "5 clips, 4 voxels"),
    ]
    assert len(said(path)) == len(expected)
    assert all(tells(line, *parts) for line, parts in zip(said(path), expected))
    with pytest.raises(faults.SubmissionError) as caught:
        faults.check(path, WANTED)
    assert str(caught.value).startswith(f"{path}: 8 faults\n  WB: ")
    assert len(str(caught.value).splitlines()) == 9


def test_faults_alike_share_a_line_and_constants_are_counted(tmp_path, content):
    doubled = {roi: {s: a.astype(np.float64) for s, a in blocks.items()} for roi, blocks in content.items()}
    doubled["V1"]["sub02"][:, [0, 3]] = 0.25
    with pytest.raises(faults.SubmissionError) as caught:
        faults.check(submitted(tmp_path / "mini_track.zip", doubled), WANTED)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("5 faults, those alike in one line") and len(lines) == 3
    assert lines[1] == "  all 4 arrays: float64, expected float32; cast it with .astype('float32')"
    assert lines[2].startswith("  V1 sub02: 2 of 7 voxels are predicted the same for every clip; a constant has no")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], "mini_track.pkl: holds a list, expected a dict of ROIs"),
        ({"V1": {}, "FFA": [0.5]}, "FFA: holds a list, expected a dict: subject -> array"),
        ({"V1": {"sub01": [[0.5]]}}, "V1 sub01: holds a list, expected an array"),
        ({"V1": {"sub01": np.array([["a"]])}}, "V1 sub01: <U1, expected float32"),
        ({"FFA": {}}, "V1: missing; expected V1, FFA"),
    ],
)
def test_what_is_no_dict_of_arrays_is_told(tmp_path, given, expected):
    assert any(line.startswith(expected) for line in said(submitted(tmp_path / "mini_track.zip", given)))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["mini_track.pkl", "readme.txt"], ["'readme.txt': besides mini_track.pkl there must be nothing"]),
        (["a/mini_track.pkl"], ["no mini_track.pkl at its top; it holds 'a/mini_track.pkl'", "in a folder"]),
        (["preds.pkl"], ["no mini_track.pkl at its top; it holds 'preds.pkl'"]),
        (["mini_track.pkl", "__MACOSX/._mini_track.pkl"], ["'__MACOSX/._mini_track.pkl': in a folder"]),
        (["../../mini_track.pkl"], ["at its top", "'../../mini_track.pkl' would be unpacked outside of the folder"]),
        (["/etc/mini_track.pkl"], ["at its top", "'/etc/mini_track.pkl' would be unpacked outside"]),
        (["C:\\mini_track.pkl"], ["at its top", "would be unpacked outside"]),
        (["full_track.pkl", "mini_track.pkl"], ["'full_track.pkl': besides mini_track.pkl there must be nothing"]),
        ([], ["the archive is empty; expected mini_track.pkl"]),
    ],
)
def test_names_in_the_zip_and_the_content_are_looked_at_together(tmp_path, content, members, expected):
    del content["FFA"]["sub02"]
    raw = pickle.dumps(content)
    found = said(zipped(tmp_path / "team.zip", *((name, raw) for name in members)))
    assert len(found) == len(expected) + bool(members)
    for line, part in zip(found, expected):
        assert line.startswith("team.zip: ") and part in line
    if members:
        assert found[-1].startswith("FFA sub02: missing")


def test_the_zip_of_the_other_track_and_a_name_twice(tmp_path, content):
    [line] = said(submitted(tmp_path / "full_track.zip", content))
    assert tells(line, "full_track.zip", "mini track", "expected mini_track.zip")
    raw = pickle.dumps(content)
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "mini_track.zip", ("mini_track.pkl", raw), ("mini_track.pkl", raw))
    assert said(path) == ["mini_track.zip: 'mini_track.pkl' is in the archive 2 times; expected once"]


def test_a_bomb_is_not_unpacked(tmp_path):
    raw = bytes(WANTED.limit + 1)
    path = zipped(tmp_path / "mini_track.zip", ("mini_track.pkl", raw), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    (line,) = said(path)
    assert f"says it unpacks to {len(raw):,} bytes, more than {WANTED.limit:,}; not unpacked" in line
    (line,) = said(zipped(tmp_path / "b.zip", ("mini_track.pkl", raw)))
    assert "more than" in line and line.endswith("; not opened")
    liar = bytearray(path.read_bytes())
    where = liar.rindex(b"PK\x01\x02") + 24  # what the directory says it unpacks to
    liar[where : where + 4] = struct.pack("<I", 1000)
    (tmp_path / "liar.zip").write_bytes(liar)
    (line,) = said(tmp_path / "liar.zip")
    assert "cannot be unpacked: Bad CRC-32" in line


def test_an_encrypted_a_damaged_and_a_cut_off_zip(tmp_path, content):
    whole = submitted(tmp_path / "mini_track.zip", content).read_bytes()
    locked = bytearray(whole)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[whole.index(magic) + offset] |= 1
    cases = {"is encrypted": bytes(locked), "cannot be unpacked: Bad CRC": whole.replace(b"sub02", b"sub03", 1)}
    cases["this is no zip archive; put mini_track.pkl into one"] = whole[: len(whole) // 2]
    for expected, raw in cases.items():
        (tmp_path / "mini_track.zip").write_bytes(raw)
        (line,) = said(tmp_path / "mini_track.zip")
        assert expected in line


def test_a_bare_pickle_and_a_missing_file(tmp_path, content):
    (tmp_path / "mini_track.zip").write_bytes(pickle.dumps(content))
    (line,) = said(tmp_path / "mini_track.zip")
    assert line.endswith("put mini_track.pkl into one: zip mini_track.zip mini_track.pkl")
    with pytest.raises(InputError, match="gone.zip: no such file"):
        faults.find(tmp_path / "gone.zip", WANTED)


class Hostile:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('was-run').touch()",))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = said(submitted(tmp_path / "mini_track.zip", {"V1": {"sub01": Hostile()}}))
    assert "'mini_track.pkl' is refused: it asks for builtins.exec; nothing in it was run" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["mini_track.zip"]


@pytest.mark.parametrize(
    ("file", "inside", "expected"),
    [
        ("team.zip", "mini_track.pkl", "mini"),
        ("team.zip", "a/full_track.pkl", "full"),
        ("mini_track.zip", "full_track.pkl", "full"),
        ("full_track.zip", "preds.pkl", "full"),
        ("team.zip", "preds.pkl", None),
    ],
)
def test_the_track_is_found_out(tmp_path, file, inside, expected):
    assert archive.track_of(zipped(tmp_path / file, (inside, b""))) == expected


def test_without_test_clips_there_is_no_submission():
    with pytest.raises(faults.SubmissionError, match="0 test clips"):
        faults.ExpectedPredictions("mini", 0, MINI)


# Score


SCORES = Scores(n_bootstraps=50, n_permutations=20, confidence=0.9, seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return layout.make(tmp_path_factory.mktemp("data"), videos=False)


def by_definition(responses, predicted, min_reliability):
    """The challenge's score of every voxel, one split of one voxel after another; NaN under the minimum, or without
    one where the reliability has no root."""
    found = []
    for voxel in range(responses.shape[2]):
        trials = responses[:, :, voxel].astype(np.float64)
        stepped = []
        for half in combinations(range(10), 5):
            if 0 in half:
                rest = [k for k in range(10) if k not in half]
                rho = np.corrcoef(trials[:, list(half)].mean(axis=1), trials[:, rest].mean(axis=1))[0, 1]
                stepped.append(2 * rho / (1 + rho))
        assert len(stepped) == 126
        r = np.corrcoef(trials.mean(axis=1), predicted[:, voxel])[0, 1]
        reliability = np.mean(stepped)
        kept = reliability > 0 if min_reliability is None else reliability >= min_reliability
        found.append(r / np.sqrt(reliability) if kept else np.nan)
    return np.array(found)


def ceiling_of(minimum, method="split_half", imported=None):
    return Ceiling(method=method, imported=imported, n_bootstraps=0, policy="exclude", min_reliability=minimum)


@pytest.mark.parametrize("minimum", [0.1, 0.97, None])
def test_the_score_is_the_challenges_in_both_aggregations(folder, content, minimum):
    dataset = open_dataset(layout.wanted(folder, tracks=["mini"]))
    ceiling = None if minimum is None else ceiling_of(minimum)
    found = offline.score_offline(content, WANTED, dataset, ceiling, SCORES)
    means = {"subjects": [], "voxels": []}
    for roi in layout.ROIS:
        each = [
            by_definition(io.read_pickle(layout.test_file(folder, s, roi))["test"], content[roi][s], minimum)
            for s in layout.SUBJECTS
        ]
        means["subjects"].append(np.mean([np.nanmean(values) for values in each if np.isfinite(values).any()]))
        means["voxels"].append(np.nanmean(np.concatenate(each)))
        for name, values in means.items():
            assert found.lines[roi][name]["normalized_correlation"] == pytest.approx(values[-1], rel=1e-12)
            assert found.lines[roi][name]["n_excluded"] == np.isnan(np.concatenate(each)).sum()
    for name, values in means.items():
        track = found.lines["mini track"][name]
        assert track["score"] == pytest.approx(np.mean(values), rel=1e-12)
        assert track["low"] < track["high"] and track["n_voxels"] == 22
    assert found.lines["mini track"]["voxels"]["n_excluded"] > 0 or minimum != 0.97
    assert ("the challenge's own number: there is no" in found.legend) == (minimum is None)
    assert "all 126 splits of 10 repetitions" in found.legend


def test_the_ceiling_is_that_of_the_parameters(folder, content):
    dataset = open_dataset(layout.wanted(folder, tracks=["mini"]))
    for method in ("ncsnr", "analytic", "schoppe"):
        found = offline.score_offline(content, WANTED, dataset, ceiling_of(0.1, method), SCORES)
        means = []
        for subject in layout.SUBJECTS:
            trials = io.read_pickle(layout.test_file(folder, subject, "V1"))["test"]
            reliability = METHODS[method](trials)
            r = correlation_score(trials.mean(axis=1, dtype=np.float64), content["V1"][subject])
            means.append(np.mean((r / np.sqrt(reliability))[reliability >= 0.1]))
        assert found.lines["V1"]["subjects"]["normalized_correlation"] == pytest.approx(np.mean(means))
        assert f"Ceiling: reliability {TITLES[method]}" in found.legend
    own = {"test": {"column": "nc", "holds": "nc_mean"}}
    with pytest.raises(InputError, match="studies in this format .* have no ceilings of their own"):
        offline.score_offline(content, WANTED, dataset, ceiling_of(0.1, "imported", own), SCORES)


def test_a_perfect_prediction_scores_one_over_the_ceiling(folder):
    dataset = open_dataset(layout.wanted(folder, tracks=["full"]))
    truth = {s: io.read_pickle(layout.test_file(folder, s, "WB"))["test"] for s in layout.SUBJECTS}
    content = {"WB": {s: (2 * values.mean(axis=1) - 1).astype(np.float32) for s, values in truth.items()}}
    wanted = faults.expected(dataset, layout.wanted(folder), "full")
    assert wanted.columns.n_voxels == 50 and wanted.n_clips == layout.N_TEST
    found = offline.score_offline(content, wanted, dataset, ceiling_of(0.1), SCORES)
    (line,) = found.lines.values()
    expected = np.mean([np.mean(by_definition(truth[s], content["WB"][s], 0.1)) for s in layout.SUBJECTS])
    assert line["subjects"]["correlation"] == pytest.approx(1)
    assert line["subjects"]["normalized_correlation"] == pytest.approx(expected, abs=1e-5) and expected > 1


def test_without_test_responses_nothing_is_scored(tmp_path, content):
    dataset = open_dataset(layout.wanted(layout.make(tmp_path, videos=False, test=False)))
    with pytest.raises(InputError, match="without responses to the test clips of the mini track"):
        offline.score_offline(content, WANTED, dataset, ceiling_of(0.1), SCORES)


# What the user types and reads


@pytest.fixture
def project(tmp_path, monkeypatch, folder):
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    (tmp_path / "data").symlink_to(folder)  # folders in params.yaml are relative
    document["dataset"] |= layout.wanted(Path("data")).model_dump(mode="json")
    document["report"]["subject"] = layout.SUBJECTS[0]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_zip_is_checked_and_scored_from_the_command_line(project, content, capsys):
    archive.pack(project / "team.zip", "mini", content)
    assert cli.main(["check-submission", "team.zip"]) == 0
    assert "team.zip: no fault: mini track, V1, FFA of 2 subjects, 22 voxels, 5 clips, 4" in capsys.readouterr().out
    assert cli.main(["score", "team.zip"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()[:4]] == ["roi", "V1", "FFA", "mini"]
    assert "all 126 splits" in told and "reliability under 0.1" in told
    assert cli.main(["score", "team.zip", "--no-threshold"]) == 0
    assert "This is the challenge's own number" in capsys.readouterr().out
    content["V1"].pop("sub01")
    for command in ("check-submission", "score"):
        submitted(project / "team.zip", content, "preds.pkl")
        assert cli.main([command, "team.zip"]) == 2
        assert "says which track; add --track mini or full" in capsys.readouterr().err
        assert cli.main([command, "team.zip", "--track", "mini"]) == 2
        wrong = capsys.readouterr().err
        assert wrong.startswith(f"cinevox {command}: team.zip: 2 faults\n") and "V1 sub01: missing" in wrong


def test_the_sidecar_says_what_was_fitted_on_which_clips_and_why_it_may_be_no_result(monkeypatch):
    clips = {"validation": np.arange(36, 40), "test": np.arange(40, 47)}
    made = {"track": "mini", "network": "alexnet", "features": "layer_raw", "regressor": "ridge"}
    index = Index(("a", "b"), clips, COLUMNS, made | {"weights": {"policy": "pretrained"}}, {})
    study = Study("algonauts2021", "Algonauts 2021", in_silico=False)
    small = {"subjects": ("sub01", "sub02"), "rois": ("V1", "V2"), "n_train_clips": 0, "n_test_clips": 7}
    monkeypatch.setattr(claims, "CHALLENGE", claims.Challenge(**small))
    origin = Origin.of(index, Converted(Path(), {}, study))
    outcome = Outcome.model_construct(row="row", origin=origin, policy="validation", per="roi", chosen={})
    about = sidecar.describe(index, outcome, 40)
    assert about["not_for_the_challenge"] == ()
    assert about["fitted_on"]["splits"] == ["train", "validation"] and about["fitted_on"]["n_clips"] == 40
    made |= {"features": "frozen", "regressor": "two_lstm", "weights": {"policy": "random"}}
    index = Index(("frozen",), clips, COLUMNS, made, {})
    outcome = outcome.model_copy(update={"origin": replace(origin, in_silico=True, weights="random")})
    about = sidecar.describe(index, outcome, 40)
    assert about["fitted_on"]["splits"] == ["train"] and about["fitted_on"]["n_clips"] == 36
    assert about["not_for_the_challenge"][0] == "in-silico data"
    assert about["not_for_the_challenge"][1].startswith("random weights: an untrained")
    assert about["n_voxels"] == {"sub01": 7, "sub02": 2} and about["n_test_clips"] == 7
    assert about["spaces"]["named"] == {}
    joint = {"track": "mini", "label": "two", "spaces": ["a", "b"], "together": "stack", "regressor": "ridge"}
    joint |= {"weights": {"alexnet": {}, "squeezenet": {}}, "named": {"a": {"pool": "max3"}, "b": {"pool": "none"}}}
    about = sidecar.describe(Index(("stack",), clips, COLUMNS, joint, {}), outcome, 40)
    assert about["spaces"]["named"] == joint["named"] and list(about["weights"]) == ["alexnet", "squeezenet"]
    assert about["fitted_on"]["n_clips"] == 40


def test_the_row_of_a_track_is_one_of_its_rows():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["submission"]["rows"] = {"mini": "full-efficientnet_lite0-layer-ridge", "full": "nobody"}
    with pytest.raises(params.ParamsError) as caught:
        params.parse(document, "p")
    assert "submission.rows.mini is full-efficientnet_lite0-layer-ridge, which is no row of the mini" in str(
        caught.value
    )
    assert "submission.rows.full is nobody" in str(caught.value)

"""Checks of results: what the steps wrote, damaged in one way each; and the null of the split-half agreement."""

import json

import numpy as np
import pytest
import yaml

import layout
from cinevox import validation
from cinevox.cli import main
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.fitting import prediction_store
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import parse, row_of
from cinevox.project.paths import Paths
from cinevox.statistics import splits
from cinevox.stimuli import reduction
from cinevox.validation import judgement, step_results
from cinevox.validation.split_halves import SplitHalves
from conftest import ROOT

NETWORK, ROW = "efficientnet_lite0", "mini-efficientnet_lite0-layer-ridge"
SPACE, MAP = "pooled", {"layer": "second", "pool": "max3", "over_frames": "none"}
COLUMNS = Columns(tuple(Block(subject, roi, 6) for subject in ("sub01", "sub02") for roi in ("V1", "FFA")))
CLIPS = {"validation": np.arange(4), "test": np.arange(20, 26)}
MADE = {"track": "mini", "network": NETWORK, "features": "layer", "regressor": "ridge", "weights": {NETWORK: {}}}


def parameters():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["dataset"] |= {"tracks": ["mini"], "subjects": ["sub01", "sub02"], "rois": ["V1", "FFA"]}
    document["networks"], document["spaces"] = {NETWORK: document["networks"][NETWORK]}, {}
    document["bases"], document["report"]["brain_row"] = {}, None
    document["spaces"] = {SPACE: {"network": NETWORK, **MAP, "standardize": False, "n_components": 5}}
    document["experiments"] = {
        "voxelwise": {ROW: document["experiments"]["voxelwise"][ROW]},
        "roiwise": {},
        "joint": {},
        "ensembles": {},
    }
    document["submission"]["rows"], document["splits"]["n_folds"] = {}, 2
    return parse(document, "params.yaml")


@pytest.fixture
def paths(tmp_path, rng):
    """What the steps write, for one network with two layers and one row."""
    paths = Paths(tmp_path)
    io.write_json(paths.validation / "clips.json", {"n_clips": 26, "n_train_clips": 20})
    io.write_json(paths.validation / "scale.json", {f"mini/{b.subject}/{b.roi}": 1.0 for b in COLUMNS.blocks})
    io.write_arrays(paths.ceiling("mini") / "reliability.npz", test=rng.uniform(0.2, 0.9, COLUMNS.n_voxels))
    io.write_json(paths.ceiling("mini") / "index.json", {"columns": COLUMNS.to_json(), "n_repetitions": {"test": 10}})
    layers = {"first": 30, "second": 12}
    sidecar = {"n_frames": 2, "over_frames": "mean", "dtype": "float16"}
    sidecar |= {"layers": [{"name": name, "n_features": n} for name, n in layers.items()]}
    sidecar["maps"] = [{"name": "second.max3.none", "n_features": 6, "n_times": 2, **MAP}]
    io.write_json(paths.features(NETWORK) / "features.json", sidecar)
    train, reduced = splits.split(20, 6, parameters().splits).train, {}
    for name, n in layers.items():
        values = rng.standard_normal((26, n)).astype(np.float16)
        io.write_array(paths.features(NETWORK) / f"{name}.npy", values)
        normalize = parameters().reduction.normalize
        found = reduction.principal_components(values, train, 5, min_spread=0.05, normalize=normalize)
        io.write_array(paths.reduction(NETWORK) / f"{name}.npy", found.scores)
        reduced[name] = {"n_components": 5, "n_features": n, "n_constant": 0, "variance": found.variance}
        reduced[name]["lost"] = found.scale.lost
    values = rng.standard_normal((26, 2, 6)).astype(np.float16)
    io.write_array(paths.features(NETWORK) / "second.max3.none.npy", values)
    found = reduction.principal_components(values, train, 5, min_spread=None, normalize=normalize)
    io.write_array(pooled_components(paths), found.scores)
    of_space = {SPACE: {"n_components": 5, "n_features": 12, "n_constant": 0, "variance": found.variance, "lost": 0.0}}
    io.write_json(paths.reduction(NETWORK) / "reduction.json", {"layers": reduced, "spaces": of_space})
    io.write_json(paths.frames(2) / "clips.json", [{"name": f"{number:04d}.mp4"} for number in range(26)])
    for split, clips in CLIPS.items():
        for space in layers:
            predicted = 0.3 * rng.standard_normal((len(clips), COLUMNS.n_voxels))
            prediction_store.write(paths.predictions(ROW), space, split, predicted)
    prediction_store.write_index(
        paths.predictions(ROW), prediction_store.Index(tuple(layers), CLIPS, COLUMNS, MADE, {})
    )
    return paths


def changed(path_of, change):
    def damage(paths):
        path = path_of(paths)
        io.write_array(path, change(np.array(io.read_array(path))))

    return damage


def layer(paths):
    return paths.features(NETWORK) / "first.npy"


def pooled_components(paths):
    return paths.components(NETWORK, "", named=True) / f"{SPACE}.npy"


def components(paths):
    return paths.reduction(NETWORK) / "second.npy"


def scaled_elsewhere(paths):
    path = paths.reduction(NETWORK) / "reduction.json"
    document = io.read_json(path)
    document["layers"]["second"]["variance"] *= 1.001
    io.write_json(path, document)


def held_out_times(times):
    """The largest component of a test clip, so many times as large as that of any training clip."""

    def change(array):
        trained = array[splits.split(20, 6, parameters().splits).train]
        mean, sd = trained.mean(axis=0), trained.std(axis=0)
        array[23, 1] = mean[1] - times * np.abs((trained - mean) / sd).max() * sd[1]
        return array

    return change


def predicted(paths):
    return paths.predictions(ROW) / "test" / "second.npy"


def with_value(value):
    def change(array):
        array = array.copy()
        array[1, 2] = value
        return array

    return change


def reliabilities(change):
    def damage(paths):
        path = paths.ceiling("mini") / "reliability.npz"
        io.write_arrays(path, test=change(io.read_arrays(path)["test"]))

    return damage


DAMAGE = {  # what: (damage, level, suite, what is expected, file, what is found)
    "ceiling above 1": (
        reliabilities(lambda r: np.where(np.arange(24) == 7, 1.5, r)),
        "error", "ceilings", "no reliability is above 1", "test sub01 FFA", "largest 1.5",
    ),
    "ceiling NaN": (
        reliabilities(lambda r: np.where(np.arange(24) == 7, np.nan, r)),
        "error", "ceilings", "a finite number", "test sub01 FFA", "n_not_finite 1",
    ),
    "ceilings of too few voxels": (
        reliabilities(lambda r: r[:-1]), "error", "ceilings", "for every voxel", "test sub02 FFA", "n_values 5",
    ),
    "no reliable voxel": (
        reliabilities(lambda r: np.where(np.arange(24) < 6, 0.0, r)),
        "warning", "ceilings", "some voxel is reliable (0.1 or more)", "test sub01 V1", "share_reliable 0",
    ),
    "few reliable voxels": (
        reliabilities(lambda r: np.where(np.arange(24) < 4, 0.0, r)),
        "warning", "ceilings", "at least half of the voxels", "test sub01 V1", "share_reliable 0.3333",
    ),
    "a clip's features missing": (
        changed(layer, lambda a: a[1:]), "error", "features", "a row for every clip", "first.npy", "shape (25, 30)",
    ),
    "features of another type": (
        changed(layer, lambda a: a.astype(np.float64)), "error", "features", "the type", "first.npy", "dtype float64",
    ),
    "features NaN": (
        changed(layer, with_value(np.nan)), "error", "features", "finite number", "first.npy", "n_not_finite 1",
    ),
    "features all alike": (
        changed(layer, np.ones_like), "error", "features", "differs between clips", "first.npy", "share_constant 1",
    ),
    "features mostly silent": (
        changed(layer, lambda a: np.where(np.arange(30) < 20, 0, a).astype(a.dtype)),
        "warning", "features", "at least half of the features", "first.npy", "share_constant 0.6667",
    ),
    "features tiny": (
        changed(layer, lambda a: (1e-6 * a).astype(a.dtype)),
        "warning", "features", "between 0.0001", "first.npy", "sd",
    ),
    "frames of a pooled map missing": (
        changed(lambda paths: paths.features(NETWORK) / "second.max3.none.npy", lambda a: a[:, :1]),
        "error", "features", "a row for every clip", "second.max3.none.npy", "shape (26, 1, 6)",
    ),
    "components of a named space scaled on other clips": (
        changed(pooled_components, lambda a: np.float32(1.01) * a),
        "error", "components", "deviation of every component", "spaces/pooled.npy", "sd_off 0.01",
    ),
    "features cut off": (
        lambda paths: layer(paths).write_bytes(layer(paths).read_bytes()[:-9]),
        "error", "features", "can be read", "first.npy", "not a .npy file",
    ),
    "components centred on other clips": (
        changed(components, lambda a: a + np.float32(0.01)),
        "error", "components", "the mean of every component", "second.npy", "mean 0.01",
    ),
    "components rotated on other clips": (
        changed(components, lambda a: a + np.float32(0.01) * a[:, ::-1]),
        "error", "components", "uncorrelated", "second.npy", "correlation 0.0",
    ),
    "components scaled on other clips": (
        changed(components, lambda a: np.float32(1.01) * a),
        "error", "components", "deviation of every component", "second.npy", "sd_off 0.01",
    ),
    "features scaled on other clips": (
        scaled_elsewhere, "error", "components", "every feature's variance", "second.npy", "variance_off 0.001",
    ),
    "a component of one clip far out": (
        changed(components, held_out_times(4.5)),
        "error", "components", "no clip outside", "second.npy", "times_training 4.5, clip 0023.mp4, held_out ",
    ),
    "a component of one clip out of range": (
        changed(components, held_out_times(2)),
        "warning", "components", "no clip outside", "second.npy", "times_training 2, clip 0023.mp4, held_out ",
    ),
    "components of too few clips": (
        changed(components, lambda a: a[:10]),
        "error", "components", "components can be read", "second.npy", "out of bounds",
    ),
    "components of too many clips": (
        changed(components, lambda a: np.concatenate([a, a[:1]])),
        "error", "components", "components can be read", "second.npy", "components of 27 clips; expected 26",
    ),
    "predictions NaN": (
        changed(predicted, with_value(np.inf)), "error", "predictions", "finite number", "second.npy", "n_not_finite 1",
    ),
    "predictions of too few voxels": (
        changed(predicted, lambda a: a[:, 1:]),
        "error", "predictions", "for every voxel", "second.npy", "shape (6, 23)",
    ),
    "predictions missing": (
        lambda paths: predicted(paths).unlink(), "error", "predictions", "can be read", "second.npy", "no such file",
    ),
    "predictions ran away": (
        changed(predicted, lambda a: 1000 * a), "error", "predictions", "100 times", "second.npy", "times_measured",
    ),
    "predictions large": (
        changed(predicted, lambda a: 20 * a), "warning", "predictions", "3 times", "second.npy", "times_measured",
    ),
    "predictions without variation": (
        changed(predicted, np.ones_like), "warning", "predictions", "a tenth", "second.npy", "share_constant 1",
    ),
}  # fmt: skip


def test_good_results(paths):
    found = validation.check_results(paths, parameters())
    assert found.errors == found.warnings == ()
    assert found.to_json()["n_files"] == {"ceilings": 4, "features": 6, "components": 3, "predictions": 4}
    assert found.to_metrics() == {"files": 17, "errors": 0, "warnings": 0}


def test_damage_is_found_and_named(paths, tmp_path):
    """All kinds, each in a copy: one process, as Great Expectations takes seconds to import."""
    for what, (damage, level, suite, expected, file, found) in DAMAGE.items():
        copy = Paths(tmp_path / what)
        for source in paths.data.rglob("*.*"):
            if source.is_file():
                io.write_bytes(copy.data / source.relative_to(paths.data), source.read_bytes())
        damage(copy)
        summary = validation.check_results(copy, parameters())
        told = [c for c in (summary.errors if level == "error" else summary.warnings) if expected in c.expected]
        assert [c.suite for c in told] == [suite], what
        assert file in told[0].examples[0].file and found in str(told[0].examples[0]), (what, str(told[0]))
        if level == "error":
            with pytest.raises(InputError, match="checks failed"):
                summary.require()


def test_a_transfer_network_has_no_scale(paths):
    settings, fitted = parameters(), prediction_store.read_index(paths.predictions(ROW))
    row = row_of(MADE | {"features": "frozen"})
    DAMAGE["predictions ran away"][0](paths)
    paths.predictions(ROW).rename(paths.predictions(row.name))
    index = prediction_store.Index(fitted.spaces, fitted.clips, fitted.columns, MADE | {"features": "frozen"}, {})
    prediction_store.write_index(paths.predictions(row.name), index)
    rows = settings.experiments.model_copy(update={"voxelwise": {}, "roiwise": {row.name: row}})
    assert validation.check_results(paths, settings.model_copy(update={"experiments": rows})).errors == ()


def test_of_a_large_array_clips_are_read_evenly(monkeypatch):
    monkeypatch.setattr(step_results, "READ_VALUES", 40)
    array = np.arange(26 * 2 * 5, dtype=np.float16).reshape(26, 2, 5)
    np.testing.assert_array_equal(step_results._spread(array), array.reshape(26, 10)[[0, 8, 16, 25]])
    assert step_results._spread(np.empty((0, 3))).shape == (0, 3)


def test_agreement_against_drawn_orders(rng):
    """Hoeffding's mean and variance against ten thousand orders of the clips; voxels that depend on each other."""
    shared = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 15))
    halves = [shared + 4 * rng.standard_normal((40, 15)) for _ in range(2)]
    first, second = ((half - half.mean(axis=0)) / half.std(axis=0) for half in halves)
    drawn = np.array([(first * second[rng.permutation(40)]).mean() for _ in range(10_000)])
    expected = ((first * second).mean() - drawn.mean()) / drawn.std()
    assert agreement(*halves) == pytest.approx(expected, rel=0.04)
    noise = [agreement(*rng.standard_normal((2, 40, 15))) for _ in range(300)]
    assert abs(np.mean(noise)) < 0.2 and np.std(noise) == pytest.approx(1, abs=0.15)
    assert agreement(np.ones((40, 2)), np.ones((40, 2))) == 0


def agreement(first, second):
    """Take the halves in three blocks of voxels, as those of a large file are."""
    halves, values = SplitHalves(), np.stack([first, second], axis=1)
    for part in np.array_split(values, 3, axis=2):
        if part.size:
            halves.add(part)
    return halves.row()["split_half_z"]


def noise_in(folder, seed=3):
    path = layout.train_file(folder, "sub01", "V1")
    values = np.random.default_rng(seed).standard_normal((layout.N_TRAIN, 3, 7)).astype(np.float32)
    io.write_pickle(path, {"train": values})


def test_odd_but_usable(tmp_path):
    """Rates, scale and noise: warnings, so the run goes on."""
    folder = layout.make(tmp_path / "study")
    layout.write_clip(folder / layout.CLIPS / "0003_0-1-2-3.mp4", n_frames=30, fps=10)
    path = layout.train_file(folder, "sub02", "FFA")
    io.write_pickle(path, {"train": 100 * io.read_pickle(path)["train"]})
    noise_in(folder)
    wanted = layout.wanted(folder, tracks=["mini"])
    summary = validation.check_folder(wanted, layout.limits())
    told = {check.expected: [example.file for example in check.examples] for check in summary.warnings}
    assert summary.errors == () and len(told) == 3
    for words, file in (("frames a second", "0003_"), ("between 0.1 and 10", "sub02/FFA"), ("repetitions", "sub01/V1")):
        (files,) = [files for expected, files in told.items() if words in expected]
        assert len(files) == 1 and file in files[0]


@pytest.mark.parametrize(("n", "told"), [(1, "1 warning (odd"), (2, "2 warnings (odd")])
def test_one_of_a_kind_is_told_as_one(n, told):
    check = judgement.Check("clips", "a clip", "warning", False, 1, 1, (), "Mend it.")
    said = judgement.Summary("study", (check,) * n).to_text()
    assert said.startswith(told) and said.endswith(f": 0 errors, {told.removesuffix(' (odd')}")


def test_validate_prints_every_problem_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["validation"] |= json.loads(layout.limits().model_dump_json())
    document["dataset"]["rois"] = list(layout.ROIS)
    document["parallel"] = {"backend": "sequential", "n_jobs": 1, "scheduler": None, "jobqueue": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    folder = layout.make(tmp_path / "study")
    assert main(["validate", "study", "--dataset", "algonauts2021", "--pages", "pages"]) == 0
    said = capsys.readouterr().out
    assert "study: " in said and "0 errors, 0 warnings" in said and (tmp_path / "pages/index.html").is_file()
    layout.train_file(folder, "sub02", "V1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    (folder / layout.CLIPS / "0003_0-1-2-3.mp4").write_bytes(b"no clip")
    noise_in(folder)
    assert main(["validate", "study", "--dataset", "algonauts2021"]) == 1
    said = capsys.readouterr().out
    errors, warnings = said.split(" (odd, but usable)")
    assert "sub02/V1.pkl (refused: it asks for os.system" in errors and "0003_0-1-2-3.mp4" in errors
    assert "1 of 6 files differ" in errors and "agree better" in warnings and "sub01/V1.pkl" in warnings
    assert main(["validate", "nowhere", "--dataset", "algonauts2021"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err

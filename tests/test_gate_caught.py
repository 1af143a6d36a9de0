"""What the gate is for: real regressions of a real run fail, the same run with other seeds passes."""

from dataclasses import replace

import numpy as np
import pytest

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import response_store
from cinevox.scoring import selection
from cinevox.stimuli import reduction
from small_run import ROW, TRANSFER, SmallRun


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run whose scores are the baseline."""
    made = SmallRun(tmp_path_factory.mktemp("base")).run()
    made.accept()
    return made


@pytest.fixture
def changed(base, tmp_path):
    """The same study, not run yet, with the baseline of the other."""
    made = SmallRun(tmp_path)
    for file in (base.paths.baseline, base.paths.baseline.with_suffix(".npz")):
        io.write_bytes(made.paths.metrics("x").with_name(file.name), file.read_bytes())
    return made


def scores(verdict, word):
    return {line.metric for line in verdict.of(word) if line.row == ROW}


def test_nothing_changed(changed):
    verdict = changed.run().judged()
    assert not verdict.failed and not verdict.unpaired
    assert all(line.change == 0 and line.half_width in (0, None) for line in verdict.lines)


def test_a_wrong_layer_fails(changed, monkeypatch):
    right = selection.choose

    def off_by_one(seen, *arguments):
        found = right(seen, *arguments)
        return replace(found, index=((found.index + 1) % len(found.spaces)).astype(np.int16))

    monkeypatch.setattr(selection, "choose", off_by_one)
    verdict = changed.run().judged()
    assert verdict.failed and not verdict.unpaired
    assert "test.score" in scores(verdict, "regressed")


def test_shuffled_clips_fail(changed, rng):
    order = rng.permutation(changed.n_clips)
    changed.features = {layer: values[order] for layer, values in changed.features.items()}
    verdict = changed.run().judged()
    assert verdict.failed
    assert scores(verdict, "regressed") == {"test.score", "test.V1", "test.LOC", "test.FFA"}


def test_a_pca_of_five_fails(changed):
    changed.document["reduction"]["n_components"] = 5
    verdict = changed.run().judged()
    assert verdict.failed and "test.score" in scores(verdict, "regressed")


def test_predictions_made_from_test_responses_fail_as_implausible(changed):
    changed.run()
    target = changed.paths.predictions(ROW) / "test"
    responses, _ = response_store.read(changed.paths.conversion("test")).means(
        "mini", changed.params.dataset.blocks("mini")
    )
    for path in target.glob("*.npy"):
        path.unlink()
        io.write_array(path, responses)
    for step in ("scores", "selection"):
        changed.stage(f"{step}@{ROW}")
    verdict = changed.judged()
    assert verdict.failed and "test.score" in scores(verdict, "implausible")


def leaked(what):
    """`reduced` whose scaler, or scaler and PCA, see every clip."""

    def components(space, features, train, settings):
        if what == "all":
            return reduction.reduced(space, features, np.arange(len(features)), settings)
        scaled = (features - features.mean(axis=0)) / features.std(axis=0)
        return reduction.reduced(space, scaled, train, settings.model_copy(update={"min_spread": None}))

    return components


@pytest.mark.parametrize(("what", "column"), [("all", "mean"), ("scaler", "variance_off")])
def test_leaked_scaling_fails_by_the_checks(changed, what, column):
    """Scores may fall or stay: the leak is seen in components that are no z-scores of the training clips."""
    changed.run(reduction={"reduced": leaked(what)})
    assert scores(changed.judged(), "regressed") == set()
    with pytest.raises(InputError, match=f"components: expected: .*{column} "):
        changed.stage("checks")
    verdict = changed.judged()
    assert verdict.failed
    assert ("checks", "errors") in {(line.row, line.metric) for line in verdict.of("regressed")}


def test_the_checks_pass_what_is_fitted_on_training_clips(changed):
    changed.run().stage("checks")
    assert not changed.judged().failed


NOISE = {  # section, key -> what is told of it
    ("scores", "seed"): "scores.seed",
    ("splits", "seed"): "clips",
}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("section", "key"), NOISE)
def test_another_seed_passes(changed, section, key, seed):
    changed.document[section][key] = seed
    verdict = changed.run().judged()
    assert not verdict.failed
    assert f"other {NOISE[section, key]}" in verdict.unpaired[ROW]


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 6))])
def test_responses_measured_again_pass(base, tmp_path, seed):
    again = SmallRun(tmp_path, responses=seed).run()
    for file in (base.paths.baseline, base.paths.baseline.with_suffix(".npz")):
        io.write_bytes(again.paths.baseline.with_name(file.name), file.read_bytes())
    verdict = again.judged()
    assert not verdict.failed
    assert verdict.unpaired == {ROW: "other responses"}


@pytest.mark.slow
def test_transfer_networks_trained_with_other_seeds_pass(tmp_path):
    """And with learning that does not take, they don't."""
    base = SmallRun(tmp_path / "base", transfer=True).run()
    base.accept()
    for seed in (1, 2, 3):
        base.document["transfer"]["seed"] = seed
        verdict = base.run().judged()
        assert not verdict.failed
        assert verdict.unpaired == {TRANSFER: "other transfer.seed"}
        assert any(line.change for line in verdict.lines if line.row == TRANSFER)
    base.document["transfer"] |= {"seed": 0, "learning_rate": 1e-9}
    verdict = base.run().judged()
    assert verdict.failed and {line.row for line in verdict.of("regressed")} == {TRANSFER}


@pytest.mark.slow
def test_other_validation_clips_pass(changed):
    changed.document["splits"]["scheme"] = "last"
    verdict = changed.run().judged()
    assert not verdict.failed and verdict.unpaired[ROW] == "other clips"

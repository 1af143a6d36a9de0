"""A study of one's own, as docs/adding.md says: other names, sizes and ROIs, no test clips, no repetitions."""

import dataclasses
import itertools
import json
import sys
import types
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import layout
import small_run
from cinevox import validation
from cinevox.encoding import store
from cinevox.errors import InputError
from cinevox.measured import datasets
from cinevox.measured.datasets import DatasetSpec, Expected, algonauts2021, bold_moments, insilico
from cinevox.measured.responses import Responses
from cinevox.outlets.submission import archive
from cinevox.project import params

SUBJECTS, N_CLIPS = ("ann", "bob"), 14
ANYTHING = params.Validation(clip_size=None, clip_seconds=None, fps=None, n_repetitions=None, min_split_half=-0.2)


@dataclass(frozen=True)
class Study:
    """Clips in the order of their names, an array for each subject, no test clips."""

    folder: Path
    places_rois = False
    grid = None

    @property
    def clips(self):
        return tuple(sorted(self.folder.glob("*.mp4")))

    @property
    def n_train_clips(self):
        return len(self.clips)

    subjects = SUBJECTS

    def rois(self, track, subject):
        return ("visual",)

    def file(self, part, track, subject, roi):
        return self.folder / f"{subject}.npy"

    def arrays(self, part, track, subject, roi):
        return {part: np.load(self.file(part, track, subject, roi))}

    def has_test_responses(self, track):
        return False

    def responses(self, part, track, subject, roi):
        return Responses(self.arrays(part, track, subject, roi)[part], subject, roi)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that writes the study's files and checks them."""
    (tmp_path / "study").mkdir()
    for number in range(N_CLIPS):
        layout.write_clip(tmp_path / "study" / f"film{number:02d}.mp4", n_frames=8, fps=4)
    plugin = types.ModuleType("cinevox.measured.datasets.mine")
    plugin.SPEC = DatasetSpec(title="Mine", open=lambda wanted: Study(wanted.folder), restricted=False)
    monkeypatch.setitem(sys.modules, "cinevox.measured.datasets.mine", plugin)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").touch()  # a plug-in is known by its file's name
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "plugins")])

    def check(n_repetitions=(1, 1), expected=None, limits=ANYTHING):
        plugin.SPEC = replace(plugin.SPEC, expected=expected or Expected())
        rng = np.random.default_rng(0)
        signal = rng.standard_normal((N_CLIPS, 1, 5))
        for subject, n in zip(SUBJECTS, n_repetitions):
            values = signal + 0.5 * rng.standard_normal((N_CLIPS, n, 5))
            np.save(tmp_path / "study" / f"{subject}.npy", values.astype(np.float32))
        wanted = layout.wanted(
            tmp_path / "study", name="mine", tracks=["mini"], subjects=list(SUBJECTS), rois=["visual"]
        )
        return validation.check_folder(wanted, limits)

    return check


def told(checks):
    return {check.expected.partition(",")[0] for check in checks}


def test_nothing_of_the_challenge_is_asked_of_another_study(study):
    found = study((2, 2))
    assert found.errors == ()
    assert told(found.warnings) == {"there are clips beyond those of the training responses"}
    assert found.n_repetitions == 2
    once = study((1, 1))
    assert once.errors == () and once.n_repetitions == 1
    assert told(once.warnings) - told(found.warnings) == {"every clip was shown at least twice"}


def test_what_a_plug_in_expects_is_asked_and_params_go_before_it(study):
    expected = Expected(numbered=True, clip_size=(64, 32), clip_seconds=(2.5, 3.5), fps=(5, 30), n_repetitions=3)
    assert told(study((2, 2), expected).errors) == {
        "a clip's name begins with its number (NNNN_source.mp4)",
        "a clip is 64 pixels wide",
        "a clip has 5 to 30 frames a second",
        "a clip lasts 2.5 to 3.5 seconds",
        "every clip was shown 3 times",
    }
    own = params.Validation(clip_size=(32, 32), clip_seconds=(1, 3), fps=(4, 4), n_repetitions=2, min_split_half=-0.2)
    assert told(study((2, 2), replace(expected, numbered=False), own).errors) == set()


def test_a_plug_in_of_unequal_stimuli_says_who_saw_which(study):
    """It would be read as if everybody had seen everything."""
    study((2, 2))
    plugin = sys.modules["cinevox.measured.datasets.mine"]
    plugin.SPEC = replace(plugin.SPEC, unequal=True)
    with pytest.raises(InputError, match=r"mine has unequal: True .* it lacks .*n_train, seen, shape, stimuli"):
        datasets.open_dataset(layout.wanted(Path("study"), name="mine"))


def test_the_challenges_numbers_belong_to_its_plug_in(default_params, paper_params):
    known = Expected(numbered=True, clip_size=(268, 268), clip_seconds=(2.5, 3.5), fps=(15, 30), n_repetitions=3)
    assert algonauts2021.SPEC.expected == bold_moments.SPEC.expected == known
    assert insilico.SPEC.expected == replace(known, n_repetitions=None)  # params.simulation says how many
    limits = {field.name for field in dataclasses.fields(Expected)} - {"numbered"}
    for found in (default_params, paper_params):
        assert all(getattr(found.validation, name) is None for name in limits)


def test_the_odd_one_among_a_studys_files_is_a_finding(study, tmp_path):
    layout.write_clip(tmp_path / "study" / "film03.mp4", n_frames=12, fps=4, size=64)
    (tmp_path / "study" / "film05.mp4").rename(tmp_path / "study" / "film5.mp4")
    found = study((2, 3))
    by_words = {check.expected.partition(" (")[0]: check for check in (*found.errors, *found.warnings)}
    odd = {
        "a clip is as wide and as high as most others": ("film03.mp4", "64 x 64"),
        "a clip lasts about as long as the others": ("film03.mp4", "seconds_unlike_others 3"),
        "a clip's name has the form of most others": ("film5.mp4", "film0"),
    }
    for words, (name, value) in odd.items():
        assert [example.file for example in by_words[words].examples] == [name], words
        assert value in str(by_words[words].examples[0])
    [error] = found.errors
    assert error.expected == "every clip was shown as often as in most other files"


def test_names_that_have_nothing_in_common_are_no_finding(study, tmp_path):
    for number, path in enumerate(sorted((tmp_path / "study").glob("*.mp4"))):
        path.rename(path.with_name("x" * (number + 1) + ".mp4"))
    assert not any("name" in words for words in told(study((2, 2)).warnings))


def test_weights_by_reliability_need_repetitions(default_params):
    settings = default_params.transfer.model_copy(update={"voxel_weights": "reliability"})
    settings.check_repetitions(2)
    default_params.transfer.check_repetitions(1)
    with pytest.raises(InputError, match=r"voxel_weights is reliability, .*shown once.*; set it to equal"):
        settings.check_repetitions(1)


@pytest.mark.parametrize("n_repetitions", [1, 3])
def test_without_test_clips_there_is_a_model_and_no_submission(tmp_path, n_repetitions):
    made = small_run.SmallRun(tmp_path, n_test=0, n_repetitions=(n_repetitions, 0))
    made.document["encoding"]["rows"], made.document["submission"]["rows"] = [small_run.ROW], {"mini": small_run.ROW}
    made.run()
    for name in (f"encoding@{small_run.ROW}", "submission@mini"):
        made.stage(name)
    found = store.read(made.paths.encoding(small_run.ROW))
    about = found.about
    assert about.measure == ("plain correlation" if n_repetitions == 1 else "normalized correlation")
    assert (about.usual, about.n_usual, about.n_clips) == ("validation", 24, small_run.N_TRAIN)
    [source] = about.sources
    assert source.network == small_run.NETWORK and {*source.inputs} == {*itertools.chain(*about.chosen.values())}
    for layer, given in source.inputs.items():
        assert given.map == params.FeatureMap(layer, "none", "mean")
        assert given.shape == [found.model.projections[layer].weights.shape[1]]
    assert about.usual_range == "24 validation clips, predicted by a fit without them"
    assert any("Plain correlations" in caution for caution in about.cautions) == (n_repetitions == 1)
    selected = json.loads((made.paths.selection(small_run.ROW) / "selection.json").read_text())
    scores = selected["scores"]["validation"]
    columns = small_run.columns_of("mini", small_run.SUBJECTS[:2], small_run.ROIS)
    for region in about.regions:
        assert region.score == pytest.approx(scores["subjects"][region.subject]["rois"][region.roi], rel=1e-5)
        assert (region.normalized_correlation is None) == (region.ceiling is None) == (n_repetitions == 1)
        assert n_repetitions > 1 or region.n_scored == region.n_voxels
        (space,) = selected["chosen"][region.roi]
        predicted = np.load(made.paths.predictions(small_run.ROW) / "validation" / f"{space}.npy")
        number = [(r.subject, r.roi) for r in about.regions].index((region.subject, region.roi))
        means = predicted[:, columns.slices[number]].mean(axis=1)
        np.testing.assert_allclose([region.low, region.high], np.percentile(means, (5, 95)), rtol=1e-5)
    submission = made.paths.submission("mini")
    assert json.loads(submission.with_suffix(".json").read_text())["left_out"] == (
        "the data set has no test clips to predict"
    )
    with zipfile.ZipFile(submission) as empty:
        assert empty.namelist() == []
    assert archive.unpack(submission, "mini", 10**6) == (None, ["the archive is empty; expected mini_track.pkl"])

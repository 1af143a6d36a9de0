"""Choices on tables made by hand; their honesty on data where it is known which candidate is best, or that none is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cinevox.errors import InputError
from cinevox.fitting import prediction_store
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Scores, Selection
from cinevox.scoring import row_metrics, scores, selection
from cinevox.scoring.origin import Origin
from cinevox.scoring.selection import Choice, Seen, choose, evidence, frequencies
from cinevox.scoring.selection.evidence import Stratum, gather, mean_scores, summary
from cinevox.scoring.selection.optimism import mean_rank_correlation, rank_correlation
from cinevox.statistics import metrics
from cinevox.statistics.splits import ceiling_split, generator
from crossed import cross_predicted

COLUMNS = Columns(
    (Block("sub01", "V1", 3), Block("sub01", "PPA", 2), Block("sub02", "V1", 1), Block("sub02", "PPA", 2))
)
LAYERS = ("c1", "c2", "c3")


def made(score, correlation=None, replicates=None, excluded=(0, 0, 0, 0), spaces=LAYERS):
    """Seen by hand. score: (n_spaces, 4 blocks)."""
    score = np.array(score, dtype=float)
    blocks = pd.DataFrame([vars(block) for block in COLUMNS.blocks]).assign(n_excluded=excluded)
    if correlation is None:
        correlation = np.zeros((len(spaces), COLUMNS.n_voxels))
    if replicates is None:
        replicates = np.repeat(score[:, None], 4, axis=1)
    return Seen(spaces, COLUMNS, blocks, score, np.array(correlation), np.array(replicates))


def of_blocks(choice):
    """The candidate of each block, where it has one."""
    found = [set(choice.index[where]) for where in COLUMNS.slices]
    assert all(len(each) == 1 for each in found)
    return [choice.spaces[number] for (number,) in found]


# the means over subjects are c1 .4 .1, c2 .4 -, c3 .2 .3
TABLE = [[0.5, 0.1, 0.3, 0.1], [0.2, np.nan, 0.6, np.nan], [0.1, 0.3, 0.3, 0.3]]


def test_the_best_layer_of_an_roi_is_chosen_by_the_mean_over_subjects_the_earlier_on_a_tie():
    for policy in ("validation", "nested"):
        assert of_blocks(choose(made(TABLE), policy, "roi", {})) == ["c1", "c3", "c1", "c3"]


def test_each_subject_has_its_own_layer_where_asked():
    assert of_blocks(choose(made(TABLE), "validation", "subject", {})) == ["c1", "c3", "c2", "c3"]


def test_a_subject_without_a_scored_voxel_takes_the_rois_layer():
    table = np.array(TABLE)
    table[:, 3] = np.nan
    found = made(table, excluded=(0, 0, 0, 2))
    assert of_blocks(choose(found, "validation", "subject", {})) == ["c1", "c3", "c2", "c3"]
    assert of_blocks(choose(found, "validation", "roi", {})) == ["c1", "c3", "c1", "c3"]


def test_each_voxel_has_its_own_layer_where_asked(rng):
    r = rng.standard_normal((3, COLUMNS.n_voxels))
    r[:, 2] = 0.5
    found = choose(made(TABLE, r), "validation", "voxel", {})
    assert found.index.tolist() == r.argmax(axis=0).tolist()
    assert found.index[2] == 0


def test_one_standard_error_takes_the_earliest_that_is_not_clearly_worse():
    """The error of the best one counts, over clips, of its mean over subjects."""
    table = np.array([[0.29, 0.1], [0.353, 0.0], [0.4, 0.3]])[:, [0, 1, 0, 1]]
    spread = np.array([-1, 1, -1, 1]) * np.sqrt(3) / 2  # standard deviation 1
    errors = np.full((3, 4), 9.0)
    errors[2] = [0.05, 0.3, 0.05, 0.3]
    drawn = table[:, None] + errors[:, None] * spread[:, None]
    found = made(table, replicates=drawn)
    assert of_blocks(choose(found, "one_standard_error", "roi", {})) == ["c2", "c1", "c2", "c1"]
    assert of_blocks(choose(found, "validation", "roi", {})) == ["c3", "c3", "c3", "c3"]
    drawn[2, :, 2] = table[2, 2] - errors[2, 2] * spread  # the subjects' errors cancel in the mean
    assert of_blocks(choose(made(table, replicates=drawn), "one_standard_error", "roi", {}))[0] == "c3"
    assert of_blocks(choose(made(table, replicates=drawn), "one_standard_error", "subject", {}))[0] == "c2"


@pytest.mark.parametrize("per", ["roi", "subject"])
def test_the_published_layers_are_used_or_missed_with_a_cure(per):
    found = made(TABLE)
    assert of_blocks(choose(found, "paper", per, {"V1": "c2", "PPA": "c1"})) == ["c2", "c1", "c2", "c1"]
    with pytest.raises(InputError, match=r"V1 .*c9.*candidates are c1, c2, c3.*policy validation"):
        choose(found, "paper", per, {"V1": "c9", "PPA": "c1"})


@pytest.mark.parametrize("policy", ["validation", "one_standard_error", "paper"])
def test_one_candidate_is_no_choice(policy):
    alone = made([TABLE[0]], np.zeros((1, 8)), spaces=("c1+c2",))
    assert of_blocks(choose(alone, policy, "roi", {"V1": "c9"})) == ["c1+c2"] * 4


@pytest.mark.parametrize("per", ["roi", "subject"])
def test_an_roi_without_a_reliable_voxel_is_named(per):
    table = np.array(TABLE)
    table[:, [0, 2]] = np.nan
    with pytest.raises(InputError, match="no voxel of V1 reaches ceiling.min_reliability"):
        choose(made(table, excluded=(3, 0, 1, 0)), "validation", per, {})


def test_frequencies_count_the_best_in_each_resample():
    drawn = np.zeros((3, 4, 4))
    drawn[0, :3, [0, 2]] = 1.0  # V1: c1 in three resamples, c3 in one
    drawn[2, 3, [0, 2]] = 1.0
    drawn[1, :, 1], drawn[2, :, 3] = 0.2, 0.3  # PPA: c3 by the mean over subjects
    found = frequencies(made(TABLE, replicates=drawn))
    assert found == {"V1": {"c1": 0.75, "c3": 0.25}, "PPA": {"c3": 1.0}}


def test_shares_and_predictions_of_a_choice(rng):
    every = {name: rng.standard_normal((5, 8)).astype(np.float32) for name in LAYERS}
    choice = Choice(LAYERS, np.array([2, 2, 0, 1, 1, 2, 1, 0], dtype=np.int16))
    assert choice.shares(COLUMNS) == {"V1": {"c3": 0.75, "c1": 0.25}, "PPA": {"c2": 0.75, "c1": 0.25}}
    assert list(choice.shares(COLUMNS)["V1"]) == ["c3", "c1"]
    for where in (slice(0, 8), slice(2, 5), slice(3, 5)):
        expected = np.stack([every[LAYERS[choice.index[v]]][:, v] for v in range(where.start, where.stop)], axis=1)
        np.testing.assert_array_equal(choice.predicted(every, where), expected)


def test_candidates_are_ranked_as_scipy_does(rng):
    spaces = tuple("abcdef")
    first, second = rng.standard_normal((2, 6, 4))
    first[:, 1] = first[:, 3] = 0.2  # PPA: all the same
    first[1:4, [0, 2]] = 0.1
    second[::5, [0, 2]] = -0.3  # V1: three equal ones, and two
    pair = tuple(made(table, np.zeros((6, 8)), spaces=spaces) for table in (first, second))
    found = rank_correlation(pair)
    means = [table[:, [0, 2]].mean(axis=1) for table in (first, second)]
    assert found["V1"] == pytest.approx(stats.spearmanr(*means).statistic)
    assert np.isnan(found["PPA"])
    said = mean_rank_correlation({"V1": 0.5, "V2": 0.1, "PPA": np.nan})
    assert said.mean == pytest.approx(0.3) and said.error == pytest.approx(0.2)
    assert mean_rank_correlation({"V1": np.nan}).mean is None


SETTINGS = Scores.model_construct(n_bootstraps=40, n_permutations=9, confidence=0.95, seed=0)
ROW = {"track": "mini", "network": "alexnet", "features": "layer", "regressor": "ridge"}
ORIGIN = Origin("insilico", "In-silico", True, "sub01 sub02", 9, 9, {"V1": 4}, "random", False)


class World:
    """Responses of some ROIs, and candidates that know part of them.

    quality: (n_spaces, n_rois), how much of a response a candidate knows; what a candidate gets wrong is shared by
        the voxels of an ROI, so that its errors do not cancel in their mean
    n_clips: validation, test, ... -> number; n_outer: folds of `fold` clips each, with inner ones
    """

    def __init__(self, rng, quality, n_clips, columns, n_outer=0, fold=24):
        self.columns, self.spaces = columns, tuple(f"c{number}" for number in range(1, len(quality) + 1))
        self.measured, self.predicted, self.ceiling = {}, {}, np.full(columns.n_voxels, 0.8)
        self.shown_once = ()  # the splits (validation, test) without a ceiling
        for name, n in (n_clips | {f"outer-{k}": fold for k in range(1, n_outer + 1)}).items():
            self._split(rng, name, n, np.array(quality))
        for k in range(1, n_outer + 1):
            for j in set(range(1, n_outer + 1)) - {k}:
                self.measured[f"inner-{k}-{j}"] = self.measured[f"outer-{j}"]
                for space in self.spaces:  # of another fit: nearly the same predictions
                    outer = self.predicted[f"outer-{j}", space]
                    self.predicted[f"inner-{k}-{j}", space] = outer + 0.1 * rng.standard_normal(outer.shape)

    def _split(self, rng, name, n, quality):
        rois, blocks = self.columns.rois, self.columns.blocks
        number = np.repeat([rois.index(b.roi) for b in blocks], [b.n_voxels for b in blocks])

        def together():  # a part of each voxel's own, a part of its ROI's
            own = rng.standard_normal((n, self.columns.n_voxels))
            return np.sqrt(0.5) * own + np.sqrt(0.5) * rng.standard_normal((n, len(rois)))[:, number]

        known = together()
        self.measured[name] = np.sqrt(0.5) * (known + together())
        for space, part in zip(self.spaces, quality):
            part = part[number]
            self.predicted[name, space] = part * known + np.sqrt(1 - part**2) * together()

    def ceiling_of(self, name):
        return None if ceiling_split(name) in self.shown_once else self.ceiling

    def candidates(self, n_bootstraps=SETTINGS.n_bootstraps):
        """As the stages fits and scores write them."""
        tables, voxels, replicates = [], {}, {}
        for name, responses in self.measured.items():
            drawn = 0 if name.startswith("inner") else n_bootstraps
            resamples = metrics.resampled_clips(len(responses), drawn, generator(SETTINGS.seed, name))
            found = [
                scores.score(responses, self.predicted[name, space], self.ceiling_of(name), self.columns, resamples)
                for space in self.spaces
            ]
            tables += [one.blocks.assign(space=space, split=name) for space, one in zip(self.spaces, found)]
            voxels[f"{name}.correlation"] = np.stack([one.correlation for one in found])
            if self.ceiling_of(name) is not None:
                voxels[f"{name}.normalized"] = np.stack([one.normalized for one in found])
            replicates[name] = np.stack([one.replicates for one in found])
        clips = {name: np.arange(len(responses)) for name, responses in self.measured.items()}
        index = prediction_store.Index(self.spaces, clips, self.columns, ROW, {})
        return selection.Candidates(index, ORIGIN, pd.concat(tables, ignore_index=True), voxels, replicates)

    def select(self, policy="validation", per="roi", candidates=None, predicted=None):
        ceilings = {name: self.ceiling_of(name) for name in ("validation", "test") if name in self.measured}
        return selection.select(
            candidates or self.candidates(), Selection(policy=policy, per=per), {}, *self.of_one_cohort(predicted),
            ceilings, SETTINGS,
        )  # fmt: skip

    def of_one_cohort(self, predicted=None):
        """Responses and predictions as they are given: of the one cohort, which has no name."""
        measured = {("", split): values for split, values in self.measured.items()}
        return measured, predicted or {("", *key): values for key, values in self.predicted.items()}

    def gather(self, choice, split, settings=SETTINGS):
        """The evidence of one choice on one split."""
        return gather(
            self.candidates(settings.n_bootstraps), [Stratum(split, choice)], *self.of_one_cohort(),
            self.ceiling_of(split), settings,
        )  # fmt: skip


def written(outcome, *splits):
    """The row's metrics file, with these splits alone where some are named."""
    kept = {name: part for name, part in outcome.scores.items() if not splits or name in splits}
    found = row_metrics.content(outcome.model_copy(update={"scores": kept}))
    assert found.pop("origin") == ORIGIN.to_json()
    return found


TWO = Columns(tuple(Block(subject, roi, 6) for subject in ("sub01", "sub02") for roi in ("V1", "PPA")))


def test_where_no_layer_is_better_optimism_is_found():
    """Eight layers, equally good: what choosing adds on the clips that chose, test clips do not show."""
    rng, found = np.random.default_rng(31), []
    for _ in range(12):
        world = World(rng, np.full((8, 2), 0.6), {"validation": 40, "test": 400}, TWO)
        said = world.select().outcome
        found.append([said.optimism["test"].difference, said.optimism["test"].choice.difference])
        assert said.chosen_on == "validation" and said.scores["validation"].chosen_here
        assert not said.scores["test"].chosen_here
    difference, choice = np.array(found).T
    assert difference.mean() > 0.04 and choice.mean() > 0.04
    assert stats.ttest_1samp(choice, 0, alternative="greater").pvalue < 1e-4
    assert (choice > 0).mean() > 0.9


def test_where_no_layer_is_better_nested_folds_are_right_and_flat_ones_flatter():
    rng, flat, nested = np.random.default_rng(32), [], []
    for _ in range(10):
        world = World(rng, np.full((8, 2), 0.6), {"validation": 10, "test": 1000}, TWO, n_outer=3)
        said = world.select("nested").outcome
        truth, honest = said.scores["test"].score, said.scores["nested"].score
        nested.append(honest - truth)
        flat.append(honest + said.optimism["nested"].difference - truth)
        assert said.chosen_on == "nested"
    assert stats.ttest_1samp(nested, 0).pvalue > 0.01 and abs(np.mean(nested)) < 0.03
    assert np.mean(flat) > 0.04
    assert stats.ttest_1samp(flat, 0, alternative="greater").pvalue < 1e-4


BEST = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.1], [0.1, 0.9]])


@pytest.mark.parametrize("policy", ["validation", "nested", "one_standard_error"])
def test_where_one_layer_is_best_it_is_chosen_and_nothing_flatters(policy):
    world = World(
        np.random.default_rng(33), BEST, {"validation": 60, "test": 200}, TWO, n_outer=3 if policy == "nested" else 0
    )
    said = world.select(policy).outcome
    assert said.chosen == {"V1": {"c2": 1.0}, "PPA": {"c4": 1.0}}
    assert all(said.frequency(roi, layer) > 0.99 for roi, layer in (("V1", "c2"), ("PPA", "c4")))
    for split, entry in said.optimism.items():
        assert entry.low <= 0 <= entry.high, split
    assert said.optimism["test"].rank_correlation.mean > 0
    if policy == "nested":
        assert abs(said.optimism["nested"].difference) < 1e-6  # every fold chose the same
    assert said.scores["test"].p == 0.1


def test_a_subjects_own_layers_and_a_voxels_own_are_found():
    """sub01's V1 listens to c1 and sub02's to c2; in PPA every other voxel does."""
    rng = np.random.default_rng(34)
    world = World(rng, np.full((2, 2), 0.1), {"validation": 150, "test": 50}, TWO)
    own = np.array([0] * 6 + [0, 1] * 3 + [1] * 6 + [0, 1] * 3)
    for name, responses in world.measured.items():
        for number, space in enumerate(world.spaces):
            mine = own == number
            world.predicted[name, space][:, mine] += 3 * responses[:, mine]
    assert (world.select(per="voxel").choice.index == own).all()
    by_subject = world.select(per="subject").choice.index
    assert (by_subject[:6] == 0).all() and (by_subject[12:18] == 1).all()
    assert len(set(by_subject[6:12])) == len(set(by_subject[18:])) == 1
    by_roi = world.select(per="roi").choice.index
    assert (by_roi[:6] == by_roi[12:18]).all()
    r = world.select(per="voxel").evidence["test"].scores.correlation
    assert r.min() > 0.8 > by_roi.mean()


class Reads(dict):
    """Predictions that remember which of them were asked for, in order."""

    def __init__(self, predicted):
        super().__init__(predicted)
        self.keys_read = []

    def __getitem__(self, key):
        self.keys_read.append(key)
        return super().__getitem__(key)


def fold_choices(world, candidates):
    """The layer that each outer fold is scored with: the first that is read for it, the flat choice comes later."""
    predicted = Reads(world.of_one_cohort()[1])
    found = world.select("nested", candidates=candidates, predicted=predicted)
    outer = [(split, space) for _, split, space in predicted.keys_read if split.startswith("outer")]
    return dict(reversed(outer)), found


def test_an_outer_folds_layer_is_chosen_without_its_clips():
    one = Columns((Block("sub01", "V1", 5),))
    world = World(np.random.default_rng(35), [[0.7], [0.1], [0.1]], {"validation": 20}, one, n_outer=4)
    candidates = world.candidates()
    before, _ = fold_choices(world, candidates)
    assert before == {f"outer-{k}": "c1" for k in range(1, 5)}

    def poisoned(where):
        table = candidates.subjects.copy()
        table.loc[table["split"].map(where) & (table["space"] == "c3"), "score"] = 50.0
        changed = replace(candidates, subjects=table)
        choices, found = fold_choices(world, changed)
        return choices, set(found.choice.shares(one)["V1"])

    # whatever is scored on the clips of fold 2 speaks for c3
    after, flat = poisoned(lambda split: split == "outer-2" or split.endswith("-2"))
    assert after == {"outer-1": "c3", "outer-2": "c1", "outer-3": "c3", "outer-4": "c3"}
    assert flat == {"c3"}
    # only its own inner folds decide for it, and nothing decided for a fold decides for all
    after, flat = poisoned(lambda split: split.startswith("inner-2-"))
    assert after == {"outer-1": "c1", "outer-2": "c3", "outer-3": "c1", "outer-4": "c1"}
    assert flat == {"c1"}


def test_a_row_scores_the_mean_of_its_rois_and_keeps_their_covariance(rng):
    world = World(rng, BEST, {"validation": 40, "test": 50}, COLUMNS)
    world.ceiling = np.array([0.5, 0.8, np.nan, 1.0, 0.9, 0.4, np.nan, np.nan])
    found = world.select()
    part, result = found.evidence["test"], found.outcome.scores["test"]
    blocks, drawn = part.scores.blocks["normalized_correlation"], part.scores.replicates
    v1, ppa = (blocks[0] + blocks[2]) / 2, blocks[1]  # sub02 has no voxel left in PPA
    assert np.isnan(blocks[3])
    assert result.score == pytest.approx((v1 + ppa) / 2)
    assert result.pooled_score == pytest.approx(((2 * blocks[0] + blocks[2]) / 3 + ppa) / 2)
    track = (drawn[:, [0, 2]].mean(axis=1) + drawn[:, 1]) / 2
    assert result.standard_error == pytest.approx(track.std(ddof=1), rel=1e-4)
    null = (part.null[:, [0, 2]].mean(axis=1) + part.null[:, 1]) / 2
    assert result.p == (1 + (null >= result.score).sum()) / 10
    assert result.subjects["sub01"].rois["V1"] == pytest.approx(blocks[0])
    assert result.rois["V1"].subject_error == pytest.approx(stats.sem(blocks[[0, 2]]))
    assert result.rois["PPA"].p_subjects is None
    whole = {"score", "low", "high", "pooled_score", "correlation", "V1", "PPA"}
    metrics_file = written(found.outcome, "validation", "test")
    assert metrics_file["test"].keys() == whole
    assert metrics_file["validation"] == {"score": round(found.outcome.scores["validation"].score, 5)}
    assert metrics_file["test"]["V1"] == round(result.rois["V1"].normalized_correlation, 5)
    assert written(found.outcome, "validation")["validation"].keys() == whole
    arrays = found.arrays()
    np.testing.assert_array_equal(arrays["space"], found.choice.index)
    every = {space: world.predicted["test", space] for space in world.spaces}
    expected = metrics.correlation_score(
        world.measured["test"], found.choice.predicted(every, slice(0, COLUMNS.n_voxels))
    )
    np.testing.assert_allclose(arrays["test.correlation"], expected, atol=1e-6)


def test_without_repetitions_the_plain_correlations_choose_and_are_labelled(rng):
    world = World(rng, BEST, {"validation": 60, "test": 60}, TWO)
    normalized = world.select()
    world.shown_once = ("validation", "test")
    found = world.select()
    said = found.outcome
    assert said.chosen == {"V1": {"c2": 1.0}, "PPA": {"c4": 1.0}}
    assert {part.measure for part in said.scores.values()} == {"plain correlation"}
    test = said.scores["test"]
    assert test.score == test.correlation == pytest.approx(0.8 * normalized.outcome.scores["test"].score)
    assert test.rois["V1"].normalized_correlation is None and test.rois["V1"].n_excluded == 0
    assert test.rois["V1"].score == test.rois["V1"].correlation and test.p == 0.1
    assert said.optimism["test"].difference == pytest.approx(
        0.8 * normalized.outcome.optimism["test"].difference, abs=1e-6
    )
    assert "test.normalized" not in found.arrays() and "test.normalized" in normalized.arrays()
    content = written(said)
    assert content["test"].keys() == content["validation"].keys() == {"plain_r"}
    assert content["test"]["plain_r"]["V1"] == round(test.rois["V1"].score, 5)
    read = row_metrics.parse(content)
    assert (read.split, read.is_plain, read.prefix, read.values) == (
        "test", True, "test.plain_r", content["test"]["plain_r"],
    )  # fmt: skip
    before = written(normalized.outcome)
    read = row_metrics.parse(before)
    assert (read.split, read.is_plain, read.prefix, read.values) == ("test", False, "test", before["test"])


@pytest.mark.parametrize("once", ["validation", "test"])
@pytest.mark.parametrize("policy", ["validation", "nested"])
def test_where_one_split_has_a_ceiling_and_the_other_none_both_are_compared_in_plain_correlations(once, policy):
    world = World(
        np.random.default_rng(38), BEST, {"validation": 60, "test": 80}, TWO, n_outer=3 if policy == "nested" else 0
    )
    world.shown_once = (once,)
    mixed = world.select(policy).outcome
    world.shown_once = ("validation", "test")
    plain = world.select(policy).outcome
    kinds = {name: part.measure for name, part in mixed.scores.items()}
    assert kinds["test"] != kinds["validation"] and kinds.get("nested", kinds["validation"]) == kinds["validation"]
    assert written(mixed)[once] == written(plain)[once]
    found, expected = mixed.optimism["test"], plain.optimism["test"]
    assert found.measure == "plain correlation" and found.choice is None
    for key in ("difference", "low", "high"):
        assert getattr(found, key) == pytest.approx(getattr(expected, key), abs=1e-6)
    assert found.rank_correlation == expected.rank_correlation
    assert written(mixed)[once].keys() == {"plain_r"}


def test_an_roi_without_a_scored_voxel_has_no_score_and_no_p(rng):
    world = World(rng, [[0.8, 0.8]], {"validation": 30}, COLUMNS)  # one candidate: nothing is chosen
    world.ceiling[[3, 4, 6, 7]] = np.nan
    said = world.select().outcome.scores["validation"]
    for key in ("normalized_correlation", "low", "high", "p", "p_subjects"):
        assert getattr(said.rois["PPA"], key) is None
        assert np.isfinite(getattr(said.rois["V1"], key))
    assert said.score is said.low is said.p is None
    assert said.subjects["sub01"].score == said.subjects["sub01"].rois["V1"]


def test_the_same_seed_draws_the_same_clips_for_every_row(rng):
    world = World(rng, BEST, {"validation": 40}, TWO)
    choice = Choice(world.spaces, np.full(24, 1, dtype=np.int16))
    first, second = (world.gather(choice, "validation") for _ in range(2))
    np.testing.assert_array_equal(first.scores.replicates, second.scores.replicates)
    np.testing.assert_array_equal(first.null, second.null)
    alone = World(rng, BEST, {"validation": 40}, Columns(TWO.blocks[:2]))  # whoever else is there
    alone.measured = {"validation": world.measured["validation"][:, :12]}
    alone.predicted = {key: values[:, :12] for key, values in world.predicted.items()}
    alone.ceiling = world.ceiling[:12]
    part = alone.gather(Choice(world.spaces, np.full(12, 1, dtype=np.int16)), "validation")
    np.testing.assert_array_equal(part.p_familywise, first.p_familywise[:12])
    np.testing.assert_array_equal(part.scores.replicates, first.scores.replicates[:, :2])


@pytest.mark.parametrize("per", ["roi", "subject", "voxel"])
def test_the_scores_of_a_choice_are_those_of_its_predictions(rng, per):
    """Taken from the candidates' scores, or made anew: as if the chosen predictions were a candidate of their own."""
    world = World(rng, np.full((4, 2), 0.5), {"validation": 30, "test": 40}, COLUMNS)
    world.ceiling[1] = np.nan
    by_block = {"roi": [0, 3, 0, 3], "subject": [0, 3, 2, 1]}.get(per)
    index = (
        rng.integers(0, 4, 8) if by_block is None else np.repeat(by_block, [block.n_voxels for block in COLUMNS.blocks])
    )
    found = world.gather(Choice(world.spaces, index.astype(np.int16)), "test")
    own = np.stack([world.predicted["test", f"c{k + 1}"][:, voxel] for voxel, k in enumerate(index)], axis=1)
    drawn = metrics.resampled_clips(40, SETTINGS.n_bootstraps, generator(SETTINGS.seed, "test"))
    expected = scores.score(world.measured["test"], own, world.ceiling, COLUMNS, drawn)
    pd.testing.assert_frame_equal(found.scores.blocks, expected.blocks)
    np.testing.assert_allclose(found.scores.correlation, expected.correlation, atol=1e-6)
    np.testing.assert_allclose(found.scores.normalized, expected.normalized, atol=1e-6)
    np.testing.assert_allclose(found.scores.replicates, expected.replicates, atol=1e-6)


@pytest.mark.parametrize(("per", "anew"), [("roi", 0), ("subject", 0), ("voxel", 4)])
def test_nothing_is_scored_again_unless_voxels_choose_for_themselves(rng, monkeypatch, per, anew):
    """Two subjects on two splits are four calls."""
    world, calls = World(rng, np.full((4, 2), 0.5), {"validation": 30, "test": 40}, TWO), []
    candidates = world.candidates()
    score = evidence.score
    monkeypatch.setattr(evidence, "score", lambda *given: calls.append(1) or score(*given))
    world.select(per=per, candidates=candidates)
    assert len(calls) == anew


def test_the_interval_of_folds_that_predict_each_other_holds_the_true_score():
    """95 of 100 times; the clips resampled with the fits as they are would make it 85."""
    rng, columns, weights = np.random.default_rng(37), Columns((Block("s", "V1", 12),)), np.full((8, 12), 0.25)
    found = []
    for _ in range(150):
        x = rng.standard_normal((120, 8))
        noise = rng.standard_normal((120, 1)) + rng.standard_normal((120, 12))
        parts = [
            scores.score(a, b, np.ones(12), columns, metrics.resampled_clips(40, 100, rng))
            for a, b in zip(*cross_predicted(x, x @ weights + noise, 3))
        ]
        one = mean_scores(parts)
        naive = np.mean([part.replicates[:, 0] for part in parts], axis=0)
        value = one.blocks["normalized_correlation"][0]
        found.append([value, *np.quantile(one.replicates[:, 0], [0.025, 0.975]), *np.quantile(naive, [0.025, 0.975])])
    value, low, high, least, most = np.array(found).T
    true = value.mean()
    assert 0.9 < ((low <= true) & (true <= high)).mean() < 0.985
    assert ((least <= true) & (true <= most)).mean() < 0.9


def test_on_null_data_five_of_a_hundred_rows_pass():
    """The track's p of one candidate, so that nothing was chosen; 19 permutations, so p <= 1 / 20."""
    rng, passed = np.random.default_rng(36), 0
    choice, narrow = Choice(("c1",), np.zeros(4, dtype=np.int16)), Columns((Block("s", "V1", 2), Block("s", "PPA", 2)))
    for seed in range(100):
        world = World(rng, [[0.0, 0.0]], {"test": 15}, narrow)
        settings = SETTINGS.model_copy(update={"n_bootstraps": 2, "n_permutations": 19, "seed": seed})
        found = world.gather(choice, "test", settings)
        passed += summary(found, 0.95, rng).p <= 0.05
    assert stats.binomtest(passed, 100, 0.05).pvalue > 1e-3

"""The report: complete, self-contained, the same bytes again, and plain about what is no result."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import finished_run
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import response_store
from cinevox.outlets import report
from cinevox.outlets.report import figures, known_truth, scatters, solvers, sources, svg, tables, units
from cinevox.outlets.report.sources import Sources, TrackCeiling, TrackTruth
from cinevox.project import identity, package_versions
from cinevox.project.params import JointRow, load, parse
from cinevox.project.paths import Paths
from cinevox.scoring import claims, row_results
from cinevox.statistics.metrics import noise_ceilings

MINI, RIDGE, FULL = finished_run.ROWS

PAPER_ROWS = tuple(load(Path(__file__).parents[1] / "params.paper.yaml").experiments.rows.values())


def sources_of(root, params, in_silico=True, anatomy=None):
    """What `report.read` would find, without a data set on disk. in_silico: else the data are called Algonauts 2021"""
    paths = Paths(root)
    ceilings, truth = {}, {}
    for track in ("mini", "full"):
        columns = finished_run.columns_of(track)
        reliability = io.read_arrays(paths.ceiling(track) / "reliability.npz")
        shown = io.read_json(paths.ceiling(track) / "index.json")["n_repetitions"]
        reachable = noise_ceilings(reliability, shown, "exclude", 0.1)
        ceilings[track] = TrackCeiling(columns, reliability, reachable, shown)
        silent = np.arange(columns.n_voxels) % 7 == 0
        names = np.where(silent, "none", "layer_1")
        truth[track] = TrackTruth(names, {split: np.clip(values, 0, 1) for split, values in reliability.items()})
    good = {"suite": "clips", "expected": "a clip can be opened", "success": True, "n_files": 84, "n_unexpected": 0}
    far = {"file": "data/reduction/alexnet/classifier.5.npy", "found": {"times_training": 2.5, "clip": "0007.mp4"}}
    odd = good | {"suite": "features", "expected": "features differ", "success": False, "n_files": 3, "n_unexpected": 2}
    odd |= {"examples": [far], "cure": "Look at the clip."}
    summary = {"n_files": {"clips": 84}, "n_errors": 0, "n_warnings": 0, "checks": [good] * 12}
    found = row_results.read(paths, params.experiments.rows)
    if not in_silico:
        real = {"dataset": "algonauts2021", "title": "Algonauts 2021", "in_silico": False}
        found = tuple(finished_run.of_origin(result, **real) for result in found)
    return Sources(
        params=params,
        dataset="In-silico" if in_silico else "Algonauts 2021",
        licence="made here, free to use",
        in_silico=in_silico,
        results=found,
        paper_rows=PAPER_ROWS,
        ceilings=ceilings,
        truth=truth if in_silico else {},
        anatomy=anatomy,
        validation=summary,
        checks={"n_files": {"features": 3}, "n_errors": 0, "n_warnings": 1, "checks": [good, odd]},
        commit=identity.Commit("0123456789abcdef" * 2, "2026-01-02", True),
        params_hash="a" * 64,
        data_hash="b" * 32,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    return sources_of(root, finished_run.make(root))


@pytest.fixture(scope="module")
def page(made):
    return report.render(made).page


class Reader(HTMLParser):
    """Collects what a page refers to and whether its tags close."""

    VOID = ("meta", "img", "br", "input", "line", "polyline", "polygon", "path", "rect", "circle")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.ids, self.scripts = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.references += [values[name] for name in ("src", "href") if values.get(name)]
        self.ids += [values["id"]] if "id" in values else []
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.scripts == 0
    assert [ref for ref in reader.references if "://" in ref or ref.startswith("//")] == []
    assert not re.search(r"@import|url\(", page)
    anchors = [ref[1:] for ref in reader.references if ref.startswith("#")]
    assert set(anchors) <= set(reader.ids)
    assert {"scores", "layers", "voxels", "choice", "truth", "data", "run", "words"} <= set(anchors)


def test_no_number_is_missing_or_not_a_number(page):
    assert not re.search(r"\bnan\b|NaN|\bNone\b|\binf\b|Undefined", re.sub(r"<style>.*?</style>", "", page, flags=re.S))


def test_the_same_results_give_the_same_bytes(made, page):
    assert report.render(made).page == page


def test_scores_stand_in_the_table_as_in_the_files(made, page):
    selected = made.results[1].outcome.scores["test"]
    assert f"{svg.shown(selected.score)}<span" in page
    assert svg.shown(selected.rois["LOC"].normalized_correlation) in page
    assert [line.result.name for line in tables.score_lines(made, "mini")] == [RIDGE, MINI]


def test_what_validation_found_stands_there_with_its_pages(page):
    assert "12 checks of every file (84 clips): all as expected" in page
    assert "2 checks of every file (3 features): 0 errors, 1 warning;" in page
    assert "features: 2 of 3 are not as expected, which is: features differ. They are data/reduction/alexnet/" in page
    assert "classifier.5.npy (times_training 2.5, clip 0007.mp4), 1 more. Look at the clip." in page
    for step in ("validation", "checks"):
        assert f'href="../data/{step}/data_docs/index.html"' in page
        assert "blank without a network" in page and f'href="../data/{step}/summary.json"' in page


def test_what_is_no_result_says_so(page):
    warning = re.search(r"<aside.*?</aside>", page, re.S).group()
    assert "In-silico data</b>: " in warning and f"Random weights</b> ({MINI}): " in warning
    assert "efficientnet_lite0" not in warning


def test_nothing_of_the_paper_stands_beside_other_data(page):
    """In-silico data: no table, no column, no diamond, no leaderboard, and a sentence that says why."""
    for words in ("The paper's", "Table 1", "eproduced", "leaderboard", "reported by the paper", "the paper reports"):
        assert words not in page
    assert 'scope="col" class="n">paper<' not in page
    assert "not shown, as no row can stand beside them: in-silico data, random weights." in page
    assert "<h2>Rows and regions</h2>" in page and "Figure 1" not in page
    assert "nine" not in page and "Over the 9 regions the best" in page and "Mini track: 9 regions" in page


def test_real_data_and_pretrained_weights_stand_beside_the_paper(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "CHALLENGE", finished_run.CHALLENGE)
    sources = sources_of(tmp_path, finished_run.make(tmp_path), in_silico=False)
    text = report.render(sources).page  # of the paper's rows there is one, untrained; the challenge had other networks
    assert "The paper's tables" not in text and "The challenge's leaderboard" in text
    doubtful, clean = (next(r for r in sources.results if r.name == name) for name in (MINI, RIDGE))
    assert list(doubtful.doubts) == ["random weights"]
    assert list(clean.doubts) == []
    trained = tuple(finished_run.of_origin(found, weights="pretrained", official=True) for found in sources.results)
    unsure = next(found for found in trained if found.name == RIDGE)
    weights = {name: used | {"unverified": True} for name, used in unsure.index.provenance["weights"].items()}
    index = replace(unsure.index, provenance={**unsure.index.provenance, "weights": weights})
    trained = tuple(replace(found, index=index) if found is unsure else found for found in trained)
    text = report.render(replace(sources, results=trained)).page
    assert 'id="truth"' not in text and text.count("not verified: no checksum published") == len(weights) == 1
    assert "In-silico" not in text
    assert "The paper's tables" in text and 'scope="col" class="n">paper<' in text


CHANGES = [  # of the origin of every row, and what is said
    ({"dataset": "bold_moments", "title": "BOLD Moments"}, "BOLD Moments data"),
    ({"subjects": "sub01"}, "1 of the challenge's 3 subjects"),
    ({"subjects": "sub01 sub02 monkey"}, "other subjects"),
    ({"n_train_clips": 100}, "100 + 60 clips, not 240 + 60"),
    ({"n_voxels": {"V1": 9, "V2": 9}}, "2 of the challenge's 9 regions"),
    ({"official": False}, "weights other than the published ones"),
    ({"weights": "random"}, "random weights"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_the_paper_needs_the_challenges_data_and_published_weights(monkeypatch, tmp_path, change, said):
    monkeypatch.setattr(claims, "CHALLENGE", finished_run.CHALLENGE)
    sources = sources_of(tmp_path, finished_run.make(tmp_path), in_silico=False)
    changed = tuple(finished_run.of_origin(result, **change) for result in sources.results)
    text = unescape(report.render(replace(sources, results=changed)).page)
    assert said in text and "not shown, as no row can stand beside them" in text
    for words in ("The paper's", "eproduced", "leaderboard", "reported by the paper", "the paper reports"):
        assert words not in text


def test_a_result_from_before_origins_were_recorded_stands_beside_nothing(made):
    assert list(claims.foreign(None)) == ["data that were not recorded"]
    assert list(claims.doubts(None, "test")) == ["data that were not recorded"]


def test_an_untrained_network_is_marked_wherever_it_is_the_best(tmp_path):
    """Here it is the only row, so the best of everything: first sentence, cells, figures, voxels, plots."""
    params = finished_run.make(tmp_path)
    rows = params.experiments.model_copy(update={"voxelwise": {MINI: params.experiments.voxelwise[MINI]}})
    sources = sources_of(tmp_path, params.model_copy(update={"experiments": rows}))
    found = report.render(sources)
    tag = '<span class="tag">random weights</span>'
    assert f'the best, <b class="row">{MINI}</b> {tag}, reaches' in found.page
    assert (
        len(re.findall(r'<td class="n best"[^>]*>[^<]*<span class="ci doubt">random weights</span>', found.page)) == 10
    )
    assert len(re.findall(r'<td class="n best"', found.page)) == 10
    assert f"<h3>{MINI} {tag}</h3>\n<figure>" in found.page  # the voxels
    for name in ("figure-1", "figure-2", "figure-3"):
        assert "alexnet · layer · sparse_linear (random weights)<" in found.drawings[name]
    assert "alexnet-layer-sparse_linear (random weights)<" in figures.forest(tables.score_lines(sources, "mini"))
    assert set(report.plots(sources.results)["scores"]["row"]) == {f"{MINI} (random weights)"}


def test_long_names_with_their_marks_fit_beside_the_marks(made):
    drawing = figures.forest(tables.score_lines(made, "mini"))
    for x, name in re.findall(r'<text x="([\d.]+)"[^>]*class="name"[^>]*>([^<]*)<', drawing):
        assert figures.CHARACTER * len(name) <= float(x)


def test_rows_of_other_data_are_left_out_and_named(tmp_path, monkeypatch):
    """Two rows were run with other data since; a page of the third alone, which says so."""
    params, paths = finished_run.make(tmp_path), Paths(tmp_path)
    for row in (MINI, FULL):
        finished_run.recorded(paths, row, dataset="mystudy", title="My study", in_silico=False)
    read_as_made(monkeypatch)
    found = sources.read(paths, params)
    assert [result.name for result in found.results] == [RIDGE] and found.in_silico
    why = "made from My study data (mystudy), and dataset.name is insilico now"
    assert found.left_out == {MINI: why, FULL: why}
    text = report.render(replace(found, commit=None)).page
    assert f"<b>Left out</b>: {MINI}, {why}." in text
    for row in (RIDGE,):
        finished_run.recorded(paths, row, subjects="sub01")
    with pytest.raises(InputError, match="no result is of the data in .*params.yaml"):
        sources.read(paths, params)


def read_as_made(monkeypatch):
    """Let `report.read` find a study without its responses."""
    study = response_store.Study("insilico", "In-silico", in_silico=True)
    monkeypatch.setattr(response_store, "read", lambda folder: response_store.Converted(folder, {}, study))
    monkeypatch.setattr(sources, "_anatomy", lambda *_: None)
    monkeypatch.setattr(sources, "_places", lambda _: {})
    monkeypatch.setattr(sources.truth, "is_simulated", lambda _: False)  # whatever data lie in this repository


def test_rows_that_other_versions_of_packages_made_are_named(tmp_path, monkeypatch):
    parameters, paths, installed = finished_run.make(tmp_path), Paths(tmp_path), metadata.version
    package_versions.record(paths.selection(MINI), f"selection@{MINI}", [])
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "numpy" else installed(name))
    package_versions.record(paths.selection(RIDGE), f"selection@{RIDGE}", [])
    monkeypatch.undo()
    read_as_made(monkeypatch)
    text = report.render(replace(sources.read(paths, parameters), commit=None)).page
    by = f"numpy 1.0 (now {installed('numpy')})"
    assert f"<b>Made by other versions of packages</b>: {RIDGE}, by {by}." in text


def test_rows_of_other_parameters_are_marked(made):
    text = report.render(replace(made, changed={RIDGE: ("reduction.n_components",)})).page
    assert f"<b>Not of what is here now</b>: {RIDGE}. Since they were made reduction.n_components changed" in text


def test_without_test_responses_the_page_says_that_scores_flatter(tmp_path):
    params = finished_run.make(tmp_path, test=False)
    text = report.render(sources_of(tmp_path, params)).page
    assert "Chosen on the same clips</b>: " in text and "never saw" not in text
    assert "<b>The clips also chose the layers or the epoch</b> of all rows, so these scores are too high." in text
    assert "This run has no clips that chose nothing" in text and "selection.policy: nested" in text


def test_the_noise_ceiling_is_the_mean_over_subjects_of_scored_voxels(made):
    ceiling = made.ceilings["mini"]
    means = []
    for block, where in zip(ceiling.columns.blocks, ceiling.columns.slices):
        if block.roi == "V4":
            values = ceiling.reliability["test"][where]
            means.append(np.sqrt(values[values >= 0.1]).mean())
    assert tables.ceilings(made, "mini", "test")["V4"] == pytest.approx(np.mean(means))


def test_voxels_are_those_of_each_rois_chosen_space(made):
    result = made.results[1]
    found = result.voxels["test.correlation"]
    candidates = io.read_arrays(result.folder / "voxels.npz")
    for block, where in zip(result.index.columns.blocks, result.index.columns.slices):
        number = finished_run.LAYERS.index(result.chosen[block.roi])
        np.testing.assert_array_equal(found[where], candidates["test.correlation"][number, where])


def test_transfer_networks_have_curves_and_only_they(tmp_path, page):
    html = report.render(sources_of(tmp_path, finished_run.make(tmp_path, transfer=True))).page
    assert "Training of transfer networks" in html and 'href="#training"' in html
    assert "Training of transfer networks" not in page and 'href="#training"' not in page
    read = row_results.read(Paths(tmp_path), finished_run.params.load(Paths(tmp_path).params).experiments.rows)
    tables = report.plots(read)
    assert set(tables["curves"]["row"]) == {f"{finished_run.TRANSFER} (random weights)"}
    assert not any(finished_run.TRANSFER in row for row in tables["profile"]["row"])
    assert f"Bases with random weights: {finished_run.TRANSFER}." in html
    trained = tables["curves"][tables["curves"]["clips"] == "validation"]
    curves = finished_run.curves(Paths(tmp_path), "validation_correlation")
    assert len(curves) == 9 and trained["correlation"].tolist() == pytest.approx(np.mean(list(curves.values()), axis=0))


def test_a_long_list_of_candidates_is_cut_and_keeps_the_chosen(made, monkeypatch):
    monkeypatch.setattr(tables, "SHOWN_CANDIDATES", 2)
    result = made.results[1]
    found = tables.profile(result)
    assert found.left_out == len(finished_run.LAYERS) - len(found.spaces)
    assert set(result.chosen.values()) <= set(found.spaces)


def test_long_names_of_spaces_do_not_lie_on_each_other_below_a_panel(made):
    shown = tables.profile(made.results[0])
    assert f">{shown.spaces[0]}<" in figures.profiles(shown) and ">first<" not in figures.profiles(shown)
    longer = {space: f"lite0.blocks.{space}.avg5" for space in shown.spaces}
    tables_of = {split: table.replace({"space": longer}) for split, table in shown.by_split.items()}
    chosen = {roi: {longer[space]: share for space, share in found.items()}
              for roi, found in shown.result.outcome.chosen.items()}  # fmt: skip
    result = replace(shown.result, outcome=shown.result.outcome.model_copy(update={"chosen": chosen}))
    drawn = figures.profiles(replace(shown, result=result, spaces=tuple(longer.values()), by_split=tables_of))
    assert drawn.count(">first<") == drawn.count(">last<") == 9


def test_candidates_are_paired_over_splits(made):
    pairs, chosen = scatters.candidate_pairs(made.results[:1])
    result = made.results[0]
    assert len(pairs) == len(finished_run.LAYERS) * 9
    assert chosen.sum() == 9
    np.testing.assert_array_equal(pairs[:, 1], result.table("test")["normalized_correlation"])


def test_plots_have_a_line_per_row_and_roi_and_per_candidate(made):
    plots = report.plots(made.results)
    assert list(plots["scores"].columns) == ["row", "roi", "score", "low", "high"]
    assert len(plots["scores"]) == 9 + 9 + 1
    assert list(plots["profile"].columns) == ["row", "roi", "layer_index", "layer", "score"]
    assert len(plots["profile"]) == (9 + 9 + 1) * len(finished_run.LAYERS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1234, ".123"), (-0.0456, "−.046"), (1.02, "1.020"), (-0.0001, ".000"), (None, "–"), (float("nan"), "–")],
)
def test_numbers_are_printed_as_correlations(value, expected):
    assert svg.shown(value) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.11, 0.52, [-0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (-0.02, 0.2, [0, 0.05, 0.1, 0.15, 0.2]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert svg.ticks(low, high, 7) == pytest.approx(expected)


def fits_of(name, diagnostics, regressor="lasso", features="layer", used=("c1",), n_voxels=10):
    index = SimpleNamespace(diagnostics=diagnostics, n_voxels_of=lambda space: n_voxels, named={})
    row = SimpleNamespace(regressor=regressor, way=features, is_transfer=features == "frozen")
    outcome = SimpleNamespace(chosen={"V1": dict.fromkeys(used, 1.0)})
    return SimpleNamespace(name=name, index=index, row=row, outcome=outcome)


def solver_lines(*rows, normalize=False):
    ridge = {"alphas": [1.0, 10.0], "per": "voxel"}
    options = {"lasso": {"alpha_ratio": 0.1}, "ridge": ridge, "best": {"candidates": {"ridge": ridge, "linear": {}}}}
    reduction = SimpleNamespace(normalize=normalize)
    return solvers.solver_lines(rows, SimpleNamespace(regressors=options, reduction=reduction))


def test_what_solvers_say_of_themselves_is_counted_over_voxels_and_spaces():
    alpha = {"min": 0.1, "median": 1.0, "max": 5.0}
    diagnostics = {
        "c1": {"empty": 3, "not_converged": 0, "alpha": alpha},
        "c2": {"empty": 1, "not_converged": 2, "alpha": alpha | {"max": 9.0}},
    }
    network = fits_of("c", {"frozen": {"best_epoch": 1, "curves": {}}}, features="frozen")
    assert solver_lines(fits_of("a", diagnostics), fits_of("b", {"c1": {"constant": 1}}), network) == [
        solvers.SolverLine("a", 20, 0.2, 0.1, (0.1, 1.0, 9.0)),
        solvers.SolverLine("b", 10, None, None, None),
    ]


def test_alphas_at_an_end_of_their_grid_are_told_of_the_chosen_spaces():
    there, elsewhere = {"alpha_lowest": 5, "alpha_highest": 6}, {"alpha_lowest": 70, "alpha_highest": 0}
    [line] = solver_lines(fits_of("a", {"c1": there, "c2": elsewhere}, "ridge", n_voxels=100))
    assert line.warnings == (
        "alpha is the highest of its grid for 6% of the voxels on the chosen feature spaces, and the error still falls "
        "there: give regressors.ridge.alphas larger alphas",
    )
    [line] = solver_lines(fits_of("a", {"c1": there, "c2": elsewhere}, used=("c1", "c2"), n_voxels=100))
    [warning] = line.warnings
    assert "lowest of its grid for 38%" in warning
    assert warning.endswith("give regressors.lasso.alpha_ratio a smaller value")


def test_empty_models_of_most_voxels_are_told():
    [line] = solver_lines(fits_of("a", {"c1": {"empty": 6}, "c2": {"empty": 0}}))
    assert line.warnings[0].startswith("60% of the models are empty")
    assert solver_lines(fits_of("a", {"c1": {"empty": 5}, "c2": {"empty": 10}}))[0].warnings == ()


@pytest.mark.parametrize(("regressor", "named"), [("ridge", "ridge"), ("best", "ridge"), ("lasso", None)])
def test_ridge_that_is_least_squares_says_so_and_its_alpha_nothing(regressor, named):
    ends = {"c1": {"alpha_highest": 9}}
    [line] = solver_lines(fits_of("a", ends, regressor), normalize=True)
    if named:
        [warning] = line.warnings
        assert warning.startswith(f"{named} on one layer's components of unit variance is least squares")
    assert all(
        "least squares" not in warning
        for features in ("all", "layer_raw", "layer_poly2")
        for warning in solver_lines(fits_of("a", ends, regressor, features), normalize=True)[0].warnings
    )
    assert "least squares" not in str(solver_lines(fits_of("a", ends, regressor))[0].warnings)


def test_ridge_that_is_least_squares_on_a_named_space_says_so_and_other_spaces_alphas_still_count():
    space = {"network": "a", "layer": "b", "pool": "max3", "over_frames": "mean", "standardize": True}
    named = {"c1": space | {"n_components": 5}, "c2": space | {"n_components": None}}
    ends = {"c1": {"alpha_highest": 9}, "c2": {"alpha_highest": 1}}
    result = fits_of("a", ends, "ridge", used=("c1", "c2"))
    result.index.named = named
    result.row = JointRow(
        track="mini", label="a", spaces=["c1", "c2"], together="each", regressor="ridge", reported=None
    )
    even, alpha = solver_lines(result, normalize=True)[0].warnings
    assert even.startswith("ridge on one space's components of unit variance") and even.endswith("in these spaces: c1")
    assert alpha.startswith("alpha is the highest of its grid for 10% of the voxels")
    assert solver_lines(result)[0].warnings[0].startswith("alpha is the highest of its grid for 50% of the voxels")
    result.index.named = dict.fromkeys(named, named["c1"])
    assert solver_lines(result, normalize=True)[0].warnings == (even.replace(": c1", ": c1, c2"),)
    result.row = result.row.model_copy(update={"together": "concat"})
    assert "least squares" not in str(solver_lines(result, normalize=True)[0].warnings)


def test_only_the_highest_score_is_bold(made):
    lines = tables.score_lines(made, "mini")
    assert [line.score.best for line in lines] == [line is lines[0] for line in lines]


def test_digits_of_the_heat_map_can_be_read_on_every_ground():
    def luminance(colour):
        digits = (
            re.findall(r"\d+", colour) if colour.startswith("rgb") else [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        )
        values = np.array(digits, dtype=float) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for value in [None, *np.linspace(-0.1, 1, 200)]:
        low, high = sorted(map(luminance, figures.heat_colours(value, 1.0)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, value


def test_the_heat_maps_of_all_rows_have_one_scale(made):
    """In a file as on the page: the colour of the highest score of all rows stands in one row's map alone."""
    found = report.render(made)
    darkest = figures.heat_colours(1.0, 1.0)[0]
    profiles = [p for result in made.results if (p := tables.profile(result)) is not None]
    tops = {p.result.name: np.nanmax(p.values(p.result.split)) for p in profiles}
    for name, top in tops.items():
        assert (darkest in found.drawings[f"heat-{name}"]) == (top == max(tops.values()))


def test_the_scores_are_drawn_for_a_phone_too(made, page):
    drawing = figures.forest(tables.score_lines(made, "mini"), figures.NARROW)
    assert drawing in page
    assert all(0 <= float(x) <= figures.NARROW for x in re.findall(r'(?:text x|circle cx)="([^"]+)"', drawing))
    assert drawing.count("score .") == figures.forest(tables.score_lines(made, "mini")).count("score .") > 0


def test_choices_stand_beside_what_drives_the_voxels(made):
    """Layers of a row of the generating network, and spaces of a row that chooses among some of it."""
    grids = {"network": "efficientnet_lite0", "layer": "blocks.3.2", "pool": ["max3", "max5"]}
    deep = {"network": "efficientnet_lite0", "layer": "blocks.5.3", "pool": "avg2"}
    other = {"network": "alexnet", "layer": "features.4", "pool": "max5"}
    rest = {"over_frames": "mean", "standardize": False, "n_components": None}
    most = {"network": "efficientnet_lite0", "layer": "blocks.3.2", "pool": "max5"}
    entries = {"mid": grids, "deep": deep, "other": other, "most": most}
    rows = {
        name: {"track": "mini", "label": "maps", "spaces": list(entries), "together": together, "regressor": "ridge"}
        | {"reported": None}
        for name, together in (("mini-maps-each-ridge", "each"), ("mini-maps-stack-ridge", "stack"))
    }
    document = made.params.model_dump(mode="json")
    document["spaces"] = {name: entry | rest for name, entry in entries.items()}
    document["spaces"]["most"]["over_frames"] = "max"
    document["experiments"]["joint"] = rows
    driving = {"V1": "blocks.3.2:max5", "V2": "blocks.3.2", "V3": "blocks.4.2:max3 + motion", "V4": "gabor_energy"}
    document["simulation"]["generators"] |= driving
    found = parse(document, "params.yaml")

    def result(name, chosen):
        row = found.experiments.rows[name]
        spaces = ("blocks.2.1", "blocks.3.2", "blocks.4.2")
        named = found.spaces_of(row) if name in rows else {}
        index = SimpleNamespace(
            networks=("efficientnet_lite0",), spaces=spaces, named={key: one.to_json() for key, one in named.items()}
        )
        return SimpleNamespace(name=name, row=row, index=index, chosen=dict.fromkeys(found.dataset.rois, chosen))

    def verdicts(*results):
        sources = SimpleNamespace(params=found, of_track=lambda track: results)
        lines = known_truth.recovered(sources)
        assert [line.roi for line in lines] == (found.dataset.rois if lines else [])
        return {line.generator: [(one.verdict, one.kind) for one in line.chosen] for line in lines}

    each, stack = rows
    assert verdicts(result(stack, "stack")) == {}
    five, three, away, none = (verdicts(result(each, name)) for name in ("mid.max5", "mid.max3", "deep", "other"))
    whole = verdicts(result(RIDGE, "blocks.3.2"))
    most = verdicts(result(each, "most"))  # the generating map, of which the truth is the mean over frames
    assert most["blocks.3.2:max5"] == [("the same, but its maximum over frames", "near")]
    assert most["blocks.3.2"] == [("the same layer, pooled otherwise", "near")]
    assert five["blocks.3.2:max5"] == [("the same", "hit")]
    assert whole["blocks.3.2"] == [("the same", "hit")]
    for pooled in (three["blocks.3.2:max5"], five["blocks.3.2"], whole["blocks.3.2:max5"]):
        assert pooled == [("the same layer, pooled otherwise", "near")]
    assert five["blocks.4.2:max3 + motion"] == whole["blocks.4.2:max3 + motion"] == [("1 layer away", "near")]
    assert away["blocks.3.2:max5"] == [("2 layers away", "")]
    assert none["blocks.3.2"] == [("another network", "")]
    assert five["gabor_energy"] == whole["gabor_energy"] == [("", "")]
    document["features"]["over_frames"] = "max"
    found = parse(document, "params.yaml")
    whole = verdicts(result(RIDGE, "blocks.3.2"))
    assert whole["blocks.3.2"] == [("the same, but its maximum over frames", "near")]
    assert verdicts(result(each, "mid.max5"))["blocks.3.2:max5"] == [("the same", "hit")]
    both = known_truth.recovered(
        SimpleNamespace(params=found, of_track=lambda _: (result(each, "deep"), result(RIDGE, "blocks.2.1")))
    )
    assert [one.row for one in both[0].chosen] == ["maps each ridge", "layer ridge"]


def test_scores_stand_in_other_units_too(made, page):
    """The normalized ones are the scores; squares are of voxels, before any mean."""
    for track in ("mini", "full"):
        columns, ceiling = made.ceilings[track].columns, made.ceilings[track].ceiling["test"]
        lines = units.unit_lines(made, track)
        assert [line.result for line in lines] == list(made.of_track(track))
        for line in lines:
            r = line.result.voxels["test.correlation"]
            means = {}
            for block, where in zip(columns.blocks, columns.slices):
                shares = [
                    max(0.0, float(r[v])) ** 2 / float(ceiling[v]) ** 2
                    for v in range(where.start, where.stop)
                    if ceiling[v] == ceiling[v]
                ]
                means.setdefault(block.roi, []).append(np.mean(shares))
            assert line.normalized == pytest.approx(line.result.scores.score, abs=1e-5)
            assert line.explained == pytest.approx(np.mean([np.mean(own) for own in means.values()]), abs=1e-9)
            assert line.ceiling == pytest.approx(tables.ceilings(made, track, "test")["all"])
    lines = units.ceiling_lines(made, "mini", "test")
    counts = tables.voxel_counts(made, "mini", "test")
    assert [(line.roi, pytest.approx(line.reliability)) for line in lines] == [(c.roi, c.reliability) for c in counts]
    assert "Ceilings with intervals, and the same scores" in page and "r² / reliability" in page


def test_the_interval_of_a_ceiling_is_of_the_stage(made):
    paths = Paths(made.results[0].folder.parents[2])
    means = io.read_json(paths.ceiling("mini") / "index.json")["means"]["test"]
    ceiling = replace(made.ceilings["mini"], intervals={"test": {"V1": (-0.1, 0.25)}})
    [line, *others] = units.ceiling_lines(replace(made, ceilings={**made.ceilings, "mini": ceiling}), "mini", "test")
    assert (line.low, line.high, line.ceiling[1:]) == (-0.1, 0.25, (0.0, 0.5))
    assert others[0].low is None and len(others[0].ceiling) == 1
    assert means["rois"]["V1"]["reliability"] == pytest.approx(line.reliability)
    assert means["rois"]["V1"]["low"] < line.reliability < means["rois"]["V1"]["high"]

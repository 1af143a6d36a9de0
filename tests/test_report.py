"""The report: complete, self-contained, the same bytes again, and plain about what is no result."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fabricate
from cinevox import identity, io, report, results
from cinevox.metrics import noise_ceilings
from cinevox.params import load
from cinevox.paths import Paths
from cinevox.report import figures, solvers, svg, tables
from cinevox.report.sources import Ceiling, Sources, Truth

MINI, RIDGE, FULL = fabricate.ROWS

PAPER_ROWS = tuple(load(Path(__file__).parents[1] / "params.paper.yaml").experiments.rows.values())


def sources_of(root, params, in_silico=True, anatomy=None):
    """What `report.read` would find, without a data set on disk."""
    paths = Paths(root)
    ceilings, truth = {}, {}
    for track in ("mini", "full"):
        columns = fabricate.columns_of(track)
        reliability = io.read_arrays(paths.ceiling(track) / "reliability.npz")
        shown = io.read_json(paths.ceiling(track) / "index.json")["n_repetitions"]
        reachable = noise_ceilings(reliability, shown, "exclude", 0.1)
        ceilings[track] = Ceiling(columns, reliability, reachable, shown)
        silent = np.arange(columns.n_voxels) % 7 == 0
        names = np.where(silent, "none", "layer_1")
        truth[track] = Truth(names, {split: np.clip(values, 0, 1) for split, values in reliability.items()})
    good = {"suite": "clips", "expected": "a clip can be opened", "success": True, "n_files": 84, "n_unexpected": 0}
    odd = good | {"suite": "features", "expected": "features differ", "success": False, "n_files": 3, "n_unexpected": 2}
    summary = {"n_files": {"clips": 84}, "n_errors": 0, "n_warnings": 0, "checks": [good] * 12}
    return Sources(
        params=params,
        dataset="In-silico",
        licence="made here, free to use",
        in_silico=in_silico,
        results=results.read(paths, params.experiments.rows),
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
    return sources_of(root, fabricate.make(root))


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
    selected = made.results[1].selection["scores"]["test"]
    assert f"{svg.shown(selected['score'])}<span" in page
    assert svg.shown(selected["rois"]["LOC"]["normalized_correlation"]) in page
    assert [line.result.name for line in tables.score_lines(made, "mini")] == [RIDGE, MINI]


def test_what_validation_found_stands_there_with_its_pages(page):
    assert "12 checks of every file (84 clips): all as expected" in page
    assert "2 checks of every file (3 features): 0 errors, 1 warning;" in page
    assert "features: 2 of 3 are not as expected, which is: features differ" in page
    for step in ("validation", "checks"):
        assert f'href="../data/{step}/data_docs/index.html"' in page
        assert "blank without a network" in page and f'href="../data/{step}/summary.json"' in page


def test_what_is_no_result_says_so(page):
    warning = re.search(r"<aside.*?</aside>", page, re.S).group()
    assert "in-silico" in warning and "Random weights</b>: alexnet" in warning
    assert "efficientnet_lite0" not in warning
    assert "not comparable" in page


def test_real_data_and_pretrained_weights_stand_beside_the_paper(made, tmp_path):
    params = fabricate.make(tmp_path)
    sources = sources_of(tmp_path, params, in_silico=False)
    doubtful, clean = (next(r for r in sources.results if r.name == name) for name in (MINI, RIDGE))
    assert list(tables.doubts(sources, doubtful)) == ["random weights"]
    assert list(tables.doubts(sources, clean)) == []
    text = report.render(sources).page
    assert 'id="truth"' not in text
    assert "The data are <b>in-silico</b>" not in text


def test_without_test_responses_the_page_says_that_scores_flatter(tmp_path):
    params = fabricate.make(tmp_path, test=False)
    text = report.render(sources_of(tmp_path, params)).page
    assert "so they flatter" in text
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
        number = fabricate.LAYERS.index(result.chosen[block.roi])
        np.testing.assert_array_equal(found[where], candidates["test.correlation"][number, where])


def test_transfer_networks_have_curves_and_only_they(tmp_path, page):
    html = report.render(sources_of(tmp_path, fabricate.make(tmp_path, transfer=True))).page
    assert "Training of transfer networks" in html and 'href="#training"' in html
    assert "Training of transfer networks" not in page and 'href="#training"' not in page
    read = results.read(Paths(tmp_path), fabricate.params.load(Paths(tmp_path).params).experiments.rows)
    tables = report.plots(read)
    assert set(tables["curves"]["row"]) == {fabricate.TRANSFER}
    assert fabricate.TRANSFER not in set(tables["profile"]["row"])
    trained = tables["curves"][tables["curves"]["clips"] == "validation"]
    assert trained["correlation"].tolist() == pytest.approx([0.0, 0.3, 0.2])


def test_a_long_list_of_candidates_is_cut_and_keeps_the_chosen(made, monkeypatch):
    monkeypatch.setattr(tables, "SHOWN_CANDIDATES", 2)
    result = made.results[1]
    found = tables.profile(result)
    assert found.left_out == len(fabricate.LAYERS) - len(found.spaces)
    assert set(result.chosen.values()) <= set(found.spaces)


def test_candidates_are_paired_over_splits(made):
    pairs, chosen = figures.candidate_pairs(made.results[:1])
    result = made.results[0]
    assert len(pairs) == len(fabricate.LAYERS) * 9
    assert chosen.sum() == 9
    np.testing.assert_array_equal(pairs[:, 1], result.table("test")["normalized_correlation"])


def test_plots_have_a_line_per_row_and_roi_and_per_candidate(made):
    plots = report.plots(made.results)
    assert list(plots["scores"].columns) == ["row", "roi", "score", "low", "high"]
    assert len(plots["scores"]) == 9 + 9 + 1
    assert list(plots["profile"].columns) == ["row", "roi", "layer_index", "layer", "score"]
    assert len(plots["profile"]) == (9 + 9 + 1) * len(fabricate.LAYERS)


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


def test_what_solvers_say_of_themselves_is_counted_over_voxels_and_spaces():
    from types import SimpleNamespace

    alpha = {"min": 0.1, "median": 1.0, "max": 5.0}
    diagnostics = {
        "c1": {"empty": 3, "not_converged": 0, "alpha": alpha},
        "c2": {"empty": 1, "not_converged": 2, "alpha": alpha | {"max": 9.0}},
    }
    index = SimpleNamespace(diagnostics=diagnostics, columns=SimpleNamespace(n_voxels=10))
    plain = SimpleNamespace(diagnostics={"c1": {"constant": 1}}, columns=index.columns)
    network = SimpleNamespace(diagnostics={"frozen": {"best_epoch": 1, "curves": {}}}, columns=index.columns)
    rows = {"a": index, "b": plain, "c": network}
    lines = solvers.solver_lines(SimpleNamespace(name=name, index=index) for name, index in rows.items())
    assert lines == [
        solvers.SolverLine("a", 20, 0.2, 0.1, (0.1, 1.0, 9.0)),
        solvers.SolverLine("b", 10, None, None, None),
    ]


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

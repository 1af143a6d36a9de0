"""The report beside the paper: tables, verdicts, figures, rows in pairs, and how far a choice can be trusted."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import finished_run
from cinevox.outlets import report
from cinevox.outlets.report import optimism, paper, regions, row_pairs, tables
from cinevox.outlets.report.svg import shown
from cinevox.project.params import MINI_ROIS
from cinevox.scoring import claims
from test_report import sources_of

MINI, RIDGE, FULL = finished_run.ROWS


@pytest.fixture(scope="module", autouse=True)
def challenge():
    """The challenge is as small as the made-up run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "CHALLENGE", finished_run.CHALLENGE)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("paper")
    return sources_of(root, finished_run.make(root, transfer=True), in_silico=False)


def test_every_row_of_the_papers_tables_is_there_in_the_papers_order(made):
    mini, full = paper.paper_lines(made, "mini"), paper.paper_lines(made, "full")
    assert (len(mini), len(full)) == (19, 9)
    for lines in (mini, full):
        reported = [line.reported for line in lines]
        assert reported == sorted(reported, reverse=True)
        assert [line.place for line in lines] == list(range(1, len(lines) + 1))
        assert len({line.words for line in lines}) == len(lines)  # no two rows read the same
    assert mini[0].row.name == "mini-resnet18_ssl-layer-lasso"
    assert full[0].row.name == "full-nasnet_mobile-layer_raw-res"


def test_rows_of_this_run_stand_beside_it_and_the_others_say_so(made):
    lines = {line.row.name: line for line in paper.paper_lines(made, "mini")}
    ours = next(result for result in made.results if result.name == MINI)
    line = lines[MINI]
    assert line.score == ours.scores.score
    assert line.verdict == "not comparable: random weights" and line.reproduced is None
    assert line.difference is None and {lines[MINI].here, lines[finished_run.TRANSFER].here} == {None}
    absent = lines["mini-vgg16_bn-layer-lasso"]
    assert (absent.verdict, absent.score, absent.here) == ("not in this run", None, None)


@pytest.mark.parametrize(
    ("reported", "doubts", "verdict", "reproduced"),
    [
        (0.42, (), "reproduced", True),
        (0.40, (), "reproduced", True),
        (0.50, (), "not reproduced: lower here", False),
        (0.30, (), "not reproduced: higher here", False),
        (0.42, ("in-silico data",), "not comparable: in-silico data", None),
    ],
)
def test_a_row_is_reproduced_if_the_reported_score_lies_in_our_interval(reported, doubts, verdict, reproduced):
    assert paper.judge(reported, 0.43, 0.40, 0.46, doubts) == (verdict, reproduced)


def test_a_row_without_a_score_has_no_verdict():
    assert paper.judge(0.4, None, None, None, ()) == ("no score", None)


def test_the_leaderboards_track_score_is_the_mean_of_its_regions():
    teams = paper.leaderboard()
    assert [team.place for team in teams] == sorted(team.place for team in teams)
    for team in teams:
        assert np.mean([team.scores[roi] for roi in MINI_ROIS]) == pytest.approx(team.scores["mini"], abs=2e-4)


def test_rows_are_compared_in_pairs_over_the_same_clips(made):
    found = row_pairs.in_pairs(made, "mini")
    assert len(found.rows) == 3 and len(found.cells) == 3
    scores = [result.scores.score for result in found.rows]
    assert scores == sorted(scores, reverse=True)
    for (a, b), cell in found.cells.items():
        assert cell.difference == pytest.approx(scores[a] - scores[b])
        assert cell.low <= cell.difference + 0.05 and cell.high >= cell.difference - 0.05
        assert cell.n_subjects == len(finished_run.SUBJECTS)
    expected = stats.false_discovery_control([cell.p for cell in found.cells.values()])
    np.testing.assert_allclose([found.q[pair] for pair in found.cells], expected)
    assert found.n_apart == int((expected <= 0.05).sum())
    assert row_pairs.in_pairs(made, "full") is None  # one row alone


def test_a_rows_own_figure_has_each_regions_score_and_ceiling(made):
    drawings = report.render(made).drawings
    for result in made.results:
        drawing = drawings[f"scores-{result.name}"]
        known = tables.ceilings(made, result.row.track, result.split)
        for roi, values in result.scores.rois.items():
            assert f"<title>{roi} {shown(values.normalized_correlation)}</title>" in drawing
            assert f">{shown(values.correlation)} of {shown(known[roi])}, {result.chosen[roi]}<" in drawing


def test_figures_hold_the_scores_they_draw(made):
    figures = {figure.name: figure for figure in regions.figures(made)}
    assert list(figures) == ["figure-1", "figure-2", "figure-3"]
    by_row = {result.name: result for result in made.results}
    for line in figures["figure-1"].table.to_dict("records"):
        values = by_row[line["row"]].scores.rois[line["roi"]]
        assert (line["score"], line["low"]) == (values.normalized_correlation, values.low)
    subject = made.params.report.subject
    for line in figures["figure-2"].table.to_dict("records"):
        own = by_row[line["row"]].outcome.scores["validation"].subjects[subject].rois
        assert line["score"] == own[line["roi"]]
    assert set(figures["figure-3"].table["row"]) == {MINI, finished_run.TRANSFER}  # the rows on AlexNet
    assert f"validation clips, {subject}" in figures["figure-2"].title


def test_vector_graphics_stand_alone(made):
    found = report.render(made).drawings
    assert {"figure-1", "figure-2", "figure-3", f"heat-{RIDGE}", f"layers-{RIDGE}", "validation-test"} <= set(found)
    for name, drawing in found.items():
        root = ElementTree.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert float(root.get("width")) > 0 and float(root.get("height")) > 0
        assert "var(--" not in drawing and "fill:" in drawing


def test_the_heat_map_frames_the_chosen_layers(made):
    drawing = report.render(made).drawings[f"heat-{RIDGE}"]
    assert drawing.count('class="frame"') == len(MINI_ROIS)


def test_optimism_is_told_row_by_row(made):
    lines = optimism.optimism_lines(made)
    assert [line.result.name for line in lines if line.n_candidates == 1] == [finished_run.TRANSFER]
    for line in lines:
        validation, test = (line.result.outcome.scores[split].score for split in ("validation", "test"))
        assert line.difference == pytest.approx(validation - test)
        assert (line.choice is None) == (line.n_candidates == 1)
    steady = next(line for line in lines if line.result.name == RIDGE)
    shares = steady.result.outcome.frequencies
    assert steady.steady[1] >= steady.unsteady[1]
    assert steady.steady[1] == max(shares[roi].get(steady.result.chosen[roi], 0) for roi in shares)


def test_the_page_shows_all_of_it(tmp_path):
    """The challenge's data and published weights, and no responses to the test clips, as most have it."""
    found = sources_of(tmp_path, finished_run.make(tmp_path, test=False), in_silico=False)
    changes = {"weights": "pretrained", "official": True, "n_test_clips": 60}
    trained = tuple(finished_run.of_origin(result, **changes) for result in found.results)
    page = report.render(replace(found, results=trained)).page
    for words in ("Table 1: mini track", "Is one row better than another?", "leaderboard", "not comparable<"):
        assert words in page
    assert "Table 2" not in page  # its row is none of the paper's
    assert "In this run no row can be compared: chosen on the same clips, validation clips, not the test clips." in page
    assert 'href="figures/figure-1.svg"' in page and "Figure 1. " in page


def test_comparable_rows_are_judged_on_the_page(tmp_path):
    clean = sources_of(tmp_path, finished_run.make(tmp_path), in_silico=False)
    trained = (finished_run.of_origin(result, weights="pretrained", official=True) for result in clean.results)
    clean = replace(clean, results=tuple(trained))
    (line,) = [line for line in paper.paper_lines(clean, "mini") if line.score is not None]
    assert (line.row.name, line.here) == (MINI, 1) and line.difference == pytest.approx(line.score - line.reported)
    text = report.render(clean).page
    assert "In this run no row can be compared" not in text
    assert "reproduced" in text

"""A study that has nothing of the challenge: every outlet speaks of its own images, ROIs and subjects."""

import gzip
import json
import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

import image_study
from cinevox import cli
from cinevox.cli import _predictions
from cinevox.encoding.about import Region
from cinevox.files import io
from cinevox.measured import datasets
from cinevox.outlets import report
from cinevox.outlets.gate import read_current
from cinevox.outlets.report import figures, predicted, subjects, tables
from cinevox.outlets.tracking import records, views
from cinevox.scoring import claims, row_results
from cinevox.scoring.origin import Origin
from image_study import FULL, ROIS, ROW, SUBJECTS, TITLE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield image_study.make(patch, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def sources(made):
    return report.read(made.paths, made.params)


@pytest.fixture(scope="module")
def rendered(sources):
    return report.render(sources)


def text_of(page):
    """What a reader sees of a page, and what the pointer shows."""
    titles = " ".join(re.findall(r"<title>(.*?)</title>", page))
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)) + titles)


def test_the_page_speaks_of_this_study_alone(rendered):
    text = text_of(rendered.page)
    for drawing in rendered.drawings.values():
        text += text_of(drawing)
    assert TITLE in text and "Over the 3 regions the best" in text and "sub-ann, sub-bob" in text
    for word in ("paper", "Algonauts", "challenge", "leaderboard", "submi", "nine", "9 regions", "Mini track", "sub01"):
        assert word.lower() not in text.lower(), word
    assert re.findall(r"\bclips?\b", text) == [] and "validation stimuli" in text
    assert "AlexNet" not in text and "figure-3" not in rendered.drawings


def test_rois_stand_in_the_order_of_the_parameters_everywhere(made, sources, rendered):
    """The first subject lacks the first ROI, so that the files have the others first."""
    [file] = row_results.read(made.paths, {ROW: made.params.experiments.rows[ROW]})
    assert file.index.columns.rois == ("LOC", "EVC", "OPA")
    result = next(result for result in sources.results if result.name == ROW)
    assert tuple(result.scores.rois) == ROIS and result.outcome.digest == file.outcome.digest
    assert [count.roi for count in tables.voxel_counts(sources, "mini", "test")] == [*ROIS]
    assert tables.profile(result).rois == ROIS
    drawing = figures.forest(tables.score_lines(sources, "mini"))
    for roi, values in result.scores.rois.items():  # a dot is named after the ROI whose score it is
        assert f"{roi} {values.score:.3f} (".replace(" 0.", " .") in drawing
    for name in ("figure-1", f"scores-{ROW}", f"heat-{ROW}"):
        found = [word for word in re.findall(r">(\w+)</text>", rendered.drawings[name]) if word in ROIS]
        assert found == [*ROIS], name
    [record, *_] = records.gather(made.paths, made.params, [ROW])
    columns = re.findall(r"metrics\.`(\w+)\.", str(views.experiment_tags([record])))
    assert list(dict.fromkeys(columns)) == [*ROIS]


def test_an_roi_that_a_subject_lacks_is_the_others_and_says_so(sources, rendered):
    [line, _] = tables.score_lines(sources, "mini")
    scores = line.result.scores
    assert scores.rois["OPA"].score == pytest.approx(scores.subjects["sub-bob"].rois["OPA"])
    assert "OPA" not in scores.subjects["sub-ann"].rois
    assert line.result.n_subjects == {"OPA": 1, "LOC": 2, "EVC": 2}
    assert subjects.lacking(line.result) == [subjects.LackingRoi("OPA", ("sub-bob",), ("sub-ann",))]
    text = " ".join(text_of(rendered.page).split())
    assert "OPA : sub-ann has no such region. Its scores are those of sub-bob" in text
    assert "OPA 1 of 2 subjects" in text
    assert "validation stimuli, sub-ann (who has no OPA)" in text
    assert "OPA" not in text_of(rendered.drawings["figure-2"]).split()


def test_subjects_who_saw_other_images_are_counted_on_their_own(sources, rendered):
    text = " ".join(text_of(rendered.page).split())
    assert "Subjects saw different stimuli" in text
    [ann, bob] = subjects.own_stimuli(sources.results[0])
    assert (ann.subjects, ann.counts["test"], bob.counts["test"]) == (("sub-ann",), 45, 45)
    assert f"sub-bob saw of these {bob.counts['validation']} validation and 45 test" in text


def test_subjects_without_a_common_grid_have_maps_of_their_own(sources):
    """One in a volume of its own, the other on a surface: every value where its place is, NaN elsewhere."""
    rng = np.random.default_rng(0)
    shape, affine = (7, 8, 9), ((2.0, 0, 0, 1), (0, 2, 0, 2), (0, 0, 2, 3), (0, 0, 0, 1))
    voxels = np.stack(np.unravel_index(np.sort(rng.permutation(504)[:300]), shape), axis=1)
    vertices = np.stack([np.repeat([0, 1], 150), np.concatenate([rng.permutation(200)[:150] for _ in "LR"])], axis=1)
    places = {
        "sub-ann": datasets.OwnVoxels(voxels, datasets.Grid(shape, affine, "T1w")),
        "sub-bob": datasets.OwnVertices(vertices, {"L": 200, "R": 200}, "fsnative"),
    }
    own = replace(sources, places=places)
    files = {path.removeprefix(f"maps/{FULL}/"): content for path, content in report.map_files(own)}
    [result] = own.of_track("full")
    for statistic, name in (("r", "correlation"), ("r_desc-normalized", "normalized")):
        values = result.voxels[f"test.{name}"]
        content = files[f"sub-ann_space-T1w_stat-{statistic}_statmap.nii.gz"]
        volume = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        np.testing.assert_array_equal(volume.get_fdata(dtype=np.float32)[tuple(voxels.T)], values[:300])
        assert np.isfinite(volume.get_fdata()).sum() == np.isfinite(values[:300]).sum()
        for side, mine in (("L", slice(0, 150)), ("R", slice(150, 300))):
            content = files[f"sub-bob_hemi-{side}_space-fsnative_stat-{statistic}_statmap.func.gii"]
            surface = nibabel.GiftiImage.from_bytes(content).agg_data()
            np.testing.assert_array_equal(surface[vertices[mine, 1]], values[300:][mine])
            assert len(surface) == 200
    told = json.loads(files["sub-bob_hemi-R_space-fsnative_stat-q_statmap.json"])
    assert told["Description"] == "q, sub-bob, test stimuli" and told["SpatialReference"] == "fsnative"
    report_of = own.params.report.model_copy(update={"brain_row": FULL})
    page = report.render(replace(own, params=own.params.model_copy(update={"report": report_of}))).page
    links = set(re.findall(rf'href="maps/{FULL}/([^"]+)"', page))
    assert links == {name for name in files if not name.endswith(".json")} and len(links) == 9
    assert "no volume of a template in common (their space: T1w, fsnative)" in page


def test_mlflow_speaks_of_this_study_alone(made):
    found = records.gather(made.paths, made.params)
    notes = {record.name: record.note for record in found}
    assert notes[ROW].startswith(f"ridge on layer of efficientnet_lite0, 3 regions, {TITLE} data.")
    assert ", the whole brain, " in notes[FULL] and "on the test stimuli" in notes[FULL]
    assert "| OPA (1 of 2 subjects) |" in notes[ROW] and "| LOC |" in notes[ROW]
    for note in notes.values():
        for word in ("paper", "Algonauts", "mini track", "clip"):
            assert word not in note.partition("Files:")[0]
    assert not any("paper" in name for record in found for name in record.metrics)
    assert found[0].metrics["sub-bob/OPA.normalized_correlation"] > 0
    assert "sub-ann/OPA.normalized_correlation" not in found[0].metrics


def test_the_gate_counts_the_images_of_each_subject(made):
    """What one subject saw changes; what anybody saw does not."""
    made.accept()
    assert not made.judged().failed
    drawn = read_current(made.paths, made.params).rows[ROW].drawn
    assert drawn["n_clips"] == 45
    index = made.paths.scores(ROW) / "index.json"
    content = io.read_json(index)
    _, clips = content["by_cohort"]["cohort-1"]
    other = sorted({*content["clips"]["test"]} - {*clips["test"]})[0]
    before, clips["test"] = clips["test"], sorted([*clips["test"][1:], other])
    kept = index.read_bytes()
    try:
        io.write_json(index, content)
        assert len(before) == len(clips["test"])
        assert made.judged().unpaired[ROW] == "other stimuli"
    finally:
        index.write_bytes(kept)


def test_the_screen_speaks_of_this_study_alone(made, monkeypatch, capsys):
    monkeypatch.chdir(made.paths.root)
    assert cli.main(["scores"]) == 0
    said = capsys.readouterr().out
    assert "interval over stimuli" in said and "clip" not in said and "paper" not in said
    header = said.splitlines()[0].split()
    assert [word for word in header if word in ROIS] == [*ROIS]
    assert cli.main(["rows"]) == 0  # without params.paper.yaml
    said = capsys.readouterr().out
    assert said.split()[:2] == ["row", "track"] and ROW in said and "paper" not in said


def test_predictions_stand_under_the_subject_they_are_of():
    numbers = {"n_voxels": 2, "n_scored": 2, "normalized_correlation": 0.5, "correlation": 0.4, "ceiling": 0.8}
    ends = {"low": -1.0, "median": 0.0, "high": 1.0}
    regions = [
        Region(subject=subject, roi=roi, **numbers, **ends)
        for subject in SUBJECTS
        for roi in ROIS
        if (subject, roi) != image_study.LACKING
    ]
    lines = predicted.lines(regions, np.array([0.2, 0.3, 0.4, 0.5, 0.6]))
    [opa] = [line for line in lines if line.roi == "OPA"]
    assert opa.of(SUBJECTS) == [None, 0.4] and opa.of(SUBJECTS[::-1]) == [0.4, None]
    table = _predictions.on_screen(SUBJECTS, [SimpleNamespace(lines=lines)])
    cells = {column.header: list(column.cells) for column in table.columns}
    place = cells["ROI"].index("OPA")
    assert [cells[subject][place] for subject in SUBJECTS] == ["–", "+.400"]


@pytest.mark.parametrize(
    ("files", "word"),
    [(("a.mp4", "b.webm"), "clips"), (("a.mp4", "b.JPG"), "stimuli"), (("a.png",), "stimuli"), ((None,), "stimuli")],
)
def test_stimuli_are_clips_where_all_are(tmp_path, monkeypatch, files, word):
    stimuli = [datasets.Stimulus(str(file), None if file is None else tmp_path / file) for file in files]
    monkeypatch.setattr(datasets, "stimuli_of", lambda dataset: stimuli)
    assert datasets.word_for_stimuli(None) == word


def test_the_paper_has_a_place_beside_data_of_its_regions_and_layout():
    voxels = {"V1": 3, "EBA": 3}
    known = Origin("insilico", "In-silico", True, "sub01", 9, 9, voxels, "package", True)
    assert all(claims.beside_the_paper(origin) for origin in (None, known))
    for change in ({"dataset": "trials"}, {"n_voxels": voxels | {"OPA": 3}}):
        assert not claims.beside_the_paper(Origin(**(vars(known) | change)))


def test_records_from_before_there_were_images_are_of_clips():
    origin = Origin("insilico", "In-silico", True, "sub01", 9, 9, {"V1": 3}, "package", True)
    written = origin.to_json()
    del written["stimuli"]
    assert Origin.from_json(written) == origin
    with pytest.raises(ValueError, match="stimuli is 3, expected str"):
        Origin.from_json(written | {"stimuli": 3})


def test_cautions_speak_of_the_studys_stimuli():
    found = claims.cautions(split="nested", chosen_here=True, plain=True, stimuli="stimuli")
    assert not any("clip" in " ".join(vars(caution).values()) for caution in found) and len(found) == 3
    assert np.all([claim.about("clips") == claim for claim in (claims.PLAIN_SCORE, claims.CHOSEN_HERE)])

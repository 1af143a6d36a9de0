"""`cinevox predict` as a user types it: what it writes, draws, says and refuses."""

import io as streams
import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import small_encoding
from cinevox import cli
from cinevox.encoding import store
from cinevox.encoding.clips import Predictor
from cinevox.outlets.report import predicted
from cinevox.project import params
from cinevox.project.paths import Paths
from conftest import ROOT
from small_encoding import COLUMNS

ROW = "mini-squeezenet-layer-ridge"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_encoding.study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def encoding(study):
    return small_encoding.encoding(study)


@pytest.fixture
def project(tmp_path, monkeypatch, encoding):
    """A folder with parameters and one encoding model."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    row = {"track": "mini", "network": "squeezenet", "features": "layer", "regressor": "ridge", "reported": None}
    document["networks"]["squeezenet"] = document["networks"]["alexnet"]
    document["experiments"]["voxelwise"][ROW] = row
    document["encoding"]["rows"].append(ROW)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    store.write(Paths(tmp_path).encoding(ROW), encoding)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_faulty_number_of_workers_is_refused_as_everywhere(project, study, capsys):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("n_jobs: -1", "n_jobs: -2"))
    assert cli.main(["predict", str(study.clips[0]), "--row", ROW]) == 2
    said = capsys.readouterr().err
    assert "parallel.n_jobs" in said and "-2" in said and "expected -1 (every core) or at least 1" in said


def test_a_clip_becomes_tables_voxels_volumes_pictures_and_a_page(project, study, encoding, capsys):
    assert cli.main(["predict", str(study.clips[0]), "--row", ROW]) == 0
    said, folder = capsys.readouterr().out, project / "predictions" / ROW
    assert sorted(path.name for path in (folder / "0000").iterdir()) == [
        "brain.png", "rois.png", "rois.svg", "sub01.nii.gz", "sub02.nii.gz", "voxels.npz",
    ]  # fmt: skip
    [found] = Predictor(encoding)([study.clips[0]])
    voxels = np.load(folder / "0000/voxels.npz")
    assert list(voxels) == ["sub01.V1", "sub01.V2", "sub02.V1", "sub02.V2"]
    np.testing.assert_array_equal(np.concatenate([voxels[name] for name in voxels]), found.responses[0])
    table = pd.read_csv(folder / "responses.csv").set_index(["subject", "roi"])
    for block, where in zip(COLUMNS.blocks, COLUMNS.slices):
        line = table.loc[block.subject, block.roi]
        assert line["response"] == pytest.approx(found.responses[0, where].mean(), rel=1e-5)
        assert (line["n_voxels"], line["normalized_correlation"]) == (block.n_voxels, 0.6)
    volume = nibabel.load(folder / "0000/sub01.nii.gz").get_fdata()
    place = encoding.voxels["place"][:7]
    np.testing.assert_allclose(volume.ravel()[place], found.responses[0, :7], rtol=1e-6)
    assert np.isfinite(volume).sum() == 7
    page = (folder / "index.html").read_text()
    assert 'src="0000/rois.svg"' in page and 'src="0000/brain.png"' in page
    for text in (page, said):
        assert "no finding about the brain" in text and "Random weights: an untrained baseline" in text
    assert "0.600" in said and "index.html" in said


def test_a_model_of_former_results_says_so_and_is_not_registered(project, study, capsys):
    folder = f"data/selection/{ROW}"
    stages = {f"encoding@{ROW}": {"deps": [{"path": folder, "md5": "old"}]},
              f"selection@{ROW}": {"outs": [{"path": folder, "md5": "new"}]}}  # fmt: skip
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    assert cli.main(["predict", str(study.clips[0]), "--row", ROW, "--no-pictures"]) == 0
    assert f"other results by now: `dvc repro encoding@{ROW}`" in capsys.readouterr().err
    assert cli.main(["register", ROW]) == 2
    assert f"run `dvc repro encoding@{ROW}` first" in capsys.readouterr().err


def test_so_does_a_model_of_several_networks(project, capsys):
    row, document = "mini-two-stack-ridge", yaml.safe_load((project / "params.yaml").read_text())
    space = {"layer": "a", "pool": "none", "over_frames": "mean", "standardize": True, "n_components": None}
    document["spaces"] = {name: space | {"network": "efficientnet_lite0"} for name in ("one", "other")}
    words = {"track": "mini", "label": "two", "spaces": ["one", "other"], "together": "stack", "regressor": "ridge"}
    document["experiments"]["joint"] = {row: words | {"reported": None}}
    document["encoding"]["rows"] = [row]
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    Paths(project).encoding(ROW).rename(Paths(project).encoding(row))
    folder = f"data/selection/{row}"
    stages = {f"encoding@{row}": {"deps": [{"path": folder, "md5": "old"}]},
              f"selection-joint@{row}": {"outs": [{"path": folder, "md5": "new"}]}}  # fmt: skip
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    assert cli.main(["register", row]) == 2
    assert f"run `dvc repro encoding@{row}` first" in capsys.readouterr().err


def test_the_page_has_every_network_with_its_frames(encoding):
    [source] = encoding.about.sources
    film = source.model_copy(
        update={
            "network": "motion_energy", "title": "Motion energy", "weights": {"policy": "none"},
            "frames": source.frames.model_copy(update={"count": 45}),
        }
    )  # fmt: skip
    twin = source.model_copy(update={"network": "alexnet", "title": "AlexNet"})
    about = encoding.about.model_copy(update={"sources": [source, twin, film]})
    page = predicted.page(about, ["sub01"], [])
    assert "2 frames of each clip" in page and "SqueezeNet 1.0 (random weights), AlexNet (random weights). 45" in page
    assert "go through Motion energy (a fixed computation). Responses are in made up" in page


def test_nothing_of_an_earlier_prediction_stays(project, study):
    folder = project / "predictions" / ROW / "0000"
    assert cli.main(["predict", str(study.clips[0]), "--row", ROW]) == 0
    assert cli.main(["predict", str(study.clips[0]), "--row", ROW, "--subject", "sub01", "--no-pictures"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["sub01.nii.gz", "voxels.npz"]


def test_several_clips_are_a_line_each_and_faulty_ones_are_named(project, study, capsys, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"\x89PNG")
    clips = [str(path) for path in (*study.clips[:2], bad)]
    assert cli.main(["predict", *clips, "--row", ROW, "--subject", "sub02", "--output", "out", "--no-pictures"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["clip", "0000", "0001", "trust"]
    assert "bad.mp4: it is a PNG image" in err
    table = pd.read_csv("out/responses.csv")
    assert set(table["subject"]) == {"sub02"} and list(dict.fromkeys(table["clip"])) == [0, 1]
    assert sorted(path.name for path in (project / "out/0000").iterdir()) == ["sub02.nii.gz", "voxels.npz"]


NAMES = ("=cmd|'calc'!A0", "[red]a[", "<script>alert(1)<")  # no slash: of files
REFUSED = {"a\x1b]0;b\x07": r"a\x1b]0;b\x07", "caf\udce9": r"caf\xe9", "a\nb": r"a\nb"}


def test_a_clips_name_is_no_markup_no_formula_and_nothing_a_terminal_obeys(project, study, capsys):
    """On the screen, in the page, in the table: a text, which says what can't be seen."""
    clips = [project / f"{name}.mp4" for name in NAMES]
    for path in clips:
        path.write_bytes(study.clips[0].read_bytes())
    bad = [project / f"{name}.mp4" for name in REFUSED]
    for path in bad:
        path.write_bytes(study.clips[0].read_bytes())
    assert cli.main(["predict", *map(str, [*clips, *bad]), "--row", ROW, "--no-pictures"]) == 1
    out, err = capsys.readouterr()
    for line, name in zip(out.splitlines()[1:], NAMES):
        assert line.startswith(name)
    assert all(f"{shown}.mp4: its name " in err for shown in REFUSED.values())
    assert "\x1b" not in err + out and "\x07" not in err + out
    folder = project / "predictions" / ROW
    table = pd.read_csv(folder / "responses.csv")
    assert list(dict.fromkeys(table["clip"])) == [f"'{NAMES[0]}", *NAMES[1:]]
    page = (folder / "index.html").read_text()
    assert "<h2>&lt;script&gt;alert(1)&lt;</h2>" in page and "<script" not in page
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(NAMES)
    assert all((folder / name / "sub01.nii.gz").is_file() for name in NAMES)


def test_a_clip_of_another_length_gets_a_caution_and_a_bad_name_loses_nothing(project, study, capsys, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    usual = study.clips[0].read_bytes()
    for name in (b"usual.MP4", b"gr\xfc\xdfe.mp4", b"._usual.mp4"):
        (clips / os.fsdecode(name)).write_bytes(usual)
    small_encoding.layout.write_clip(clips / "long.mp4", n_frames=60, fps=12, size=32)
    Image.new("RGB", (32, 32), (200, 40, 40)).save(clips / "still.png")
    assert cli.main(["predict", str(clips), "--row", ROW, "--output", "out", "--no-pictures"]) == 1
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if "._usual" in line] == []
    assert r"gr\xfc\xdfe.mp4: its name is no UTF-8" in err
    table = pd.read_csv("out/responses.csv").drop_duplicates("clip").set_index("clip")
    assert table["seconds"].fillna(0).to_dict() == {"long": 5.0, "still": 0.0, "usual": 0.5}
    said = {
        "long": "long.mp4: it lasts 5 s, and the model was fitted to clips of 0.5 s",
        "still": "still.png: it is a still image, and the model was fitted to clips of 0.5 s",
    }
    page = Path("out/index.html").read_text()
    for name, caution in said.items():
        assert table["cautions"][name].startswith(caution) and caution in " ".join(out.split()) and caution in page
    assert pd.isna(table["cautions"]["usual"]) and "One picture; taken: 0, 0." in page
    assert "Predicted responses to 3 stimuli" in page and "of each stimulus" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--row", "mini-none-layer-ridge"], "no row 'mini-none-layer-ridge' in experiments; expected one of full-eff"),
        (
            ["--row", "full-efficientnet_lite0-layer-ridge"],
            "no encoding model yet; add it to encoding.rows in params.yaml, then run `dvc repro encoding@full-eff",
        ),
        (
            ["--row", "mini-efficientnet_lite0-layer-ridge"],
            "no encoding model yet; run `dvc repro encoding@mini-efficientnet_lite0-layer-ridge`",
        ),
        (["--row", ROW, "--subject", "sub09"], "no subject sub09; there are sub01, sub02"),
        (["none.mp4", "--row", ROW], "none.mp4: no such file or folder"),
    ],
)
def test_a_mistake_ends_in_a_message_with_its_cure(project, study, capsys, words, message):
    assert cli.main(["predict", str(study.clips[0]), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_row_of_encoding_rows_must_be_one_of_experiments(project):
    document = yaml.safe_load((project / "params.yaml").read_text())
    document["encoding"]["rows"].append("mini-none-layer-ridge")
    with pytest.raises(params.ParamsError, match=r"encoding\.rows has mini-none-layer-ridge, which is no row"):
        params.parse(document, "here")


def test_rows_that_can_have_no_model_say_why_before_any_work(project, capsys):
    document = yaml.safe_load((project / "params.yaml").read_text())
    own = {"weights": "none", "file": "mine.npy", "model": "array"}
    document["networks"]["mine"] = document["networks"]["efficientnet_lite0"] | own
    space = {"layer": "mine", "pool": "none", "over_frames": "mean", "standardize": True, "n_components": None}
    document["spaces"] = {name: space | {"network": name} for name in ("mine", "efficientnet_lite0")}
    words = {"track": "mini", "label": "two", "together": "stack", "regressor": "ridge", "reported": None}
    row = "mini-two-stack-ridge"
    document["experiments"]["joint"] = {row: words | {"spaces": list(document["spaces"])}}
    assert params.parse(document, "here").networks["mine"].model == "array"
    label = {"track": "mini", "label": "both", "together": "mean", "regressor": "ensemble", "reported": None}
    document["experiments"]["ensembles"] = {"mini-both-mean-ensemble": label | {"rows": [row, ROW]}}
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    for asked, said in (
        (row, "it stands on features that were brought (mine), and a new clip has none; take a row on networks alone"),
        ("mini-both-mean-ensemble", f"it is an ensemble; take one of its members that can ({ROW})"),
        (
            "mini-efficientnet_lite0-frozen-two_lstm",
            "transfer.keep_weights is best, so not all of its networks are kept; set that to all",
        ),
    ):
        assert cli.main(["predict", "none.mp4", "--row", asked]) == 2
        assert capsys.readouterr().err == f"cinevox predict: row {asked} can have no encoding model: {said}\n"
    document["encoding"]["rows"].append(row)
    with pytest.raises(
        params.ParamsError,
        match=rf"encoding\.rows has {row}, which .*: it stands on features that were brought \(mine\)",
    ):
        params.parse(document, "here")


# Pictures


def test_lines_are_rois_with_the_responses_of_each_subject(encoding):
    v1, v2 = predicted.lines(encoding.about.regions, np.array([1.0, 2.0, 3.0, 6.0]))
    assert (v1.roi, v1.response, list(v2.responses)) == ("V1", 2.0, [2.0, 6.0])
    assert v1.score == pytest.approx(0.6) and v1.band[1] == 1.0
    first, second = (region.subject for region in v2.regions)
    (lacking,) = predicted.lines(encoding.about.regions[3:], np.array([6.0]))  # of the second subject alone
    assert v2.of([second, first]) == [6.0, 2.0] and lacking.of([first, second]) == [None, 6.0]


def test_the_picture_of_rois_is_the_same_for_the_same_numbers_and_has_both_formats(encoding):
    lines = predicted.lines(encoding.about.regions, np.array([0.1, -0.2, 0.3, 0.4]))
    found = predicted.roi_pictures(lines, encoding.about)
    assert predicted.roi_pictures(lines, encoding.about) == found
    assert Image.open(streams.BytesIO(found["png"])).size[0] > 800
    assert found["svg"].startswith(b"<?xml") and b"http-equiv" not in found["svg"]
    other = predicted.lines(encoding.about.regions, np.array([0.1, -0.2, 0.3, 0.5]))
    assert predicted.roi_pictures(other, encoding.about)["png"] != found["png"]


def test_an_roi_without_a_score_is_drawn_without_a_colour(encoding):
    regions = [
        region.model_copy(update={"normalized_correlation": None, "correlation": None})
        for region in encoding.about.regions
    ]
    lines = predicted.lines(regions, np.zeros(4))
    assert lines[0].score is None
    predicted.roi_pictures(lines, encoding.about)


def test_the_brain_shows_what_is_predicted_above_chance_and_nothing_without_a_place(encoding):
    responses = np.arange(1.0, 13.0)
    every, some = (predicted.volumes(encoding, ["sub01", "sub02"], responses, q) for q in (1.0, 0.05))
    assert [int(np.isfinite(volume).sum()) for volume in every.values()] == [7, 5]
    shown = encoding.voxels["q"] <= 0.05
    values = np.concatenate([volume[np.isfinite(volume)] for volume in some.values()])
    np.testing.assert_array_equal(values, responses[shown])
    nowhere = small_encoding.EncodingModel(encoding.about, encoding.model, {"q": encoding.voxels["q"]})
    assert predicted.volumes(nowhere, ["sub01"], responses) == {}
    assert predicted.brain_picture({"sub01": np.full((4, 5, 6), np.nan)}, np.eye(4)) is None

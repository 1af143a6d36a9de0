"""Maps and brain pictures: every value where its mask and the affine put it, group maps as scipy's, and no colour where
nothing is known."""

import base64
import gzip
import io as streams
import json
import re
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from nilearn.masking import apply_mask
from PIL import Image
from scipy import stats

import finished_run
from cinevox.measured.datasets.algonauts2021 import AFFINE, VOLUME
from cinevox.measured.responses import Block, Columns
from cinevox.outlets import report
from cinevox.outlets.report import brain, glass, maps, surface, surface_maps
from cinevox.outlets.report.sources import BrainMasks
from test_report import sources_of

GRID = np.array(AFFINE)
SCALE = glass.scores_up_to(0.5, "normalized correlation")
ROW = finished_run.ROWS[-1]


def anatomy():
    """Masks of 300 voxels that overlap in part, as fabricated results have."""
    rng = np.random.default_rng(0)
    near = np.array(np.unravel_index(np.arange(400), (8, 10, 5))) + np.array([[30], [20], [30]])
    found = {}
    for subject in finished_run.SUBJECTS:
        mask = np.zeros(VOLUME, dtype=bool)
        mask[tuple(near[:, rng.choice(400, 300, replace=False)])] = True
        found[subject] = mask
    return BrainMasks(found, GRID)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    return sources_of(root, finished_run.make(root), anatomy=anatomy())


@pytest.fixture(scope="module")
def images(made):
    """`sub-01 r`, `t` -> the image as nibabel reads it."""
    found = {}
    for path, content in report.map_files(made):
        folder, row, name = path.split("/")
        assert (folder, row) == ("maps", ROW)
        if name.endswith(".nii.gz"):
            label, stat = re.fullmatch(r"(?:sub-(\w+)_)?space-MNI152_stat-(.+)_statmap.nii.gz", name).groups()
            found[f"sub{label} {stat}" if label else stat] = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return found


@pytest.fixture(scope="module")
def full(made):
    return next(result for result in made.results if result.name == ROW)


def test_a_column_lands_where_its_mask_says_in_c_order(made, images, full):
    values = full.voxels["test.normalized"]
    for number, subject in enumerate(finished_run.SUBJECTS):
        data, mask = images[f"{subject} r_desc-normalized"].get_fdata(), made.anatomy.masks[subject]
        column = 300 * number
        for i in range(VOLUME[0]):
            for j in range(VOLUME[1]):
                for k in np.flatnonzero(mask[i, j]):
                    np.testing.assert_equal(np.float32(data[i, j, k]), np.float32(values[column]))
                    column += 1
        assert np.isnan(data[~mask]).all()
        assert np.isnan(data[mask]).any()  # voxels whose ceiling is too low


def test_nilearn_reads_the_columns_back(made, images, full):
    for number, subject in enumerate(finished_run.SUBJECTS):
        mask = nibabel.Nifti1Image(made.anatomy.masks[subject].astype(np.uint8), GRID)
        q = images[f"{subject} q"]
        expected = stats.false_discovery_control(full.voxels["test.p"][300 * number : 300 * (number + 1)])
        np.testing.assert_allclose(apply_mask(q, mask), expected, rtol=1e-6)


def test_headers_say_where_what_and_of_which_run(images, made):
    for name, image in images.items():
        header = image.header
        for affine, code in (image.get_qform(coded=True), image.get_sform(coded=True)):
            np.testing.assert_allclose(affine, GRID, atol=1e-4)
            assert code == nibabel.nifti1.xform_codes["mni"]
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(header.get_zooms(), (2.5, 2.5, 2.75))
        assert image.get_data_dtype() == np.float32
        intent = header.get_intent()
        assert intent[0] == ("p value" if name.rpartition(" ")[2] in ("q", "p") else "estimate")
        assert bytes(header["descrip"]).decode().strip("\0")
        comment = header.extensions[0].get_content()
        comment = comment.decode() if isinstance(comment, bytes) else str(comment)
        assert f"row: {ROW}" in comment and "In-silico data: " in comment and "no finding about the brain" in comment
    assert images["sub01 r"].affine @ [39, 53, 28, 1] == pytest.approx([1.0, 0.0, -1.5, 1.0])  # near the origin


def test_the_group_is_tested_as_scipy_does_where_enough_subjects_have_a_voxel(made, images, full):
    values = full.voxels["test.correlation"].reshape(3, 300)
    masks = np.stack([made.anatomy.masks[subject] for subject in finished_run.SUBJECTS])
    volumes = np.full(masks.shape, np.nan)
    for volume, mask, own in zip(volumes, masks, values):
        volume[mask] = own
    count = masks.sum(axis=0)
    t, p, n = (images[name].get_fdata() for name in ("t", "p", "t_desc-count"))
    np.testing.assert_array_equal(np.isfinite(t), count >= 3)
    np.testing.assert_array_equal(n[count >= 3], count[count >= 3])
    expected = stats.ttest_1samp(volumes[:, count >= 3], 0, nan_policy="omit").statistic
    usual = np.abs(expected) < 1e3
    np.testing.assert_allclose(t[count >= 3][usual], np.asarray(expected)[usual], rtol=1e-4)
    assert maps.smallest_p(3) == 1 / 8 <= np.nanmin(p) and np.nanmax(p) <= 1


def test_the_mean_is_over_subjects_with_a_scored_voxel_there():
    mask = np.zeros((2, 3, 2), dtype=bool)
    mask.ravel()[[1, 4, 7]] = True
    columns = Columns((Block("a", "WB", 3), Block("b", "WB", 3)))
    scores = np.array([0.2, np.nan, 0.4, 0.6, np.nan, np.nan])
    found = maps.mean(maps.stacked(BrainMasks({"a": mask, "b": mask}, np.eye(4)), columns, scores))
    np.testing.assert_allclose(found.ravel()[[1, 4, 7]], [0.4, np.nan, 0.4], rtol=1e-6)
    assert np.isnan(found[~mask]).all()


def test_one_subject_is_no_group(made):
    def owners(who, space="MNI152NLin6Asym"):
        return [owner for owner, _ in maps.names(who, "plain correlation", space)]

    assert owners(("a",)) == ["a"]
    assert owners(("a", "b")) == ["a", "b", "group"]
    assert owners(("a", "b"), "T1w") == ["a", "b"]  # a place of one is none of the other's
    assert [maps.least_subjects(n) for n in (2, 3, 10)] == [2, 3, 7]
    assert maps.smallest_p(10) == 1 / 1024 and maps.smallest_p(20) == 1 / 4097


def test_maps_are_the_same_bytes_again_and_are_those_the_page_names(made, images):
    first, again = (dict(report.map_files(made)) for _ in range(2))
    assert first == again
    named = {
        file for _, files in maps.names(finished_run.SUBJECTS, "normalized correlation", "MNI152") for file in files
    }
    assert {path.rpartition("/")[2] for path in first if path.endswith(".nii.gz")} == named
    assert {path.replace(".nii.gz", ".json") for path in first} == {path for path in first if path.endswith(".json")}


@pytest.fixture(scope="module")
def halves():
    return surface.hemispheres()


def test_a_split_mesh_is_still_a_closed_surface_of_the_same_area(halves):
    def area(xyz, faces):
        a, b, c = (xyz[faces[:, n]] for n in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2

    for half in halves.values():
        n_edges = len(np.unique(np.sort(half.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)), axis=0))
        assert len(half.pial) - n_edges + len(half.faces) == 2
        coarse = half.faces[: len(half.faces) // 4]
        np.testing.assert_allclose(
            area(half.pial, half.faces), 4 * area(half.pial, coarse), rtol=1e-4
        )  # corner triangles
        assert len(half.depth) == len(half.pial) == len(half.white) == len(half.inflated) == 40962


def test_a_coordinate_projects_to_itself(halves):
    """The volume that holds x (or y, z) in mm is, at a vertex, the mean from pial surface to white matter."""
    world = np.moveaxis(np.indices(VOLUME), 0, -1) @ GRID[:3, :3].T + GRID[:3, 3]
    for half in halves.values():
        middle = (half.pial + half.white) / 2
        for axis in range(3):
            found = surface.project(world[..., axis], GRID, half)
            np.testing.assert_allclose(found, middle[:, axis], atol=0.02)
    assert surface.project(world[..., 0], GRID, halves["left"]).mean() < -20


def test_what_is_not_known_neither_dilutes_nor_is_drawn(halves):
    rng = np.random.default_rng(0)
    volume = np.where(rng.random(VOLUME) < 0.1, 0.5, np.nan)
    volume[:, 45:] = np.nan  # from 20 mm behind the origin nothing is known
    for half in halves.values():
        found = surface.project(volume, GRID, half)
        known = np.isfinite(found)
        np.testing.assert_allclose(found[known], 0.5, rtol=1e-5)
        assert not known[half.pial[:, 1] > -10].any()
        assert 0.1 < known[half.pial[:, 1] < -40].mean() < 0.9


def test_one_scale_for_all_pictures():
    assert glass.top_of([np.array([0.1, np.nan]), np.full(3, 0.42)]) == pytest.approx(0.45)
    assert glass.top_of([np.array([np.nan]), np.array([-1.0])]) == 0.1
    drawn = glass._drawn(np.array([np.nan, 0.0, 0.3, -0.2]))
    assert drawn[0] == 0 and drawn[1] > 0 and drawn[2:] == pytest.approx([0.3, -0.2])


def test_the_page_shows_the_row_and_links_its_maps(made, images, monkeypatch):
    drawn = []
    monkeypatch.setattr(brain.glass, "picture", lambda *given: drawn.append(given) or b"glass")
    monkeypatch.setattr(brain.surface, "picture", lambda *given: drawn.append(given) or b"surface")
    text = report.render(made).page
    assert len(drawn) == 2
    for content in (b"glass", b"surface"):
        assert f"base64,{base64.b64encode(content).decode()}" in text
    links = set(re.findall(r'href="(maps/[^"]+)"', text))
    assert links == {path for path, _ in report.map_files(made) if path.endswith(".nii.gz")}
    assert "With 3 subjects no p can be under 0.125" in text and "in MNI152 space" in text


def test_in_a_space_of_their_own_subjects_have_maps_and_there_is_no_mean(made, monkeypatch):
    monkeypatch.setattr(brain, "_inline", None)  # nothing is drawn
    own = replace(made, anatomy=replace(made.anatomy, space="T1w"))
    files = {path.rpartition("/")[2]: content for path, content in report.map_files(own)}
    volumes = [name for name in files if name.endswith(".nii.gz")]
    assert len(volumes) == 3 * len(finished_run.SUBJECTS) and all(name.startswith("sub-") for name in volumes)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(files["sub-01_space-T1w_stat-r_statmap.nii.gz"]))
    assert image.get_sform(coded=True)[1] == nibabel.nifti1.xform_codes["aligned"]
    text = report.render(own).page
    assert "no volume of a template in common (their space: T1w)" in text and "Over subjects: the mean" not in text


def test_the_file_beside_a_map_says_what_it_is_of(made):
    files = dict(report.map_files(made))
    told = json.loads(files[f"maps/{ROW}/sub-01_space-MNI152_stat-r_desc-normalized_statmap.json"])
    assert told["Description"] == "normalized correlation, sub01, test clips" and told["SpatialReference"] == "MNI152"
    assert told["Row"] == ROW and "no finding about the brain" in told["Cautions"]


def test_labels_of_subjects_are_letters_and_digits_and_differ():
    assert maps.labels(("sub01", "sub-02", "ann_b", "sub")) == {
        "sub01": "01",
        "sub-02": "02",
        "ann_b": "annb",
        "sub": "sub",
    }
    assert maps.labels(("a_b", "ab", "_")) == {"a_b": "01", "ab": "02", "_": "03"}


def test_vertices_lie_where_they_are_on_both_hemispheres():
    places = np.array([[0, 3], [1, 0], [-1, -1], [0, 1], [1, 5]])
    values, stem = np.arange(5) / 10, maps.file_name("fsaverage5", "r", "01")
    both = dict(surface_maps.files(stem, values, places, {"L": 4, "R": 6}, {"Row": ROW}))
    assert both == dict(surface_maps.files(stem, values, places, {"L": 4, "R": 6}, {"Row": ROW}))
    expected = {"L": [np.nan, 0.3, np.nan, 0.0], "R": [0.1, np.nan, np.nan, np.nan, np.nan, 0.4]}
    for side, (name, content) in zip("LR", both.items(), strict=True):
        assert name == f"sub-01_hemi-{side}_space-fsaverage5_stat-r_statmap.func.gii"
        image = nibabel.GiftiImage.from_bytes(content)
        np.testing.assert_array_equal(image.agg_data(), np.float32(expected[side]))
        assert image.meta["Row"] == ROW and image.meta["AnatomicalStructurePrimary"].startswith("Cortex")
    [(name, _)] = surface_maps.files(stem, values[:1], places[:1], {"L": 4}, {})
    assert "_hemi-L_" in name
    for wrong in ([[0, 1], [0, 1]], [[0, 1], [0, 4]]):
        with pytest.raises(
            ValueError, match="hemisphere L: 2 units on . vertices.*expected a vertex for each, from 0 to 3"
        ):
            list(surface_maps.files(stem, values[:2], np.array(wrong), {"L": 4, "R": 6}, {}))


def test_pictures_are_white_with_grey_cortex_and_the_same_again(halves):
    volume = np.full(VOLUME, np.nan, dtype=np.float32)
    volume[30:50, 15:25, 20:40] = 0.4
    for draw in (lambda: glass.picture(volume, GRID, SCALE), lambda: surface.picture(volume, GRID, SCALE, 40)):
        found = draw()
        assert draw() == found
        pixels = np.asarray(Image.open(streams.BytesIO(found)).convert("RGB")).astype(int)
        assert (pixels[0] == 255).all() and (pixels[-1] == 255).all() and (pixels[:, 0] == 255).all()
        coloured = np.ptp(pixels, axis=2) > 60
        assert 0.005 < coloured.mean() < 0.25

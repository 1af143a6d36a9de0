"""Maps and brain pictures: every value where its mask and the affine put it, group maps as scipy's, and no colour where
nothing is known."""

import base64
import gzip
import io as streams
import re

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
from cinevox.outlets.report import brain, glass, maps, surface
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
    """File name -> the image as nibabel reads it, with its bytes."""
    found = {}
    for path, content in report.map_files(made):
        folder, row, name = path.split("/")
        assert (folder, row) == ("maps", ROW)
        found[name] = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return found


@pytest.fixture(scope="module")
def full(made):
    return next(result for result in made.results if result.name == ROW)


def test_a_column_lands_where_its_mask_says_in_c_order(made, images, full):
    values = full.voxels["test.normalized"]
    for number, subject in enumerate(finished_run.SUBJECTS):
        data, mask = images[f"{subject}.nii.gz"].get_fdata(), made.anatomy.masks[subject]
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
        q = images[f"{subject}-q.nii.gz"]
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
        assert intent[0] == ("p value" if name.endswith(("-q.nii.gz", "-p.nii.gz")) else "estimate")
        assert bytes(header["descrip"]).decode().strip("\0")
        comment = header.extensions[0].get_content()
        comment = comment.decode() if isinstance(comment, bytes) else str(comment)
        assert f"row: {ROW}" in comment and "In-silico data: " in comment and "no finding about the brain" in comment
    assert images["sub01.nii.gz"].affine @ [39, 53, 28, 1] == pytest.approx([1.0, 0.0, -1.5, 1.0])  # near the origin


def test_the_group_is_tested_as_scipy_does_where_enough_subjects_have_a_voxel(made, images, full):
    values = full.voxels["test.correlation"].reshape(3, 300)
    masks = np.stack([made.anatomy.masks[subject] for subject in finished_run.SUBJECTS])
    volumes = np.full(masks.shape, np.nan)
    for volume, mask, own in zip(volumes, masks, values):
        volume[mask] = own
    count = masks.sum(axis=0)
    t, p, n = (images[f"group-{name}.nii.gz"].get_fdata() for name in ("t", "p", "t-n"))
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
    assert [who for who, _ in maps.names(("a",), "plain correlation")] == ["a"]
    assert [who for who, _ in maps.names(("a", "b"), "plain correlation")] == ["a", "b", "group"]
    assert [maps.least_subjects(n) for n in (2, 3, 10)] == [2, 3, 7]
    assert maps.smallest_p(10) == 1 / 1024 and maps.smallest_p(20) == 1 / 4097


def test_maps_are_the_same_bytes_again_and_are_those_the_page_names(made, images):
    first, again = (dict(report.map_files(made)) for _ in range(2))
    assert first == again
    named = {file for _, files in maps.names(finished_run.SUBJECTS, "normalized correlation") for file in files}
    assert named == set(images)


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
    assert links == {path for path, _ in report.map_files(made)}
    assert "With 3 subjects no p can be under 0.125" in text


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

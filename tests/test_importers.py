"""Importers: files in exactly the studies' layouts, their values read back by stimulus and place, not by order."""

import json
import pickle
import re

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from cinevox import cli
from cinevox.errors import InputError
from cinevox.files import disk, io
from cinevox.measured import importers
from cinevox.measured.importers import laion_fmri, mosaic
from cinevox.measured.importers._files import Files
from cinevox.measured.importers._nsd_design import Design
from cinevox.measured.trials_table import writing
from cinevox.project import plugins
from conftest import tells

AFFINE = np.array([[1.8, 0, 0, -7], [0, 1.8, 0, -9], [0, 0, 1.8, -5], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path):
    return io.folder(tmp_path / "downloaded")


def convert(study, folder, target=None, **choices):
    return importers.convert(study, folder, target or folder.parent / "table", importers.Choices(**choices))


def read(target, subject):
    """A subject's trials, units and betas, every text as it stands in the file."""
    tables = [
        pd.read_csv(target / subject / f"{subject}_{kind}.tsv", sep="\t", dtype=str, keep_default_na=False)
        for kind in ("trials", "units")
    ]
    betas = np.load(target / subject / f"{subject}_betas.npy")
    assert betas.shape == tuple(map(len, tables)) and betas.flags.c_contiguous
    for table, column in zip(tables, ("trial", "unit")):
        assert table[column].tolist() == [str(row) for row in range(len(table))]
    return *tables, betas


def stimuli_of(target):
    return pd.read_csv(target / "stimuli.tsv", sep="\t", dtype=str, keep_default_na=False).set_index("stimulus_id")


def save_volume(path, values, affine=AFFINE):
    io.folder(path.parent)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


# --- NSD --------------------------------------------------------------------------------------------------------------

SHAPE = (5, 4, 3)
INSIDE = np.zeros(SHAPE, dtype=np.int16) - 1
INSIDE[1:4, 1:3, :2] = 1
INSIDE[2, 2, 2] = 1


def nsd_design(version="5"):
    rng = np.random.default_rng(0)
    shared = np.sort(rng.permutation(73_000)[:1000]) + 1
    own = [np.concatenate([shared, 1 + rng.permutation(73_000)[:9000]]) for _ in range(8)]
    order = rng.permutation(np.repeat(np.arange(10_000), 3)) + 1
    return {"masterordering": order[None], "subjectim": np.array(own), "sharedix": shared[None]}


DESIGN = nsd_design()


def nsd_beta(subject, session):
    """Percent signal change x 300, (750, i, j, k): a number for each trial and voxel."""
    return np.random.default_rng([subject, session]).integers(-900, 900, (750, *SHAPE)).astype(np.int16)


def nsd_session(folder, subject, session, betas=None, space="func1pt8mm", version="betas_fithrf_GLMdenoise_RR"):
    path = folder / f"nsddata_betas/ppdata/subj0{subject}/{space}/{version}/betas_session{session:02}.hdf5"
    io.folder(path.parent)
    values = nsd_beta(subject, session) if betas is None else betas
    with h5py.File(path, "w") as opened:  # MATLAB's axes: of (i, j, k, trial) the last is the first
        opened.create_dataset("betas", data=values.transpose(0, 3, 2, 1), chunks=(750, 1, 1, 1))
    return path


def nsd_files(folder, subjects=(1,), sessions=(1, 2)):
    design = io.folder(folder / "nsddata/experiments/nsd") / "nsd_expdesign.mat"
    scipy.io.savemat(design, DESIGN)
    for subject in subjects:
        roi = folder / f"nsddata/ppdata/subj0{subject}/func1pt8mm/roi"
        save_volume(roi / "nsdgeneral.nii.gz", INSIDE)
        early = np.where(np.arange(SHAPE[0])[:, None, None] == 1, 1, 2) * (INSIDE > 0)
        save_volume(roi / "prf-visualrois.nii.gz", early.astype(np.int16))
        save_volume(roi / "lh.prf-visualrois.nii.gz", early.astype(np.int16))
        save_volume(roi / "Kastner2015.nii.gz", np.where(INSIDE > 0, np.indices(SHAPE)[1], 0).astype(np.int16))
        label = io.folder(folder / f"nsddata/freesurfer/subj0{subject}/label")
        (label / "Kastner2015.mgz.ctab").write_text("1 V1v\n2 V1d\n")
        (label / "prf-visualrois.mgz.ctab").write_text("0 Unknown\n1 V1v\n2 V1d\n3 V2v\n")
        for session in sessions:
            path = nsd_session(folder, subject, session)
        ceiling = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) / 10
        ceiling[2, 2, 1] = np.inf
        save_volume(path.parent / "ncsnr.nii.gz", ceiling)
    return folder


def nsd_shown(subject, session):
    """Rows of nsd_stimuli.hdf5, from 0, as the data manual has it."""
    order = DESIGN["masterordering"][0]
    return [DESIGN["subjectim"][subject - 1][order[750 * (session - 1) + trial] - 1] - 1 for trial in range(750)]


def test_nsd_by_image_and_place(folder):
    nsd_files(folder, subjects=(1, 3), sessions=(12, 2))  # written in another order, and sessions between them missing
    made = convert("nsd", folder)
    assert made.notes[0] == "sub-01: sessions 2, 12 of 40"
    for number, subject in ((1, "sub-01"), (3, "sub-03")):
        trials, units, betas = read(made.target, subject)
        assert betas.dtype == np.int16
        sidecar = json.loads((made.target / subject / f"{subject}_betas.json").read_text())
        assert sidecar["Scale"] == 300 and sidecar["Normalized"] == "none"
        np.testing.assert_allclose(sidecar["Affine"], AFFINE)
        i, j, k = (units[axis].astype(int) for axis in "ijk")
        assert set(zip(i, j, k)) == set(zip(*np.nonzero(INSIDE > 0)))
        for session in (2, 12):
            mine = trials["session"] == str(session)
            assert trials["stimulus_id"][mine].tolist() == [f"nsd-{n:05}" for n in nsd_shown(number, session)]
            np.testing.assert_array_equal(betas[mine], nsd_beta(number, session)[:, i, j, k])
        assert (units["roi:V1v"] == (i == 1).astype(int).astype(str)).all()
        assert (units["roi:Kastner2015-V1v"] == (j == 1).astype(int).astype(str)).all()
        assert set(units["roi:V1"]) == set(units["roi:nsdgeneral"]) == {"1"} and "roi:V2v" not in units
        ceilings = [f"{place / 10:.1f}" for place in np.ravel_multi_index((i, j, k), SHAPE)]
        ceilings[list(zip(i, j, k)).index((2, 2, 1))] = "n/a"
        assert units["ceiling:ncsnr"].tolist() == ceilings
    stimuli = stimuli_of(made.target)
    shared = {f"nsd-{n - 1:05}" for n in DESIGN["sharedix"][0]}
    seen = {f"nsd-{n:05}" for subject in (1, 3) for session in (2, 12) for n in nsd_shown(subject, session)}
    assert set(stimuli.index) == seen and set(stimuli["file"]) == {"n/a"}
    assert set(stimuli.index[stimuli["split"] == "test"]) == seen & shared
    assert not list(folder.parent.glob("*.unfinished"))


def test_nsd_repetitions_count_over_sessions(folder):
    made = convert("nsd", nsd_files(folder, sessions=(3, 1, 2)))
    trials, _, _ = read(made.target, "sub-01")
    shown = [n for session in (1, 2, 3) for n in nsd_shown(1, session)]
    expected = [str(shown[: row + 1].count(n)) for row, n in enumerate(shown)]
    assert trials["repetition"].tolist() == expected and {"1", "2", "3"} == set(expected)


def test_nsd_voxels_that_a_session_did_not_measure_are_left_out(folder):
    nsd_files(folder)
    betas = nsd_beta(1, 2)
    betas[:, 2, 2, 2] = 0
    betas[5, 1, 1, 0] = 0  # a response of 0 is one
    nsd_session(folder, 1, 2, betas)
    made = convert("nsd", folder)
    _, units, found = read(made.target, "sub-01")
    assert made.reports["sub-01"]["units_left_out"] == 1 and len(units) == np.count_nonzero(INSIDE > 0) - 1
    i, j, k = (units[axis].astype(int) for axis in "ijk")
    assert (2, 2, 2) not in set(zip(i, j, k))
    np.testing.assert_array_equal(found, np.concatenate([nsd_beta(1, 1), betas])[:, i, j, k])


def test_nsd_betas_that_are_float_have_no_scale(folder):
    nsd_files(folder, sessions=(1,))
    values = nsd_beta(1, 1) / np.float32(300)
    values[:, 3, 1, 1] = np.nan  # as the surface files have it
    nsd_session(folder, 1, 1, values)
    made = convert("nsd", folder)
    _, units, betas = read(made.target, "sub-01")
    assert betas.dtype == np.float32 and made.reports["sub-01"]["units_left_out"] == 1
    assert "Scale" not in json.loads((made.target / "sub-01/sub-01_betas.json").read_text())
    i, j, k = (units[axis].astype(int) for axis in "ijk")
    np.testing.assert_array_equal(betas, values[:, i, j, k])


def test_nsd_design_of_version_7_3(tmp_path):
    path = tmp_path / "nsd_expdesign.mat"
    with h5py.File(path, "w", userblock_size=512) as opened:
        for name, values in DESIGN.items():
            opened[name] = values.T.astype(float)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    found, plain = Design.read(path), tmp_path / "plain.mat"
    scipy.io.savemat(plain, DESIGN)
    expected = Design.read(plain)
    for name in ("order", "own", "shared"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.own, DESIGN["subjectim"] - 1)


def test_nsd_images_are_those_of_the_trials(folder):
    nsd_files(folder, sessions=(1,))
    path = io.folder(folder / "nsddata_stimuli/stimuli/nsd") / "nsd_stimuli.hdf5"
    shown = nsd_shown(1, 1)[7]
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    with h5py.File(path, "w") as opened:
        opened.create_dataset("imgBrick", (73_000, 6, 6, 3), np.uint8, chunks=(1, 6, 6, 3))[shown] = pixels
    moved = io.folder(folder.parent / "elsewhere")
    path = path.rename(moved / path.name)
    made = convert("nsd", folder, stimuli=moved)
    trials, stimuli = read(made.target, "sub-01")[0], stimuli_of(made.target)
    assert made.n_files == made.n_stimuli == len(set(nsd_shown(1, 1)))
    file = made.target / stimuli.loc[trials["stimulus_id"][7], "file"]
    np.testing.assert_array_equal(np.asarray(Image.open(file)), pixels)
    with h5py.File(path, "w") as opened:
        opened["imgBrick"] = pixels[None]
    with pytest.raises(InputError, match=r"nsd_stimuli\.hdf5: /imgBrick is \(1, 6, 6, 3\), expected \(73000, 425"):
        convert("nsd", folder, folder.parent / "other", stimuli=moved)


def test_nsd_tells_all_that_is_wrong_at_once(folder):
    nsd_files(folder)
    (folder / "nsddata/experiments/nsd/nsd_expdesign.mat").unlink()
    nsd_session(folder, 1, 2, nsd_beta(1, 2)[:, :, :, :2])
    broken = nsd_session(folder, 1, 3)
    broken.write_bytes(broken.read_bytes()[:5000])
    nsd_session(folder, 2, 1)
    label = folder / "nsddata/freesurfer/subj01/label/prf-visualrois.mgz.ctab"
    label.unlink()
    with pytest.raises(InputError) as caught:
        convert("nsd", folder)
    message = str(caught.value)
    assert tells(message, "cinevox import nsd", "nsd_expdesign.mat: not there", "nsddata/experiments/nsd")
    assert tells(message, "betas_session02.hdf5", "(750, 2, 4, 5)", "(750, 3, 4, 5)", "fetch it again")
    assert tells(message, "betas_session03.hdf5: cut off")
    assert tells(message, "prf-visualrois.nii.gz", "numbers 1 to 2 without names", label.name)
    assert tells(message, "sub-02: nsdgeneral.nii.gz: not there", "nsddata/ppdata/subj02/func1pt8mm/roi")
    assert "5 things are not as expected" in message and not (folder.parent / "table.unfinished").exists()


def test_nsd_of_several_versions_one_is_named(folder):
    nsd_files(folder, sessions=(1,))
    other = -nsd_beta(1, 1)
    nsd_session(folder, 1, 1, other, version="betas_fithrf")
    with pytest.raises(InputError, match="--version") as caught:
        convert("nsd", folder)
    assert "betas_fithrf_GLMdenoise_RR" in str(caught.value)
    with pytest.raises(InputError, match="--version: no folder b4 on the way to betas; there is betas_fithrf"):
        convert("nsd", folder, version="b4")
    made = convert("nsd", folder, version="betas_fithrf")
    _, units, betas = read(made.target, "sub-01")
    np.testing.assert_array_equal(betas, other[:, *(units[axis].astype(int) for axis in "ijk")])
    with pytest.raises(InputError, match="--subject: there is no sub-09; there are sub-01"):
        convert("nsd", folder, folder.parent / "other", version="betas_fithrf", subjects=("sub-09",))


def test_nsd_whole_brain(folder):
    nsd_files(folder, sessions=(1,))
    with pytest.raises(InputError, match=r"brainmask\.nii\.gz: not there"):
        convert("nsd", folder, units="all")
    save_volume(folder / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz", np.ones(SHAPE, dtype=np.uint8))
    _, units, betas = read(convert("nsd", folder, units="all").target, "sub-01")
    assert len(units) == np.prod(SHAPE) and (units["roi:nsdgeneral"] == "0").any()
    np.testing.assert_array_equal(betas, nsd_beta(1, 1).reshape(750, -1))


# --- THINGS-fMRI ------------------------------------------------------------------------------------------------------

PLACES = np.random.default_rng(0).permutation(np.prod(SHAPE))[:20]  # voxel_id -> place
IMAGES = ["dog_12s.jpg", "mango_12s.jpg", "sea_lion_01b.jpg", "spatula_12s.jpg"]


def things_response(voxel, trial):
    return np.sin(100.0 * voxel + trial)


def things_files(folder, name="sub-01", labels="mixed", trials=30, seed=0):
    """The record's files as pandas' to_hdf and to_csv write them, in shuffled orders."""
    rng = np.random.default_rng(seed)
    shown = pd.DataFrame(
        {
            "trial_type": "train",
            "session": np.arange(trials) // 10 + 1,
            "run": np.arange(trials) % 10 // 5 + 1,
            "subject_id": 1,
            "trial_id": np.arange(trials),
            "stimulus": [IMAGES[trial % 4] for trial in range(trials)],
        }
    )
    shown.loc[shown["stimulus"] == IMAGES[3], "trial_type"] = "test"
    i, j, k = np.unravel_index(PLACES, SHAPE)
    voxels = pd.DataFrame({"voxel_id": np.arange(20), "subject_id": 1, "voxel_x": i, "voxel_y": j, "voxel_z": k})
    voxels["nc_testset"] = np.where(i > 1, 12.5, 0)
    voxels["splithalf_corrected"] = -0.2
    voxels["prf-size"] = 1.0
    voxels["glasser-V1"] = 1
    for roi, inside in {
        "V1": i == 1,
        "LO1 (prf)": i == 2,
        "lEBA": (i == 3) & (k == 0),
        "rEBA": (i == 3) & (k == 1),
    }.items():
        voxels[roi] = inside.astype(int)
    shown.sample(frac=1, random_state=1).to_csv(folder / f"{name}_StimulusMetadata.csv", index=False)
    voxels.sample(frac=1, random_state=2).to_csv(folder / f"{name}_VoxelMetadata.csv", index=False)
    rows, columns = rng.permutation(20), rng.permutation(trials)
    things_responses(folder / f"{name}_ResponseData.h5", rows, columns, labels)
    return shown, voxels


def things_responses(path, rows, columns, labels):
    with h5py.File(path, "w") as opened:
        group = opened.create_group("ResponseData")
        group.attrs["pandas_type"], group.attrs["nblocks"] = np.bytes_("frame"), 2
        values = group.create_dataset("block0_values", data=things_response(rows[:, None], columns[None]))
        values.attrs["transposed"] = np.uint8(1)
        group["block1_values"], group["block1_items"] = rows[:, None], np.array([b"voxel_id"])
        if labels == "text":
            group["block0_items"] = np.array([str(each).encode() for each in columns])
            return
        pickled = np.frombuffer(pickle.dumps(np.array(columns.tolist(), dtype=object)), dtype=np.uint8)
        items = group.create_dataset("block0_items", (1,), dtype=h5py.vlen_dtype(np.uint8))
        items[0] = pickled
        items.attrs["CLASS"] = np.bytes_("VLARRAY")


def things_right(target, shown, voxels, units, trials, betas):
    """Every value, looked up by the trial that the stimulus's repetition was, and by the voxel at the place."""
    at = {place: voxel for voxel, place in enumerate(zip(*(voxels[f"voxel_{axis}"] for axis in "xyz")))}
    ids = [at[tuple(map(int, place))] for place in zip(units["i"], units["j"], units["k"])]
    seen: dict[str, list[str]] = {}
    for row, (stimulus, session, run) in enumerate(zip(trials["stimulus_id"], trials["session"], trials["run"])):
        candidates = shown[(shown["stimulus"] == stimulus) & (shown["session"] == int(session))]
        near = [
            trial for trial in candidates["trial_id"][candidates["run"] == int(run)]
            if np.allclose(betas[row], [things_response(voxel, trial) for voxel in ids], atol=1e-6)
        ]  # fmt: skip
        assert len(near) == 1
        seen.setdefault(stimulus, []).append(near[0])
        earlier = shown[(shown["stimulus"] == stimulus) & (shown["trial_id"] <= near[0])]
        assert trials["repetition"][row] == str(len(earlier))
    assert sorted(trial for each in seen.values() for trial in each) == shown["trial_id"].tolist()


@pytest.mark.parametrize("labels", ["mixed", "text"])
def test_things_by_stimulus_and_voxel(folder, labels):
    shown, voxels = things_files(folder, labels=labels)
    made = convert("things", folder)
    trials, units, betas = read(made.target, "sub-01")
    things_right(made.target, shown, voxels, units, trials, betas)
    assert len(units) == voxels[["V1", "LO1 (prf)", "lEBA", "rEBA"]].any(axis=1).sum()
    assert [name for name in units if name.startswith("roi:")] == [
        "roi:glasser-V1", "roi:V1", "roi:LO1prf", "roi:lEBA", "roi:rEBA", "roi:EBA",
    ]  # fmt: skip
    assert ((units["roi:EBA"] == "1") == ((units["i"] == "3") & (units["k"] != "2"))).all()
    assert ((units["ceiling:nc_testset"].astype(float) == 12.5) == (units["i"].astype(int) > 1)).all()
    assert "Affine" not in json.loads((made.target / "sub-01/sub-01_betas.json").read_text())
    assert "scores without maps" in made.notes[0] and "sub-01_space-T1w_brainmask.nii.gz" in made.notes[0]
    stimuli = stimuli_of(made.target)
    assert stimuli["split"].tolist() == ["train", "train", "train", "test"]
    assert stimuli["concept"].tolist() == ["dog", "mango", "sea_lion", "spatula"]


@pytest.mark.parametrize("fits", [True, False])
def test_things_affine_of_a_mask_that_has_the_voxels(folder, fits):
    things_files(folder)
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask.flat[PLACES[3]] = fits
    save_volume(folder / "brainmasks/sub-01_space-T1w_brainmask.nii.gz", mask)
    made = convert("things", folder, units="all")
    about = json.loads((made.target / "sub-01/sub-01_betas.json").read_text())
    assert ("Affine" in about, "Shape" in about, bool(made.notes)) == (fits, fits, not fits)
    np.testing.assert_allclose(about.get("Affine", AFFINE), AFFINE)


def test_things_responses_and_ids_of_one_type_are_one_block(folder):
    shown, voxels = things_files(folder)
    with h5py.File(folder / "sub-01_ResponseData.h5", "r+") as opened:
        group = opened["ResponseData"]
        rows, columns = group["block1_values"][:, 0], [2, 0, 1, *range(3, 30)]
        for name in list(group):
            del group[name]
        group.attrs["nblocks"] = 1
        values = things_response(rows[:, None], np.array(columns)[None])
        group["block0_values"] = np.concatenate([rows[:, None].astype(float), values], axis=1)
        group["block0_items"] = np.array([b"voxel_id", *(str(each).encode() for each in columns)])
    made = convert("things", folder)
    trials, units, betas = read(made.target, "sub-01")
    things_right(made.target, shown, voxels, units, trials, betas)


def test_things_all_voxels_in_blocks_and_by_the_other_names(folder, monkeypatch):
    shown, voxels = things_files(folder)
    for kind, other in (
        ("ResponseData.h5", "voxel-wise-responses.h5"),
        ("StimulusMetadata.csv", "stimulus-metadata.csv"),
        ("VoxelMetadata.csv", "voxel-metadata.csv"),
    ):
        (folder / f"sub-01_{kind}").rename(folder / f"sub-01_task-things_{other}")
    monkeypatch.setattr(importers, "BLOCK", 7 * 4 * 20)
    monkeypatch.setattr("cinevox.measured.importers.things.ROWS_AT_A_TIME", 6)
    made = convert("things", folder, units="all")
    trials, units, betas = read(made.target, "sub-01")
    assert len(units) == 20
    things_right(made.target, shown, voxels, units, trials, betas)


def test_things_trial_without_any_value_is_excluded_and_a_voxel_with_a_gap_left_out(folder):
    shown, _ = things_files(folder)
    with h5py.File(folder / "sub-01_ResponseData.h5", "r+") as opened:
        values = opened["ResponseData/block0_values"]
        values[:, 4] = np.nan
        values[7, 9] = np.nan
        gap = opened["ResponseData/block1_values"][7, 0]
    made = convert("things", folder, units="all")
    trials, units, betas = read(made.target, "sub-01")
    assert made.reports["sub-01"] == {"n_trials": 30, "n_units": 19, "units_left_out": 1, "trials_excluded": 1}
    assert (
        np.flatnonzero(trials["exclude"] == "1").tolist() == [4] == np.flatnonzero(np.isnan(betas).all(axis=1)).tolist()
    )
    assert np.isfinite(np.delete(betas, 4, axis=0)).all()
    place = tuple(map(str, np.unravel_index(PLACES[gap], SHAPE)))
    assert place not in set(zip(units["i"], units["j"], units["k"]))


def test_things_pickled_labels_are_read_and_not_run(folder, tmp_path):
    things_files(folder)

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    with h5py.File(folder / "sub-01_ResponseData.h5", "r+") as opened:
        opened["ResponseData/block0_items"][0] = np.frombuffer(pickle.dumps([Hostile()]), dtype=np.uint8)
    with pytest.raises(InputError):
        convert("things", folder)
    assert not (tmp_path / "run").exists()


def test_things_tables_of_another_version(folder):
    things_files(folder)
    things_files(io.folder(folder / "two"), "sub-02")
    trials, voxels = folder / "sub-01_StimulusMetadata.csv", folder / "two/sub-02_VoxelMetadata.csv"
    pd.read_csv(trials).iloc[:-2].to_csv(trials, index=False)
    table = pd.read_csv(voxels)
    pd.concat([table, table.iloc[:1]]).to_csv(voxels, index=False)
    with pytest.raises(InputError) as caught:
        convert("things", folder)
    assert tells(str(caught.value), trials.name, "28 lines, expected one for each of 30 columns", "trial_id")
    assert tells(str(caught.value), voxels.name, "21 lines, expected one for each of 20 rows", "voxel_id")


def test_things_stimulus_in_both_splits(folder):
    things_files(folder)
    path = folder / "sub-01_StimulusMetadata.csv"
    shown = pd.read_csv(path)
    shown.loc[(shown["stimulus"] == "dog_12s.jpg").idxmax(), "trial_type"] = "test"
    shown.to_csv(path, index=False)
    with pytest.raises(InputError, match=r"dog_12s\.jpg: of 1 stimuli trial_type says train and test"):
        convert("things", folder)


def test_stimuli_are_found_by_name_and_copied(folder, tmp_path):
    things_files(folder)
    images = tmp_path / "THINGS"
    for name in IMAGES[:3]:
        io.write_bytes(images / name.rpartition("_")[0] / name, name.encode())
    made = convert("things", folder, stimuli=images)
    assert (made.n_stimuli, made.n_files) == (4, 3)
    stimuli = stimuli_of(made.target)
    for name in IMAGES[:3]:
        assert (made.target / stimuli.loc[name, "file"]).read_bytes() == name.encode()
    assert stimuli.loc[IMAGES[3], "file"] == "n/a"
    io.write_bytes(images / IMAGES[3], b"come since")
    again = convert("things", folder, stimuli=images)
    assert again.was_there and again.n_files == 4 and again.reports == made.reports
    assert (made.target / stimuli_of(made.target).loc[IMAGES[3], "file"]).read_bytes() == b"come since"
    assert convert("things", folder).n_files == 4  # those in the table stay in it
    io.write_bytes(images / "again" / IMAGES[0], b"other")
    with pytest.raises(InputError, match="--version b3: THINGS-fMRI has one version"):
        convert("things", folder, version="b3")
    with pytest.raises(InputError, match="one name and different content"):
        convert("things", folder, tmp_path / "two", stimuli=images)


@pytest.mark.parametrize("name", ["../../outside.jpg", "/outside.jpg", "dog/dog_12s.jpg"])
def test_stimuli_whose_names_are_paths_are_refused(folder, name):
    things_files(folder)
    path = folder / "sub-01_StimulusMetadata.csv"
    path.write_text(path.read_text().replace(IMAGES[0], name))
    with pytest.raises(InputError, match="expected names of files, without folders"):
        convert("things", folder)
    assert not (folder.parent / "table.unfinished").exists()


# --- LAION-fMRI -------------------------------------------------------------------------------------------------------

LABELS = ["shared_12rep_LAION_cluster_1_i0.jpg", "unique_LAION_cluster_2_i3.jpg", "shared_4rep_OOD_gabor_2.png"]


def laion_files(folder, sessions=("ses-02", "ses-01"), subject="sub-03", trials=7):
    """Volumes of a session are numbered by beta_index; lines of trials.tsv are shuffled."""
    derived = folder / "derivatives/glmsingle-tedana" / subject
    truth = {}
    for number, session in enumerate(sessions):
        rng = np.random.default_rng(number)
        betas = rng.normal(size=(*SHAPE, trials + number)).astype(np.float32)
        betas[0] = 0  # outside of the brain
        labels = rng.choice(LABELS, trials + number)
        func = derived / session / "func"
        name = f"{subject}_{session}_task-images"
        save_volume(func / f"{name}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", betas)
        lines = pd.DataFrame({"session": session, "run": rng.integers(1, 13, trials + number)})
        lines = lines.assign(beta_index=np.arange(len(lines)), label=labels).sample(frac=1, random_state=3)
        lines.to_csv(func / f"{name}_desc-SingletrialBetas_trials.tsv", sep="\t", index=False)
        truth[session] = betas, labels
    explained = np.where(np.arange(SHAPE[0])[:, None, None] > 0, 20.0, 0).astype(np.float32) * np.ones(SHAPE)
    save_volume(derived / f"{subject}_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz", explained)
    ceiling = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    save_volume(derived / f"{subject}_task-images_space-T1w_desc-Noiseceiling12rep_statmap.nii.gz", ceiling)
    rois = folder / "derivatives/rois" / subject
    i, _, k = np.indices(SHAPE)
    for group, label, inside in (("retinotopy", "V1v", i == 1), ("retinotopy", "V1d", (i <= 2) & (k == 0)),
                                 ("face", "FFA1", i == 3)):  # fmt: skip
        save_volume(rois / group / f"{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz", inside.astype(np.uint8))
    return truth


def test_laion_by_label_and_place(folder, monkeypatch):
    truth = laion_files(folder)
    monkeypatch.setattr(laion_fmri, "BLOCK", 3 * 4 * np.prod(SHAPE))  # three volumes a block
    made = convert("laion-fmri".replace("-", "_"), folder)
    trials, units, betas = read(made.target, "sub-03")
    i, j, k = (units[axis].astype(int) for axis in "ijk")
    rois = (np.indices(SHAPE)[0] == 1) | (np.indices(SHAPE)[0] == 3)
    rois |= (np.indices(SHAPE)[0] == 2) & (np.indices(SHAPE)[2] == 0)
    assert set(zip(i, j, k)) == set(zip(*np.nonzero(rois)))
    assert trials["session"].drop_duplicates().tolist() == ["ses-01", "ses-02"]
    for session, (values, labels) in truth.items():
        mine = trials["session"] == session
        assert trials["stimulus_id"][mine].tolist() == labels.tolist()
        np.testing.assert_array_equal(betas[mine], values[i, j, k].T)
    assert {"roi:V1v", "roi:V1d", "roi:V1", "roi:FFA1"} <= set(units)
    np.testing.assert_array_equal(units["ceiling:nc_12rep"].astype(float), np.ravel_multi_index((i, j, k), SHAPE))
    assert stimuli_of(made.target)["split"].to_dict() == dict(zip(LABELS, ("test", "train", "ood")))


def test_laion_voxels_with_nan_are_left_out(folder):
    laion_files(folder, sessions=("ses-01",))
    path = next(folder.rglob("*SingletrialBetas_statmap.nii.gz"))
    opened = nibabel.load(path)
    betas = np.asarray(opened.dataobj).copy()
    betas[1, 2, 1, 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(betas, AFFINE), path)
    made = convert("laion_fmri", folder)
    _, units, found = read(made.target, "sub-03")
    assert made.reports["sub-03"]["units_left_out"] == 1 and np.isfinite(found).all()
    assert ("1", "2", "1") not in set(zip(units["i"], units["j"], units["k"]))


def test_laion_images_and_splits_of_the_study(folder):
    truth = laion_files(folder)
    seen = sorted({label for _, labels in truth.values() for label in labels})
    assert seen == sorted(LABELS)
    stimuli = io.folder(folder / "stimuli")
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.save(stimuli / "clear.png")
    with h5py.File(stimuli / "task-images_stimuli.h5", "w") as opened:
        images = opened.create_dataset("images", (4,), dtype=h5py.vlen_dtype(np.uint8))
        for row, content in enumerate([b"other", b"jpeg 0", b"jpeg 1", (stimuli / "clear.png").read_bytes()]):
            images[row] = np.frombuffer(content, dtype=np.uint8)
    picture = Image.new("RGB", (4, 4))
    picture.save(stimuli / "plain.jpg")
    with h5py.File(stimuli / "task-images_stimuli.h5", "r+") as opened:
        for row in (1, 2):
            opened["images"][row] = np.frombuffer((stimuli / "plain.jpg").read_bytes(), dtype=np.uint8)
    pd.DataFrame({"image_name": ["unseen.jpg", *LABELS], "dataset": ["x", "LAION", "LAION", "OOD"]}).to_csv(
        stimuli / "task-images_metadata.csv", index=False
    )
    ids = {"train_ids": [LABELS[1], "unseen.jpg"], "test_ids": [LABELS[0]]}
    io.write_json(folder / "splits/data/shared/tau.json", {"name": "tau", "variants": [{"variant_id": 0, **ids}]})
    made = convert("laion_fmri", folder)
    assert made.n_files == 3 and stimuli_of(made.target)["dataset"].to_dict()[LABELS[2]] == "OOD"
    shown = np.asarray(Image.open(made.target / "stimuli" / LABELS[2]))
    assert shown.shape == (4, 4, 3) and shown[0, 0].tolist() == [255, 0, 0] and shown[1, 1].tolist() == [128] * 3
    assert (made.target / "stimuli" / LABELS[0]).read_bytes() == (stimuli / "plain.jpg").read_bytes()
    split = json.loads((made.target / "splits/shared-tau.json").read_text())
    assert split == {"train": [LABELS[1]], "test": [LABELS[0]]}


def test_laion_tells_all_that_is_wrong_at_once(folder):
    laion_files(folder)
    trials = next(folder.rglob("*ses-01*_trials.tsv"))
    lines = pd.read_csv(trials, sep="\t")
    lines["beta_index"] += 1  # counted from 1
    lines.to_csv(trials, sep="\t", index=False)
    next(folder.rglob("*ses-02*_trials.tsv")).unlink()
    mask = next(folder.rglob("*label-FFA1_mask.nii.gz"))
    save_volume(mask, np.ones(SHAPE, dtype=np.uint8), AFFINE + np.diag([0.5, 0, 0, 0]))
    with pytest.raises(InputError) as caught:
        convert("laion_fmri", folder)
    message = str(caught.value)
    assert tells(message, "label-FFA1", "another affine", "R2mean")
    assert tells(message, trials.name, "beta_index 1 to 8, expected 0 to 7")
    assert tells(message, "ses-02", "_trials.tsv: not there")


def test_laion_betas_cut_off(folder):
    laion_files(folder, sessions=("ses-01",))
    path = next(folder.rglob("*SingletrialBetas_statmap.nii.gz"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut off"):
        convert("laion_fmri", folder)
    assert not (folder.parent / "table").exists()


# --- MOSAIC -----------------------------------------------------------------------------------------------------------

N = mosaic.N_UNITS


def mosaic_beta(stimulus, repetition):
    return np.random.default_rng([len(stimulus), ord(stimulus[-1]), repetition]).normal(size=N)


def mosaic_files(folder, whose="sub-01_BMD", suffix="_crc32-0a1b2c3d", ceilings=True, opened=None):
    own = h5py.File(folder / f"{whose}{suffix}.hdf5", "w") if opened is None else opened.create_group(whose)
    betas = own.create_group("betas", track_order=True)
    for repetition in (1, 0):  # neither the order of the file nor of its names is one of stimuli
        for stem, phase in (("clip b", "train"), ("clip_a", "test"), ("c-c", "train")):
            values = mosaic_beta(stem, repetition)
            dataset = betas.create_dataset(f"{whose}_stimulus-{stem}_phase-{phase}_rep-{repetition}", data=values)
            filled = np.array([5, 60_000]) if (stem, repetition) == ("c-c", 1) else np.array([])
            dataset.attrs["nan_indices"], dataset.attrs["phase"] = filled, phase
            dataset.attrs["repetition"], dataset.attrs["presented_stimulus_filename"] = repetition, f"{stem}.mp4"
    if ceilings:
        noise = own.create_group("noiseceilings")
        for n, value in (("1", 10.0), ("avg", 30.0)):
            dataset = noise.create_dataset(f"{whose}_phase-test_n-{n}_noiseceiling", data=np.full(N, value))
            dataset.attrs["nan_indices"] = np.array([7])
    if opened is None:
        own.close()


def mosaic_parcels(folder):
    """A parcellation of the cortex, on its standard 59,412 vertices: vertex 2 n is the n-th of a hemisphere."""
    left = nibabel.cifti2.BrainModelAxis.from_mask(np.arange(59_392) % 2 == 0, "CORTEX_LEFT")
    right = nibabel.cifti2.BrainModelAxis.from_mask(np.arange(59_432) % 2 == 0, "CORTEX_RIGHT")
    values = np.zeros((1, 59_412), dtype=np.float32)
    values[0, 3:10], values[0, 29_696:29_700], values[0, 20:22] = 1, 2, 3
    colour = (0, 0, 0, 1)
    names = {0: ("???", colour), 1: ("L_V1_ROI", colour), 2: ("R_V1_ROI", colour), 3: ("L_MT_ROI", colour)}
    axes = nibabel.cifti2.LabelAxis(["parcels"], [names]), left + right
    nibabel.save(nibabel.Cifti2Image(values, axes), folder / "Glasser.dlabel.nii")


def test_mosaic_by_stimulus_and_vertex(folder):
    mosaic_files(folder)
    mosaic_parcels(folder)
    made = convert("mosaic", folder)
    trials, units, betas = read(made.target, "sub-BMD01")
    names = [("c-c", 1), ("c-c", 2), ("clip b", 1), ("clip b", 2), ("clip_a", 1), ("clip_a", 2)]
    assert list(zip(trials["stimulus_id"], trials["repetition"])) == [(f"{stem}.mp4", str(n)) for stem, n in names]
    where = np.array([3, 4, 6, 7, 8, 9, 20, 21, *range(29_696, 29_700)])  # without 5, which was filled
    assert made.reports["sub-BMD01"]["units_left_out"] == 1
    for row, (stem, n) in enumerate(names):
        np.testing.assert_array_equal(betas[row], mosaic_beta(stem, n - 1)[where].astype(np.float32))
    assert units["vertex"].astype(int).tolist() == [2 * n if n < 29_696 else 2 * (n - 29_696) for n in where]
    assert units["hemi"].tolist() == ["L"] * 8 + ["R"] * 4 and set(units["kind"]) == {"vertex"}
    assert units["roi:V1"].tolist() == ["1"] * 6 + ["0"] * 2 + ["1"] * 4
    assert units["ceiling:nc_test_n-avg"].tolist() == ["30.0"] * 3 + ["n/a"] + ["30.0"] * 8
    assert stimuli_of(made.target)["split"].to_dict() == {
        "c-c.mp4": "train",
        "clip b.mp4": "train",
        "clip_a.mp4": "test",
    }


def test_mosaic_merged_file_without_parcels(folder):
    with h5py.File(folder / "mosaic_ind.hdf5", "w") as opened:
        for whose, ceilings in (("sub-02_HAD", False), ("sub-01_BMD", True)):
            mosaic_files(folder, whose, ceilings=ceilings, opened=opened)
    made = convert("mosaic", folder)
    assert list(made.reports) == ["sub-BMD01", "sub-HAD02"] and "whole brain" in made.notes[0]
    _, units, betas = read(made.target, "sub-HAD02")
    assert betas.shape == (6, N - 2) and not any(name.startswith(("ceiling:", "roi:", "vertex")) for name in units)
    assert "ceiling:nc_test_n-1" in read(made.target, "sub-BMD01")[1]


def test_mosaic_stimulus_that_trains_in_one_set_and_tests_in_another(folder):
    mosaic_files(folder)
    mosaic_files(folder, "sub-01_HAD", suffix="")
    with h5py.File(folder / "sub-01_HAD.hdf5", "r+") as opened:
        for dataset in opened["betas"].values():
            dataset.attrs["phase"] = "train"
    with pytest.raises(InputError, match=r"clip_a\.mp4: 1 stimuli are in the phases train and test"):
        convert("mosaic", folder)
    assert list(convert("mosaic", folder, subjects=("sub-HAD01",)).reports) == ["sub-HAD01"]


def test_mosaic_files_of_another_kind(folder):
    mosaic_files(folder)
    with h5py.File(folder / "sub-02_BMD.hdf5", "w") as opened:
        opened.create_dataset("betas/sub-02_BMD_stimulus-a_phase-train_rep-0", data=np.zeros(12))
    with h5py.File(folder / "chunks.hdf5", "w") as opened:
        opened["sub-03_BMD/betas"] = np.zeros((2, 4))
    (folder / "sub-04_BMD.hdf5").write_bytes(b"<html>not found")
    with pytest.raises(InputError) as caught:
        convert("mosaic", folder)
    message = str(caught.value)
    assert tells(message, "sub-04_BMD.hdf5: not an HDF5 file", "sub-02_BMD.hdf5: 1 of 1 datasets", f"expected ({N},)")
    assert tells(message, "chunks.hdf5", "which has no phases", "single subjects' files")


# --- the writer and the command ---------------------------------------------------------------------------------------


def test_after_a_kill_finished_subjects_are_not_read_again(folder):
    things_files(folder)
    things_files(folder, "sub-02", seed=1)
    target, seen = folder.parent / "table", []

    def killed(items, _total, label):
        for item in items:
            seen.append(label)
            if label == "sub-02":
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        importers.convert("things", folder, target, progress=killed)
    assert not target.exists() and seen == ["sub-01", "sub-02"]
    seen.clear()

    def told(items, _total, label):
        seen.append(label)
        return items

    made = importers.convert("things", folder, target, progress=told)
    assert seen == ["sub-02", "stimuli"] and not made.was_there
    whole = importers.convert("things", folder, folder.parent / "at once")
    assert whole.reports == made.reports
    files = sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(whole.target) for path in whole.target.rglob("*") if path.is_file())
    assert all((target / name).read_bytes() == (whole.target / name).read_bytes() for name in files)
    again = importers.convert("things", folder, target, progress=killed)
    assert again.was_there and again.reports["sub-02"]["n_units"] == made.reports["sub-02"]["n_units"]


def test_after_a_kill_a_changed_file_is_read_again(folder, monkeypatch):
    things_files(folder)
    target = folder.parent / "table"
    monkeypatch.setattr(writing.TableWriter, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert("things", folder, target)
    monkeypatch.undo()
    with h5py.File(folder / "sub-01_ResponseData.h5", "r+") as opened:
        opened["ResponseData/block0_values"][:] *= 2
    other = convert("things", folder, folder.parent / "other")
    np.testing.assert_array_equal(
        read(convert("things", folder, target).target, "sub-01")[2], read(other.target, "sub-01")[2]
    )


def test_target_that_holds_something_else(folder):
    things_files(folder)
    target = io.folder(folder.parent / "table")
    (target / "mine.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        convert("things", folder)
    assert tells(str(caught.value), str(target), "holds something else", "--to")
    made = convert("things", folder, target / "below")
    with pytest.raises(InputError, match="exists and holds sub-01, by other choices or from other files"):
        convert("things", folder, made.target, units="all")
    (made.target / "sub-01/sub-01_betas.npy").unlink()
    with pytest.raises(InputError, match="sub-01 is not whole any more; remove"):
        convert("things", folder, made.target)
    assert [path.name for path in target.iterdir() if path.is_file()] == ["mine.txt"]


def test_no_room_is_told_before_any_work(folder, monkeypatch):
    things_files(folder)
    monkeypatch.setattr(disk, "free", lambda _: 1000)
    with pytest.raises(disk.DiskFullError, match="are needed"):
        convert("things", folder)


def test_no_unit_has_a_value(folder):
    nsd_files(folder, sessions=(1,))
    nsd_session(folder, 1, 1, np.zeros((750, *SHAPE), dtype=np.int16))
    with pytest.raises(InputError, match="sub-01: none of 13 units has a value in every trial"):
        convert("nsd", folder)


def test_a_text_that_breaks_a_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"stimuli\.tsv: stimulus_id 'a\\tb'"):
        writing.write_table(tmp_path / "stimuli.tsv", pd.DataFrame({"stimulus_id": ["fine", "a\tb"]}))


def test_description_and_participants(folder):
    things_files(folder)
    made = convert("things", folder)
    about = json.loads((made.target / "dataset_description.json").read_text())
    assert about["Name"] == "THINGS-fMRI" and about["DatasetType"] == "derivative" and "CC0" in about["License"]
    assert about["cinevox"]["version"] == 1 and about["cinevox"]["restricted"] is True
    assert (made.target / "participants.tsv").read_text() == "participant_id\nsub-01\n"
    assert str(folder) not in json.dumps(about)


def test_command_lists_describes_and_refuses(capsys):
    assert cli.main(["import"]) == 0
    said = capsys.readouterr().out
    for name in plugins.names("importers"):
        assert re.search(rf"^{name} ", said, re.MULTILINE)
        assert cli.main(["import", name]) == 0
        said_of_it = capsys.readouterr().out
        spec = plugins.load("importers", name)
        assert tells(said_of_it, spec.title, *spec.expects, "Terms:", spec.licence, f"cinevox import {name} FOLDER")
    assert cli.main(["import", "bold5000", "data"]) == 2
    assert "no importer 'bold5000'; expected one of laion_fmri, mosaic, nsd, things" in capsys.readouterr().err
    assert cli.main(["import", "laion-fmri"]) == 0


def test_command_imports_and_says_what_is_next(folder, monkeypatch, capsys):
    things_files(folder)
    monkeypatch.chdir(folder.parent)
    assert cli.main(["import", "things", "downloaded", "--subject", "sub-01"]) == 0
    said = capsys.readouterr().out
    assert tells(said, "data/things: written", "sub-01: 30 trials of", "4 stimuli, 0 of them", "--stimuli")
    assert said.rstrip().endswith("`cinevox new my-study --data data/things` makes a study repository around it.")
    assert cli.main(["new", "my-study", "--data", "data/things"]) == 2  # without images no network can be run
    assert tells(capsys.readouterr().err, "4 of 4 stimuli", "--features", "--stimuli")
    assert cli.main(["import", "things", "downloaded", "--subject", "sub-01"]) == 0
    assert "was there already" in capsys.readouterr().out
    assert cli.main(["import", "things", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_files_that_macos_adds_are_left_out(folder):
    things_files(folder)
    (folder / "._sub-02_ResponseData.h5").write_bytes(b"Mac OS X")
    (folder / "loop").symlink_to(folder)
    assert Files(folder).only("._sub-02_ResponseData.h5") is None
    assert list(convert("things", folder).reports) == ["sub-01"]

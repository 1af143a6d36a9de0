"""A small study as a trials table: three subjects who saw different stimuli, some of them more often than others."""

import json
from importlib import resources

import h5py
import nibabel
import numpy as np
import pandas as pd
import zarr
from nibabel.cifti2 import BrainModelAxis, ScalarAxis
from PIL import Image

from cinevox.measured.datasets import trials
from cinevox.project import params
from cinevox.project.params import sections
from cinevox.validation import trials_tables

SUBJECTS = ("sub-01", "sub-02", "sub-03")
SHAPE, AFFINE = (4, 5, 3), [[2.0, 0.0, 0.0, -8.0], [0.0, 2.0, 0.0, -9.0], [0.0, 0.0, 2.5, -4.0], [0.0, 0.0, 0.0, 1.0]]
N_TRAIN, N_TEST, N_UNITS, N_VERTICES = 12, 4, 10, 20
TRAIN = [f"{number:03d}" for number in range(1, N_TRAIN + 1)]
TEST = [f"t{number}" for number in range(1, N_TEST + 1)]
OWN = {"sub-01": TRAIN, "sub-02": TRAIN[:8], "sub-03": TRAIN[4:]}  # training stimuli; the test stimuli are shared
ROIS = {"sub-01": ("V1", "FFA"), "sub-02": ("V1", "FFA"), "sub-03": ("V1",)}


def wanted(folder, test=None, **changed):
    """params.dataset"""
    values = {
        "name": "trials", "folder": folder, "clips": ".", "responses": ".", "tracks": ["mini", "full"],
        "subjects": list(SUBJECTS), "rois": ["V1", "FFA"], "missing_repetitions": "refuse", "missing_rois": "skip",
        "test": test, "together": None,
    }  # fmt: skip
    return params.Dataset(**values | changed)


def opened(folder, **changed):
    return trials.open_folder(wanted(folder, **changed))


def subject_file(folder, ending, subject="sub-01"):
    return folder / subject / f"{subject}{ending}"


def write_table(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def change_table(path, change):
    """Rewrite a table: `change` is given its text as a data frame, and returns what is written."""
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    changed = change(table)
    write_table(path, table if changed is None else changed)


def change_json(path, **changed):
    content = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def make(folder, kind="npy", images=True, normalized="session"):
    """Write the study. kind: of the betas' files; returns subject -> its betas, (n_trials, n_units)."""
    folder.mkdir(parents=True)
    about = {"Name": "Small", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "cinevox": {"version": 1}}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    (folder / "images").mkdir()
    lines = []
    for number, key in enumerate([*reversed(TEST), *TRAIN]):
        name = f"images/{key}.png"
        if images:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
        split, scene = ("test", "zoo") if key in TEST else ("train", f"scene {number % 3}")
        lines.append({"stimulus_id": key, "file": name, "split": split, "scene": scene})
    write_table(folder / "stimuli.tsv", pd.DataFrame(lines))
    write_table(folder / "participants.tsv", pd.DataFrame({"participant_id": SUBJECTS}))
    return {subject: _subject(folder, subject, seed, kind, normalized) for seed, subject in enumerate(SUBJECTS)}


def shown(subject, rng):
    """A line for each trial: the training stimuli once to three times, the test stimuli four times."""
    often = {key: 1 + number % 3 for number, key in enumerate(OWN[subject])} | dict.fromkeys(TEST, 4)
    keys = rng.permutation([key for key, n in often.items() for _ in range(n)])
    table = pd.DataFrame({"trial": range(len(keys)), "stimulus_id": keys})
    table["session"] = [f"ses-{1 + 2 * number // len(keys)}" for number in range(len(keys))]
    table["run"] = "1"
    return table


def places(subject):
    """The voxels of a subject, in no order, and the vertices."""
    rng = np.random.default_rng(len(subject) + int(subject[-1]))
    voxels = np.stack(np.unravel_index(rng.permutation(np.prod(SHAPE))[:N_UNITS], SHAPE), axis=1)
    vertices = np.concatenate([rng.permutation(N_VERTICES)[: N_UNITS // 2] for _ in "LR"])
    return voxels, np.repeat([0, 1], N_UNITS // 2), vertices


def _subject(folder, subject, seed, kind, normalized):
    rng = np.random.default_rng(seed)
    table = shown(subject, rng)
    betas = rng.standard_normal((len(table), N_UNITS)).astype(np.float32)
    write_table(subject_file(folder, "_trials.tsv", subject), table)
    voxels, hemi, vertices = places(subject)
    if kind == "cifti":
        vertices = np.tile(np.arange(N_UNITS // 2), 2)
    units = pd.DataFrame({"unit": range(N_UNITS), "kind": "vertex" if kind in ("gifti", "cifti") else "voxel"})
    if kind in ("gifti", "cifti"):
        units["hemi"], units["vertex"] = np.array(["L", "R"])[hemi], vertices
    else:
        units["i"], units["j"], units["k"] = voxels.T
    units["roi:V1"] = (np.arange(N_UNITS) < 4).astype(int)
    units["roi:FFA"] = ((np.arange(N_UNITS) % 3 == 2) & (subject != "sub-03")).astype(int)
    write_table(subject_file(folder, "_units.tsv", subject), units)
    about = {"Space": "MNI152NLin2009cAsym", "Normalized": normalized, "Pipeline": "made up"}
    about |= {} if kind in ("gifti", "cifti") else {"Affine": AFFINE, "Shape": list(SHAPE)}
    subject_file(folder, "_betas.json", subject).write_text(json.dumps(about))
    write_betas(folder, subject, kind, betas)
    return betas


def write_betas(folder, subject, kind, betas):
    """Write betas as files of a kind, the 4-D ones as two runs."""
    voxels, hemi, vertices = places(subject)
    if kind == "npy":
        np.save(subject_file(folder, "_betas.npy", subject), betas)
    elif kind == "hdf5":
        with h5py.File(subject_file(folder, "_betas.h5", subject), "w") as file:
            file.create_dataset("betas", data=betas, chunks=True, compression="gzip")
    elif kind == "zarr":
        zarr.save_array(str(subject_file(folder, "_betas.zarr", subject)), betas)
    elif kind in ("nii", "nii.gz"):
        volume = np.zeros((*SHAPE, len(betas)), dtype=np.float32)
        volume[tuple(voxels.T)] = betas.T
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[tuple(voxels.T)] = 1
        save_volume(subject_file(folder, "_mask.nii.gz", subject), mask)
        for run, rows in enumerate((slice(0, 9), slice(9, None)), 1):
            save_volume(subject_file(folder, f"_run-{run}_statmap.{kind}", subject), volume[..., rows])
    elif kind == "gifti":
        for side, name in enumerate("LR"):
            full = np.full((len(betas), N_VERTICES), 9, dtype=np.float32)
            full[:, vertices[hemi == side]] = betas[:, hemi == side]
            image = nibabel.GiftiImage(darrays=[nibabel.gifti.GiftiDataArray(row) for row in full])
            nibabel.save(image, subject_file(folder, f"_hemi-{name}_statmap.func.gii", subject))
    elif kind == "cifti":
        cortex = [BrainModelAxis.from_mask(np.ones(N_UNITS // 2, bool), f"Cortex{side}") for side in ("Left", "Right")]
        axes = ScalarAxis([str(number) for number in range(len(betas))]), cortex[0] + cortex[1]
        nibabel.save(nibabel.Cifti2Image(betas, axes), subject_file(folder, "_betas.dscalar.nii", subject))


def save_volume(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.asarray(affine)), path)


def by_hand(folder, betas, subject, ids, units):
    """The rectangle as a user would put it together, (n_stimuli seen, most repetitions, n_units)."""
    table = pd.read_csv(subject_file(folder, "_trials.tsv", subject), sep="\t", dtype=str)
    rows = [np.flatnonzero(table["stimulus_id"] == key) for key in ids]
    rows = [each for each in rows if len(each)]
    found = np.full((len(rows), max(map(len, rows)), len(units)), np.nan, dtype=np.float32)
    for number, each in enumerate(rows):
        found[number, : len(each)] = betas[each][:, units]
    return found


def choice(**chosen):
    return sections.TestSplit(**chosen)


def inspected(folder, test=None, **changed):
    return trials_tables.tables(wanted(folder, test=test, **changed))


def checked(folder, test=None, **changed):
    """Look at a study: suite -> column of an expectation that fails -> the expectation, and what the rows say.

    The suites are read here as they are written, because Great Expectations takes two seconds for a study. That it
    finds as much is a test.
    """
    found: dict = {}
    for suite, rows in inspected(folder, test, **changed).items():
        written = json.loads((resources.files("cinevox.validation") / "expectations" / f"{suite}.json").read_text())
        for each in written["expectations"]:
            columns = [each["kwargs"][name] for name in ("column", "column_A", "column_B") if name in each["kwargs"]]
            said = [(row["file"], [row.get(name) for name in columns]) for row in rows]
            told = [
                f"{file} ({', '.join(f'{name} {value}' for name, value in zip(columns, values))})"
                for file, values in said
                if None not in values and (len(values) == 1 or len(set(values)) > 1)
            ]
            if told:
                found.setdefault(suite, {})[columns[0]] = each, told
    return found

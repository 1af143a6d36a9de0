"""A small folder in the layout of OpenNeuro ds005165, version A or B, with clips beside it."""

import pickle

import nibabel
import numpy as np

import layout
from cinevox.project import params

A = "derivatives/versionA/MNI152/prepared_data/prepared_allvoxel_pkl/TRavg56789"
B = "derivatives/versionB/MNI152"
SUBJECTS = ("sub-01", "sub-02")
SIZES = {"V1v": 4, "V1d": 3, "hV4": 5, "FFA": 6}
N_WB = 30
VOLUMES = {"A": (78, 93, 71), "B": (62, 77, 61)}
AFFINE_B = np.array([[2.5, 0, 0, -76], [0, 2.5, 0, -112], [0, 0, 2.75, -78], [0, 0, 0, 1.0]])


def wanted(folder, version, **changed):
    values = {
        "name": "bold_moments", "folder": folder, "clips": "stimuli", "responses": {"A": A, "B": B}[version],
        "tracks": ["mini", "full"], "subjects": list(SUBJECTS), "rois": ["V1", "V4", "FFA"],
    }  # fmt: skip
    whole = {"missing_repetitions": "refuse", "missing_rois": "refuse", "test": None, "together": None}
    return params.Dataset(**whole | values | changed)


def make(folder, version, n_train=12, n_test=5, protocol=4, videos=True, masks=True):
    """Two subjects; returns {(subject, ROI of the record): float64 trials (n_clips, 10, n_voxels)}."""
    (folder / "stimuli").mkdir(parents=True)
    for number in range(1, n_train + n_test + 1):
        path = folder / "stimuli" / f"{number:04d}.mp4"
        if not videos:
            path.touch()
        else:
            layout.write_clip(path, noise=True, seed=number)
    truth = {}
    for seed, subject in enumerate(SUBJECTS):
        rng = np.random.default_rng(seed)
        truth |= {(subject, roi): values for roi, values in _trials(rng, version, n_train + n_test).items()}
        mask = np.zeros(VOLUMES[version], dtype=np.int8)
        mask.flat[rng.choice(mask.size, N_WB, replace=False)] = 1
        for roi in [roi for name, roi in truth if name == subject]:
            write(folder, version, subject, roi, truth[subject, roi], n_train, mask, protocol)
        if version == "B" and masks:
            write_mask(folder, f"{subject}_mask-nonans_space-MNI152.nii", mask)
    return truth


def _trials(rng, version, n_clips):
    names = dict(SIZES) if version == "A" else {side + roi: size for roi, size in SIZES.items() for side in "lr"}
    found = {}
    for roi, size in (names | {"WB": N_WB}).items():
        signal = rng.standard_normal((n_clips, 1, size))
        found[roi] = signal + 0.5 * rng.standard_normal((n_clips, 10, size))
    return found


def write_mask(folder, name, mask, affine=AFFINE_B):
    path = folder / B / "GLM" / "mask" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask, affine), path)
    return path


def path_of(folder, version, subject, roi, part="train"):
    if version == "A":
        return folder / A / subject / f"{roi}_TRavg-56789_allvoxel.pkl"
    if roi == "WB":
        return folder / B / "GLM" / subject / "prepared_betas" / f"{subject}_organized_betas_task-{part}_normalized.pkl"
    return folder / B / "prepared_allvoxel_pkl" / subject / f"{subject}_roi-{roi}_betas_normalized.pkl"


def write(folder, version, subject, roi, trials, n_train, mask, protocol):
    train, test = trials[:n_train, :3], trials[n_train:]
    if version == "B" and roi == "WB":
        image, numbers = nibabel.Nifti1Image(mask, AFFINE_B), range(1, len(trials) + 1)
        names = [f"vid{number:04d}" for number in numbers]
        save(path_of(folder, version, subject, roi, "train"), (train, names[:n_train], image), protocol)
        save(path_of(folder, version, subject, roi, "test"), (test, names[n_train:], image), protocol)
        return
    extra = {"voxel_mask": mask} if roi == "WB" else {}
    save(
        path_of(folder, version, subject, roi),
        {"train_data_allvoxel": train, "test_data_allvoxel": test, **extra},
        protocol,
    )


def save(path, content, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path

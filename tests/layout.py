"""A small folder in the layout of Algonauts 2021, as a starting point for what can be wrong with one."""

import struct

import av
import numpy as np
from scipy import stats

from cinevox.files import io
from cinevox.project import params

CLIPS, RESPONSES = "AlgonautsVideos268_All_30fpsmax", "participants_data_v2021"
SUBJECTS, ROIS = ("sub01", "sub02"), ("V1", "FFA")
SIZES = {"V1": 7, "FFA": 4, "WB": 25}
VOLUME = (78, 93, 71)
N_TRAIN, N_TEST = 12, 5


def wanted(folder, **changed):
    values = {
        "name": "algonauts2021", "folder": folder, "clips": CLIPS, "responses": RESPONSES,
        "tracks": ["mini", "full"], "subjects": list(SUBJECTS), "rois": list(ROIS),
    }  # fmt: skip
    whole = {"missing_repetitions": "refuse", "missing_rois": "refuse", "test": None, "together": None}
    return params.Dataset(**whole | values | changed)


def limits(**changed):
    values = {
        "clip_size": (32, 32), "clip_seconds": (2.5, 3.5), "fps": (5, 30), "n_repetitions": 3, "min_split_half": -0.2,
    }  # fmt: skip
    return params.Validation(**values | changed)


def train_file(folder, subject, roi):
    return folder / RESPONSES / ("full_track" if roi == "WB" else "mini_track") / subject / f"{roi}.pkl"


def test_file(folder, subject, roi):
    return folder / "test_responses" / ("full_track" if roi == "WB" else "mini_track") / subject / f"{roi}.pkl"


def write_clip(path, n_frames=15, fps=5, size=32, noise=False, seed=0, **options):
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(n_frames):
            image = np.full((size, size, 3), 8 * index % 256, dtype=np.uint8)
            if noise:
                image = rng.integers(0, 256, image.shape, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_bomb(path, n_frames=80_000_000):
    """A clip of two kilobytes with an index of gigabytes: so many frames of one byte each, all in one chunk."""
    write_clip(path)
    content = bytearray(path.read_bytes())
    for box, offset, values in ((b"stsz", 4, (1, n_frames)), (b"stts", 8, (n_frames,)), (b"stsc", 12, (n_frames,))):
        start = content.index(box) + 4 + offset
        content[start : start + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    path.write_bytes(content)


def make(folder, videos=True, test=True):
    """Two subjects, two disjoint ROIs inside the whole brain, C order there and Fortran order in the ROIs."""
    (folder / CLIPS).mkdir(parents=True)
    for number in range(1, N_TRAIN + N_TEST + 1):
        path = folder / CLIPS / f"{number:04d}_0-1-2-{number}.mp4"
        if not videos:
            path.touch()
        elif number == 1:
            write_clip(path)
        else:
            path.write_bytes((folder / CLIPS / "0001_0-1-2-1.mp4").read_bytes())
    for seed, subject in enumerate(SUBJECTS):
        _write_subject(folder, subject, np.random.default_rng(seed), test)
    return folder


def _write_subject(folder, subject, rng, test):
    mask = np.zeros(VOLUME, dtype=np.int64)
    mask.flat[rng.choice(mask.size, SIZES["WB"], replace=False)] = 1
    signal = stats.norm.rvs(size=(N_TRAIN + N_TEST, 1, SIZES["WB"]), random_state=rng)
    trials = (signal + 0.5 * rng.standard_normal((N_TRAIN + N_TEST, 10, SIZES["WB"]))).astype(np.float32)
    columns = {"WB": np.arange(SIZES["WB"])}
    chosen = rng.permutation(SIZES["WB"])
    places = np.argwhere(mask)
    for roi, start in (("V1", 0), ("FFA", SIZES["V1"])):
        mine = chosen[start : start + SIZES[roi]]
        columns[roi] = np.array(sorted(mine, key=lambda column: tuple(places[column][::-1])))
    for roi, where in columns.items():
        extra = {"voxel_mask": mask} if roi == "WB" else {}
        io.write_pickle(train_file(folder, subject, roi), {"train": trials[:N_TRAIN, :3, where], **extra})
        if test:
            io.write_pickle(test_file(folder, subject, roi), {"test": trials[N_TRAIN:][:, :, where]})


def voxel_mask(dataset, subject):
    """Where a subject's whole-brain columns lie; None where the data set does not say."""
    if not dataset.rois("full", subject):
        return None
    mask = dataset.arrays("train", "full", subject, "WB").get("voxel_mask")
    return None if mask is None else mask == 1

"""NSD's design: what was shown when, and the images."""

from __future__ import annotations

import io as memory
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from cinevox.errors import FileError
from cinevox.measured.importers._files import AGAIN, Files, hdf5

TRIALS, SESSIONS = 750, 40
N_IMAGES, N_OWN, N_SUBJECTS = 73_000, 10_000, 8
IMAGES = "nsd_stimuli.hdf5"


@dataclass(frozen=True)
class Design:
    """What was shown: order (30000,), places among a subject's own images; own (8, 10000), and shared, rows of
    nsd_stimuli.hdf5; all count from 0."""

    order: NDArray[np.intp]
    own: NDArray[np.intp]
    shared: NDArray[np.intp]

    @classmethod
    def read(cls, path: Path) -> Design:
        content = _matlab(path, ("masterordering", "subjectim", "sharedix"))
        order, own, shared = (np.asarray(content[name], dtype=np.intp) - 1 for name in content)
        shapes = {"masterordering": order.size, "subjectim": own.shape, "sharedix": shared.size}
        wanted = {"masterordering": TRIALS * SESSIONS, "subjectim": (N_SUBJECTS, N_OWN), "sharedix": 1000}
        if shapes != wanted:
            raise FileError(f"{path}: sizes {shapes}, expected {wanted}; {AGAIN}")
        if order.min() < 0 or order.max() >= N_OWN or own.min() < 0 or own.max() >= N_IMAGES:
            raise FileError(f"{path}: numbers of images beyond 1 to {N_OWN:,} and 1 to {N_IMAGES:,}; {AGAIN}")
        return cls(order.ravel(), own, shared.ravel())

    def shown(self, subject: int, sessions: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows of nsd_stimuli.hdf5 that a subject, from 1 on, saw in every trial of these sessions, from 1 on."""
        trials = (sessions[:, None] - 1) * TRIALS + np.arange(TRIALS)
        return self.own[subject - 1, self.order[trials.ravel()]]

    def stimuli(self, seen: NDArray[np.intp]) -> pd.DataFrame:
        """The table of these images: shared ones test."""
        ids = [id_of(number) for number in seen]
        return pd.DataFrame(
            {
                "stimulus_id": ids,
                "name": [f"{each}.png" for each in ids],
                "split": np.where(np.isin(seen, self.shared), "test", "train"),
                "nsd_id": seen,
                "73k_id": seen + 1,
            }
        )


def _matlab(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Variables of a .mat file, of version 5 or 7.3 (HDF5, whose axes are reversed)."""
    try:
        content: Mapping[str, Any] = scipy.io.loadmat(path, variable_names=names)
    except NotImplementedError:
        with hdf5(path) as opened:
            content = {name: opened[name][()].T for name in names if name in opened}
    except (ValueError, OSError, TypeError) as error:
        raise FileError(f"{path}: not a MATLAB file, or a broken one ({error}); {AGAIN}") from None
    if missing := [name for name in names if name not in content]:
        raise FileError(f"{path}: no variable {', '.join(missing)}; {AGAIN}")
    return {name: content[name] for name in names}


def id_of(number: int) -> str:
    """The id of an image, given its row in nsd_stimuli.hdf5."""
    return f"nsd-{number:05d}"


def images_of(files: Files) -> Callable[[str], bytes] | None:
    """A function that gives an image's content; None where nsd_stimuli.hdf5 is not in the folder.

    Raises
    ------
    InputError
        It is broken, or holds something else.
    """
    path = files.only(IMAGES)
    if path is None:
        return None
    with hdf5(path) as opened:
        shape = getattr(opened.get("imgBrick"), "shape", None)
    if shape is None or len(shape) != 4 or (shape[0], shape[3]) != (N_IMAGES, 3):
        raise FileError(f"{path}: /imgBrick is {shape}, expected ({N_IMAGES}, 425, 425, 3); {AGAIN}")
    return partial(_image, path)


def _image(path: Path, stimulus: str) -> bytes:
    with hdf5(path) as opened:
        pixels = opened["imgBrick"][int(stimulus.removeprefix("nsd-"))]
    content = memory.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=1)
    return content.getvalue()

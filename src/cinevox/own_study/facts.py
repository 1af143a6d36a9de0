"""Facts about a study that its parameters follow from, as the data set's plug-in reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import labelled_arrays
from cinevox.measured import datasets
from cinevox.measured.datasets import StudyData, is_trial_data
from cinevox.own_study.layouts import Layout
from cinevox.project import params, plugins
from cinevox.project.params import Track
from cinevox.stimuli.videos import STILLS, SUFFIXES


@dataclass(frozen=True)
class Facts:
    """A study.

    rois: subject -> its ROIs; order: every ROI, once
    seen: the training stimuli that each subject saw, as positions
    on_disk: whether every stimulus is a file here; stills: whether all are images
    features: brought arrays, a path from the repository, and the arrays' names; None: a network sees the stimuli
    """

    layout: Layout
    folder: str
    title: str
    restricted: bool
    subjects: tuple[str, ...]
    rois: dict[str, tuple[str, ...]]
    tracks: tuple[Track, ...]
    n_train: int
    n_test: int
    seen: tuple[NDArray[np.intp], ...]
    on_disk: bool
    stills: bool
    features: tuple[Path, tuple[str, ...]] | None
    understood: tuple[str, ...]
    guesses: tuple[str, ...]

    @property
    def n_fewest(self) -> int:
        """Training stimuli of the subject who saw the fewest."""
        return min(map(len, self.seen))

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(roi for rois in self.rois.values() for roi in rois))

    @property
    def some_lack(self) -> bool:
        return any(set(rois) != set(self.order) for rois in self.rois.values())


def of(layout: Layout, target: Path, folder: str, features: Path | None) -> Facts:
    """The facts about a study. target: where its data are now; folder: where the parameters will say that they are

    Raises
    ------
    InputError
        The data break a rule of the layout; stimuli are missing and no features were given.
    """
    subjects = _opened(layout, target, ("any",)).subjects
    if not subjects:
        raise InputError(f"{target}: no subject in it")
    study = _opened(layout, target, subjects)
    spec = plugins.load("datasets", layout.plugin)
    terms = spec.described(target) if spec.described else spec
    rois = {name: tuple(roi for roi in study.rois("mini", name) if roi != params.WHOLE_BRAIN) for name in subjects}
    if not any(rois.values()):
        tracks: tuple[Track, ...] = ("full",)
    else:
        tracks = ("mini",)
    understood, guesses = list(layout.understood), list(layout.guesses)
    if is_trial_data(study):
        stimuli, n_train = study.stimuli, study.n_train
        files = [each.file for each in stimuli]
        seen = tuple(study.seen("train", name) for name in subjects)
        ids = [each.id for each in stimuli]
        answered = study.has_test_responses(tracks[0])
    else:
        files, ids = list(study.clips), [path.stem for path in study.clips]
        roi = rois[subjects[0]][0] if tracks == ("mini",) else params.WHOLE_BRAIN
        n_train = len(study.arrays("train", tracks[0], subjects[0], roi)["train"])
        seen = (np.arange(n_train),)
        answered = study.has_test_responses(tracks[0])
    n_test = len(files) - n_train
    on_disk = all(path is not None for path in files)
    stills = on_disk and all(path.suffix.lower() in STILLS for path in files if path is not None)
    understood.append(
        f"{n_train:,} training and {n_test:,} test {'images' if stills else 'stimuli'}, {len(subjects)} "
        f"subject{'s' * (len(subjects) > 1)} ({', '.join(subjects)})"
    )
    brought = None if features is None else _features(features, ids)
    if not on_disk and brought is None:
        missing = [key for key, path in zip(ids, files) if path is None]
        raise InputError(
            f"{len(missing):,} of {len(files):,} stimuli are not on this disk ({', '.join(missing[:3])}, ...), so no "
            "network can see them; put their files where stimuli.tsv names them, or bring arrays of features with an "
            "id for each stimulus: `--features FILE.npz` (docs/adding.md). After `cinevox import`, "
            "call it again with `--stimuli FOLDER`"
        )
    if not n_test:
        guesses.append(
            "no stimulus is named a test stimulus: scores are of validation stimuli, which also choose the layer. To "
            "hold some out, 20 or more, set dataset.test in params.yaml, such as {fraction: 0.2, seed: 0}; with fewer "
            "than 100 stimuli selection.policy: nested scores on all of them"
            if layout.plugin == "trials"
            else "there are no test stimuli: scores are of validation stimuli, which also choose the layer"
        )
    elif not answered:
        guesses.append("there are no responses to the test stimuli: scores are of validation stimuli")
    lacking = {name: set().union(*rois.values()) - set(own) for name, own in rois.items()}
    for name, gone in lacking.items():
        if gone:
            understood.append(f"{name} has no {', '.join(sorted(gone))}, and is fitted without")
    return Facts(
        layout, folder, terms.title, terms.restricted, subjects, rois, tracks, n_train, n_test, seen, on_disk,
        stills, brought, tuple(understood), tuple(guesses),
    )  # fmt: skip


def _opened(layout: Layout, target: Path, subjects: tuple[str, ...]) -> StudyData:
    wanted = params.Dataset(
        name=layout.plugin, folder=target, clips=layout.clips, responses=layout.responses, test=None, together=None,
        tracks=["mini", "full"], subjects=list(subjects), rois=["any"], missing_repetitions="refuse",
        missing_rois="skip",
    )  # fmt: skip
    return datasets.open_dataset(wanted)


def _features(path: Path, ids: list[str]) -> tuple[Path, tuple[str, ...]]:
    arrays = labelled_arrays.open_arrays(path)
    faults = list(arrays.faults)
    there = {*arrays.ids, *(Path(key).stem for key in arrays.ids if Path(key).suffix.lower() in SUFFIXES)}
    if missing := [key for key in ids if key not in there]:
        faults.append(f"{len(missing):,} of {len(ids):,} stimuli have no id in it: {', '.join(missing[:3])}, ...")
    if faults:
        raise InputError(f"{path}: " + "; ".join(faults))
    return path.absolute(), tuple(arrays.shapes)

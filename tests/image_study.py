"""A study of images that has nothing of the challenge: three ROIs, two subjects who saw different images, of whom the
first lacks the first ROI."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import small_run
from cinevox.measured import datasets
from cinevox.measured.datasets import DatasetSpec, Stimulus
from cinevox.measured.datasets.algonauts2021 import Algonauts2021
from cinevox.measured.responses import Responses

NAME, TITLE = "objects", "Objects in Scenes"
SUBJECTS, ROIS = ("sub-ann", "sub-bob"), ("OPA", "LOC", "EVC")
LACKING = ("sub-ann", "OPA")
OTHERS = {
    "sub-ann": ("sub01", ("V2", "LOC", "V1")),
    "sub-bob": ("sub02", ("V2", "LOC", "V1")),
}  # as `small_run` has them
ROW, PLAIN = f"mini-{small_run.NETWORK}-layer-ridge", f"mini-{small_run.UNTRAINED}-layer-ridge"
FULL = f"full-{small_run.NETWORK}-layer-ridge"


@dataclass(frozen=True)
class Objects:
    """The files of a small run under other names, without the rows of images that a subject did not see."""

    base: Algonauts2021
    grid = None
    places_rois = False
    n_train = small_run.N_TRAIN
    subjects = SUBJECTS

    @property
    def stimuli(self):
        every = range(small_run.N_TRAIN + small_run.N_TEST)
        return tuple(Stimulus(f"{n:04d}", Path(f"images/{n:04d}.png")) for n in every)

    @property
    def clips(self):
        return tuple(stimulus.file for stimulus in self.stimuli)

    def rois(self, track, subject):
        if track == "full":
            return ("WB",)
        return tuple(roi for roi in ROIS if (subject, roi) != LACKING)

    def seen(self, part, subject):
        n_stimuli = self.n_train if part == "train" else small_run.N_TEST
        return np.flatnonzero(np.arange(n_stimuli) % 4 != SUBJECTS.index(subject))

    def _there(self, subject, roi):
        name, rois = OTHERS[subject]
        return name, roi if roi == "WB" else rois[ROIS.index(roi)]

    def file(self, part, track, subject, roi):
        return self.base.file(part, track, *self._there(subject, roi))

    def arrays(self, part, track, subject, roi):
        found = dict(self.base.arrays(part, track, *self._there(subject, roi)))
        return found | {part: found[part][self.seen(part, subject)]}

    def shape(self, part, track, subject, roi):
        return self.arrays(part, track, subject, roi)[part].shape

    def digest(self, subject):
        return subject

    def responses(self, part, track, subject, roi):
        return Responses(self.arrays(part, track, subject, roi)[part], subject, roi)

    def has_test_responses(self, track):
        return self.base.has_test_responses(track)


def register(monkeypatch, folder):
    """Make the study's plug-in known, by an empty file in a folder."""
    plugin = types.ModuleType(f"cinevox.measured.datasets.{NAME}")
    plugin.SPEC = DatasetSpec(
        title=TITLE, open=lambda wanted: Objects(_opened(wanted)), licence="CC0", restricted=False, unequal=True
    )
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    (folder / "plugins").mkdir(parents=True)
    (folder / "plugins" / f"{NAME}.py").touch()
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(folder / "plugins")])


def _opened(wanted):
    return Algonauts2021(wanted.folder, wanted.clips, wanted.responses, "")


def make(monkeypatch, root):
    """The study, run from conversion to selection."""
    register(monkeypatch, root)
    rows = (ROW, PLAIN, FULL)
    made = small_run.SmallRun(root, rows=rows, subjects=("sub01", "sub02"), rois=("V2", "LOC", "V1"))
    own = {"name": NAME, "subjects": list(SUBJECTS), "rois": list(ROIS), "missing_rois": "skip"}
    made.document["dataset"] |= own
    made.document["report"] |= {"subject": SUBJECTS[0]}
    made.document["scores"] |= {"n_bootstraps": 50, "n_permutations": 20}
    return made.run()

"""Names of files, as labs give them: the subject, the ROI, and what a mask is of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN

_SUBJECT = re.compile(
    r"(?:^|[-_. ])(?:(?:subject|subj|sub)(?:[-_]([A-Za-z]{0,6}\d+|[A-Z]{1,3})|(\d+))|[sSpP](\d{1,3}))(?=$|[-_. ])"
)
_SAID = {  # words of names that say no ROI
    "beta", "betas", "response", "responses", "voxel", "voxels", "data", "fmri", "bold", "roi", "rois", "label", "desc",
    "mask", "masks", "trial", "trials", "single", "singletrial", "singletrialbetas", "mean", "average", "averaged",
    "glm", "glmsingle", "array", "arrays", "stimuli", "stimulus", "x", "y",
}  # fmt: skip
FEATURES = re.compile(r"feat|embed|activation|logit", re.IGNORECASE)
BRAINS = {"brain", "brainmask", "wholebrain", "whole", "wb", "nsdgeneral", "all", "gm", "cortex"}


def subject_of(path: Path) -> str | None:
    """The subject that a path names, `sub-01` for sub01, subj01, subject_01, S01; the last part that names one."""
    for part in reversed(path.parts):
        stem = part.split(".")[0] if part == path.name else part
        if found := _SUBJECT.search(stem):
            return f"sub-{found[1] or found[2] or found[3]}"
    return None


def roi_of(path: Path, key: str = "") -> str | None:
    """The ROI that an array or a mask is of, by its key or its file's name; None where that says none.

    The whole brain is `WB`.
    """
    for text in (key, path.name.removesuffix(".gz").rpartition(".")[0]):
        without = _SUBJECT.sub("_", text)
        without = re.sub(r"(?:space|res|ses|run|task|den)-[A-Za-z0-9]+", "_", without)
        words = [word for word in re.split(r"[^A-Za-z0-9]+", without) if word and word.lower() not in _SAID]
        words = [word for word in words if not re.fullmatch(r"arr\d+|\d+", word, re.IGNORECASE)]
        if words:
            return WHOLE_BRAIN if len(words) == 1 and words[0].lower() in BRAINS else "_".join(words)
    return None


def in_order(rois: Iterable[str]) -> list[str]:
    """ROIs as papers list them, early visual ones first, then all others by name."""
    known = {name: number for number, name in enumerate(MINI_ROIS)}
    return sorted(rois, key=lambda roi: (known.get(roi, len(known)), roi))

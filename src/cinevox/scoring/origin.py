"""The origin of a result, recorded with the result itself: whatever is run later, the record stays true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from cinevox.fitting.prediction_store import Index
from cinevox.measured.response_store import Converted

KINDS = {"str": str, "int": int, "bool": bool}
KEY = "origin"  # of the record in metrics/<row>.json and in the baseline


@dataclass(frozen=True)
class Origin:
    """The data and the weights behind a row's scores.

    dataset, title: the plug-in and its name for readers
    in_silico: whether the responses are simulated
    subjects: those that are scored, with a space between each two
    n_train_clips, n_test_clips: of the data set; the validation clips count as training clips
    n_voxels: ROI -> how many, over subjects
    weights: the policies of the networks' weights; official: whether all their checksums are the published ones
    stimuli: the word for what the subjects were shown, `clips` or `stimuli` (`response_store.Study`)
    """

    dataset: str
    title: str
    in_silico: bool
    subjects: str
    n_train_clips: int
    n_test_clips: int
    n_voxels: Mapping[str, int]
    weights: str
    official: bool
    stimuli: str = "clips"

    @classmethod
    def of(cls, index: Index, recorded: Converted) -> Self:
        """The origin of predictions. recorded: the training responses that they are scored against or fitted to"""
        blocks = index.columns.blocks
        return cls(
            dataset=recorded.study.name,
            title=recorded.study.title,
            in_silico=recorded.study.in_silico,
            subjects=" ".join(index.columns.subjects),
            n_train_clips=recorded.n_stimuli,
            n_test_clips=len(index.clips.get("test", ())),
            n_voxels={roi: sum(b.n_voxels for b in blocks if b.roi == roi) for roi in index.columns.rois},
            weights=index.weights_policy,
            official=all(weights.official for weights in index.weights.values()),
            stimuli=recorded.study.stimuli,
        )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Errors: ValueError, where it is something else."""
        try:
            voxels = dict(entry.rsplit(" ", 1) for entry in found["n_voxels"].split(", "))
            for field in fields(cls):
                value = found[field.name] if field.default is MISSING else found.get(field.name, field.default)
                if field.type in KINDS and type(value) is not KINDS[field.type]:
                    raise TypeError(f"{field.name} is {value!r}, expected {field.type}")
            return cls(**{**found, "n_voxels": {roi: int(n) for roi, n in voxels.items()}})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no record of data and weights ({error})") from None

    @property
    def untrained(self) -> bool:
        """Whether a network has random weights."""
        return "random" in self.weights.split(" + ")

    def to_json(self) -> dict[str, Any]:
        """As it is written: without lists, which `dvc metrics` leaves out, and `n_voxels` in one column of it."""
        return asdict(self) | {"n_voxels": ", ".join(f"{roi} {n}" for roi, n in self.n_voxels.items())}


WORDS = {
    "dataset": "data set",
    "in_silico": "in-silico",
    "subjects": "subjects",
    "n_train_clips": "training clips",
    "n_test_clips": "test clips",
}


def differences(was: Origin, now: Origin) -> tuple[str, ...]:
    """Name what differs in the data, in words, apart from the ROIs and their voxels; empty where nothing does."""
    pairs = ((words, getattr(was, name), getattr(now, name)) for name, words in WORDS.items())
    found = (f"{words} {_said(a)}, now {_said(b)}" for words, a, b in pairs if a != b)
    return tuple(text.replace("clips", now.stimuli) for text in found)


def _said(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def origin_of(content: Any) -> Origin | None:
    """The record in a parsed metrics file; None in one from before there were records."""
    try:
        return Origin.from_json(content[KEY])
    except (KeyError, TypeError, ValueError):
        return None

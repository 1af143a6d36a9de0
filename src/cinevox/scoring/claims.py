"""The one place that decides what may be said of a result; every outlet asks here.

The questions: are its data the challenge's (`foreign`) and its weights those of the paper's rows (`barred`), can its
score stand beside the paper's (`doubts`), and is it of the data that params.yaml asks for now (`other_data`)? What
else has changed since it was made is in dvc.lock (`dvc_lock.other_parameters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Dataset, Row
from cinevox.scoring.origin import Origin


@dataclass(frozen=True)
class Challenge:
    """The data that the paper and the leaderboard report scores of (Cichy et al. 2021, arXiv:2104.13714)."""

    dataset: str = "algonauts2021"
    subjects: tuple[str, ...] = tuple(f"sub{number:02d}" for number in range(1, 11))
    rois: tuple[str, ...] = MINI_ROIS
    n_train_clips: int = 1000
    n_test_clips: int = 102


CHALLENGE = Challenge()


def foreign(origin: Origin | None) -> tuple[str, ...]:
    """Why the data of a result are not the challenge's; empty where they are."""
    if origin is None:
        return ("data that were not recorded",)
    if origin.in_silico or origin.dataset != CHALLENGE.dataset:
        return ("in-silico data" if origin.in_silico else f"{origin.title} data",)
    rois = (WHOLE_BRAIN,) if WHOLE_BRAIN in origin.n_voxels else CHALLENGE.rois
    clips, expected = ((n.n_train_clips, n.n_test_clips) for n in (origin, CHALLENGE))
    found = [
        _of("subjects", origin.subjects.split(), CHALLENGE.subjects),
        _of("regions", origin.n_voxels, rois),
        "" if clips == expected else f"{clips[0]} + {clips[1]} clips, not {expected[0]} + {expected[1]}",
    ]
    return tuple(reason for reason in found if reason)


def _of(what: str, there: Iterable[str], expected: tuple[str, ...]) -> str:
    if set(there) == set(expected):
        return ""
    shared = len(set(there) & set(expected))
    return f"{shared} of the challenge's {len(expected)} {what}" if set(there) < set(expected) else f"other {what}"


def barred(origin: Origin | None) -> Iterator[str]:
    """Why a row is none of the paper's, whatever its score: other data, or other weights than the published ones."""
    yield from foreign(origin)
    if origin is not None and origin.untrained:
        yield "random weights"
    elif origin is not None and not origin.official:
        yield "weights other than the published ones"


def doubts(origin: Origin | None, split: str, chosen_here: bool = False, plain: bool = False) -> Iterator[str]:
    """Why a row's score is not comparable with the paper's; nothing where it is.

    split: of the scores that count; chosen_here: whether its clips chose something, too
    plain: whether they are plain correlations
    """
    yield from barred(origin)
    if split != "test":
        yield {"nested": "outer folds", "validation": "validation clips"}[split] + ", not the test clips"
    if chosen_here:
        yield "chosen on the same clips"
    if plain:
        yield "plain correlations"


def other_data(origin: Origin | None, dataset: Dataset, row: Row) -> str:
    """How the data of a row's result differ from those that params.dataset asks for now; empty where they don't."""
    if origin is None:
        return ""
    if origin.dataset != dataset.name:
        return f"made from {origin.title} data ({origin.dataset}), and dataset.name is {dataset.name} now"
    rois = list(dataset.track_rois(row.track))
    for name, then, now in (
        ("subjects", origin.subjects.split(), dataset.subjects),
        ("rois", list(origin.n_voxels), rois),
    ):
        if set(then) != set(now):
            return f"made from {' '.join(then)}, and dataset.{name} is {' '.join(now)} now"
    return ""

"""The one place that decides what may be said of a result; every outlet asks here.

`cautions` says why a score is no result of the network that it names, or no finding. The other questions: are its data
the challenge's (`foreign`) and its weights those of the paper's rows (`barred`), can its score stand beside the paper's
(`doubts`), may it be handed in (`not_for_the_challenge`), and is it of the data that params.yaml asks for now
(`other_data`)? What else has changed since it was made is in dvc.lock (`dvc_lock.other_parameters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cinevox.project.params import MINI_ROIS, WHOLE_BRAIN, Dataset, Row
from cinevox.scoring.origin import Origin


@dataclass(frozen=True)
class Challenge:
    """The data that the paper and the leaderboard report scores of (Cichy et al. 2021, arXiv:2104.13714).

    alike: data sets of the same clips, or in the same layout
    """

    dataset: str = "algonauts2021"
    alike: tuple[str, ...] = ("algonauts2021", "bold_moments", "insilico")
    subjects: tuple[str, ...] = tuple(f"sub{number:02d}" for number in range(1, 11))
    rois: tuple[str, ...] = MINI_ROIS
    n_train_clips: int = 1000
    n_test_clips: int = 102


CHALLENGE = Challenge()


@dataclass(frozen=True)
class Caution:
    """One reason why a score is no result of the network that it names, or no finding.

    name: in few words, for a mark beside the score; meaning: a clause that explains it
    so: what the score is not, therefore

    They speak of clips; `about` makes them speak of a study's own stimuli.
    """

    name: str
    meaning: str
    so: str

    def about(self, stimuli: str) -> Caution:
        """The same caution about other stimuli than clips. stimuli: the word for them (`Origin.stimuli`)"""
        return Caution(*(text.replace("clips", stimuli) for text in (self.name, self.meaning, self.so)))

    @property
    def sentence(self) -> str:
        return f"{self.name.capitalize()}: {self.meaning}."

    def of(self, names: Iterable[str]) -> str:
        """A sentence about several results, or about all where none is named."""
        listed = ", ".join(names)
        return f"{self.name.capitalize()}, so {self.so}{f': {listed}' if listed else ''}."


UNTRAINED = Caution("random weights", "an untrained baseline, not a result of the named network", "no result")
IN_SILICO = Caution(
    "in-silico data",
    "simulated responses, no finding about the brain, nor about a network's fit to it",
    "not comparable with reported scores",
)
PLAIN_SCORE = Caution(
    "plain correlations",
    "the clips were shown once, so there is no noise ceiling to divide by; they are lower than normalized ones",
    "not to be compared with normalized correlations",
)
CHOSEN_HERE = Caution("chosen on the same clips", "the clips of the score chose, too, which flatters it", "too high")
OTHER_CLIPS = {
    "nested": Caution(
        "outer folds",
        "the score is of outer folds of the training clips, each with a choice made without it",
        "not of test clips",
    ),
    "validation": Caution("validation clips", "the score is of the validation clips", "not of test clips"),
}


def cautions(
    untrained: bool = False,
    in_silico: bool = False,
    split: str = "test",
    chosen_here: bool = False,
    plain: bool = False,
    stimuli: str = "clips",
) -> list[Caution]:
    """Every reason, the gravest first.

    split: of the scores that count; chosen_here: whether its clips chose something, too
    plain: whether they are plain correlations; stimuli: the word for the study's
    """
    found = {UNTRAINED: untrained, IN_SILICO: in_silico, PLAIN_SCORE: plain}
    found |= {caution: split == name for name, caution in OTHER_CLIPS.items()} | {CHOSEN_HERE: chosen_here}
    return [caution.about(stimuli) for caution, holds in found.items() if holds]


def beside_the_paper(origin: Origin | None) -> bool:
    """Whether the paper has a place beside a result: its data are the challenge's, or have the same regions and layout.

    Where they do, an outlet says why the paper's score can't stand beside it; where not, it doesn't speak of the paper.
    """
    rois = (*CHALLENGE.rois, WHOLE_BRAIN)
    return origin is None or (origin.dataset in CHALLENGE.alike and all(roi in rois for roi in origin.n_voxels))


def foreign(origin: Origin | None) -> tuple[str, ...]:
    """Tell why the data of a result are not the challenge's; empty where they are."""
    if origin is None:
        return ("data that were not recorded",)
    if origin.in_silico or origin.dataset != CHALLENGE.dataset:
        return (IN_SILICO.name if origin.in_silico else f"{origin.title} data",)
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
    """Tell why a row is none of the paper's, whatever its score: other data, or weights that are not published."""
    yield from foreign(origin)
    if origin is not None and origin.untrained:
        yield UNTRAINED.name
    elif origin is not None and not origin.official:
        yield "weights other than the published ones"


def doubts(origin: Origin | None, split: str, chosen_here: bool = False, plain: bool = False) -> Iterator[str]:
    """Tell why a row's score is not comparable with the paper's; nothing where it is. Arguments as of `cautions`."""
    yield from barred(origin)
    if split != "test":
        yield f"{OTHER_CLIPS[split].name}, not the test clips"
    if chosen_here:
        yield CHOSEN_HERE.name
    if plain:
        yield PLAIN_SCORE.name


def not_for_the_challenge(origin: Origin) -> tuple[str, ...]:
    """Tell why a submission of a row is none to hand in; empty where it is one."""
    return (*foreign(origin), *((f"{UNTRAINED.name}: {UNTRAINED.meaning}",) if origin.untrained else ()))


def other_data(origin: Origin | None, dataset: Dataset, row: Row) -> str:
    """Tell how a row's data differ from those that params.dataset asks for now; empty where they don't."""
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

"""Outcome: what a row came to. The choice of its feature spaces, its scores with that choice, and their origin.

Selection writes it (data/selection/<row>/selection.json), every outlet reads it. A number that is not known (the score
of an ROI without a scored voxel, a p over subjects where there is one) is None, here as in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationError

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.project import identity
from cinevox.project.params import Row, Section
from cinevox.scoring.origin import Origin
from cinevox.statistics.metrics import Measure
from cinevox.statistics.splits import ScoredSplit, best_split

FILE = "selection.json"


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _origin(value: Any) -> Any:
    return Origin.from_json(value) if isinstance(value, Mapping) else value


Number = Annotated[float | None, BeforeValidator(_known)]
Shares = dict[str, dict[str, float]]  # ROI -> feature space -> share, of voxels or of resamples
Recorded = Annotated[Origin, BeforeValidator(_origin), PlainSerializer(Origin.to_json)]


class RoiScore(Section):
    """One ROI on one split: means over subjects of the means over their voxels.

    score: in the split's own measure; pooled: the same over the voxels of all subjects
    standard_error, low, high: over clips; p: of permuted clips
    subject_error, p_subjects: over subjects as replications
    significant_fdr, significant_fwe: share of the voxels above chance, by false discovery rate and family-wise error
    """

    score: Number
    normalized_correlation: Number
    correlation: Number
    standard_error: Number
    low: Number
    high: Number
    pooled: Number
    p: Number
    subject_error: Number
    p_subjects: Number
    significant_fdr: float
    significant_fwe: float
    n_voxels: int
    n_excluded: int
    n_constant: int


class SubjectScore(Section):
    """One subject on one split: the mean over its ROIs, and each of them."""

    score: Number
    rois: dict[str, Number]


class SplitScores(Section):
    """A row on one split, over ROIs; the names are those of `RoiScore`.

    chosen_here: whether the same clips chose the feature spaces, or the epoch
    """

    measure: Measure
    score: Number
    standard_error: Number
    low: Number
    high: Number
    p: Number
    subject_error: Number
    p_subjects: Number
    pooled_score: Number
    correlation: Number
    rois: dict[str, RoiScore]
    subjects: dict[str, SubjectScore]
    chosen_here: bool


class Difference(Section):
    """A difference of two scores, with its interval over clips."""

    difference: Number
    low: Number
    high: Number


class RankCorrelation(Section):
    """Spearman's rho of the candidates' scores on two sets of clips: mean over ROIs, its standard error, each ROI's."""

    mean: Number
    error: Number
    rois: dict[str, Number]


class Optimism(Difference):
    """The amount by which the score on the clips that chose flatters, against a split that did not choose.

    choice: the part that comes from choosing, None where the candidates' scores can't be compared
    rank_correlation: None where there is one candidate, or the split is made of the clips that chose
    """

    measure: Measure
    choice: Difference | None = None
    rank_correlation: RankCorrelation | None = None


class Outcome(Section):
    """All of it.

    policy, per: of params.selection; chosen_on: the split whose clips chose, None if nothing was chosen
    chosen: which feature spaces stand for how much of each ROI, the largest share first
    frequencies: how often each candidate is the best of its ROI in resamples of the clips that chose
    optimism, scores: split -> ...
    """

    row: str
    origin: Recorded
    policy: str
    per: str
    chosen_on: Literal["validation", "nested"] | None
    chosen: Shares
    frequencies: Shares
    optimism: dict[ScoredSplit, Optimism]
    scores: dict[ScoredSplit, SplitScores]

    @property
    def digest(self) -> str:
        """Hash of all of it: what was made from a result says which one it was."""
        return identity.digest(self.model_dump())

    @property
    def split(self) -> ScoredSplit:
        """The split that counts: test where there are test responses, else nested, else validation."""
        return best_split(self.scores)

    @property
    def best(self) -> SplitScores:
        """The scores that count."""
        return self.scores[self.split]

    @property
    def spaces(self) -> dict[str, str]:
        """ROI -> its feature space; where subjects or voxels have their own, the commonest."""
        return {roi: next(iter(shares)) for roi, shares in self.chosen.items()}

    def frequency(self, roi: str, space: str) -> float:
        """Share of the resamples of the clips that chose in which this candidate is the best of the ROI."""
        return self.frequencies.get(roi, {}).get(space, 0.0)


def write(folder: Path, outcome: Outcome) -> None:
    io.write_json(folder / FILE, outcome.model_dump())


def read(folder: Path, row: Row) -> Outcome:
    """Read what `write` wrote for a row.

    Raises
    ------
    FileError
        The file is missing, broken, of another row, or of a version that wrote something else.
    """
    file, cure = folder / FILE, f"`dvc repro -f -s {row.instance('selection')}` makes it again"
    try:
        found = Outcome.model_validate(io.read_json(file))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "the whole"
        words = fault["msg"].removeprefix("Value error, ")
        raise FileError(
            f"{file}: {place}: {words} (found {str(fault['input'])[:60]}); it is broken, or of another version; {cure}"
        ) from None
    if told := next(_faults(found, row), ""):
        raise FileError(f"{file}: {told}; {cure}")
    return found


def _faults(found: Outcome, row: Row) -> Iterator[str]:
    """Tell why a well-formed outcome is not the whole of this row's."""
    if found.row != row.name:
        yield f"it is of the row {found.row}, expected {row.name}"
    if not found.scores:
        yield "scores has no split, expected at least validation"
    if not found.chosen:
        yield "chosen has no ROI"
    for split, scores in found.scores.items():
        if set(scores.rois) != set(found.chosen):
            yield f"scores.{split}.rois has {' '.join(scores.rois) or 'none'}, expected {' '.join(found.chosen)}"
    yield from (f"chosen.{roi} has no feature space" for roi, shares in found.chosen.items() if not shares)

"""The paper's two tables beside this run, and the challenge's leaderboard: where the data are the challenge's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from cinevox.outlets.report.sources import Sources
from cinevox.project import plugins
from cinevox.project.params import FEATURES_GRAMMAR, EnsembleRow, JointRow, NetworkRow, Row, Together, Track
from cinevox.scoring import claims
from cinevox.scoring.row_results import Result

TABLES: dict[Track, str] = {"mini": "Table 1", "full": "Table 2"}
CANDIDATES = {"layer": "one layer per ROI", "pair": "two layers per ROI", "all": "all layers together"}
TOGETHER: dict[Together, str] = {
    "each": "one of them per ROI",
    "concat": "side by side",
    "banded": "side by side, a penalty for each",
    "stack": "a model each, weighted for every voxel",
    "mean": "the mean of a model each",
}
COMBINED = {
    "mean": "the mean of their predictions",
    "stack": "their predictions, weighted for every voxel",
    "paste": "the second pasted into the first",
}


@dataclass(frozen=True)
class PaperLine:
    """One row of the paper's table.

    place: of its score in the paper, 1 the highest; here: of ours among the rows that ran, None where it did not
    score, low, high: ours with its interval over clips; difference: ours minus the paper's
    verdict: in words; reproduced: whether it is, None where that can't be said. A row of other weights than the
        paper's has a verdict, and no place and no difference
    """

    row: Row
    words: str
    place: int
    reported: float
    here: int | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    verdict: str = "not in this run"
    reproduced: bool | None = None


def trained(sources: Sources, track: Track) -> list[Result]:
    """Rows of a track with the challenge's data and published weights, the highest score first."""
    return [result for result in sources.of_track(track) if not any(claims.barred(result.outcome.origin))]


def has_table(sources: Sources, track: Track) -> bool:
    """Whether a row of the track is one of the paper's, with the challenge's data and published weights."""
    return any(result.row.reported is not None for result in trained(sources, track))


def why_not(sources: Sources) -> list[str]:
    """Why nothing that was published is shown: no row has the challenge's data and published weights."""
    return list(dict.fromkeys(reason for result in sources.results for reason in claims.barred(result.outcome.origin)))


def paper_lines(sources: Sources, track: Track) -> list[PaperLine]:
    """Every row that the paper reports for a track, the best reported score first."""
    rows = [row for row in sources.paper_rows if row.track == track and row.reported is not None]
    rows.sort(key=lambda row: -(row.reported or 0.0))
    ours = {result.name: result for result in sources.of_track(track)}
    known = {row.name for row in rows}
    order = [name for name, result in ours.items() if name in known and not any(claims.barred(result.outcome.origin))]
    lines = []
    for place, row in enumerate(rows, 1):
        line = PaperLine(row, in_words(row), place, row.reported or 0.0)
        result = ours.get(row.name)
        here = order.index(row.name) + 1 if row.name in order else None
        lines.append(line if result is None else _with_ours(line, result, here))
    return lines


def _with_ours(line: PaperLine, result: Result, here: int | None) -> PaperLine:
    score, low, high = result.scores.score, result.scores.low, result.scores.high
    verdict, reproduced = judge(line.reported, score, low, high, result.doubts)
    difference = None if score is None or here is None else score - line.reported
    return PaperLine(
        line.row, line.words, line.place, line.reported, here, score, low, high, difference, verdict, reproduced
    )


def judge(
    reported: float, score: float | None, low: float | None, high: float | None, why_not: tuple[str, ...]
) -> tuple[str, bool | None]:
    """The verdict on a row: reproduced if the reported score lies in our interval, where the two can be compared."""
    if score is None or low is None or high is None:
        return "no score", None
    if why_not:
        return "not comparable: " + ", ".join(why_not), None
    if low <= reported <= high:
        return "reproduced", True
    return f"not reproduced: {'higher' if score > reported else 'lower'} here", False


def in_words(row: Row) -> str:
    """Describe a row in plain words: network, feature spaces, regressor."""
    if isinstance(row, EnsembleRow):
        return f"{', '.join(row.rows)}: {COMBINED[row.together]}"
    if isinstance(row, JointRow):
        way = "given for each ROI" if row.fixed else TOGETHER[row.together]
        return f"{', '.join(row.named)}: {way}, {plugins.load('regressors', row.regressor).title}"
    assert isinstance(row, NetworkRow)
    network = plugins.load("networks", row.network).title
    if row.is_transfer:
        return f"{network}, {row.features} base, transfer network with {row.regressor.replace('_', ' ')}"
    regressor = plugins.load("regressors", row.regressor).title
    match = FEATURES_GRAMMAR.fullmatch(row.features)
    parts = [CANDIDATES[match["group"]]] if match else [row.features]
    if match and match["raw"]:
        parts.append("no PCA")
    if match and match["degree"]:
        parts.append(f"products up to degree {match['degree']}")
    return f"{network}, {', '.join(parts)}, {regressor}"


@dataclass(frozen=True)
class Team:
    """One line of the challenge's leaderboard, test set. scores: mini, full and every ROI."""

    place: int
    name: str
    scores: Mapping[str, float]


def leaderboard() -> list[Team]:
    """The best teams, the paper's, and the baseline of the challenge's devkit."""
    with resources.files("cinevox.outlets.report").joinpath("leaderboard.csv").open() as file:
        table = pd.read_csv(file)
    names = [name for name in table.columns if name not in ("place", "team")]
    return [
        Team(int(line["place"]), str(line["team"]), {name: float(line[name]) for name in names})
        for line in table.to_dict("records")
    ]

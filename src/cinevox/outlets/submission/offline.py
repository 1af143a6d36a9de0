"""The official score of a submission, computed here where there are responses to the test clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.measured import imported_ceilings
from cinevox.measured.ceiling import estimated, imported
from cinevox.measured.datasets import StudyData
from cinevox.measured.responses import Columns, Responses
from cinevox.outlets.submission.archive import Content
from cinevox.outlets.submission.faults import ExpectedPredictions
from cinevox.project.params import Ceiling, Scores, Track
from cinevox.scoring.scores import SpaceScore, roi_table, score
from cinevox.statistics.aggregation import AGGREGATIONS, block_weights, interval, weighted
from cinevox.statistics.metrics import noise_ceiling, resampled_clips
from cinevox.statistics.reliability import TITLES
from cinevox.statistics.splits import generator
from cinevox.statistics.trials import present

COUNTS = ("n_voxels", "n_excluded", "n_constant")
HEADERS = ("roi", "subjects", "interval", "pooled", "interval", "correlation", *COUNTS)


@dataclass(frozen=True)
class OfflineScore:
    """One line per ROI, and the track's, each in both aggregations (see `aggregation.AGGREGATIONS`).

    lines: ROI, or `mini track` -> aggregation -> score, low, high, correlation, n_voxels, ...
    legend: what the numbers are
    """

    lines: Mapping[str, Mapping[str, Mapping[str, float]]]
    legend: str

    def cells(self) -> Iterator[list[str | float]]:
        """The table under HEADERS."""
        for name, line in self.lines.items():
            cells: list[str | float] = [name]
            for part in line.values():
                cells += [part["score"], f"{part['low']:.3f} to {part['high']:.3f}"]
            counts = (int(line["subjects"][key]) for key in COUNTS)
            yield [*cells, line["subjects"]["correlation"], *(f"{count:,}" for count in counts)]


def score_offline(
    content: Content,
    wanted: ExpectedPredictions,
    dataset: StudyData,
    ceiling: Ceiling | None,
    settings: Scores,
    may_be_missing: bool = False,
) -> OfflineScore:
    """Score predictions without a fault as the challenge does.

    Per voxel r(mean of the repetitions, prediction) / sqrt(reliability), the reliability from every split of the
    repetitions into halves (126 of ten), stepped up, or by another method of params.ceiling. An ROI's score is the mean
    over voxels, by either aggregation; the track's the unweighted mean over ROIs. Of clips that were shown once there
    is no reliability: the scores are plain correlations then, which the legend says. The bootstrap draws the clips that
    the stage selection draws. One subject's single trials are in memory at a time. Means and correlations are computed
    in float64.

    ceiling: how voxels of little reliability are treated; None for the challenge's own number, which has no threshold:
        every voxel with a positive reliability counts, and the others, which have no square root, are excluded
    may_be_missing: whether trials that are NaN in every voxel are declared to be missing

    Raises
    ------
    InputError
        There are no responses to the test clips, or they are not what validation lets pass.
    """
    if not dataset.has_test_responses(wanted.track):
        block = wanted.columns.blocks[0]
        raise InputError(
            f"{dataset.file('test', wanted.track, block.subject, block.roi)}: no such file, nor others of the kind: "
            f"without responses to the test clips of the {wanted.track} track nothing can be scored here"
        )
    resamples = resampled_clips(wanted.n_clips, settings.n_bootstraps, generator(settings.seed, "test"))
    policy: Literal["exclude", "floor"] = "exclude" if ceiling is None else ceiling.policy
    minimum = 0.0 if ceiling is None else ceiling.min_reliability
    given = list(_by_subject(content, wanted, dataset, ceiling, may_be_missing))
    plain = any(own.reliability is None for own in given)  # one measure for all subjects
    parts = []
    for own in given:
        known = None
        if not plain and own.reliability is not None:
            known, _ = noise_ceiling(own.reliability, policy, minimum)
        parts.append(score(own.measured, own.predicted, known, own.columns, resamples))
    joined = SpaceScore(
        np.concatenate([part.correlation for part in parts]),
        None,
        pd.concat([part.blocks for part in parts], ignore_index=True),
        np.concatenate([part.replicates for part in parts], axis=1),
    )
    table = roi_table(joined, wanted.columns.rois, settings.confidence).set_index(["roi", "aggregation"])
    lines = {roi: {name: dict(table.loc[(roi, name)]) for name in AGGREGATIONS} for roi in wanted.columns.rois}
    if len(lines) > 1:
        over = {name: _track(joined, lines, name, settings.confidence) for name in AGGREGATIONS}
        lines[f"{wanted.track} track"] = over
    return OfflineScore(lines, _legend(wanted.n_clips, given[-1].n_repetitions, ceiling, settings, plain))


class _Subject(NamedTuple):
    """One subject. measured, predicted: (n_clips, n_voxels); reliability: (n_voxels,), None without repetitions"""

    columns: Columns
    measured: NDArray[np.float64]
    predicted: NDArray[np.floating]
    reliability: NDArray[np.float64] | None
    n_repetitions: int


def _by_subject(
    content: Content, wanted: ExpectedPredictions, dataset: StudyData, ceiling: Ceiling | None, may_be_missing: bool
) -> Iterator[_Subject]:
    for subject in wanted.columns.subjects:
        own = Columns(tuple(block for block in wanted.columns.blocks if block.subject == subject))
        responses = [dataset.responses("test", wanted.track, subject, block.roi) for block in own.blocks]
        for part in responses:
            _refuse(part, dataset.file("test", wanted.track, subject, part.roi), may_be_missing)
        yield _Subject(
            own,
            np.hstack([part.mean(np.float64) for part in responses]),
            np.hstack([content[block.roi][subject] for block in own.blocks]),
            _reliability(responses, dataset, wanted.track, ceiling),
            responses[0].values.shape[1],
        )


def _reliability(
    parts: Sequence[Responses], dataset: StudyData, track: Track, ceiling: Ceiling | None
) -> NDArray[np.float64] | None:
    """Reliability of each voxel, (n_voxels,); None where there is none. The challenge's own is by split halves."""
    asked = None if ceiling is None else imported_ceilings.of_split(ceiling, "test")
    found: list[NDArray[np.float64] | None] = []
    for part in parts:
        if asked is not None:
            values = imported_ceilings.read_block(dataset, track, part.subject, part.roi, asked)
            found.append(imported(values, asked, present(part.values).sum(axis=1)))
        else:
            found.append(estimated("split_half" if ceiling is None else ceiling.estimator, "test", part))
    known = [values for values in found if values is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _refuse(part: Responses, path: Path, may_be_missing: bool) -> None:
    there = present(part.values)
    if not np.isfinite(part.values[there]).all() or not there.any(axis=1).all() or not (may_be_missing or there.all()):
        raise InputError(f"{path}: some responses are NaN or infinite, so nothing is scored; see `cinevox validate`")


def _track(
    found: SpaceScore, lines: Mapping[str, Mapping[str, Mapping[str, float]]], aggregation: str, confidence: float
) -> dict[str, float]:
    """Unweighted means over ROIs. Their intervals resample the same clips, so the mean's holds their covariance."""
    parts = [line[aggregation] for line in lines.values()]
    drawn = [weighted(found.replicates, block_weights(found.blocks, roi, aggregation)) for roi in lines]
    means = {key: float(np.mean([part[key] for part in parts])) for key in ("score", "correlation")}
    counts = {key: int(sum(part[key] for part in parts)) for key in COUNTS}
    return means | interval(np.mean(drawn, axis=0), confidence) | counts


def _legend(n_clips: int, n_repetitions: int, ceiling: Ceiling | None, settings: Scores, plain: bool) -> str:
    if plain:
        return (
            f"Plain correlation, r, over {n_clips} clips, which were shown once, so there is no noise ceiling: mean of "
            f"the subjects' means, and of all their voxels pooled;\n{settings.confidence:.0%} intervals over clips."
        )
    n_splits = comb(n_repetitions, n_repetitions // 2) // (1 if n_repetitions % 2 else 2)
    done = {"exclude": "is left out (excluded), and stays in `correlation`", "floor": "counts as if it had that"}
    treated = (
        "This is the challenge's own number: there is no\nthreshold on the reliability, and only voxels whose "
        "reliability is not positive are left out (excluded)."
        if ceiling is None
        else f"A voxel with a\nreliability under {ceiling.min_reliability:g} {done[ceiling.policy]} (params.ceiling). "
        "The challenge's own number\nhas no threshold: `cinevox score --no-threshold`."
    )
    method = "split_half" if ceiling is None else ceiling.method
    made = f"reliability {TITLES[method]}"
    if method == "split_half":
        made = f"all {n_splits} splits of {n_repetitions} repetitions into halves"
    return (
        f"Normalized correlation, r / ceiling, over {n_clips} clips: mean of the subjects' means, and of all their "
        f"voxels pooled;\n{settings.confidence:.0%} intervals over clips. Ceiling: {made}. No score is clipped. "
        f"{treated}"
    )

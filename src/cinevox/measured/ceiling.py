"""The noise ceiling's raw material: how reliable each voxel's mean response is, and an interval for each ROI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Block, Columns, Responses
from cinevox.project.params import ImportedCeiling
from cinevox.statistics.aggregation import interval
from cinevox.statistics.reliability import METHODS, explainable_share, resampled_analytic, signal_to_noise
from cinevox.statistics.trials import present

Floats = NDArray[np.floating]
Read = Callable[[str, str], tuple[Responses, Responses | None]]
Estimate = Callable[[str, Responses], NDArray[np.float64] | None]
Draw = Callable[[str, int], Floats]


@dataclass(frozen=True)
class Interval:
    """Mean reliability over all voxels of a block, or of an ROI's voxels of all subjects.

    low, high: None without resamples, NaN where some of them have no repeated stimulus
    """

    reliability: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reliability:
    """Reliability of every voxel of a track, one block per subject and ROI.

    by_split: split name -> (n_voxels,). `validation`: of the mean over the training repetitions, on all
        training clips (the validation clips alone are too few); `test`: of the mean over the test
        repetitions, on the test clips, as the challenge does. A split is absent where there are no responses, and
        where clips were shown once: then nothing says how reliable the responses are
    n_repetitions: split name -> repetitions averaged, of every split with responses
    blocks: split name -> the mean of each block; rois: split name -> ROI -> the mean of its voxels
    """

    columns: Columns
    by_split: dict[str, NDArray[np.float64]]
    n_repetitions: dict[str, int]
    blocks: dict[str, list[Interval]]
    rois: dict[str, dict[str, Interval]]

    def to_json(self) -> dict[str, object]:
        """Everything but the voxels."""
        return {
            "columns": self.columns.to_json(),
            "n_repetitions": self.n_repetitions,
            "means": {
                split: {
                    "blocks": [
                        {"subject": block.subject, "roi": block.roi, **vars(found)}
                        for block, found in zip(self.columns.blocks, blocks)
                    ],
                    "rois": {roi: vars(found) for roi, found in self.rois[split].items()},
                }
                for split, blocks in self.blocks.items()
            },
        }


def estimated(method: str, _split: str, shown: Responses) -> NDArray[np.float64] | None:
    """Reliability by an estimator of `statistics.reliability`, (n_voxels,); None of stimuli that were shown once."""
    repeated = np.count_nonzero(present(shown.values).sum(axis=1) > 1) > 1
    return METHODS[method](shown.values) if repeated else None


SPLIT_HALF: Estimate = partial(estimated, "split_half")


def imported(values: Floats, asked: ImportedCeiling, counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Reliability of the mean over repetitions from a ceiling of the study's own, (n_voxels,).

    With r that of a single trial and h = mean_c(1 / n_c) it is r / (r + h (1 - r)). A voxel without a value (NaN) has
    0, as nothing says that it is reliable.

    values: (n_voxels,), which `imported_ceilings` has found to be what `asked` says
    counts: n_c, the repetitions of each stimulus, (n_stimuli,)
    """
    given = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=np.inf)
    if asked.holds in ("nc_mean", "reliability"):
        return given / asked.most
    ratio = given if asked.holds == "ncsnr" else signal_to_noise(given / asked.most)
    return explainable_share(ratio, float(np.mean(1 / counts)))


def reliability(
    read: Read,
    blocks: Sequence[tuple[str, str]],
    estimate: Estimate = SPLIT_HALF,
    draw: Draw | None = None,
    confidence: float = 0.95,
) -> Reliability:
    """Reliability of every subject's ROIs, worker by worker.

    An ROI's interval is that of the mean reliability over all of its voxels, whatever is scored later. A replicate is
    the estimate plus what a resample of the stimuli changes of the analytic reliability: split halves change an ROI's
    mean by the same to about .01, and would take a hundred times as long. With the replicates' quantiles q the ends
    are 2 m - q_high and 2 m - q_low around the mean m: the estimate from a resample is lower than that from all
    stimuli, by as much as this is lower than the truth.

    blocks: subject, ROI
    read: (subject, roi) -> training responses, and test responses or None
    estimate: (split, its responses) -> reliability, (n_voxels,), or None where there is none
    draw: (split, n_stimuli) -> how often each stimulus is in each resample, (n_resamples, n_stimuli). Without it, and
        of ceilings that were not estimated from these responses, there are no intervals
    """
    parts = joblib.Parallel()(joblib.delayed(_of_block)(read, subject, roi, estimate, draw) for subject, roi in blocks)
    columns = Columns(tuple(part.block for part in parts))
    splits = [name for name in ("validation", "test") if all(name in part.n_repetitions for part in parts)]
    repeated = [name for name in splits if all(name in part.found for part in parts)]
    return Reliability(
        columns,
        {name: np.concatenate([part.found[name] for part in parts]) for name in repeated},
        {name: min(part.n_repetitions[name] for part in parts) for name in splits},
        {name: [_interval([part], name, confidence) for part in parts] for name in repeated},
        {
            name: {
                roi: _interval([part for part in parts if part.block.roi == roi], name, confidence)
                for roi in columns.rois
            }
            for name in repeated
        },
    )


@dataclass(frozen=True)
class _Part:
    """One block. found: split -> reliability; replicates: split -> its mean in each resample, none without resamples"""

    block: Block
    found: dict[str, NDArray[np.float64]]
    n_repetitions: dict[str, int]
    replicates: dict[str, NDArray[np.float64]]


def _of_block(read: Read, subject: str, roi: str, estimate: Estimate, draw: Draw | None) -> _Part:
    train, test = read(subject, roi)
    given = {"validation": train} | ({"test": test} if test is not None else {})
    known = {name: estimate(name, part) for name, part in given.items()}
    found = {name: values for name, values in known.items() if values is not None}
    replicates = {}
    if draw is not None:
        for name, values in found.items():
            replicates[name] = _replicates(given[name].values, values, draw(name, len(given[name].values)))
    shape = {name: part.values.shape[1] for name, part in given.items()}
    return _Part(Block(subject, roi, train.n_voxels), found, shape, replicates)


def _replicates(values: Floats, known: NDArray[np.float64], resamples: Floats) -> NDArray[np.float64]:
    """Mean reliability in each resample, (n_resamples,). known: of the stimuli themselves, (n_voxels,)"""
    if not len(resamples) or not values.shape[2]:
        return np.empty(0)
    change = sum(differences.sum(axis=0) for _, differences in resampled_analytic(values, resamples))
    return np.asarray(known.mean() + change / values.shape[2])


def _interval(parts: Sequence[_Part], split: str, confidence: float) -> Interval:
    """The mean over the voxels of these blocks, and its interval where each has replicates."""
    weights = np.array([part.block.n_voxels for part in parts], dtype=np.float64)
    weights /= max(weights.sum(), 1.0)
    mean = float(sum(part.found[split].sum() for part in parts) / max(1, sum(part.block.n_voxels for part in parts)))
    replicates = [part.replicates.get(split, np.empty(0)) for part in parts]
    if not all(len(own) for own in replicates):
        return Interval(mean, None, None)
    ends = interval(weights @ np.stack(replicates), confidence)
    return Interval(mean, 2 * mean - ends["high"], float(np.minimum(1.0, 2 * mean - ends["low"])))

"""Optimism: how much a score flatters when it is read from the clips that chose the layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cinevox.scoring.outcomes import Difference, RankCorrelation
from cinevox.scoring.selection.choice import Seen
from cinevox.scoring.selection.evidence import Evidence
from cinevox.statistics.aggregation import interval, roi_means

Floats = NDArray[np.floating]


def optimism(chosen_on: Evidence, honest: Evidence, confidence: float) -> Difference:
    """Score on the clips that chose minus score on clips that did not, of the same choice; with its interval.

    Different clips (validation, test) are resampled independently; the outer folds with the choice made on all of
    them and with the choices made without each are resampled alike, so that difference is paired.
    """
    sides = [_track(found) for found in (chosen_on, honest)]
    drawn = sides[0][1] - sides[1][1]
    return _difference(float(sides[0][0] - sides[1][0]), drawn, confidence)


def choice_effect(
    chosen_on: Evidence, honest: Evidence, candidates: tuple[Seen, Seen], confidence: float
) -> Difference:
    """The part of the optimism that comes from choosing: how much more the chosen one drops than the mean candidate.

    What is easier about one set of clips, or stricter about one ceiling, is the same for all candidates and cancels.
    candidates: on the clips that chose, and on the others
    """
    rois = chosen_on.columns.rois
    chosen, every = (_track(found) for found in (chosen_on, honest)), (_mean_candidate(c, rois) for c in candidates)
    (on, on_drawn), (off, off_drawn) = ((a[0] - b[0], a[1] - b[1]) for a, b in zip(chosen, every))
    return _difference(float(on - off), on_drawn - off_drawn, confidence)


def rank_correlation(candidates: tuple[Seen, Seen]) -> dict[str, float]:
    """ROI -> Spearman's rho of the candidates' means over subjects on both sets of clips; NaN for fewer than 3."""
    rois = candidates[0].columns.rois
    means = [roi_means(seen.score, seen.blocks, rois) for seen in candidates]  # (n_spaces, n_rois) each
    found = {}
    for number, roi in enumerate(rois):
        pair = [side[:, number] for side in means]
        known = np.isfinite(pair).all(axis=0)
        varied = known.sum() > 2 and all(np.ptp(side[known]) > 0 for side in pair)
        found[roi] = float(np.corrcoef([_ranks(side[known]) for side in pair])[0, 1]) if varied else np.nan
    return found


def _ranks(values: Floats) -> NDArray[np.float64]:
    """Ranks from 1 on; equal values have the mean of theirs. (As scipy.stats has them, which takes long to import.)"""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _track(found: Evidence) -> tuple[float, NDArray[np.float64]]:
    """The track's score and its replicates: mean over ROIs of the mean over subjects."""
    blocks, rois = found.scores.blocks, found.columns.rois
    values = roi_means(blocks["score"].to_numpy(), blocks, rois)
    return float(values.mean()), roi_means(found.scores.replicates, blocks, rois).mean(axis=-1)


def _mean_candidate(seen: Seen, rois: tuple[str, ...]) -> tuple[float, NDArray[np.float64]]:
    values = roi_means(seen.score, seen.blocks, rois).mean(axis=-1)
    return float(values.mean()), roi_means(seen.replicates, seen.blocks, rois).mean(axis=(0, -1))


def _difference(value: float, drawn: Floats, confidence: float) -> Difference:
    around = interval(drawn, confidence)
    return Difference(difference=value, low=around["low"], high=around["high"])


def mean_rank_correlation(by_roi: Mapping[str, float]) -> RankCorrelation:
    """Mean over ROIs and its standard error over them; NaN where there are none."""
    known = np.array([rho for rho in by_roi.values() if np.isfinite(rho)])
    error = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.nan
    return RankCorrelation(mean=float(known.mean()) if len(known) else np.nan, error=error, rois=dict(by_roi))

"""Intervals for differences of two runs that chance makes, over all scores together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t


def falls(was: NDArray[np.floating], now: NDArray[np.floating], paired: bool) -> NDArray[np.float64]:
    """Replicates of the difference `was - now` of a metric, (n_kept,).

    paired: both of the same resample b of the clips, was_b - now_b; else of two resamples, was_b - now_(b+1)
    """
    n = min(len(was), len(now))
    return was[:n].astype(np.float64) - (now[:n] if paired else np.roll(now[:n], -1))


def half_widths(
    drawn: Sequence[NDArray[np.float64]], choice: Sequence[float], confidence: float, n_clips: float = np.inf
) -> NDArray[np.float64]:
    """Half the width of the interval of each difference, (n_metrics,), such that all hold at once with `confidence`.

    With replicates D_b of a difference, which have the standard deviation s over b,

        half-width = c sqrt(s^2 + choice^2),   c = quantile over b of max over metrics of (D_b - mean D) / s

    (max-t: Westfall and Young 1993). The maximum is of falls alone, as only they fail; metrics that share clips share
    what chance does to them, and c is smaller than Bonferroni's. As s is itself found from a few clips, c is replaced
    by the quantile of Student's t of the same probability with (n_clips - 1) / 2 degrees of freedom. (What a clip adds
    to a mean r is a product with an excess kurtosis k; s^2 has 2 n / (k + 2) degrees of freedom, and k is about 2.)

    drawn: of each metric the replicates of the difference (`falls`)
    choice: of each metric the standard deviation over layers that other validation clips would have chosen in both
        runs, about which resampled test clips know nothing; 0 where the pair has the same validation clips
    n_clips: number of clips behind the scores; infinite for none of this correction
    """
    if not drawn:
        return np.empty(0)
    n = min(map(len, drawn))
    values = np.stack([part[:n] for part in drawn])
    spread = values.std(axis=1, ddof=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    in_spreads = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    together = max(0.0, float(np.quantile(in_spreads.max(axis=0), confidence)))
    heavier = t.isf(norm.sf(together), (n_clips - 1) / 2)
    return heavier * np.hypot(spread[:, 0], choice)

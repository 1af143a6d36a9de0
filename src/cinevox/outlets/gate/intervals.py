"""Intervals for differences of two runs that chance makes, over all scores together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from cinevox.outlets.gate.state import Reading


def half_widths(
    pairs: Sequence[tuple[Reading, Reading, bool]], confidence: float, n_clips: float = np.inf
) -> list[float | None]:
    """Half the width of the interval of each difference `was - now`, such that all hold at once with `confidence`.

    Of a metric with replicates D_b = was_b - now_b (paired: both of the same resample b of the clips; otherwise of
    two resamples, was_b - now_(b+1)), with standard deviation s over b,

        half-width = c s,   c = quantile over b of max over metrics of (D_b - mean D) / s

    (max-t: Westfall and Young 1993). The maximum is of falls alone, as only they fail; metrics that share clips share
    what chance does to them, and c is smaller than Bonferroni's. Unpaired it is c sqrt(s^2 + choice_was^2 +
    choice_now^2): other validation clips may choose another layer, and resampled test clips know nothing of that.
    Where a side has no replicates, from the half-widths h of single intervals,

        s^2 = (h_was^2 + h_now^2) / z((1 + confidence) / 2)^2,   c = z(1 - alpha / K)

    with alpha = 1 - confidence, K metrics and z quantiles of the normal distribution; those with replicates then share
    what is left of alpha. As s is itself found from a few clips, c is in both cases replaced by the quantile of
    Student's t of the same probability with (n_clips - 1) / 2 degrees of freedom. (What a clip adds to a mean r is a
    product with an excess kurtosis k; s^2 has 2 n / (k + 2) degrees of freedom, and k is about 2.)

    pairs: of each metric was, now, and whether their replicates are of the same resamples
    n_clips: whose scores these are; infinite for none of this correction

    Returns None where neither replicates nor half-widths are known.
    """
    alpha, two_sided = 1 - confidence, float(norm.ppf((1 + confidence) / 2))
    drawn = [_drawn(*pair) for pair in pairs]
    widths = [_root_of_squares(was.half_width, now.half_width) for was, now, _ in pairs]
    n_known = sum(d is not None or w is not None for d, w in zip(drawn, widths))
    inside = [d for d in drawn if d is not None]
    found: list[float | None] = []
    together = _heavier(_largest(inside, alpha * len(inside) / n_known), n_clips) if inside else 0.0
    alone = _heavier(norm.isf(alpha / max(1, n_known)), n_clips)
    for (was, now, paired), values, width in zip(pairs, drawn, widths):
        choice = 0.0 if paired else float(np.hypot(was.choice, now.choice))
        if values is not None:
            found.append(together * float(np.hypot(values.std(ddof=1), choice)))
        else:
            found.append(None if width is None else alone * float(np.hypot(width / two_sided, choice)))
    return found


def _drawn(was: Reading, now: Reading, paired: bool) -> NDArray[np.float64] | None:
    if was.replicates is None or now.replicates is None:
        return None
    n = min(len(was.replicates), len(now.replicates))
    other = now.replicates[:n] if paired else np.roll(now.replicates[:n], -1)
    return was.replicates[:n].astype(np.float64) - other


def _largest(drawn: Sequence[NDArray[np.float64]], alpha: float) -> float:
    n = min(map(len, drawn))
    values = np.stack([part[:n] for part in drawn])
    spread = values.std(axis=1, ddof=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    in_spreads = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return max(0.0, float(np.quantile(in_spreads.max(axis=0), 1 - alpha)))


def _heavier(quantile: float, n_clips: float) -> float:
    return float(t.isf(norm.sf(quantile), (n_clips - 1) / 2))


def _root_of_squares(*widths: float | None) -> float | None:
    known = [width for width in widths if width is not None]
    return float(np.sqrt(np.sum(np.square(known)))) if len(known) == len(widths) else None

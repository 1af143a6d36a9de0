"""Random draws of a split's clips: one for the whole study, of which every cohort has the part that it saw.

Subjects who saw the same clips are resampled and permuted alike, whichever cohort they are of, so that an error that
they share stays in their mean. Drawn for each cohort by itself it would be averaged away, and intervals and chances
would be too small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinevox.fitting.prediction_store import Index, Scored
from cinevox.statistics.metrics import resampled_clips
from cinevox.statistics.significance import permuted_clips
from cinevox.statistics.splits import generator


def drawn(
    index: Index, cohort: Scored, split: str, seed: int, n_bootstraps: int, n_permutations: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """A split's bootstrap resamples for the clips of a cohort, (n_bootstraps, n_clips), and random orders of them.

    Of a part of the study's clips, resamples have varying totals, as any part of a sample has; one with none of them is
    drawn anew. Orders are those in which a random order of all clips has them, (n_permutations, n_clips).
    """
    every, own = index.clips[split], cohort.clips[split]
    rng = generator(seed, split)
    resamples = resampled_clips(len(every), n_bootstraps, rng)
    orders = permuted_clips([len(every)], n_permutations, rng)
    if len(own) == len(every):
        return resamples, orders
    part = np.searchsorted(every, own)
    resamples = resamples[:, part]
    empty = resamples.sum(axis=1) == 0
    resamples[empty] = resampled_clips(len(own), int(empty.sum()), generator(seed, split, cohort.name))
    inside = np.isin(orders, part)
    own_orders = np.searchsorted(part, orders[inside]).reshape(n_permutations, len(own))
    return resamples, own_orders.astype(np.int32)

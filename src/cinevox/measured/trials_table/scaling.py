"""z-scores within sessions, of betas that nothing has normalized yet.

In each session, z = (y - m) / s for each unit, with mean m and standard deviation s (ddof 0) over the session's
training trials: test trials are scaled by numbers that they have no part in. A session with fewer than `MIN_TRIALS`
training trials, as in a split by sessions, takes m and s of the subject's whole training set. Where s is 0, it is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.measured.trials_table.betas import Betas

MIN_TRIALS = 10  # of which a session's own mean and standard deviation are taken
STEP = 256  # trials that are summed up at once: the same ones for any choice of units, so that sums are equal


@dataclass(frozen=True)
class Moments:
    """Number of trials; mean and sum of squared deviations of each unit, (n_units,)."""

    n: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def joined(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub, LeVeque 1983)."""
        n = max(1, self.n + other.n)
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.n / n)
        return Moments(self.n + other.n, mean, self.squares + other.squares + apart**2 * (self.n * other.n / n))


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each unit in each session, (n_sessions, n_units). sessions: their names"""

    sessions: tuple[str, ...]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def scale(self, values: NDArray[np.float32], sessions: NDArray[np.intp], units: NDArray[np.intp]) -> None:
        """Turn trials, (n_trials, n_units), into z-scores where they are.

        sessions: of each trial, its position in `self.sessions`; units: of each column, its position in `self.mean`
        """
        mean, sd = self.mean[:, units], self.sd[:, units]
        for start in range(0, len(values), STEP):
            rows, own = slice(start, start + STEP), sessions[start : start + STEP]
            values[rows] = (values[rows] - mean[own]) / sd[own]


def few(sessions: NDArray[np.str_], training: NDArray[np.bool_]) -> dict[str, int]:
    """Session -> number of its training trials, of those that have too few to be scaled by themselves."""
    counts = {str(name): int(np.count_nonzero(training & (sessions == name))) for name in np.unique(sessions)}
    return {name: n for name, n in counts.items() if n < MIN_TRIALS}


def scaling_of(
    betas: Betas,
    units: NDArray[np.intp],
    rows: NDArray[np.intp],
    sessions: NDArray[np.str_],
    training: NDArray[np.bool_],
) -> Scaling:
    """Compute the scaling of some units.

    rows: of the betas, of every trial that counts; sessions, training: of each

    Raises
    ------
    FileError
        A training trial is not finite.
    """
    names = tuple(np.unique(sessions).tolist())
    alone = [_moments(betas, units, rows[training & (sessions == name)]) for name in names]
    small = few(sessions, training)
    every = reduce(Moments.joined, alone)
    own = [every if name in small else each for name, each in zip(names, alone)]
    sd = [np.sqrt(each.squares / max(1, each.n)) for each in own]
    varies = [np.where(each > 0, each, 1) for each in sd]
    return Scaling(names, np.stack([each.mean for each in own]), np.stack(varies))


def _moments(betas: Betas, units: NDArray[np.intp], rows: NDArray[np.intp]) -> Moments:
    total = Moments(0, np.zeros(len(units)), np.zeros(len(units)))
    rows = np.sort(rows)
    for start in range(0, len(rows), STEP):
        values = betas.columns(units, rows[start : start + STEP]).astype(np.float64)
        if not np.isfinite(values).all():
            told = "training trials are NaN or infinite in a unit and are not excluded, so there is no z-score"
            raise FileError(f"{betas.path}: {told}; `make validate` lists them")
        mean = values.mean(axis=0)
        total = total.joined(Moments(len(values), mean, np.square(values - mean).sum(axis=0)))
    return total

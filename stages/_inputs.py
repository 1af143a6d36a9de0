"""Inputs of stages that work with responses: `Run` and `stage` of `_cli`, and the readers of what was measured."""

from __future__ import annotations

from functools import partial

import _cli
from cinevox.measured import response_store
from cinevox.measured.cohorts import Cohort, cohorts
from cinevox.measured.responses import Part
from cinevox.project.params import Track


class Run(_cli.Run):
    """A run that reads responses."""

    def responses(self, part: Part) -> response_store.Converted:
        """The training or the test responses, as `conversion` wrote them."""
        return response_store.read(self.paths.conversion(part))

    def cohorts(self, track: Track) -> tuple[Cohort, ...]:
        """The subjects who saw the same stimuli, with their ROIs of a track."""
        return cohorts(self.responses("train"), track, self.n_clips()[1])


stage = partial(_cli.stage, run=Run)

"""Inputs of stages that work with responses: `Run` and `stage` of `_cli`, and the readers of what was measured."""

from __future__ import annotations

from functools import partial

import _cli
from cinevox.measured import response_store
from cinevox.measured.responses import Part
from cinevox.statistics import splits


class Run(_cli.Run):
    """A run that reads responses."""

    def responses(self, part: Part) -> response_store.Converted:
        """The training or the test responses, as `conversion` wrote them."""
        return response_store.read(self.paths.conversion(part))

    def split(self) -> splits.Split:
        """The clips that train, validate and test."""
        return splits.split(*self.n_clips(), self.params.splits)


stage = partial(_cli.stage, run=Run)

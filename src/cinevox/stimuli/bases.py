"""Bases: what transfer networks stand on. The frozen blocks of a network, run once for every frame and kept."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cinevox.project.params import Base, Features, Network
from cinevox.stimuli import features
from cinevox.stimuli.features import Extraction
from cinevox.stimuli.networks import _loading, _weights, spec_of


def prepare(base: Base, weights: Network, settings: Features, frame_shape: Sequence[int]) -> Extraction:
    """The extraction of the last frozen block's activations: float16, every frame kept.

    frame_shape: (n_frames, height, width, 3) of one clip

    Raises
    ------
    InputError
        As `features.prepare` and `NetworkSpec.divided`.
    """
    frozen, _ = spec_of(base.network, weights).divided(base.n_tuned)
    kept = settings.model_copy(update={"over_frames": "none", "storage": "float16"})
    return features.prepare(base.network, weights, kept, frame_shape, frozen[-1:])


def tuned_blocks(base: Base, weights: Network | None) -> nn.Sequential | None:
    """The blocks to be tuned, with the network's weights (None: to be filled by the caller); None if all are frozen."""
    spec = spec_of(base.network, weights)
    _, tuned = spec.divided(base.n_tuned)
    if not tuned:
        return None
    if weights is None:
        module = _loading.built(spec)
    else:
        module = _loading.load(base.network, spec, _weights.locate(base.network, spec, weights))
    return nn.Sequential(*(module.get_submodule(name) for name in tuned))

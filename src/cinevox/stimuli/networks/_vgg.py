"""Code that the VGG networks share."""

from __future__ import annotations

from cinevox.stimuli.networks import per_roi

CLASSIFIER = ("classifier.1", "classifier.4", "classifier.6")


def layers(pools: tuple[int, ...]) -> tuple[str, ...]:
    """The five stages after their max pool, two fully connected layers after ReLU, the class scores."""
    return (*(f"features.{index}" for index in pools), *CLASSIFIER)


def choice(pools: tuple[int, ...]) -> dict[str, str]:
    """A proposal, by analogy with AlexNet: pool 3 for V1, pool 5 for V2 to V4, class scores for objects."""
    names = layers(pools)
    return per_roi(
        wb=names[4], v1=names[2], v2_v3=names[4], v4=names[4], loc_eba_ffa=names[7], ppa=names[7], sts=names[5]
    )

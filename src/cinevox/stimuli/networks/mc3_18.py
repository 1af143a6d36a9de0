"""Mixed-convolution network of 18 layers (Tran et al. 2018, arXiv:1711.11248), as in torchvision.

A video network: it sees clips. Its convolutions are three-dimensional in the stem and the first stage alone. Its layers
are those of `_video.residual`.
"""

from __future__ import annotations

from cinevox.stimuli.networks._video import residual, weights

SPEC = residual("MC3-18", "mc3_18", weights("mc3_18-a90a0ba3.pth", 44.7))

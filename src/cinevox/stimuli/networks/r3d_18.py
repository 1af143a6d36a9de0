"""ResNet 3D of 18 layers (Tran et al. 2018, arXiv:1711.11248), as in torchvision.

A video network: it sees clips. Its convolutions are three-dimensional throughout. Its layers are those of
`_video.residual`.
"""

from __future__ import annotations

from cinevox.stimuli.networks._video import residual, weights

SPEC = residual("ResNet 3D-18", "r3d_18", weights("r3d_18-b3b3357e.pth", 127.4))

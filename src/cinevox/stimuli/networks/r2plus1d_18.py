"""R(2+1)D of 18 layers (Tran et al. 2018, arXiv:1711.11248), as in torchvision.

A video network: it sees clips. Its convolutions are in space, then in time. Its layers are those of `_video.residual`.
"""

from __future__ import annotations

from cinevox.stimuli.networks._video import residual, weights

SPEC = residual("R(2+1)D-18", "r2plus1d_18", weights("r2plus1d_18-91a641e6.pth", 120.3))

"""Simulation: a data set in the format of the Algonauts 2021 challenge whose truth is known.

Clips are dead-leaves scenes with moving objects; voxels listen to Gabor or motion energy, to a network's
layers, to receptive fields in its maps or to the scenes' latents, with independent noise in every trial and the
reliabilities of the real data. What every voxel listens to, its noise-free signal and its true reliability are written
beside the data.

Clips depend on (seed, clip) and subjects on (seed, subject) alone, so they can be made in any order.
"""

from cinevox.simulation.listening import Heard, listen, network_of, prepare
from cinevox.simulation.study import CLIPS, clip_names, driving_components, make_clip, write_subject, write_truth

__all__ = [
    "CLIPS",
    "Heard",
    "clip_names",
    "driving_components",
    "listen",
    "make_clip",
    "network_of",
    "prepare",
    "write_subject",
    "write_truth",
]

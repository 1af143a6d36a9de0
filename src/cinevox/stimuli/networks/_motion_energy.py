"""Motion energy by the filters of pymoten, many clips through one bank.

pymoten passes a clip through one filter after another and builds each anew. Here the spatial parts, which filters of
several temporal frequencies share, are built by pymoten once and kept as a sparse matrix.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from cinevox.stimuli.networks._activations import LayerError

if TYPE_CHECKING:
    from moten.pyramids import MotionEnergyPyramid

CLIP_SECONDS = 3.0  # of the challenge's clips
TEMPORAL_FREQUENCIES = (0, 2, 4)  # Hz
TEMPORAL_PARAMETERS = ("temporal_freq", "temporal_env")
OFFSET = 1e-5  # in pymoten's log

Floats = NDArray[np.float64]


class MotionEnergy(nn.Module):
    """Clips (N, 3, T, H, W) in [0, 1] to log energies, averaged over time, (N, n_filters).

    What `moten.pyramids.MotionEnergyPyramid.project_stimulus` gives for the lightness L* (0 to 100) of the frames:
        log(sqrt(s(t)^2 + c(t)^2) + 1e-5), s and c the responses of a quadrature pair of spatiotemporal Gabor filters,
    mean over the T frames, of which the first and last ones see black before and after the clip.

    The frame rate that pymoten is given is T / 3 s, rounded to whole frames per second, as it takes no others: frames
    are spread evenly over a clip, and a clip is taken to last three seconds, as the challenge's do. In a clip that
    lasts s seconds, the filters of 2 and 4 Hz are ones of 2 * 3 / s and 4 * 3 / s Hz.

    spatial_frequencies: cycles per image, of the pyramid's levels; 0 adds filters of flicker

    Source: Adelson and Bergen 1985; Nishimoto et al. 2011; pymoten (BSD-2-Clause).
    """

    def __init__(self, spatial_frequencies: tuple[int, ...]) -> None:
        super().__init__()
        self.spatial_frequencies = spatial_frequencies

    def forward(self, clips: Tensor) -> Tensor:
        if clips.ndim != 5 or clips.shape[1] != 3:
            raise LayerError(f"clips of shape {tuple(clips.shape)}; expected (n, 3, n_frames, height, width)")
        n_frames, height, width = clips.shape[2:]
        rate = frame_rate(n_frames)
        if clips.is_meta:
            n_filters: int = pyramid(self.spatial_frequencies, (height, width), rate).nfilters
            return clips.new_empty(len(clips), n_filters)
        bank = _bank(self.spatial_frequencies, (height, width), rate)
        values = clips.detach().to("cpu", torch.float64).clamp(0, 1).permute(0, 2, 3, 4, 1).numpy()
        found = torch.stack([_energies(lightness(clip), bank).mean(dim=0) for clip in values])
        return found.to(clips.device, torch.float32)


def frame_rate(n_frames: int) -> int:
    """Frames per second of so many frames, spread evenly over three seconds.

    Raises
    ------
    LayerError
        There are too few for the fastest filters: a rate of up to twice their frequency.
    """
    rate, fastest = round(n_frames / CLIP_SECONDS), max(TEMPORAL_FREQUENCIES)
    if rate <= 2 * fastest:
        raise LayerError(
            f"{n_frames} frames a clip, {rate} per second, cannot show motion at {fastest} Hz; set n_frames under "
            f"networks to {round(CLIP_SECONDS * (2 * fastest + 1))} or more (and frames.counts)"
        )
    return rate


def lightness(frames: Floats) -> Floats:
    """L* of CIELAB, 0 to 100, of RGB frames (T, H, W, 3) in [0, 1], as pymoten computes it: (T, H, W)."""
    from moten.colorspace import rgb2lab

    n_frames, height, width, _ = frames.shape
    converted: Floats = rgb2lab(frames.reshape(n_frames * height, width, 3).copy())
    return converted[..., 0].reshape(n_frames, height, width)


def pyramid(spatial_frequencies: tuple[int, ...], size: tuple[int, int], rate: int) -> MotionEnergyPyramid:
    """pymoten's pyramid of filters for frames of this size, (height, width), at so many frames per second."""
    from moten.pyramids import MotionEnergyPyramid

    return MotionEnergyPyramid(
        stimulus_vhsize=size,
        stimulus_fps=rate,
        spatial_frequencies=list(spatial_frequencies),
        temporal_frequencies=list(TEMPORAL_FREQUENCIES),
    )


class _Bank(NamedTuple):
    """A pyramid's filters, taken apart.

    gabors: (2 n_spatial, n_pixels), the sines above the cosines
    spatial: which spatial part each filter has, (n_filters,)
    temporal: which temporal part each filter has, (n_filters,)
    windows: sine and cosine of each temporal part, (n_temporal, 2, n_frames of the window)
    """

    gabors: sparse.csr_array
    spatial: NDArray[np.intp]
    temporal: NDArray[np.intp]
    windows: Floats


@lru_cache(maxsize=4)
def _bank(spatial_frequencies: tuple[int, ...], size: tuple[int, int], rate: int) -> _Bank:
    filters = pyramid(spatial_frequencies, size, rate)
    in_time = np.isin(filters.parameters_names, TEMPORAL_PARAMETERS)
    spatial_first, spatial = _distinct(filters.parameters_matrix[:, ~in_time])
    temporal_first, temporal = _distinct(filters.parameters_matrix[:, in_time])
    rows: list[list[sparse.csr_array]] = [[], []]
    for index in spatial_first:
        pair = np.stack([part.ravel() for part in filters.get_filter_spatiotemporal_quadratures(int(index))[:2]])
        seen = np.abs(pair).sum(axis=0) > filters.mask_threshold  # pymoten leaves out the others
        for kept, values in zip(rows, pair):
            kept.append(sparse.csr_array(np.where(seen, values, 0)[None]))
    windows = [filters.get_filter_spatiotemporal_quadratures(int(index))[2:] for index in temporal_first]
    return _Bank(sparse.vstack(rows[0] + rows[1], format="csr"), spatial, temporal, np.array(windows))


def _distinct(parameters: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row of each distinct one, and which of them each row is."""
    _, first, inverse = np.unique(parameters, axis=0, return_index=True, return_inverse=True)
    return first, inverse


def _energies(frames: Floats, bank: _Bank) -> Tensor:
    """Log energies (T, n_filters) of lightness (T, H, W).

    With S, C the frames' products with the sine and the cosine of a spatial part, and a, b the sine and the cosine of a
    temporal one, as bands of matrices over time: s = b S + a C, c = b C - a S.
    """
    n_frames = len(frames)
    products = torch.from_numpy(np.ascontiguousarray((bank.gabors @ frames.reshape(n_frames, -1).T).T))
    S, C = products.tensor_split(2, dim=1)
    energies = products.new_empty(n_frames, len(bank.spatial))
    for index, window in enumerate(bank.windows):
        a, b = (torch.from_numpy(_delayed(part, n_frames)) for part in window)
        filters = np.flatnonzero(bank.temporal == index)
        parts = torch.from_numpy(bank.spatial[filters])
        sines, cosines = S[:, parts], C[:, parts]
        s, c = b @ sines + a @ cosines, b @ cosines - a @ sines
        energies[:, torch.from_numpy(filters)] = (s.square() + c.square()).sqrt().add(OFFSET).log()
    return energies


def _delayed(window: Floats, n_frames: int) -> Floats:
    """The matrix (T, T) that sums the frames at t - d over the window's delays d, its middle one being 0."""
    middle = (len(window) + 1) // 2 - 1
    places = middle + np.subtract.outer(np.arange(n_frames), np.arange(n_frames))
    inside = (places >= 0) & (places < len(window))
    return np.where(inside, window[places.clip(0, len(window) - 1)], 0.0)

"""Displacement between successive frames: the shift of best match, of whole frames and of nine patches.

Exact: pixels are whole numbers from 0 to 255, so sums of squared differences are whole numbers too, and those that a
Fourier transform leaves within a hundredth of them are rounded to them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cinevox.stimuli.networks._activations import LayerError

REACH = 15  # pixels, on both axes
N_PATCHES = 3  # along each axis
N_SHIFTS = 2 * REACH + 1
N_REGIONS = 1 + N_PATCHES**2
N_NUMBERS = 4 * N_REGIONS
MIN_SIZE = N_PATCHES * (REACH + 1)  # pixels: then part of every patch stays in the frame at every shift


class _Patch(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


class Displacement(nn.Module):
    """Clips (N, 3, T, H, W) in [0, 1] to 40 numbers each, (N, 40).

    A region's shift d = (rows, columns) between frames f_t and f_t+1 is the one within +-15 pixels that minimises
        mean over pixels p of the region with p + d in the frame, and over channels, of (f_t+1(p + d) - f_t(p))^2,
    positive where what is seen moves down or to the right. Of shifts that fit equally well the shortest is taken (in
    pixels as the crow flies), then the first from the top, then from the left. Regions: the whole frame, then the 3 x 3
    patches row by row, each of whose borders lies at a third of the frame, rounded down. Pixels are taken at 8 bits.

    The numbers: (rows, columns) of every region, averaged over the T - 1 pairs of frames (20), then the same of
    |rows| and |columns| (20), in pixels.

    Source: the motion features of the runner-up of the Algonauts challenge of 2021 (bionn). Its report leaves open how
    pixels are treated that a shift moves out of the frame (they are left out here) or out of a patch (they count).
    """

    def forward(self, clips: Tensor) -> Tensor:
        _require_frames(clips)
        if clips.is_meta:
            return clips.new_empty(len(clips), N_NUMBERS)
        found = torch.stack([_mean_shifts(clip) for clip in clips])
        return found.to(clips.device, torch.float32)


def _require_frames(clips: Tensor) -> None:
    if clips.ndim != 5 or clips.shape[1] != 3:
        raise LayerError(f"clips of shape {tuple(clips.shape)}; expected (n, 3, n_frames, height, width)")
    n_frames, height, width = clips.shape[2:]
    if n_frames < 2:
        raise LayerError("one frame a clip; a displacement needs two: set n_frames to 2 or more under networks")
    if min(height, width) < MIN_SIZE:
        raise LayerError(f"frames of {height} x {width} pixels; expected at least {MIN_SIZE} x {MIN_SIZE}")


def _mean_shifts(clip: Tensor) -> Tensor:
    """The 40 numbers of one clip (3, T, H, W)."""
    at = "cpu" if clip.device.type == "mps" else clip.device  # which has no float64
    frames = clip.to(at, torch.float64).mul(255).round().clamp(0, 255).transpose(0, 1)
    shifts = _best_shifts(frames).flatten(1)
    return torch.cat([shifts.mean(dim=0), shifts.abs().mean(dim=0)])


def _best_shifts(frames: Tensor) -> Tensor:
    """Shifts (T - 1, 10, 2) in pixels of frames (T, 3, H, W) that hold whole numbers."""
    height, width = frames.shape[2:]
    squares = _summed_area(frames.square().sum(dim=1))
    sums, counts = [], []
    for patch in _patches(height, width):
        there, here, n_pixels = _overlaps(squares, patch, height, width)
        sums.append(there[1:] + here[:-1] - 2 * _cross_correlation(frames, patch))
        counts.append(n_pixels)
    of_regions = torch.stack([sum(sums, torch.zeros_like(sums[0])), *sums], dim=1)
    n_pixels = torch.stack([sum(counts, torch.zeros_like(counts[0])), *counts])
    order, shifts = _shortest_first(frames.device)
    errors = (of_regions / n_pixels).flatten(2)[:, :, order]
    return shifts[errors.argmin(dim=2)]  # the first of equal ones


def _patches(height: int, width: int) -> list[_Patch]:
    rows, columns = ([size * index // N_PATCHES for index in range(N_PATCHES + 1)] for size in (height, width))
    return [_Patch(*vertical, *across) for vertical in pairwise(rows) for across in pairwise(columns)]


def _shortest_first(device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat positions in the 31 x 31 table of shifts, and the shifts, the shortest first."""
    steps = range(-REACH, REACH + 1)
    shifts = [(y, x) for y in steps for x in steps]
    order = sorted(range(len(shifts)), key=lambda place: sum(step**2 for step in shifts[place]))  # stable
    in_order = torch.tensor([shifts[place] for place in order], device=device, dtype=torch.float64)
    return torch.tensor(order, device=device), in_order


def _summed_area(values: Tensor) -> Tensor:
    """Sums over all above and to the left, with a row and a column of zeros in front: (T, H + 1, W + 1)."""
    return nn.functional.pad(values, (1, 0, 1, 0)).cumsum(dim=1).cumsum(dim=2)


def _overlaps(area: Tensor, patch: _Patch, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of squares for every shift, (T, 31, 31): where the patch is moved to, and of what of it stays in the frame;
    and how many pixels stay, (31, 31)."""
    shift = torch.arange(-REACH, REACH + 1, device=area.device)
    rows = torch.stack([patch.top + shift, patch.bottom + shift]).clamp(0, height)  # of the moved patch, in the frame
    columns = torch.stack([patch.left + shift, patch.right + shift]).clamp(0, width)

    def box(rows: Tensor, columns: Tensor) -> Tensor:
        (top, bottom), (left, right) = rows[:, :, None], columns[:, None, :]
        return area[:, bottom, right] - area[:, top, right] - area[:, bottom, left] + area[:, top, left]

    n_pixels = (rows[1] - rows[0])[:, None] * (columns[1] - columns[0])
    return box(rows, columns), box(rows - shift, columns - shift), n_pixels


def _cross_correlation(frames: Tensor, patch: _Patch) -> Tensor:
    """Sum over a patch and the channels of f_t(p) f_t+1(p + d) for every shift d: (T - 1, 31, 31), whole numbers."""
    size = patch.bottom - patch.top + 2 * REACH, patch.right - patch.left + 2 * REACH
    padded = nn.functional.pad(frames[1:], (REACH, REACH, REACH, REACH))
    around = padded[:, :, patch.top : patch.top + size[0], patch.left : patch.left + size[1]]
    inside = frames[:-1, :, patch.top : patch.bottom, patch.left : patch.right]
    spectrum = torch.fft.rfft2(around, s=size) * torch.fft.rfft2(inside, s=size).conj()
    return torch.fft.irfft2(spectrum.sum(dim=1), s=size)[:, :N_SHIFTS, :N_SHIFTS].round()

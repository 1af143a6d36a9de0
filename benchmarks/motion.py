"""Motion without a network: motion energy beside pymoten's own loops, displacement beside a search shift by shift."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from _harness import Case, Contender, main
from cinevox.stimuli.networks._displacement import REACH, Displacement
from cinevox.stimuli.networks._motion_energy import MotionEnergy, frame_rate, lightness, pyramid
from cinevox.stimuli.networks.motion_energy import SPATIAL_FREQUENCIES

N_FRAMES = 45  # of motion energy, 15 a second


def clip(n_frames: int, size: int) -> torch.Tensor:
    """Smooth noise that drifts by a few pixels a frame, (1, 3, n_frames, size, size)."""
    rng = np.random.default_rng(0)
    scene = torch.from_numpy(rng.random((1, 3, size + 4 * n_frames, size + 4 * n_frames), dtype=np.float32))
    smooth = torch.nn.functional.avg_pool2d(scene, 5, 1, 2)
    frames = [smooth[:, :, 2 * t : 2 * t + size, 3 * t : 3 * t + size] for t in range(n_frames)]
    return torch.stack(frames, 2).mul(255).round().div(255)


def motion_energy(quick: bool) -> Case:
    frequencies = SPATIAL_FREQUENCIES[:-1] if quick else SPATIAL_FREQUENCIES
    frames, ours = clip(N_FRAMES, 96), MotionEnergy(frequencies)
    filters = pyramid(frequencies, (96, 96), frame_rate(N_FRAMES))

    def theirs(name: str) -> np.ndarray:
        luminance = lightness(frames[0].double().permute(1, 2, 3, 0).numpy())
        return getattr(filters, name)(luminance).mean(axis=0)

    return Case(
        f"motion energy, {filters.nfilters} filters, a clip of {N_FRAMES} frames",
        Contender("cinevox", lambda: ours(frames).numpy()[0]),
        [
            Contender("pymoten, project_stimulus", lambda: theirs("project_stimulus")),
            Contender("pymoten, project_stimulus_batched", lambda: theirs("project_stimulus_batched")),
        ],
        difference,
    )


def displacement(quick: bool) -> Case:
    frames, ours = clip(4 if quick else 16, 224), Displacement()
    return Case(
        f"displacement, a clip of {frames.shape[2]} frames",
        Contender("cinevox", lambda: ours(frames).numpy()[0]),
        [Contender("torch, shift by shift", lambda: shift_by_shift(frames[0].mul(255).round()), repeats=2)],
        difference,
    )


def shift_by_shift(frames: torch.Tensor) -> np.ndarray:
    """The same numbers by the squared difference of the whole frames, for one of the 961 shifts after another."""
    _, n_frames, height, width = frames.shape
    rows, columns = ([size * i // 3 for i in range(4)] for size in (height, width))
    boxes = [(0, height, 0, width)]
    boxes += [(*rows[i : i + 2], *columns[j : j + 2]) for i in range(3) for j in range(3)]
    steps = range(-REACH, REACH + 1)
    shifts = sorted(((y, x) for y in steps for x in steps), key=lambda shift: shift[0] ** 2 + shift[1] ** 2)
    errors = torch.full((len(shifts), n_frames - 1, len(boxes)), torch.inf, dtype=torch.float64)
    for place, (y, x) in enumerate(shifts):
        top, bottom, left, right = max(0, -y), height - max(0, y), max(0, -x), width - max(0, x)
        here = frames[:, :-1, top:bottom, left:right]
        there = frames[:, 1:, top + y : bottom + y, left + x : right + x]
        change = (there - here).square().sum(dim=0)
        for region, (upper, lower, west, east) in enumerate(boxes):
            part = change[:, max(upper - top, 0) : lower - top, max(west - left, 0) : east - left]
            errors[place, :, region] = part.double().mean(dim=(1, 2))
    found = torch.tensor(shifts, dtype=torch.float64)[errors.argmin(dim=0)].flatten(1)
    return torch.cat([found.mean(dim=0), found.abs().mean(dim=0)]).numpy()


def difference(mine: np.ndarray, theirs: np.ndarray) -> str:
    return f"largest difference {np.abs(mine - theirs).max():.1e}"


def cases(quick: bool) -> Iterator[Case]:
    yield motion_energy(quick)
    yield displacement(quick)


if __name__ == "__main__":
    main("motion", cases)
